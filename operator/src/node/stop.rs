//! Stopping a run before it has a result.

use crds::NodePhase;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use protocol::Reason;
use tokio::sync::watch;

use super::decide::Finish;

/// Why a run is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The user said so, or the resource is gone.
    Cancelled,
    /// Its deadline passed.
    Deadline,
}

/// How long an agent has to end by itself at the deadline that it was told.
const DEADLINE_MARGIN: SignedDuration = SignedDuration::from_secs(30);

impl Stop {
    /// Whether something has to stop now, and why.
    pub(crate) fn due(cancel: bool, deadline: Option<Timestamp>, now: Timestamp) -> Option<Self> {
        if cancel {
            return Some(Self::Cancelled);
        }
        let over = now.duration_since(deadline?);
        (over >= DEADLINE_MARGIN).then_some(Self::Deadline)
    }
}

/// When something that began then is given up, if it has so many seconds.
pub(crate) fn deadline(start: Option<&Time>, seconds: Option<i64>) -> Option<Timestamp> {
    let whole = SignedDuration::from_secs(seconds?);
    start?.0.checked_add(whole).ok()
}

/// Resolves when the run is told to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<Option<Stop>>) -> Option<Stop> {
    let told = stop.wait_for(Option::is_some).await.map(|stop| *stop);
    match told {
        Ok(stop) => stop,
        // Nobody is left who could say so.
        Err(_) => std::future::pending().await,
    }
}

/// A run that was told to stop for the deadline is told as cancelled by the agent.
pub(super) fn for_stop(finish: Finish, stop: Option<Stop>) -> Finish {
    match (finish.phase, stop) {
        (NodePhase::Cancelled, Some(Stop::Deadline)) => {
            stopped_finish(Stop::Deadline, finish.sweep)
        }
        _ => finish,
    }
}

/// The end of a run that was told to stop; with `sweep`, something of it may be left.
pub(super) fn stopped_finish(stop: Stop, sweep: bool) -> Finish {
    match stop {
        Stop::Cancelled => Finish {
            phase: NodePhase::Cancelled,
            reason: Reason::Cancelled,
            message: "cancelled".into(),
            sweep,
        },
        Stop::Deadline => Finish::failed(
            Reason::DeadlineExceeded,
            "it did not end within spec.activeDeadlineSeconds",
            sweep,
        ),
    }
}
