//! Waiting for the pod.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use tokio::time::{Instant, sleep};

use super::PodError;
use crate::startup::{Progress, progress};

/// For being scheduled, pulling an image, and starting.
pub(super) const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks. It takes some two seconds where the image is there.
const LOOK: Duration = Duration::from_millis(500);

/// Waits until the agent can be run in it.
pub(super) async fn until_running(pods: &Api<Pod>, name: &str) -> Result<(), PodError> {
    let begun = Instant::now();
    let ended = |why: String| PodError::Ended {
        pod: name.into(),
        why,
    };
    loop {
        let pod = pods.get_opt(name).await.map_err(|cause| PodError::Read {
            pod: name.into(),
            cause: Box::new(cause),
        })?;
        match pod.as_ref().map(progress) {
            Some(Progress::Running) => return Ok(()),
            Some(Progress::Waits(why)) if begun.elapsed() > LIMIT => {
                return Err(PodError::NotStarted {
                    pod: name.into(),
                    why,
                    limit: LIMIT,
                });
            }
            Some(Progress::Waits(_)) => sleep(LOOK).await,
            Some(Progress::Ended(why)) => return Err(ended(why)),
            None => return Err(ended("somebody deleted it".into())),
        }
    }
}
