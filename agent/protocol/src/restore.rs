use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CqlAccess, JmxAccess, Limits, StorageAccess};

/// Restore a backup into this node, or do what is done once for its cluster, while it is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreRequest {
    /// Name of the backup; in a dry run also `latest`, or `before=TIME`.
    pub backup: String,
    /// Cluster id of the backup in the storage.
    pub cluster: String,
    /// From where.
    pub storage: StorageAccess,
    /// Cassandra's JMX.
    #[serde(default)]
    pub jmx: JmxAccess,
    /// Cassandra's native protocol, for the schema.
    #[serde(default)]
    pub cql: CqlAccess,
    /// All tables of these keyspaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keyspaces: Vec<String>,
    /// These tables, as `keyspace.table`. Without keyspaces, tables and renamed ones: all but those
    /// of Cassandra itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Tables that come under another name, as `keyspace.table=keyspace.table`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renames: Vec<String>,
    /// What becomes of rows that are there.
    pub mode: RestoreMode,
    /// What is done of it.
    pub step: RestoreStep,
    /// Go on where replicas are missing in the backup.
    #[serde(default)]
    pub allow_degraded: bool,
    /// Begin anew where it was begun before, and give up other restores that did not end on the node:
    /// with [`RestoreMode::Replace`], [`RestoreStep::Prepare`] then empties the tables again, whatever
    /// was imported since. [`RestoreStep::Load`] goes on with what it has imported into the same ring.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anew: bool,
    /// Only tell what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
}

/// What becomes of the rows that a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestoreMode {
    /// They stay, and the newer of two writes counts.
    Merge,
    /// They go, after a snapshot.
    Replace,
    /// There are none: it is a rehearsal, into one node that is there for nothing else. Each keyspace
    /// has one replica, and what the node then has is compared with what the backup recorded.
    Rehearse,
}

/// What is done of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestoreStep {
    /// All, for a ring of one node.
    All,
    /// The schema, and with [`RestoreMode::Replace`] the truncation: once for the cluster, first.
    Prepare,
    /// The import: on every node.
    Load,
    /// Indexes and views: once for the cluster, last.
    Finish,
}

/// What a restore does, or would do, on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestorePlan {
    /// Name of the backup.
    pub backup: String,
    /// When the backup's first snapshot was taken.
    pub snapshot_started_at: Option<Timestamp>,
    /// Tables that are restored.
    pub tables: u64,
    /// SSTables that this node imports.
    pub sstables: u64,
    /// Their files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Ranges of the node that a node of the backup had which has no manifest.
    pub degraded_ranges: u64,
    /// Bytes that the data directories need at the worst moment.
    pub peak_bytes: u64,
    /// Bytes that they have.
    pub free_bytes: u64,
    /// Statements that are run before and after the import.
    pub statements: u64,
    /// Tables that have rows, as `keyspace.table`; the first hundred.
    pub not_empty: Vec<String>,
    /// Whether it goes on with one that was cut off.
    pub resumed: bool,
}

/// What a node had after a rehearsal, all of it as the backup recorded it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rehearsed {
    /// Tables that were restored.
    pub tables: u64,
    /// SSTables that Cassandra has imported and read to their end.
    pub sstables: u64,
    /// Their partitions; those that several SSTables have count for each.
    pub partitions: u64,
    /// Their rows, likewise, those of tombstones included.
    pub rows: u64,
    /// Partition keys that were looked up and found.
    pub keys: u64,
    /// SSTables of tables of which not all was recorded, so that only their number was compared; their
    /// partitions and rows are not counted above.
    pub unrecorded: u64,
}

impl fmt::Display for Rehearsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tables,
            sstables,
            partitions,
            rows,
            keys,
            unrecorded,
        } = self;
        write!(
            f,
            "Cassandra has read all {sstables} SSTables of {tables} tables. It has {partitions} partitions and {rows} rows, as the backup recorded them, and {keys} keys that were looked up"
        )?;
        if *unrecorded > 0 {
            write!(
                f,
                "; of tables with {unrecorded} SSTables not all was recorded, so that only their number was compared"
            )?;
        }
        Ok(())
    }
}
