//! How far a restore is on a node: what its journal adds up to.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Step;
use crate::restore::TableName;

/// Something that is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Entry {
    /// It begins; what was written before counts no more.
    Begun {
        /// For people: of which backup.
        what: String,
        /// Hash of the ring: in another one other rows are a node's.
        ring: String,
    },
    /// Nothing was imported yet, and the ring is this one.
    Ring {
        /// Its hash.
        ring: String,
    },
    /// Somebody has emptied these tables since; what was imported into them counts no more.
    Emptied {
        /// As they were.
        tables: Vec<TableName>,
    },
    /// SSTables are about to be imported; Cassandra goes on with it when we end.
    Importing {
        /// The table as it was.
        table: TableName,
        /// When.
        at: Timestamp,
        /// By whom.
        #[serde(default)]
        run: Option<Uuid>,
    },
    /// The schema is there, and in mode `replace` the tables are empty.
    Prepared {
        /// Since when.
        at: Timestamp,
        /// By whom.
        #[serde(default)]
        run: Option<Uuid>,
    },
    /// Tombstones of these tables are kept, which was not so before.
    KeepsTombstones {
        /// As they are.
        tables: Vec<TableName>,
    },
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
    /// All is imported and cleaned up.
    Loaded {
        /// Since when.
        at: Timestamp,
        /// By whom.
        #[serde(default)]
        run: Option<Uuid>,
    },
}

/// What was imported into a table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Imports {
    /// When the first of it was.
    since: Timestamp,
    sstables: BTreeSet<(Uuid, String)>,
}

/// How far a restore is on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// For people: of which backup.
    pub what: String,
    ring: String,
    /// Since when the schema and the tables are as they have to be.
    pub prepared: Option<Timestamp>,
    /// Since when all is imported.
    pub loaded: Option<Timestamp>,
    /// Who did which of them last.
    prepared_by: Option<Uuid>,
    loaded_by: Option<Uuid>,
    /// Who imported last.
    imported_by: Option<Uuid>,
    /// By table as it was.
    imports: BTreeMap<TableName, Imports>,
    unclean: BTreeSet<TableName>,
    /// Imports of which it is not known how they ended.
    at_import: BTreeSet<TableName>,
    kept: BTreeSet<TableName>,
}

impl State {
    /// Takes something that was written down, or is.
    pub fn learn(&mut self, entry: Entry) {
        match entry {
            Entry::Begun { what, ring } => {
                // Somebody has still to give them back.
                let kept = std::mem::take(&mut self.kept);
                *self = Self {
                    what,
                    ring,
                    kept,
                    ..Self::default()
                };
            }
            Entry::Ring { ring } => self.ring = ring,
            Entry::Emptied { tables } => tables.iter().for_each(|it| self.forget(it)),
            Entry::Importing { table, at, run } => {
                self.imported_by = run;
                self.imports.entry(table.clone()).or_insert(Imports {
                    since: at,
                    sstables: BTreeSet::new(),
                });
                self.unclean.insert(table.clone());
                self.at_import.insert(table);
            }
            Entry::Prepared { at, run } => {
                self.prepared = Some(at);
                self.prepared_by = run;
            }
            Entry::KeepsTombstones { tables } => self.kept.extend(tables),
            Entry::Imported {
                source,
                table,
                sstables,
            } => {
                self.at_import.remove(&table);
                if let Some(imports) = self.imports.get_mut(&table) {
                    let named = sstables.into_iter().map(|it| (source, it));
                    imports.sstables.extend(named);
                }
            }
            Entry::Cleaned { tables } => self.unclean.retain(|it| !tables.contains(it)),
            Entry::Loaded { at, run } => {
                self.loaded = Some(at);
                self.loaded_by = run;
            }
        }
    }

    /// Whether anything was begun.
    pub fn is_begun(&self) -> bool {
        !self.ring.is_empty()
    }

    /// Whether it began in another ring.
    pub fn is_of_other_ring(&self, ring: &str) -> bool {
        self.is_begun() && self.ring != ring
    }

    /// Whether this run has done the step already, of which only its last word was lost.
    pub fn is_done_by(&self, step: Step, run: Option<Uuid>) -> bool {
        let (done, by) = match step {
            Step::Prepare => (self.prepared.is_some(), self.prepared_by),
            Step::Load => (self.loaded.is_some(), self.loaded_by),
            Step::All | Step::Finish => return false,
        };
        done && run.is_some() && by == run
    }

    /// Whether the import was cut off.
    pub fn is_cut_off(&self) -> bool {
        self.has_imported() && self.loaded.is_none()
    }

    /// Since when something of a table is imported.
    pub fn imported_since(&self, table: &TableName) -> Option<Timestamp> {
        self.imports.get(table).map(|it| it.since)
    }

    /// Tables, as they were, of which an import was begun that may have ended or not: Cassandra goes on
    /// with it when we end.
    pub fn at_import(&self) -> impl Iterator<Item = &TableName> {
        self.at_import.iter()
    }

    /// Whether anything is imported.
    pub fn has_imported(&self) -> bool {
        !self.imports.is_empty()
    }

    /// Forgets what was imported into a table: somebody has emptied it since.
    pub fn forget(&mut self, table: &TableName) {
        self.imports.remove(table);
        self.unclean.remove(table);
        self.at_import.remove(table);
        self.loaded = None;
    }

    /// Whether an SSTable is imported.
    pub fn has(&self, source: Uuid, table: &TableName, sstable: &str) -> bool {
        let of_table = self.imports.get(table);
        of_table.is_some_and(|it| it.sstables.contains(&(source, sstable.to_owned())))
    }

    /// Tables, as they were, that may have what the node does not replicate.
    pub fn unclean(&self) -> Vec<TableName> {
        self.unclean.iter().cloned().collect()
    }

    /// Tables, as they were, into which something was imported, or may have been.
    pub fn touched(&self) -> impl Iterator<Item = &TableName> {
        self.imports.keys()
    }

    /// Whether this run has imported what was imported last.
    pub fn was_imported_by(&self, run: Option<Uuid>) -> bool {
        run.is_some() && self.imported_by == run
    }

    /// Tables, as they are, whose tombstones are kept since this restore began.
    pub fn kept(&self) -> Vec<TableName> {
        self.kept.iter().cloned().collect()
    }
}
