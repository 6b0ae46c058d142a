//! Why a restore into a cluster that is up did not do what it should.

use std::path::PathBuf;

use manifest::{BackupName, ClusterId, TokensError};
use protocol::Reason;
use store::{InvalidKey, Key};
use uuid::Uuid;

use crate::backup::error::Error as NodeError;
use crate::catalogue::{CatalogueError, Unreadable};
use crate::cql::CqlError;
use crate::read::ReadFailure;
use crate::restore::schema::{AGREEMENT, ApplyError, SchemaProblems};
use crate::restore::{RestoreError, TableName};
use crate::schema::SchemaError;

/// Why a restore into a cluster that is up did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum OnlineError {
    /// The storage, a manifest, a file.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The node, over JMX.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// CQL.
    #[error(
        "{0}; a restore needs CQL for the schema: --cql-host, --cql-port, --cql-user and --cql-password-file say how it is reached"
    )]
    Cql(#[from] CqlError),
    /// The schema could not be read.
    #[error(transparent)]
    Describe(#[from] SchemaError),
    /// A statement.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The target's schema does not fit.
    #[error("nothing was changed, since the schema does not fit: {0}")]
    Schema(#[from] SchemaProblems),
    /// The node's configuration does not allow it.
    #[error("nothing was changed: {}", .0.join("; "))]
    Forbidden(Vec<String>),
    /// No header of the backup can be read.
    #[error("no manifest of backup {backup} can be read: {}", .why.join("; "))]
    Unreadable {
        /// The backup.
        backup: BackupName,
        /// Why, by manifest.
        why: Vec<String>,
    },
    /// No backup fits.
    #[error(
        "cluster {cluster} has no complete backup that fits; `list` shows those there, and --backup NAME takes any of them"
    )]
    NoCompleteBackup {
        /// The cluster.
        cluster: ClusterId,
    },
    /// No backup fits, and of some it cannot be told.
    #[error("cluster {cluster} has no complete backup that fits and can be read: {}", all(.passed_over))]
    AllPassedOver {
        /// The cluster.
        cluster: ClusterId,
        /// The others.
        passed_over: Vec<Unreadable>,
    },
    /// The backup is of other tables.
    #[error("backup {backup} does not cover what is to be restored; `show` says what it has")]
    NotInScope {
        /// The backup.
        backup: BackupName,
    },
    /// Nothing that was named is in the backup.
    #[error("backup {backup} does not have {}; `show` says what it has", .names.join(", "))]
    NotInBackup {
        /// The backup.
        backup: BackupName,
        /// Tables and keyspaces.
        names: Vec<String>,
    },
    /// A tokens file.
    #[error("{key}: {source}")]
    Tokens {
        /// Its key.
        key: Key,
        /// Why.
        source: TokensError,
    },
    /// An object is not what it was.
    #[error("{0} is not what the manifest says; `verify --level content` finds all such objects")]
    OtherContent(Key),
    /// Tokens that are no numbers.
    #[error(
        "{0:?} is no token of Murmur3Partitioner or RandomPartitioner: with other partitioners only `restore --offline` restores"
    )]
    Partitioner(String),
    /// The clusters hash differently.
    #[error("the backup is of {backup}, and the target has {target}: rows would not be found")]
    OtherPartitioner {
        /// Of the source.
        backup: String,
        /// Of the target.
        target: String,
    },
    /// Cassandra is older than the files.
    #[error(
        "Cassandra {version} cannot read SSTables of the format {format}, which the backup has: restore into a newer release"
    )]
    Format {
        /// The target's release.
        version: String,
        /// Version letters and format.
        format: String,
    },
    /// A datacenter of the replication is not there.
    #[error(
        "keyspace {keyspace} has replicas in {}, which the target does not have: make the keyspace first, with the replication that it is to have",
        .datacenters.join(", ")
    )]
    ForeignDatacenter {
        /// The keyspace.
        keyspace: String,
        /// The datacenters.
        datacenters: Vec<String>,
    },
    /// Replicas are missing in the backup.
    #[error(
        "DegradedCover: nodes {} of the backup have no manifest, so that writes which only they had, and deletions, would be missing in {ranges} ranges. --allow-degraded restores the rest",
        .nodes.iter().map(Uuid::to_string).collect::<Vec<_>>().join(", ")
    )]
    Degraded {
        /// Nodes without a manifest.
        nodes: Vec<Uuid>,
        /// How many ranges of the node.
        ranges: usize,
    },
    /// The disk is too small.
    #[error(
        "the data directories have {free} bytes free, and the restore needs {needed} at its peak: enlarge the volume, or restore fewer tables at a time"
    )]
    NoSpace {
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// JMX and CQL are of two nodes.
    #[error(
        "JMX answers for node {jmx}, and CQL for {}: say with --cql-host and --jmx-host which node is meant",
        .cql.map_or_else(|| "another one".to_owned(), |id| id.to_string())
    )]
    OtherNode {
        /// Host id by JMX.
        jmx: Uuid,
        /// Host id by CQL.
        cql: Option<Uuid>,
    },
    /// The ring is not at rest.
    #[error("{} join, leave or move: restore when the ring is at rest", .nodes.join(", "))]
    Moving {
        /// Addresses.
        nodes: Vec<String>,
    },
    /// The ring is another one than when it began.
    #[error(
        "the ring has changed since this restore began, and what was imported was cut to the old one: begin anew, with --anew on each node"
    )]
    OtherRing,
    /// Another restore is under way on this node.
    #[error(
        "a restore of {what} was begun on this node and did not end: give its command again, or give it up with --anew on each node; what it has imported then counts as rows that were there"
    )]
    OtherRestore {
        /// Which.
        what: String,
    },
    /// It would empty what was imported.
    #[error(
        "this restore was prepared or loaded on this node: go on with --step load on every node, then --step finish. --anew begins from the start and empties all tables again"
    )]
    AlreadyPrepared,
    /// Somebody else has done something.
    #[error("another process has gone on with this restore meanwhile: give the command again")]
    Meanwhile,
    /// A table was emptied while it was imported into.
    #[error("table {table} was truncated while it was restored: give the command again")]
    Emptied {
        /// The table.
        table: TableName,
    },
    /// The import is not done.
    #[error("this node is not loaded, or not to its end: give the command with --step load first")]
    NotLoaded,
    /// Roles would go, ours included.
    #[error(
        "--mode replace would remove all roles, those of this program included: restore system_auth with --mode merge"
    )]
    ReplacesRoles,
    /// SSTables are missing in the backup.
    #[error(
        "{count} damaged SSTables are not in the backup, such as {first}, so that what only they had is missing. --allow-degraded restores the rest"
    )]
    LeftOut {
        /// How many.
        count: usize,
        /// The first.
        first: String,
    },
    /// A rehearsal into what is there for something else.
    #[error(
        "a rehearsal restores only into a Cassandra of one node without keyspaces of its own, and this one has {nodes} nodes{}",
        match .keyspaces.as_slice() {
            [] => String::new(),
            some => format!(" and keyspaces {}", some.join(", ")),
        }
    )]
    NotForRehearsals {
        /// Members of the ring.
        nodes: usize,
        /// Keyspaces that are not Cassandra's.
        keyspaces: Vec<String>,
    },
    /// Cassandra has roles of its own from the beginning.
    #[error(
        "system_auth cannot be rehearsed: each Cassandra makes roles of its own, so that what it has could not be compared"
    )]
    RehearsesRoles,
    /// It would prove nothing.
    #[error("nothing of the backup is to be rehearsed: it has no tables but Cassandra's own")]
    NothingToRehearse,
    /// It is not known whether Cassandra went on with an import.
    #[error(
        "an import into {table} did not come to its end, so that what Cassandra has cannot be compared any more: rehearse in a new one"
    )]
    CutOff {
        /// The table, as it was.
        table: TableName,
    },
    /// What was restored is not what was backed up.
    #[error("after the rehearsal Cassandra does not have what the backup recorded: {}", .0.join("; "))]
    Differs(Vec<String>),
    /// Several nodes, and one of them would do what is done once.
    #[error(
        "the ring has {nodes} nodes, and a restore takes three steps: --step prepare on one node, then --step load on each of them, then --step finish on one"
    )]
    Steps {
        /// How many.
        nodes: usize,
    },
    /// Nodes are down.
    #[error("{} are not up, and {what} needs all nodes", .nodes.join(", "))]
    Down {
        /// Addresses.
        nodes: Vec<String>,
        /// What is to be done.
        what: &'static str,
    },
    /// The schema differs between nodes.
    #[error(
        "the nodes have not come to agree on the schema in {AGREEMENT:?}: `nodetool describecluster` shows it; restore when they do"
    )]
    Disagreement,
    /// There is something in a table that was to be empty.
    #[error(
        "table {table} has {sstables} SSTables, and with --mode replace it was to be empty: run --step prepare on one node first. If that was done, it was written to since, also by a repair: give --step load --mode merge --anew on this node"
    )]
    NotTruncated {
        /// The table.
        table: TableName,
        /// How many.
        sstables: u64,
    },
    /// A table is not there yet.
    #[error("the target has no table {table}: run --step prepare on one node first")]
    NotPrepared {
        /// The table.
        table: TableName,
    },
    /// Nobody keeps what would be removed.
    #[error(
        "Cassandra takes no snapshot before it truncates {what}, so that the other nodes would lose what they have for good: allow it (auto_snapshot in cassandra.yaml, allow_auto_snapshot of the table)"
    )]
    NoAutoSnapshot {
        /// What would be truncated.
        what: String,
    },
    /// Another process restores the same.
    #[error("another process is restoring on this node, in {path}: wait for its end")]
    Locked {
        /// Where it is at work.
        path: PathBuf,
    },
    /// Cassandra did not take what was staged.
    #[error(
        "Cassandra could not import {}, and has left it there; its log says why. The same command goes on with it",
        .directories.join(", ")
    )]
    Import {
        /// The directories.
        directories: Vec<String>,
    },
    /// Not all was cleaned up.
    #[error(
        "the cleanup of keyspace {keyspace} was aborted, so that the node has rows that it does not replicate; the same command goes on with it"
    )]
    Cleanup {
        /// The keyspace.
        keyspace: String,
    },
}

