//! Stopping a run before it has a result.

use crds::NodePhase;
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
