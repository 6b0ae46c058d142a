//! First and last partition key of an SSTable, from the footers of its index files, and their tokens.
//!
//! Sources: `IndexSummary.IndexSummarySerializer` and `SSTableReader.saveSummary` of Cassandra
//! (Summary.db ends in the first and the last key, after a fixed header that tells where), and
//! `PartitionIndexBuilder.complete` (the last 24 bytes of Partitions.db begin with the position
//! of both keys).

use std::io;
use std::path::Path;

use scylla::routing::partitioner::{Murmur3Partitioner, Partitioner as _, PartitionerHasher as _};

use super::scan::SnapshotSsTable;
use crate::gentle::GentleFile;

/// Cassandra's longest partition key.
const MAX_KEY: usize = u16::MAX as usize;
const MURMUR3: &str = "org.apache.cassandra.dht.Murmur3Partitioner";

/// First and last partition key, where the files say.
///
/// Secondary indexes sort by value, not by token, and have none. A file that is cut or from the
/// future has none either: restores then treat the SSTable as covering everything.
pub fn keys(sstable: &SnapshotSsTable) -> Option<(Vec<u8>, Vec<u8>)> {
    if sstable.index.is_some() {
        return None;
    }
    if let Some(file) = sstable.file("-Partitions.db") {
        partitions_keys(&sstable.path_of(file)).ok()
    } else {
        summary_keys(&sstable.path_of(sstable.file("-Summary.db")?)).ok()
    }
}

/// Their tokens, where the partitioner is Murmur3.
pub fn tokens((first, last): &(Vec<u8>, Vec<u8>), partitioner: &str) -> Option<(i64, i64)> {
    (partitioner == MURMUR3).then(|| (murmur3(first), murmur3(last)))
}

/// The token of a partition key. The smallest number is no token in Cassandra; the driver's
/// partitioner knows that too.
fn murmur3(key: &[u8]) -> i64 {
    let mut hasher = Murmur3Partitioner.build_hasher();
    hasher.write(key);
    hasher.finish().value()
}

fn summary_keys(path: &Path) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut file = GentleFile::open(path)?;
    let mut header = [0; 24];
    file.read_exact_at(&mut header, 0)?;
    let entries = u64::from_be_bytes(take(&header, 8)?);
    let mut position = 24u64
        .checked_add(entries)
        .ok_or_else(|| invalid("its header has an absurd size"))?;
    let mut key = || -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        file.read_exact_at(&mut length, position)?;
        let length = u32::from_be_bytes(length) as usize;
        let key = read_key(&mut file, position + 4, length)?;
        position += 4 + length as u64;
        Ok(key)
    };
    Ok((key()?, key()?))
}

fn partitions_keys(path: &Path) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut file = GentleFile::open(path)?;
    let footer_at = file
        .size()?
        .checked_sub(24)
        .ok_or_else(|| invalid("it has no footer"))?;
    let mut footer = [0; 24];
    file.read_exact_at(&mut footer, footer_at)?;
    let mut position = u64::from_be_bytes(take(&footer, 0)?);
    let mut key = || -> io::Result<Vec<u8>> {
        let mut length = [0; 2];
        file.read_exact_at(&mut length, position)?;
        let length = usize::from(u16::from_be_bytes(length));
        let key = read_key(&mut file, position.saturating_add(2), length)?;
        position += 2 + length as u64;
        Ok(key)
    };
    Ok((key()?, key()?))
}

fn read_key(file: &mut GentleFile, position: u64, length: usize) -> io::Result<Vec<u8>> {
    if length == 0 || length > MAX_KEY {
        return Err(invalid("a key has an impossible length"));
    }
    let mut key = vec![0; length];
    file.read_exact_at(&mut key, position)?;
    Ok(key)
}

fn take(bytes: &[u8; 24], at: usize) -> io::Result<[u8; 8]> {
    bytes[at..at + 8].try_into().map_err(io::Error::other)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_are_those_of_cassandra() {
        // SELECT token(k) over text keys, as cqlsh prints them.
        assert_eq!(murmur3(b"test"), -6017608668500074083);
        assert_eq!(murmur3(b"\xc3\xa4"), murmur3("ä".as_bytes()));
    }

    #[test]
    fn keys_are_found_in_a_summary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nb-1-big-Summary.db");
        let mut bytes = Vec::new();
        bytes.extend(128u32.to_be_bytes());
        bytes.extend(1u32.to_be_bytes());
        bytes.extend(7u64.to_be_bytes());
        bytes.extend(128u32.to_be_bytes());
        bytes.extend(1u32.to_be_bytes());
        bytes.extend([0; 7]);
        for key in [b"first".as_slice(), b"last"] {
            bytes.extend((key.len() as u32).to_be_bytes());
            bytes.extend(key);
        }
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(
            summary_keys(&path).unwrap(),
            (b"first".to_vec(), b"last".to_vec())
        );
    }

    #[test]
    fn keys_are_found_in_a_partition_index() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("da-1-bti-Partitions.db");
        let mut bytes = vec![0; 11];
        for key in [b"first".as_slice(), b"last"] {
            bytes.extend((key.len() as u16).to_be_bytes());
            bytes.extend(key);
        }
        bytes.extend(11u64.to_be_bytes());
        bytes.extend([0; 16]);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(
            partitions_keys(&path).unwrap(),
            (b"first".to_vec(), b"last".to_vec())
        );
    }

    proptest! {
        #[test]
        fn damaged_files_give_an_error_and_no_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("f");
            std::fs::write(&path, bytes).unwrap();
            let _ = summary_keys(&path);
            let _ = partitions_keys(&path);
        }
    }
}
