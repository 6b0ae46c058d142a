//! What one node's manifest adds up to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use manifest::{Footer, Header, Line, Sum};
use store::{Key, Store};

use super::{CatalogueError, read_manifest};

/// Files of one table, on one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSum {
    /// SSTables, those of secondary indexes included.
    pub sstables: u64,
    /// Their files and bytes; the schema is not counted.
    pub files: Sum,
}

impl std::ops::AddAssign for TableSum {
    fn add_assign(&mut self, other: Self) {
        self.sstables += other.sstables;
        self.files.files += other.files.files;
        self.files.bytes += other.files.bytes;
    }
}

/// One node's share of a backup.
#[derive(Clone, Debug)]
pub struct NodeSummary {
    /// The manifest's first line.
    pub header: Header,
    /// The manifest's last line.
    pub footer: Footer,
    /// By keyspace and table.
    pub tables: BTreeMap<(String, String), TableSum>,
}

/// Reads a manifest and adds it up, a table at a time.
pub async fn summarize(store: &dyn Store, key: &Key) -> Result<NodeSummary, CatalogueError> {
    let tables = Arc::new(Mutex::new(BTreeMap::new()));
    let sums = tables.clone();
    let mut current = (String::new(), String::new());
    let manifest = read_manifest(store, key, move |line| {
        let mut tables = sums.lock().unwrap_or_else(PoisonError::into_inner);
        match line {
            Line::Table(table) => {
                current = (table.keyspace, table.table);
                tables.insert(current.clone(), TableSum::default());
            }
            Line::SsTable(sstable) => {
                let sum: &mut TableSum = tables.entry(current.clone()).or_default();
                *sum += TableSum {
                    sstables: 1,
                    files: Sum {
                        files: sstable.components.len() as u64,
                        bytes: sstable.components.iter().map(|c| c.bytes).sum(),
                    },
                };
            }
            Line::Header(_) | Line::Footer(_) => {}
        }
    })
    .await?;
    let mut tables = tables.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(NodeSummary {
        header: manifest.header,
        footer: manifest.footer,
        tables: std::mem::take(&mut tables),
    })
}
