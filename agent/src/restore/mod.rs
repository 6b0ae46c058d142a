//! Restore: [`online`] into a cluster that is up, and of one dead node while Cassandra is down.
//!
//! Offline, a node gets its own files, `system` included, into empty data directories. It then starts with
//! its host id, its tokens and its rows, and streams nothing. What is in place has been compared with its hash. Each file appears whole, under its own name; a
//! restore that was cut off is gone on with. `system` comes last, so that a node that is started too
//! early does not know who it is, and does not join as if it had all its rows.

mod choose;
mod fetch;
pub(crate) mod hold;
mod names;
mod offline;
pub mod online;
mod path;
mod progress;
mod schema;
mod target;

use std::io;
use std::path::PathBuf;

use manifest::{BackupName, ClusterId, IntentError};
use protocol::Reason;
use store::{InvalidKey, Key};
use uuid::Uuid;

use crate::catalogue::{CatalogueError, Unreadable};
use crate::read::ReadFailure;
use crate::storage;

pub use choose::{Chosen, Node, Which, choose};
pub use names::TableName;
pub use offline::{Done, Plan, plan, restore};
pub use progress::Seen;

/// Files that are fetched at the same time, if nothing else is said. With four, two processors stood still for a
/// tenth of the time, and a restore took 8.2 to 10 s instead of 7.1 (`docs/performance.md`).
pub const CONCURRENCY: u16 = 8;

/// Why a node was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backups of the cluster.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// The manifest, or an object.
    #[error(transparent)]
    Read(#[from] ReadFailure),
    /// A key that no storage has.
    #[error("the manifest names a key that no storage has: {0}")]
    Key(#[from] InvalidKey),
    /// A path that leads out of its directory.
    #[error(
        "the manifest of backup {backup} names a file {name:?} that is none of Cassandra's: it is not restored"
    )]
    Name {
        /// The backup.
        backup: BackupName,
        /// The name.
        name: String,
    },
    /// No backup has the node.
    #[error(
        "no backup of cluster {cluster} that fits has {node}; `list` and `show` name backups and their nodes"
    )]
    NoNode {
        /// The cluster.
        cluster: ClusterId,
        /// The node, as it was asked for.
        node: Node,
    },
    /// The manifest of the node, or one that may be the node's.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It was not said which node, and there are several.
    #[error("backup {backup} has {} nodes: name one with --host-id or --pod: {}", .nodes.len(), .nodes.join(", "))]
    WhichNode {
        /// The backup.
        backup: BackupName,
        /// Its nodes.
        nodes: Vec<String>,
    },
    /// The backup is not of all that a node has.
    #[error(
        "backup {backup} is of some keyspaces or tables only, which is no whole node: take one of all keyspaces"
    )]
    NotWhole {
        /// The backup.
        backup: BackupName,
    },
    /// The backup has no `system.local`.
    #[error(
        "backup {backup} does not have the table system.local of node {host_id}, which has its host id and tokens: take another one"
    )]
    WithoutSystem {
        /// The backup.
        backup: BackupName,
        /// The node.
        host_id: Uuid,
    },
    /// No directory to restore into.
    #[error(
        "it is not known where the node's data directories are: name them with --data-directory"
    )]
    NoDirectory,
    /// A purge is about to delete the backup.
    #[error(
        "a purge is about to delete backup {backup}: its list {list} names it. Restore another one, or try again when that purge has ended"
    )]
    Condemned {
        /// The backup.
        backup: BackupName,
        /// What the purge has written.
        list: Key,
    },
    /// The intent that keeps purges away.
    #[error("cannot make an intent: {0}")]
    Intent(#[from] IntentError),
    /// The directories are not one user's.
    #[error(
        "{path} belongs to user {found}, and another data directory to user {first}: give all of them to Cassandra's user first"
    )]
    Owner {
        /// A data directory.
        path: PathBuf,
        /// Whose it is, by number.
        found: u32,
        /// Whose the first one is.
        first: u32,
    },
    /// Another process restores there.
    #[error("another process is restoring into {path}: wait for its end")]
    Locked {
        /// The mark of it.
        path: PathBuf,
    },
    /// Where files are to come is something else.
    #[error(
        "{path} is not empty: a node is restored offline into empty directories only. Make sure that Cassandra is down and that this is the right machine, and move it away"
    )]
    NotEmpty {
        /// What is there.
        path: PathBuf,
    },
    /// Another restore was begun there.
    #[error("{path} belongs to the restore of {found}: end that one, or empty the directory")]
    OtherRestore {
        /// The mark of it.
        path: PathBuf,
        /// What is being restored.
        found: String,
    },
    /// Not enough room.
    #[error("{path} has room for {free} bytes, and {needed} are to come there: enlarge its volume")]
    NoSpace {
        /// A data directory.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// A file or directory of the node.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An object has not the content that the manifest says.
    #[error(
        "{key} is not what the manifest says ({why}); `verify --level content` finds all such objects"
    )]
    Content {
        /// Its key.
        key: String,
        /// How it differs.
        why: String,
    },
}

impl RestoreError {
    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Catalogue(error) => error.reason(),
            Self::Read(ReadFailure::Store(error)) => storage::reason(error),
            Self::Read(_)
            | Self::Key(_)
            | Self::Name { .. }
            | Self::Unreadable(_)
            | Self::Content { .. } => Reason::ContentMismatch,
            Self::NoNode { .. } => Reason::BackupNotFound,
            Self::Locked { .. } => Reason::Locked,
            Self::Condemned { .. } => Reason::PurgeInProgress,
            Self::WhichNode { .. }
            | Self::NotWhole { .. }
            | Self::WithoutSystem { .. }
            | Self::NoDirectory
            | Self::Owner { .. }
            | Self::NotEmpty { .. }
            | Self::OtherRestore { .. } => Reason::InvalidRequest,
            Self::NoSpace { .. } => Reason::NoSpace,
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Reason::NoSpace
            }
            Self::File { .. } | Self::Intent(_) => Reason::Failed,
        }
    }
}

impl RestoreError {
    /// Whether it may pass by itself.
    fn is_temporary(&self) -> bool {
        let error = match self {
            Self::Catalogue(CatalogueError::Store(error))
            | Self::Read(ReadFailure::Store(error)) => error,
            _ => return false,
        };
        error.is_temporary()
    }
}

impl From<store::Error> for RestoreError {
    fn from(error: store::Error) -> Self {
        Self::Catalogue(error.into())
    }
}
