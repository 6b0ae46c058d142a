//! The BLAKE3 of files that did not change since they were read, so that a backup with nothing
//! new reads nothing.
//!
//! A snapshot's file is a link to the live file: device, inode, size and time of change stay the
//! same over all snapshots that hold it, and differ when Cassandra rewrites it.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::scan::Stat;

/// A file that changed less than this before it was read may change again within the same tick of
/// the file system's clock.
const RACY: Duration = Duration::from_secs(2);

const MAGIC: &[u8; 16] = b"cb hash cache 1\n";
const RECORD: usize = 8 + 8 + 8 + 16 + 32;

/// Hashes of files by what `stat` says of them.
pub struct HashCache {
    path: PathBuf,
    known: HashMap<Stat, blake3::Hash>,
    /// What this run saw: only that is kept, so the cache never grows beyond the node's files.
    seen: Mutex<HashMap<Stat, blake3::Hash>>,
}

impl HashCache {
    /// Reads the cache. One that is missing or damaged is empty.
    pub fn load(path: PathBuf) -> Self {
        let known = read(&path).unwrap_or_default();
        Self {
            path,
            known,
            seen: Mutex::default(),
        }
    }

    /// The hash of a file that did not change since.
    pub fn get(&self, stat: &Stat) -> Option<blake3::Hash> {
        let hash = *self.known.get(stat)?;
        self.insert(*stat, hash);
        Some(hash)
    }

    /// Remembers the hash of a file that was read just now.
    pub fn put(&self, stat: Stat, hash: blake3::Hash, now: SystemTime) {
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_nanos()) as i128;
        if stat.modified + RACY.as_nanos() as i128 <= now {
            self.insert(stat, hash);
        }
    }

    /// Writes what this run saw, whole or not at all. Blocks on the file system.
    pub fn save(&self) -> io::Result<()> {
        let seen = self
            .seen
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut bytes = Vec::with_capacity(MAGIC.len() + seen.len() * RECORD + 32);
        bytes.extend_from_slice(MAGIC);
        for (stat, hash) in seen.iter() {
            bytes.extend_from_slice(&stat.device.to_le_bytes());
            bytes.extend_from_slice(&stat.inode.to_le_bytes());
            bytes.extend_from_slice(&stat.size.to_le_bytes());
            bytes.extend_from_slice(&stat.modified.to_le_bytes());
            bytes.extend_from_slice(hash.as_bytes());
        }
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        let temporary = self.path.with_extension("tmp");
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        std::fs::rename(&temporary, &self.path)
    }

    fn insert(&self, stat: Stat, hash: blake3::Hash) {
        self.seen
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .insert(stat, hash);
    }
}

fn read(path: &Path) -> Option<HashMap<Stat, blake3::Hash>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .read_to_end(&mut bytes)
        .ok()?;
    let body = bytes.len().checked_sub(32)?;
    let (body, sum) = bytes.split_at(body);
    if blake3::hash(body).as_bytes() != sum {
        return None;
    }
    let records = body.strip_prefix(MAGIC)?.chunks_exact(RECORD);
    let mut known = HashMap::with_capacity(records.len());
    for record in records {
        let number = |at: usize| record[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let stat = Stat {
            device: number(0)?,
            inode: number(8)?,
            size: number(16)?,
            modified: i128::from_le_bytes(record[24..40].try_into().ok()?),
        };
        known.insert(
            stat,
            blake3::Hash::from_bytes(record[40..].try_into().ok()?),
        );
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(inode: u64) -> Stat {
        Stat {
            device: 1,
            inode,
            size: 3,
            modified: 1_000_000_000,
        }
    }

    #[test]
    fn what_a_run_saw_is_known_to_the_next_and_the_rest_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hashes");
        let cache = HashCache::load(path.clone());
        cache.put(stat(1), blake3::hash(b"1"), SystemTime::now());
        cache.put(stat(2), blake3::hash(b"2"), SystemTime::now());
        cache.save().unwrap();

        let second = HashCache::load(path.clone());
        assert_eq!(second.get(&stat(1)), Some(blake3::hash(b"1")));
        assert_eq!(second.get(&Stat { size: 4, ..stat(2) }), None);
        second.save().unwrap();
        assert_eq!(HashCache::load(path).get(&stat(2)), None);
    }

    #[test]
    fn a_file_that_changed_just_now_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hashes");
        let cache = HashCache::load(path.clone());
        cache.put(
            stat(1),
            blake3::hash(b"1"),
            UNIX_EPOCH + Duration::from_secs(2),
        );
        cache.save().unwrap();
        assert_eq!(HashCache::load(path).get(&stat(1)), None);
    }

    #[test]
    fn a_damaged_cache_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hashes");
        let cache = HashCache::load(path.clone());
        cache.put(stat(1), blake3::hash(b"1"), SystemTime::now());
        cache.save().unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(HashCache::load(path).get(&stat(1)), None);
    }
}
