//! Why a node's backup failed, and the word for it.

use std::path::PathBuf;

use jmx::cassandra::Tag;
use manifest::{IntentError, InvalidName, TokensError, WriteError};
use protocol::Reason;
use store::InvalidKey;
use uuid::Uuid;

use super::scan::ScanError;
use crate::neighbour::NoMemory;
use crate::read::ReadFailure;
use crate::source::{Changed, Corrupt};
use crate::storage;

/// Why a node's backup failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name in the request.
    #[error("the request is wrong: {0}")]
    Name(#[from] InvalidName),
    /// Another value in the request.
    #[error("the request is wrong: {0}")]
    Request(String),
    /// JMX.
    #[error("{doing}: {source}")]
    Jmx {
        /// What was to be done.
        doing: &'static str,
        /// The client's error.
        source: jmx::Error,
    },
    /// Cassandra says something that makes no sense.
    #[error("Cassandra's answer is not understood: {0}")]
    Answer(String),
    /// A snapshot of an ended run, which uses disk space.
    #[error(
        "Cassandra says that it has removed snapshot {0}, and it is there still: look into Cassandra's log, and remove it by `nodetool clearsnapshot -t {0}`"
    )]
    SnapshotLeft(Tag),
    /// The node is in no mode for snapshots.
    #[error("Cassandra is in mode {0} and takes no snapshots; wait until it is NORMAL")]
    Mode(String),
    /// A keyspace of the scope.
    #[error("keyspace {0} does not exist on this node: check its name")]
    KeyspaceNotFound(String),
    /// A table of the scope.
    #[error("table {0} does not exist on this node: check its name")]
    TableNotFound(String),
    /// Another run is at work.
    #[error("run {0} is at work on this node: wait for it or cancel it")]
    Locked(String),
    /// The lock cannot be had for another reason.
    #[error("{0}")]
    LockFailed(String),
    /// The user that owns Cassandra's data could not be taken on.
    #[error("{0}")]
    Owner(String),
    /// The container has no room for the agent.
    #[error(transparent)]
    Memory(#[from] NoMemory),
    /// The storage must not be used like this.
    #[error("{0}")]
    Unsuitable(String),
    /// The name of the backup is taken.
    #[error(
        "backup {backup} of this node was already made by run {run_id}: names are never used twice, choose another"
    )]
    Exists {
        /// The backup.
        backup: String,
        /// Who made it.
        run_id: Uuid,
    },
    /// A file or directory of the node.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The snapshot on disk.
    #[error(transparent)]
    Snapshot(#[from] ScanError),
    /// The storage.
    #[error("{}", chain(.0))]
    Store(#[from] store::Error),
    /// A key of Cassandra's or the user's names.
    #[error("a name cannot be stored: {0}")]
    Key(#[from] InvalidKey),
    /// An object of another size under a key of ours.
    #[error(
        "{key} is in the storage with {found} bytes instead of {expected}: `verify --repair` removes it, then the next backup uploads it again"
    )]
    Conflict {
        /// The key.
        key: String,
        /// Bytes that the node has.
        expected: u64,
        /// Bytes that the storage has.
        found: u64,
    },
    /// A purge is at work on keys that this run needs.
    #[error(
        "a purge is about to delete {0} and other objects that this run needs: try again when it has ended"
    )]
    Purge(String),
    /// Written by somebody else.
    #[error("cannot write {what}: {source}")]
    Write {
        /// Which file.
        what: &'static str,
        /// Why.
        source: WriteError,
    },
    /// A manifest, an intent or a condemned list in the storage.
    #[error(transparent)]
    Unreadable(ReadFailure),
    /// The list of keys that the attempt relies on.
    #[error("cannot write the intent {key}: {source}")]
    Intent {
        /// Its key.
        key: String,
        /// Why.
        source: IntentError,
    },
    /// The tokens file.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The deadline of the attempt.
    #[error(
        "the deadline passed before the backup was complete: give it more time or more bandwidth"
    )]
    Deadline,
    /// On request.
    #[error("cancelled on request")]
    Cancelled,
    /// A task of ours ended by a defect.
    #[error("an internal task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// An error with all its causes, once each.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}

impl From<ReadFailure> for Error {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Store(error) => Self::Store(error),
            other => Self::Unreadable(other),
        }
    }
}

impl Error {
    /// JMX failed while `doing` this.
    pub fn jmx(doing: &'static str) -> impl Fn(jmx::Error) -> Self {
        move |source| Self::Jmx { doing, source }
    }

    /// The file system failed while `doing` this to `path`.
    pub fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Name(_) | Self::Request(_) | Self::Key(_) => Reason::InvalidRequest,
            Self::Jmx { source, .. } => jmx_reason(source),
            Self::Mode(_) => Reason::CassandraNotReady,
            Self::KeyspaceNotFound(_) => Reason::KeyspaceNotFound,
            Self::TableNotFound(_) => Reason::TableNotFound,
            Self::Locked(_) => Reason::Locked,
            Self::Memory(_) => Reason::OutOfMemory,
            Self::Unsuitable(_) => Reason::StorageUnsuitable,
            Self::Exists { .. } => Reason::BackupExists,
            Self::Snapshot(ScanError::TableMissing { .. } | ScanError::FileMissing { .. }) => {
                Reason::SnapshotIncomplete
            }
            Self::Store(error) => store_reason(error),
            Self::Conflict { .. } => Reason::ContentMismatch,
            Self::Purge(_) => Reason::PurgeInProgress,
            Self::Deadline => Reason::DeadlineExceeded,
            Self::Cancelled => Reason::Cancelled,
            Self::Io { source, .. } => io_reason(source),
            Self::LockFailed(_)
            | Self::Owner(_)
            | Self::Answer(_)
            | Self::SnapshotLeft(_)
            | Self::Snapshot(_)
            | Self::Write { .. }
            | Self::Unreadable(_)
            | Self::Intent { .. }
            | Self::Tokens(_)
            | Self::Task(_) => Reason::Failed,
        }
    }
}

/// The word for an error of the JMX client.
pub fn jmx_reason(error: &jmx::Error) -> Reason {
    use jmx::Error as E;
    match error {
        // Certificates are credentials, too: they do not get better by trying again.
        E::Denied { .. } | E::Tls { .. } => Reason::JmxDenied,
        E::Unreachable { .. } | E::NotJmx { .. } | E::Timeout { .. } | E::Lost { .. } => {
            Reason::JmxUnreachable
        }
        // JMX answers before Cassandra has registered all of its beans.
        E::InstanceNotFound { .. } => Reason::CassandraNotReady,
        _ => Reason::Failed,
    }
}

fn store_reason(error: &store::Error) -> Reason {
    match error {
        store::Error::Source { source, .. } => io_reason(source),
        other => storage::reason(other),
    }
}

/// What lies inside an error of a file that was read.
fn io_reason(error: &std::io::Error) -> Reason {
    match error.get_ref() {
        Some(inner) if inner.is::<Corrupt>() => Reason::CorruptSSTable,
        Some(inner) if inner.is::<Changed>() => Reason::SnapshotIncomplete,
        _ if error.kind() == std::io::ErrorKind::StorageFull => Reason::NoSpace,
        _ => Reason::Failed,
    }
}

/// The damaged file, if that is what failed.
pub fn corrupt(error: &Error) -> Option<&Corrupt> {
    match error {
        Error::Store(store::Error::Source { source, .. }) | Error::Io { source, .. } => {
            source.get_ref()?.downcast_ref()
        }
        _ => None,
    }
}
