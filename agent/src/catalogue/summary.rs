//! What one node's manifest adds up to.

use std::collections::BTreeMap;

use manifest::{Footer, Header, Line, Sum};
use store::{Key, Store};

use crate::read::{self, ReadFailure};

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
pub async fn summarize(store: &dyn Store, key: &Key) -> Result<NodeSummary, ReadFailure> {
    let mut tables: BTreeMap<_, TableSum> = BTreeMap::new();
    let mut current = (String::new(), String::new());
    let (header, footer) = read::manifest(store, key, |line| match line {
        Line::Table(table) => {
            current = (table.keyspace.clone(), table.table.clone());
            tables.insert(current.clone(), TableSum::default());
        }
        Line::SsTable(sstable) => {
            *tables.entry(current.clone()).or_default() += TableSum {
                sstables: 1,
                files: Sum {
                    files: sstable.components.len() as u64,
                    bytes: sstable.components.iter().map(|c| c.bytes).sum(),
                },
            };
        }
        Line::Header(_) | Line::Footer(_) => {}
    })
    .await?;
    Ok(NodeSummary {
        header,
        footer,
        tables,
    })
}
