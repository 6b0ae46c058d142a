//! What has to be true of a backup of the keyspace `shop`, seen from Cassandra's own files and
//! tools.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use e2e::backup::Backup;
use e2e::backup::read::{SsTable, Table};
use e2e::parts::cassandra::host::HostCassandra;

/// How SSTables are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ids {
    Numbers,
    Uuids,
}

/// Every file of every SSTable that Cassandra has is in the manifest, with its place and its
/// BLAKE3, and nothing else; each of the indexes is among them, and both data directories.
pub fn assert_every_file(backup: &Backup, indexes: &[&str]) {
    let directories = directories(backup);
    let mut stored = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (table, sstable) in sstables(backup) {
        used.insert(sstable.data_directory);
        let mut folder = directories[sstable.data_directory]
            .join("shop")
            .join(&table.directory);
        if let Some(index) = &sstable.index {
            folder.push(index);
        }
        for file in &sstable.components {
            let twice = stored.insert(folder.join(&file.name), file.stored.blake3.clone());
            assert!(twice.is_none(), "{} comes twice", file.name);
        }
    }
    let mut live = BTreeMap::new();
    for directory in &directories {
        collect(&directory.join("shop"), &mut live);
    }
    let differs = |path: &&PathBuf| stored.get(*path) != live.get(*path);
    let all: BTreeSet<_> = stored.keys().chain(live.keys()).collect();
    let wrong: Vec<_> = all.into_iter().filter(differs).collect();
    assert!(
        wrong.is_empty(),
        "other files than Cassandra has: {wrong:?}"
    );
    assert_eq!(used.len(), directories.len(), "{used:?}");
    for index in indexes {
        let there = stored
            .keys()
            .any(|path| path.to_str().unwrap().contains(index));
        assert!(there, "no {index} in {:?}", stored.keys());
    }
}

/// The files of live SSTables with their BLAKE3.
fn collect(folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            let hash = blake3::hash(&fs::read(&path).unwrap());
            found.insert(path, hash.to_hex().to_string());
        } else if !path.ends_with("snapshots") && !path.ends_with("backups") {
            collect(&path, found);
        }
    }
}

/// The SSTables are of these formats, each with these ids.
pub fn assert_formats(backup: &Backup, expected: &[(&str, Ids)]) {
    let mut found = BTreeSet::new();
    for (_, sstable) in sstables(backup) {
        let descriptor = sstable.sstable.split('.').next().unwrap();
        let parts: Vec<_> = descriptor.split('-').collect();
        let ids = match parts[1].bytes().all(|byte| byte.is_ascii_digit()) {
            true => Ids::Numbers,
            false => Ids::Uuids,
        };
        let format = if parts[0] == "da" { "bti" } else { "big" };
        assert_eq!(parts[2], format, "{descriptor}");
        found.insert((parts[0].to_owned(), ids));
    }
    let expected = expected
        .iter()
        .map(|(format, ids)| ((*format).to_owned(), *ids));
    assert_eq!(found, expected.collect());
}

/// The bounds and the rows in the manifest are those that Cassandra's own sstablemetadata reads; indexes,
/// which sort by value, have none.
pub async fn assert_metadata(cassandra: &HostCassandra, backup: &Backup) {
    let directories = directories(backup);
    let mut stored = BTreeMap::new();
    for (table, sstable) in sstables(backup) {
        let bounds = (sstable.first_token.clone(), sstable.last_token.clone());
        let rows = sstable.content.as_ref().map(|it| it.rows);
        if sstable.index.is_some() {
            assert_eq!((bounds, rows), ((None, None), None));
            continue;
        }
        let data = sstable
            .components
            .iter()
            .find(|file| file.name.ends_with("-Data.db"));
        let folder = directories[sstable.data_directory]
            .join("shop")
            .join(&table.directory);
        let content = sstable.content.as_ref().unwrap();
        assert!(content.partitions > 0 && !content.keys.is_empty());
        stored.insert(folder.join(&data.unwrap().name), (bounds, rows));
    }
    let files: Vec<_> = stored.keys().cloned().collect();
    let said = cassandra.sstable_metadata(&files).await.unwrap();
    let mut read = BTreeMap::new();
    let mut file = PathBuf::new();
    let mut first = None;
    for line in said.lines() {
        // The token stands before the key in brackets.
        let token = |text: &str| Some(text.split_whitespace().next().unwrap().to_owned());
        if let Some(name) = line.strip_prefix("SSTable: ") {
            file = PathBuf::from(format!("{name}-Data.db"));
        } else if let Some(text) = line.strip_prefix("First token: ") {
            first = token(text);
        } else if let Some(text) = line.strip_prefix("Last token: ") {
            read.insert(file.clone(), ((first.take(), token(text)), None));
        } else if let Some(text) = line.strip_prefix("totalRows: ") {
            read.get_mut(&file).unwrap().1 = text.trim().parse().ok();
        }
    }
    assert_eq!(stored, read, "{said}");
}

/// No snapshot of ours is left.
pub fn assert_no_snapshot(keyspace: &Path) {
    for table in fs::read_dir(keyspace).unwrap() {
        let snapshots = table.unwrap().path().join("snapshots");
        let left = fs::read_dir(&snapshots).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{}", snapshots.display());
    }
}

fn sstables(backup: &Backup) -> impl Iterator<Item = (&Table, &SsTable)> {
    let tables = backup.nodes.iter().flat_map(|node| &node.tables);
    tables
        .filter(|table| table.keyspace == "shop")
        .flat_map(|table| table.sstables.iter().map(move |sstable| (table, sstable)))
}

/// The node's data directories, in the manifest's order.
fn directories(backup: &Backup) -> Vec<PathBuf> {
    let directories = &backup.nodes[0].header["node"]["dataDirectories"];
    let directories = directories.as_array().unwrap().iter();
    directories
        .map(|path| path.as_str().unwrap().into())
        .collect()
}
