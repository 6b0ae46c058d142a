//! What a restore has done on a node, so that one that was cut off is gone on with.
//!
//! It lies in a directory of its own within the first data directory, beside what is staged there. The
//! directory's name is made from what is restored: the same command finds it again, another one does
//! not. What was not written down is done again: an import of rows that are there already, and a cleanup
//! of what is clean, change nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::OnlineError;
use super::selection::TableName;
use crate::restore::target::file;

/// The directory below a data directory. Cassandra looks only at directories of keyspaces that it has.
const HOME: &str = ".cassandra-backup-restore.d";
const FILE: &str = "journal.jsonl";

/// Something that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Entry {
    /// The schema is there, and in mode `replace` the tables are empty.
    Prepared,
    /// These SSTables of a node of the source are imported, and perhaps not cleaned up.
    Imported {
        /// The node of the source.
        source: Uuid,
        /// The table as it was.
        table: TableName,
        /// As the manifest names them.
        sstables: Vec<String>,
    },
    /// These tables have only what the node replicates.
    Cleaned {
        /// As they were.
        tables: Vec<TableName>,
    },
}

/// The journal of a restore on a node, which nobody else has open.
#[derive(Debug)]
pub struct Journal {
    home: PathBuf,
    file: fs::File,
    prepared: bool,
    imported: BTreeSet<(Uuid, TableName, String)>,
    /// Tables as they were, with an import that no cleanup came after.
    unclean: BTreeSet<TableName>,
}

impl Journal {
    /// Where a restore of this name is at work on a node with this data directory.
    pub fn home(data: &Path, id: &str) -> PathBuf {
        data.join(HOME).join(id)
    }

    /// Opens it, and makes it where there is none.
    pub fn open(data: &Path, id: &str) -> Result<Self, OnlineError> {
        let home = Self::home(data, id);
        fs::create_dir_all(&home).map_err(|source| file(&home, source))?;
        let path = home.join(FILE);
        let failed = |source| OnlineError::from(file(&path, source));
        let mut options = fs::File::options();
        let journal = options.read(true).append(true).create(true).open(&path);
        let journal = journal.map_err(failed)?;
        match journal.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(OnlineError::Locked { path: home }),
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
        }
        let mut opened = Self {
            home,
            file: journal,
            prepared: false,
            imported: BTreeSet::new(),
            unclean: BTreeSet::new(),
        };
        let lines = BufReader::new(opened.file.try_clone().map_err(failed)?).lines();
        for line in lines {
            // A line that was cut off by a crash was not done with.
            if let Ok(entry) = serde_json::from_str(&line.map_err(failed)?) {
                opened.learn(entry);
            }
        }
        // What follows begins on a line of its own.
        let write = || (&opened.file).write_all(b"\n");
        write().map_err(failed)?;
        Ok(opened)
    }

    fn learn(&mut self, entry: Entry) {
        match entry {
            Entry::Prepared => self.prepared = true,
            Entry::Imported {
                source,
                table,
                sstables,
            } => {
                let named = sstables.into_iter().map(|it| (source, table.clone(), it));
                self.imported.extend(named);
                self.unclean.insert(table);
            }
            Entry::Cleaned { tables } => self.unclean.retain(|it| !tables.contains(it)),
        }
    }

    /// Writes down that something is done. It is on the disk when this returns.
    pub fn write(&mut self, entry: Entry) -> Result<(), OnlineError> {
        let failed = |source| OnlineError::from(file(&self.home.join(FILE), source));
        let mut line = serde_json::to_vec(&entry).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let append = || {
            (&self.file).write_all(&line)?;
            self.file.sync_data()
        };
        append().map_err(failed)?;
        self.learn(entry);
        Ok(())
    }

    /// Whether the schema and the tables are as they have to be.
    pub fn is_prepared(&self) -> bool {
        self.prepared
    }

    /// Whether an SSTable is imported.
    pub fn has(&self, source: Uuid, table: &TableName, sstable: &str) -> bool {
        // Sets of such tuples cannot be asked by reference.
        let key = (source, table.clone(), sstable.to_owned());
        self.imported.contains(&key)
    }

    /// Tables, as they were, that may have what the node does not replicate.
    pub fn unclean(&self) -> Vec<TableName> {
        self.unclean.iter().cloned().collect()
    }

    /// Ends it: nothing of it stays in these data directories.
    pub fn end(self, directories: &[PathBuf], id: &str) -> Result<(), OnlineError> {
        for data in directories {
            let home = Self::home(data, id);
            match fs::remove_dir_all(&home) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(file(&home, error).into());
                }
                _ => {}
            }
            // Another restore may have its own there.
            let _ = fs::remove_dir(data.join(HOME));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TableName {
        text.parse().unwrap()
    }

    fn imported(table: &str, sstable: &str) -> Entry {
        Entry::Imported {
            source: Uuid::from_u128(1),
            table: name(table),
            sstables: vec![sstable.into()],
        }
    }

    #[test]
    fn what_was_written_is_known_after_a_crash_and_a_cut_line_is_not() {
        let data = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(data.path(), "one").unwrap();
        assert!(!journal.is_prepared() && journal.unclean().is_empty());
        journal.write(Entry::Prepared).unwrap();
        journal.write(imported("a.b", "nb-1-big.0.1")).unwrap();
        journal.write(imported("a.c", "nb-1-big.0.1")).unwrap();
        let tables = vec![name("a.b")];
        journal.write(Entry::Cleaned { tables }).unwrap();
        drop(journal);
        let path = Journal::home(data.path(), "one").join(FILE);
        let mut file = fs::File::options().append(true).open(path).unwrap();
        file.write_all(b"{\"imported\":{\"source\":\"00").unwrap();
        let mut journal = Journal::open(data.path(), "one").unwrap();
        assert!(journal.is_prepared());
        let has = |journal: &Journal, table, sstable| {
            journal.has(Uuid::from_u128(1), &name(table), sstable)
        };
        assert!(has(&journal, "a.b", "nb-1-big.0.1"));
        assert!(!has(&journal, "a.b", "nb-2-big.0.1"));
        assert_eq!(journal.unclean(), [name("a.c")]);
        journal.write(imported("a.b", "nb-2-big.0.1")).unwrap();
        drop(journal);
        let journal = Journal::open(data.path(), "one").unwrap();
        assert!(has(&journal, "a.b", "nb-2-big.0.1"));
        journal.end(&[data.path().to_owned()], "one").unwrap();
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_processes_never_restore_the_same_at_once() {
        let data = tempfile::tempdir().unwrap();
        let _first = Journal::open(data.path(), "one").unwrap();
        let second = Journal::open(data.path(), "one");
        assert!(matches!(second, Err(OnlineError::Locked { .. })));
        Journal::open(data.path(), "two").unwrap();
    }
}
