//! What the commands share that look at a storage and need no Cassandra.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use manifest::ClusterId;
use protocol::{ExitCode, Reason, StorageAccess};
use serde::Serialize;
use store::Store;

use super::storage::StorageFlags;
use super::values;
use crate::catalogue::{CatalogueError, SurveyError};
use crate::chain;
use crate::serve::note;
use crate::verify::{RepairError, VerifyError};
use crate::{neighbour, storage};

/// Whose backups.
#[derive(Debug, Args)]
pub(super) struct ClusterFlags {
    /// The cluster's name in the storage
    #[arg(long, value_name = "ID")]
    pub cluster: ClusterId,

    #[command(flatten)]
    pub storage: StorageFlags,
}

/// What other clients of a file system may not see yet.
#[derive(Debug, Args)]
pub(super) struct CacheFlags {
    /// file: how long other clients of the file system believe what they cached, such as acdirmax
    /// of NFS; 0s only where every client is on this machine
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "60s")]
    attribute_cache: Duration,
}

impl CacheFlags {
    /// How long they believe it; object stores have no such time.
    pub fn wait(&self, access: &StorageAccess) -> Duration {
        match access {
            StorageAccess::File { .. } => self.attribute_cache,
            _ => Duration::ZERO,
        }
    }
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// For people
    Text,
    /// For programs: one JSON document, docs/commands.md
    Json,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    pub reason: Reason,
    pub message: String,
}

impl Failure {
    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            reason: Reason::InvalidRequest,
            message: message.into(),
        }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Self {
            reason: storage::reason(&error),
            message: chain(&error),
        }
    }
}

impl From<CatalogueError> for Failure {
    fn from(error: CatalogueError) -> Self {
        Self {
            reason: error.reason(),
            message: chain(&error),
        }
    }
}

impl From<SurveyError> for Failure {
    fn from(error: SurveyError) -> Self {
        Self {
            reason: error.reason(),
            message: chain(&error),
        }
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Store(error) => error.into(),
            VerifyError::Read(error) => CatalogueError::from(error).into(),
            VerifyError::Key(error) => Self {
                reason: Reason::ContentMismatch,
                message: format!("a manifest names a key that no storage has: {error}"),
            },
        }
    }
}

impl From<RepairError> for Failure {
    fn from(error: RepairError) -> Self {
        match error {
            RepairError::Store(error) => error.into(),
            RepairError::Verify(error) => error.into(),
            RepairError::Key(_) | RepairError::Unreadable(_) => Self {
                reason: Reason::ContentMismatch,
                message: error.to_string(),
            },
            RepairError::List(_) => Self {
                reason: Reason::Failed,
                message: error.to_string(),
            },
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            reason: Reason::Failed,
            message: format!("cannot write to standard output: {error}"),
        }
    }
}

/// Opens the storage and asks it. Returns the exit code.
pub(super) fn ask<F, Fut>(flags: ClusterFlags, question: F) -> u8
where
    F: FnOnce(Arc<dyn Store>, ClusterId, StorageAccess) -> Fut,
    Fut: Future<Output = Result<ExitCode, Failure>>,
{
    answer(async {
        let access = flags.storage.access().map_err(Failure::usage)?;
        let store = storage::open(&access).await?;
        store.reach().await?;
        question(store, flags.cluster, access).await
    })
}

/// Runs a command to its end, and tells why where it fails.
pub(super) fn answer(command: impl Future<Output = Result<ExitCode, Failure>>) -> u8 {
    let runtime = match neighbour::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            note!("error: cannot start threads: {error}");
            return ExitCode::Failed as u8;
        }
    };
    match runtime.block_on(command) {
        Ok(code) => code as u8,
        Err(Failure { reason, message }) => {
            note!("error: {reason}: {message}");
            note!("{}", reason.explanation());
            reason.exit_code() as u8
        }
    }
}

/// Prints one JSON document.
pub(super) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, document).map_err(io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Prints text for people.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