fn all(unreadable: &[Unreadable]) -> String {
    let all: Vec<_> = unreadable.iter().map(ToString::to_string).collect();
    all.join("; ")
}

impl OnlineError {
    /// JMX failed while `doing` this.
    pub(super) fn jmx(doing: &'static str) -> impl Fn(jmx::Error) -> Self {
        move |source| NodeError::jmx(doing)(source).into()
    }

    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Restore(error) => error.reason(),
            Self::Node(error) => error.reason(),
            Self::Unreadable { .. }
            | Self::AllPassedOver { .. }
            | Self::Tokens { .. }
            | Self::OtherContent(_) => Reason::ContentMismatch,
            Self::Differs(_) => Reason::RestoreDiffers,
            Self::NoCompleteBackup { .. } => Reason::BackupNotFound,
            Self::NotInBackup { .. } => Reason::TableNotFound,
            Self::Schema(_)
            | Self::Forbidden(_)
            | Self::NotInScope { .. }
            | Self::Partitioner(_)
            | Self::OtherPartitioner { .. }
            | Self::Format { .. }
            | Self::ForeignDatacenter { .. }
            | Self::Degraded { .. }
            | Self::Steps { .. }
            | Self::NotForRehearsals { .. }
            | Self::RehearsesRoles
            | Self::NothingToRehearse
            | Self::NotTruncated { .. }
            | Self::NotPrepared { .. }
            | Self::OtherNode { .. }
            | Self::OtherRing
            | Self::OtherRestore { .. }
            | Self::AlreadyPrepared
            | Self::NotLoaded
            | Self::ReplacesRoles
            | Self::LeftOut { .. }
            | Self::NoAutoSnapshot { .. } => Reason::RestoreRefused,
            Self::NoSpace { .. } => Reason::NoSpace,
            Self::Down { .. } | Self::Moving { .. } | Self::Disagreement => {
                Reason::CassandraNotReady
            }
            Self::Locked { .. } | Self::Meanwhile => Reason::Locked,
            Self::Cql(error) | Self::Describe(SchemaError::Connect(error)) => error.reason(),
            Self::Describe(_)
            | Self::Apply(_)
            | Self::Import { .. }
            | Self::CutOff { .. }
            | Self::Emptied { .. }
            | Self::Cleanup { .. } => Reason::Failed,
        }
    }
}

impl From<CatalogueError> for OnlineError {
    fn from(error: CatalogueError) -> Self {
        Self::Restore(error.into())
    }
}

impl From<ReadFailure> for OnlineError {
    fn from(error: ReadFailure) -> Self {
        Self::Restore(error.into())
    }
}

impl From<store::Error> for OnlineError {
    fn from(error: store::Error) -> Self {
        Self::Restore(error.into())
    }
}

impl From<InvalidKey> for OnlineError {
    fn from(error: InvalidKey) -> Self {
        Self::Restore(error.into())
    }
}
