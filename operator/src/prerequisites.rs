//! What a backup and a restore need before they begin.

use std::time::Duration;

use crds::{BackupStorageSpec, CassandraAccess};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::core::Selector;
use protocol::Reason;

use crate::access::{self, AccessError};
use crate::cluster::Cluster;
use crate::node::Reach;
use crate::pod::PodView;

/// Resources that are applied together do not all appear at once: so long, what is missing is
/// waited for.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// Why something does not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// Whether it may pass by itself.
    pub(crate) passing: bool,
}

impl Obstacle {
    /// The spec is wrong.
    pub(crate) fn invalid(message: String) -> Self {
        Self {
            reason: Reason::InvalidRequest,
            message,
            passing: false,
        }
    }

    /// Whether to wait instead of giving up: for what is missing not for long, for one's turn as
    /// long as it takes.
    pub(crate) fn is_waited_for(&self, within_grace: bool) -> bool {
        self.passing && (within_grace || self.reason == Reason::ClusterBusy)
    }
}

/// A look that did not go through, and is taken again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("cannot read the pods: {0}")]
    ReadPods(#[source] Box<kube::Error>),
    #[error("cannot read the BackupStorage: {0}")]
    ReadStorage(#[source] Box<kube::Error>),
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Whether what is missing should still be waited for.
pub(crate) fn within_grace(resource: &impl ResourceExt, now: Timestamp) -> bool {
    let Some(created) = resource.creation_timestamp() else {
        return true;
    };
    let age = now.duration_since(created.0);
    age < SignedDuration::try_from(GRACE).unwrap_or(SignedDuration::ZERO)
}

/// The selector of the pods, as it is understood.
pub(crate) fn selector(cassandra: &CassandraAccess) -> Result<Selector, Obstacle> {
    Selector::try_from(cassandra.pod_selector.clone())
        .map_err(|error| Obstacle::invalid(format!("spec.cassandra.podSelector: {error}")))
}

/// The storage of that name.
pub(crate) async fn storage(
    cluster: &dyn Cluster,
    reach: &Reach,
) -> Result<Result<BackupStorageSpec, Obstacle>, LookupError> {
    let Reach {
        namespace, storage, ..
    } = reach;
    let found = cluster.storage(namespace, storage).await;
    let found = found.map_err(|error| LookupError::ReadStorage(Box::new(error)))?;
    Ok(found.map(|it| it.spec).ok_or_else(|| Obstacle {
        reason: Reason::BackupStorageNotFound,
        message: format!("BackupStorage {storage} does not exist in namespace {namespace}"),
        passing: true,
    }))
}

/// Makes sure that all secrets are there.
pub(crate) async fn secrets(
    cluster: &dyn Cluster,
    reach: &Reach,
    storage: &BackupStorageSpec,
) -> Result<Result<(), Obstacle>, LookupError> {
    let Reach {
        namespace,
        cassandra,
        ..
    } = reach;
    let secrets = async {
        access::storage(cluster, namespace, storage).await?;
        access::jmx(cluster, namespace, &cassandra.jmx).await?;
        access::password(cluster, namespace, cassandra.cql.credentials.as_ref()).await
    };
    match secrets.await {
        Ok(_) => Ok(Ok(())),
        Err(error) if error.is_temporary() => Err(error.into()),
        Err(error) => Ok(Err(Obstacle {
            reason: error.reason(),
            message: error.to_string(),
            passing: true,
        })),
    }
}

/// The pods of the selector.
pub(crate) async fn pods(
    cluster: &dyn Cluster,
    reach: &Reach,
    selector: &Selector,
) -> Result<Vec<PodView>, LookupError> {
    let pods = cluster.pods(&reach.namespace, selector).await;
    pods.map_err(|error| LookupError::ReadPods(Box::new(error)))
}

/// Those of the selector that have not ended: at least one.
pub(crate) fn alive<'p>(
    pods: &'p [PodView],
    selector: &Selector,
) -> Result<Vec<&'p PodView>, Obstacle> {
    let alive: Vec<_> = pods.iter().filter(|pod| !pod.ended).collect();
    match alive.is_empty() {
        false => Ok(alive),
        true => Err(Obstacle {
            reason: Reason::PodsNotFound,
            message: match pods.len() {
                0 => format!(
                    "no pod of this namespace matches spec.cassandra.podSelector ({selector}): correct it, or start Cassandra"
                ),
                _ => format!(
                    "all pods that match spec.cassandra.podSelector ({selector}) have ended: start Cassandra"
                ),
            },
            passing: true,
        }),
    }
}
