//! What to do with each object of a backup: a pure function of what the node has and of what the
//! storage holds.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use crate::named::{ByDigest, digest};

/// What the storage holds under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Bytes.
    pub size: u64,
    /// By the storage's clock.
    pub modified: SystemTime,
}

/// What is to be done with one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The storage does not have it.
    Upload,
    /// The storage has it, of the right size: its timestamp is renewed.
    Touch,
    /// The storage has it, and its timestamp is younger than asked for.
    Keep,
    /// A purge is about to delete it.
    Wait,
    /// The storage has another content under the key.
    Conflict {
        /// Its size, in bytes.
        found: u64,
    },
}

/// What decisions rest on.
pub struct Storage {
    /// Objects that are there.
    pub stored: ByDigest<Stored>,
    /// Keys that purges are about to delete.
    pub condemned: HashSet<String>,
    /// The storage's clock.
    pub now: SystemTime,
    /// Younger objects are not touched.
    pub touch_after: Duration,
}

impl Storage {
    /// Whether there is an object of this key.
    pub fn has(&self, key: &str) -> bool {
        self.stored.contains_key(&digest(key))
    }

    /// What to do with an object of `size` bytes under `key`.
    pub fn decide(&self, key: &str, size: u64) -> Action {
        if self.condemned.contains(key) {
            return Action::Wait;
        }
        match self.stored.get(&digest(key)) {
            None => Action::Upload,
            Some(stored) if stored.size != size => Action::Conflict { found: stored.size },
            // A timestamp in the future counts as young.
            Some(stored) => match self.now.duration_since(stored.modified) {
                Ok(age) if age >= self.touch_after => Action::Touch,
                _ if self.touch_after.is_zero() => Action::Touch,
                _ => Action::Keep,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn storage(touch_after: u64) -> Storage {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        Storage {
            stored: ByDigest::from_iter([
                (
                    digest("old"),
                    Stored {
                        size: 3,
                        modified: at(10),
                    },
                ),
                (
                    digest("young"),
                    Stored {
                        size: 3,
                        modified: at(95),
                    },
                ),
                (
                    digest("future"),
                    Stored {
                        size: 3,
                        modified: at(200),
                    },
                ),
                (
                    digest("doomed"),
                    Stored {
                        size: 3,
                        modified: at(10),
                    },
                ),
            ]),
            condemned: HashSet::from(["doomed".into(), "gone".into()]),
            now: at(100),
            touch_after: Duration::from_secs(touch_after),
        }
    }

    #[test]
    fn each_object_is_decided_by_what_the_storage_holds() {
        let storage = storage(0);
        for (key, size, action) in [
            ("absent", 3, Action::Upload),
            ("old", 3, Action::Touch),
            ("young", 3, Action::Touch),
            ("future", 3, Action::Touch),
            ("old", 4, Action::Conflict { found: 3 }),
            ("doomed", 3, Action::Wait),
            ("gone", 3, Action::Wait),
        ] {
            assert_eq!(storage.decide(key, size), action, "{key}");
        }
    }

    #[test]
    fn objects_younger_than_asked_for_are_left_alone() {
        let storage = storage(60);
        assert_eq!(storage.decide("old", 3), Action::Touch);
        assert_eq!(storage.decide("young", 3), Action::Keep);
        assert_eq!(storage.decide("future", 3), Action::Keep);
    }
}
