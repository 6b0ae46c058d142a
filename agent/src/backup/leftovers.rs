//! Snapshots of ours that ended runs left on the node.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use jmx::cassandra::{Cassandra, Tag};

use super::error::Error;
use super::scan::{ScanError, directories};
use super::snapshot::PREFIX;

/// Tags of what was found.
#[derive(Debug, Default)]
pub struct Swept {
    /// They are gone.
    pub removed: BTreeSet<Tag>,
    /// Cassandra says that it has removed them, and they are there.
    pub left: BTreeSet<Tag>,
}

/// Removes them. Only with the node lock is every snapshot of ours one of an ended run.
///
/// They are looked for on disk: Cassandra's `getSnapshotDetails` looks at each file of each table, some
/// 100 ms with 20,000 of them.
pub async fn sweep(cassandra: &Cassandra, data_directories: Vec<PathBuf>) -> Result<Swept, Error> {
    let look = data_directories.clone();
    let ours = tokio::task::spawn_blocking(move || find(&look)).await??;
    if ours.is_empty() {
        return Ok(Swept::default());
    }
    for tag in &ours {
        cassandra
            .clear_snapshot(tag)
            .await
            .map_err(Error::jmx("clearSnapshot failed"))?;
    }
    let left = tokio::task::spawn_blocking(move || find(&data_directories)).await??;
    Ok(Swept {
        removed: ours.difference(&left).cloned().collect(),
        left,
    })
}

/// Those of every table that is or was there: the directory of a dropped one stays with its snapshots.
fn find(data_directories: &[PathBuf]) -> Result<BTreeSet<Tag>, ScanError> {
    let mut ours = BTreeSet::new();
    for data in data_directories {
        for (_, keyspace) in directories(data)? {
            for (_, table) in there(keyspace)? {
                let tags = there(table.join("snapshots"))?.into_iter();
                let tags = tags.filter(|(tag, _)| tag.starts_with(PREFIX));
                ours.extend(tags.filter_map(|(tag, _)| tag.parse::<Tag>().ok()));
            }
        }
    }
    Ok(ours)
}

/// Directories below one that may go meanwhile.
fn there(path: PathBuf) -> Result<Vec<(String, PathBuf)>, ScanError> {
    match directories(&path) {
        Err(ScanError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_found_in_every_table_of_every_directory_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("a"), dir.path().join("b"));
        for path in [
            "a/shop/orders-1/snapshots/cassandra-backup-1-1",
            "a/shop/orders-1/snapshots/before-upgrade",
            "a/shop/empty-2",
            "a/system/local-3/snapshots/dropped-123-local",
            "b/shop/dropped-4/snapshots/cassandra-backup-2-1",
            "b/shop/orders-1/snapshots/cassandra-backup-1-1",
        ] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        std::fs::write(
            first.join("shop/orders-1/snapshots/cassandra-backup-3-1"),
            "",
        )
        .unwrap();
        let none = dir.path().join("none");
        let found = find(&[first.clone(), second]).unwrap();
        let found: Vec<_> = found.iter().map(Tag::as_str).collect();
        assert_eq!(found, ["cassandra-backup-1-1", "cassandra-backup-2-1"]);
        // Of a directory that cannot be seen, nobody knows what is left there.
        find(&[first, none]).unwrap_err();
    }
}
