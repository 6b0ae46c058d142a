//! What needs no Cassandra, each where its identity is nobody else's: in the Cassandra pods that mount a
//! directory, in a child process with the credentials of a secret, or in a pod of its own with
//! those of a service account.

mod child;
mod home;
mod pod;

use std::time::Duration;

use crds::BackupStorage;
use protocol::{Operation, Outcome, Reason, StorageAccess};

use crate::access;
use crate::context::Context;
use crate::node::{Errand, ErrandError, errand};

pub(crate) use child::ChildError;
pub(crate) use home::Home;
pub(crate) use pod::PodError;

/// Nobody said how it went, wherever it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDone {
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Own(#[from] PodError),
    #[error(transparent)]
    Pod(#[from] ErrandError),
}

impl NotDone {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Child(error) => error.reason(),
            Self::Own(error) => error.reason(),
            Self::Pod(error) => error.reason(),
        }
    }
}

/// Where a storage is reached.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// In one of the Cassandra pods.
    Pods(&'a Errand<'a>),
    /// In a pod of its own, for this storage.
    Own(&'a BackupStorage),
    /// From here.
    Child,
}

impl<'a> Place<'a> {
    /// A directory is mounted by the pods alone; a bucket with credentials is reached from here.
    pub(crate) fn of(
        storage: &'a BackupStorage,
        access: &StorageAccess,
        pods: &'a Errand<'a>,
    ) -> Self {
        match access {
            StorageAccess::File { .. } => Self::Pods(pods),
            bucket => Self::of_bucket(storage, bucket),
        }
    }

    /// Without credentials, the identity of an environment is meant, which is not ours.
    pub(crate) fn of_bucket(storage: &'a BackupStorage, access: &StorageAccess) -> Self {
        match access::has_identity(access) {
            true => Self::Child,
            false => Self::Own(storage),
        }
    }
}

/// Carries out an operation, for at most `limit`.
pub(crate) async fn carry_out(
    context: &Context,
    place: Place<'_>,
    operation: Operation,
    limit: Duration,
) -> Result<Outcome, NotDone> {
    match place {
        Place::Pods(of) => Ok(errand(&context.tools, of, operation, limit).await?),
        Place::Own(storage) => Ok(pod::run(context, storage, operation, limit).await?),
        Place::Child => Ok(child::run(&context.home.agent, operation, limit).await?),
    }
}
