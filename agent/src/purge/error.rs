use std::io;

use manifest::IntentError;
use protocol::Reason;
use store::{InvalidKey, Key};
use uuid::Uuid;

use super::PurgeReport;
use crate::read::ReadFailure;
use crate::{chain, storage};

/// Why a purge ended early. But for [`PurgeError::HalfWay`], nothing is known to be deleted.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The storage.
    #[error("{}", chain(.0))]
    Store(#[from] store::Error),
    /// A manifest, an intent or a condemned list. What it names is not known, so nothing can be
    /// deleted.
    #[error("the purge stops and deletes nothing: {0}")]
    Unreadable(ReadFailure),
    /// A manifest or an intent of an unknown kind.
    #[error(
        "the purge stops and deletes nothing: {0} is no file that this version knows: update it, or remove the file"
    )]
    Unknown(Key),
    /// A manifest that was moved.
    #[error(
        "the purge stops and deletes nothing: the manifest {key} says that it is of backup {backup} and node {host_id}: move it to its place, or remove it"
    )]
    Misplaced {
        /// Where it is.
        key: Key,
        /// Backup in its header.
        backup: String,
        /// Node in its header.
        host_id: Uuid,
    },
    /// Purge ids are never used twice.
    #[error("purge {0} has begun already: start another")]
    IdTaken(Uuid),
    /// The list of what is to be deleted, on this machine.
    #[error("cannot keep the list of what is to be deleted: {0}")]
    List(#[from] IntentError),
    /// The same.
    #[error("cannot read the list of what is to be deleted: {0}")]
    Spool(#[from] io::Error),
    /// Somebody wants it no more.
    #[error("the purge was cancelled before it deleted anything")]
    Cancelled,
    /// A name that cannot be a key.
    #[error("a name cannot be a key: {0}")]
    Key(#[from] InvalidKey),
    /// It had begun to delete.
    #[error("{cause}")]
    HalfWay {
        /// Why it ended.
        cause: Box<PurgeError>,
        /// What is known to be deleted; a request whose answer was lost may have deleted more.
        report: Box<PurgeReport>,
    },
}

impl From<ReadFailure> for PurgeError {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Store(error) => Self::Store(error),
            other => Self::Unreadable(other),
        }
    }
}

impl PurgeError {
    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Store(error) => storage::reason(error),
            Self::Unreadable(_) | Self::Misplaced { .. } => Reason::ContentMismatch,
            Self::Key(_) | Self::IdTaken(_) => Reason::InvalidRequest,
            Self::Cancelled => Reason::Cancelled,
            Self::Unknown(_) | Self::List(_) | Self::Spool(_) => Reason::Failed,
            Self::HalfWay { cause, .. } => cause.reason(),
        }
    }
}
