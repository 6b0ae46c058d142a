//! The BLAKE3 of files that did not change since they were read, so that a backup with nothing
//! new reads nothing.
//!
//! A snapshot's file is a link to the live file: device, inode, size and time of change stay the
//! same over all snapshots that hold it, and differ when Cassandra rewrites it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::scan::Stat;

/// A file that changed less than this before it was read may change again within the same tick of
/// the file system's clock.
const RACY: Duration = Duration::from_secs(2);

const MAGIC: &[u8; 16] = b"cb hash cache 1\n";
const RECORD: usize = 8 + 8 + 8 + 16 + 32;

/// Hashes of files by what `stat` says of them. Only what a run saw is kept, so that it never grows beyond
/// the node's files.
pub struct HashCache {
    path: PathBuf,
    /// As it was read, in order of [`Stat`].
    known: Vec<Known>,
    /// What this run read.
    read: Mutex<Vec<(Stat, blake3::Hash)>>,
}

struct Known {
    stat: Stat,
    hash: blake3::Hash,
    /// Whether this run saw the file.
    seen: AtomicBool,
}

impl HashCache {
    /// Reads the cache. One that is missing or damaged is empty.
    pub fn load(path: PathBuf) -> Self {
        let known = read(&path).unwrap_or_default();
        Self {
            path,
            known,
            read: Mutex::default(),
        }
    }

    /// The hash of a file that did not change since.
    pub fn get(&self, stat: &Stat) -> Option<blake3::Hash> {
        let at = self.known.binary_search_by(|it| it.stat.cmp(stat)).ok()?;
        self.known[at].seen.store(true, Ordering::Relaxed);
        Some(self.known[at].hash)
    }

    /// Remembers the hash of a file that was read just now.
    pub fn put(&self, stat: Stat, hash: blake3::Hash, now: SystemTime) {
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_nanos());
        if i128::from(stat.modified) + RACY.as_nanos() as i128 <= now as i128 {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.push((stat, hash));
        }
    }

    /// Writes what this run saw, whole or not at all. Blocks on the file system.
    pub fn save(&self) -> io::Result<()> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.sort_unstable_by_key(|(stat, _)| *stat);
        let temporary = self.path.with_extension("tmp");
        let mut file = Summed::to(BufWriter::new(File::create(&temporary)?));
        file.write_all(MAGIC)?;
        let seen = self.known.iter().filter(|it| {
            let again = || read.binary_search_by_key(&it.stat, |(stat, _)| *stat);
            it.seen.load(Ordering::Relaxed) && again().is_err()
        });
        for it in seen {
            file.write_all(&record(&it.stat, &it.hash))?;
        }
        for reads in read.chunk_by(|(a, _), (b, _)| a == b) {
            let (stat, hash) = &reads[0];
            // One that is not always read the same is read again.
            if reads.iter().all(|(_, other)| other == hash) {
                file.write_all(&record(stat, hash))?;
            }
        }
        let file = file.finish()?.into_inner()?;
        file.sync_data()?;
        std::fs::rename(&temporary, &self.path)
    }
}

/// A file that ends with the BLAKE3 of all that stands before.
struct Summed<F> {
    file: F,
    sum: blake3::Hasher,
}

impl<F> Summed<F> {
    fn to(file: F) -> Self {
        let sum = blake3::Hasher::new();
        Self { file, sum }
    }
}

impl<F: Write> Summed<F> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.file.write_all(bytes)
    }

    fn finish(mut self) -> io::Result<F> {
        self.file.write_all(self.sum.finalize().as_bytes())?;
        Ok(self.file)
    }
}

impl<F: Read> Summed<F> {
    fn read<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.sum.update(&bytes);
        Ok(bytes)
    }

    /// Whether the sum is what follows.
    fn ends(mut self) -> io::Result<bool> {
        let mut sum = [0; blake3::OUT_LEN];
        self.file.read_exact(&mut sum)?;
        Ok(self.sum.finalize() == sum && self.file.read(&mut [0])? == 0)
    }
}

/// One file, as the cache has it: little-endian device, inode, size, nanoseconds (16 bytes), hash.
fn record(stat: &Stat, hash: &blake3::Hash) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&stat.device.to_le_bytes());
    record[8..16].copy_from_slice(&stat.inode.to_le_bytes());
    record[16..24].copy_from_slice(&stat.size.to_le_bytes());
    record[24..40].copy_from_slice(&i128::from(stat.modified).to_le_bytes());
    record[40..].copy_from_slice(hash.as_bytes());
    record
}

fn read(path: &Path) -> Option<Vec<Known>> {
    let file = File::open(path).ok()?;
    let frame = (MAGIC.len() + blake3::OUT_LEN) as u64;
    let records = file.metadata().ok()?.len().checked_sub(frame)? as usize / RECORD;
    let mut file = Summed::to(BufReader::new(file));
    if &file.read().ok()? != MAGIC {
        return None;
    }
    let mut known = Vec::new();
    known.try_reserve_exact(records).ok()?;
    for _ in 0..records {
        let record: [u8; RECORD] = file.read().ok()?;
        let number = |at: usize| record[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let stat = Stat {
            device: number(0)?,
            inode: number(8)?,
            size: number(16)?,
            modified: i64::try_from(i128::from_le_bytes(record[24..40].try_into().ok()?))
                .unwrap_or(i64::MAX),
        };
        known.push(Known {
            stat,
            hash: blake3::Hash::from_bytes(record[40..].try_into().ok()?),
            seen: AtomicBool::new(false),
        });
    }
    if !file.ends().ok()? {
        return None;
    }
    known.sort_unstable_by_key(|it| it.stat);
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
    fn a_file_that_was_read_again_has_its_newer_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hashes");
        let cache = HashCache::load(path.clone());
        for n in 0..10 {
            cache.put(stat(n), blake3::hash(b"1"), SystemTime::now());
        }
        cache.save().unwrap();

        let second = HashCache::load(path.clone());
        for n in 0..10 {
            assert_eq!(second.get(&stat(n)), Some(blake3::hash(b"1")));
        }
        second.put(stat(3), blake3::hash(b"2"), SystemTime::now());
        second.save().unwrap();
        let third = HashCache::load(path);
        assert_eq!(third.known.len(), 10);
        assert_eq!(third.get(&stat(3)), Some(blake3::hash(b"2")));
        assert_eq!(third.get(&stat(4)), Some(blake3::hash(b"1")));

        // And none that was read in two ways.
        for content in [b"1", b"2"] {
            third.put(stat(3), blake3::hash(content), SystemTime::now());
        }
        third.save().unwrap();
        let fourth = HashCache::load(third.path.clone());
        assert_eq!(fourth.get(&stat(3)), None);
        assert_eq!(fourth.get(&stat(4)), Some(blake3::hash(b"1")));
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
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[20] ^= 1;
        let short = whole[..whole.len() - 1].to_vec();
        let long = [&whole[..], &[0]].concat();
        for bytes in [flipped, short, long] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(HashCache::load(path.clone()).get(&stat(1)), None);
        }
    }
}
