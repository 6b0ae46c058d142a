//! A pod of its own: the agent under the service account that a BackupStorage names, so that its
//! identity is used and nobody else's. It lives for one operation.

mod build;
#[cfg(test)]
mod conversation;
mod start;

use std::sync::LazyLock;
use std::time::Duration;

use crds::BackupStorage;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use protocol::{Operation, Outcome, Reason};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::answer::is_gone;
use crate::context::Context;
use crate::exec::Target;
use crate::inject::Placed;
use crate::node::{ErrandError, until_told};

/// Which process made it: what another one made, nobody waits for any more.
static MAKER: LazyLock<String> = LazyLock::new(|| Uuid::new_v4().to_string());

/// The pod did not say how it went.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    #[error(
        "the storage has neither credentials nor a maintenancePod: set spec.maintenancePod.serviceAccountName"
    )]
    NotNamed,
    #[error(
        "the operator was not told which image has its agent: start it with --maintenance-image, as the chart does"
    )]
    NoImage,
    #[error("cannot make a pod under service account {service_account}: {cause}")]
    Make {
        service_account: String,
        cause: Box<kube::Error>,
    },
    #[error("cannot read or delete the maintenance pods: {0}")]
    Sweep(#[source] Box<kube::Error>),
    #[error("cannot read pod {pod}: {cause}")]
    Read {
        pod: String,
        cause: Box<kube::Error>,
    },
    #[error("pod {pod} did not start within {} s: {why}", limit.as_secs())]
    NotStarted {
        pod: String,
        why: String,
        limit: Duration,
    },
    #[error("pod {pod} ended before it had done anything: {why}")]
    Ended { pod: String, why: String },
    #[error(transparent)]
    Errand(#[from] ErrandError),
}

impl PodError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::NotNamed => Reason::MaintenanceCredentialsMissing,
            Self::NoImage => Reason::NotSupported,
            Self::Make { .. } | Self::NotStarted { .. } | Self::Ended { .. } => {
                Reason::MaintenancePodNotStarted
            }
            Self::Sweep(_) | Self::Read { .. } => Reason::Failed,
            Self::Errand(error) => error.reason(),
        }
    }
}

/// Runs the operation in a pod that is made for it, for at most `limit` beyond its start.
pub(super) async fn run(
    context: &Context,
    storage: &BackupStorage,
    operation: Operation,
    limit: Duration,
) -> Result<Outcome, PodError> {
    let namespace = storage.namespace().unwrap_or_default();
    let how = storage.spec.maintenance_pod.as_ref();
    let how = how.ok_or(PodError::NotNamed)?;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    sweep(&pods, storage).await?;
    let pod = build::pod(storage, how, &context.home, &MAKER, start::LIMIT + limit)
        .ok_or(PodError::NoImage)?;
    let made = pods.create(&PostParams::default(), &pod).await;
    let made = made.map_err(|cause| PodError::Make {
        service_account: how.service_account_name.clone(),
        cause: Box::new(cause),
    })?;
    let _goes = Goes {
        pods: pods.clone(),
        name: made.name_any(),
    };
    start::until_running(&pods, &made.name_any()).await?;
    let target = Target {
        namespace,
        pod: made.name_any(),
        container: build::CONTAINER.into(),
    };
    let agent = Placed {
        path: context.home.agent.display().to_string(),
        state_directory: Some(build::STATE.into()),
    };
    Ok(until_told(&context.tools, &target, &agent, operation, limit).await?)
}

/// Deletes what nobody waits for any more, such as what a predecessor of this process left. It ends by
/// itself, but its object stays.
async fn sweep(pods: &Api<Pod>, storage: &BackupStorage) -> Result<(), PodError> {
    let failed = |error| PodError::Sweep(Box::new(error));
    let of_storage = ListParams::default().labels(&build::all_of(storage));
    let all = pods.list(&of_storage).await.map_err(failed)?;
    for pod in all.iter().filter(|pod| build::is_left(pod, &MAKER)) {
        match pods.delete(&pod.name_any(), &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if is_gone(&status) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// Deletes a pod when nobody needs it any more, also when whoever waited was stopped.
struct Goes {
    pods: Api<Pod>,
    name: String,
}

impl Drop for Goes {
    fn drop(&mut self) {
        let (pods, name) = (self.pods.clone(), std::mem::take(&mut self.name));
        // At the end of the process there is nobody to ask; the next one finds it.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            match pods.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if is_gone(&status) => {}
                Err(error) => {
                    tracing::warn!(pod = name, %error, "a maintenance pod stays until its deadline")
                }
            }
        });
    }
}
