//! Millions of keys, as digests: 16 bytes each instead of 150.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// Keys that somebody names.
#[derive(Clone, Debug, Default)]
pub struct Named {
    digests: HashSet<u128, BuildHasherDefault<AsItIs>>,
}

impl Named {
    /// Adds a key; whether it is new.
    pub fn insert(&mut self, key: &str) -> bool {
        self.digests.insert(digest(key))
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Self) {
        self.digests.extend(other.digests);
    }

    /// Whether a key was added.
    pub fn contains(&self, key: &str) -> bool {
        !self.digests.is_empty() && self.digests.contains(&digest(key))
    }
}

impl<K: AsRef<str>> FromIterator<K> for Named {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let digests = keys.into_iter().map(|key| digest(key.as_ref()));
        Self {
            digests: digests.collect(),
        }
    }
}

/// What is known of keys, by [`digest`].
pub type ByDigest<V> = HashMap<u128, V, BuildHasherDefault<AsItIs>>;

/// 16 bytes: among ten million keys two are the same with a chance of 10⁻²⁵.
pub fn digest(key: &str) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(key.as_bytes()).as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

/// The digests are as good as random.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64;
    }
}
