//! Where a purge or a deletion is carried out: where its identity is nobody else's.

use std::time::Duration;

use crds::CassandraBackupSpec;
use protocol::{Operation, Outcome, Reason, StorageAccess};
use tokio::sync::Semaphore;

use crate::access::{self, AccessError};
use crate::context::Context;
use crate::maintenance::{self, NotDone, Place};
use crate::node::Errand;

/// Nobody could be asked, or nobody said how it went.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRun {
    #[error(
        "BackupStorage {storage} does not exist in namespace {namespace}: create it or correct its name"
    )]
    StorageNotFound { namespace: String, storage: String },
    #[error("cannot read BackupStorage {storage}: {cause}")]
    ReadStorage {
        storage: String,
        cause: Box<kube::Error>,
    },
    #[error("cannot list the CassandraBackups of namespace {namespace}: {cause}")]
    List {
        namespace: String,
        cause: Box<kube::Error>,
    },
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    NotDone(#[from] NotDone),
}

impl NotRun {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::StorageNotFound { .. } => Reason::BackupStorageNotFound,
            Self::ReadStorage { .. } | Self::List { .. } => Reason::Failed,
            Self::Access(error) => error.reason(),
            Self::NotDone(error) => error.reason(),
        }
    }
}

/// A purge of a million objects takes up to 128 MiB beside the operator's own memory, which the chart
/// limits to 256 MiB together: the others wait.
static CHILDREN: Semaphore = Semaphore::const_new(1);

/// A storage that is maintained.
pub(crate) struct Maintained {
    pub(crate) access: StorageAccess,
    /// Whether a directory has to be on a volume of its own.
    pub(crate) require_own_device: bool,
}

/// Carries out the operation that `make` makes of the storage, for at most `limit`. The spec says
/// which storage, and in which pods.
pub(crate) async fn perform(
    context: &Context,
    namespace: &str,
    spec: &CassandraBackupSpec,
    make: impl FnOnce(Maintained) -> Operation,
    limit: Duration,
) -> Result<Outcome, NotRun> {
    let cluster = &*context.tools.cluster;
    let name = &spec.storage.name;
    let storage = cluster
        .storage(namespace, name)
        .await
        .map_err(|cause| NotRun::ReadStorage {
            storage: name.clone(),
            cause: Box::new(cause),
        })?;
    let storage = storage.ok_or_else(|| NotRun::StorageNotFound {
        namespace: namespace.into(),
        storage: name.clone(),
    })?;
    let access = access::maintenance_storage(cluster, namespace, &storage.spec).await?;
    let pods = Errand { namespace, spec };
    let place = Place::of(&storage, &access, &pods);
    let operation = make(Maintained {
        access,
        require_own_device: storage.spec.requires_own_device(),
    });
    let _turn = match place {
        Place::Pods(_) | Place::Own(_) => None,
        // It is never closed.
        Place::Child => CHILDREN.acquire().await.ok(),
    };
    Ok(maintenance::carry_out(context, place, operation, limit).await?)
}
