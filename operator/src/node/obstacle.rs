//! What keeps a request from being sent, and whether it may pass.

use std::time::Duration;

use protocol::Reason;
use tokio::time::timeout;

use super::decide::Finish;
use crate::access::AccessError;
use crate::exec::ExecError;
use crate::inject::InjectError;

/// What keeps a request from being sent.
pub(super) enum Obstacle {
    /// It may pass.
    Passing(Reason, String),
    /// It will not.
    Lasting(Finish),
}

/// For one answer of the API server. kube has no limit of its own, and a connection may be dead.
const ANSWER: Duration = Duration::from_secs(60);

/// Waits for an answer of the API server.
pub(super) async fn in_time<T>(
    answer: impl Future<Output = Result<T, Obstacle>>,
) -> Result<T, Obstacle> {
    within(ANSWER, answer).await
}

/// The same, for so long.
pub(super) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Obstacle>>,
) -> Result<T, Obstacle> {
    let late = |_| Err(interrupted("the API server does not answer"));
    timeout(limit, answer).await.unwrap_or_else(late)
}

pub(super) fn interrupted(message: &str) -> Obstacle {
    Obstacle::Passing(Reason::Interrupted, message.into())
}

pub(super) fn not_ready(message: String) -> Obstacle {
    Obstacle::Passing(Reason::PodNotReady, message)
}

pub(super) fn exec_obstacle(error: ExecError, open: bool) -> Obstacle {
    match error {
        ExecError::Forbidden(_) => {
            Obstacle::Lasting(Finish::failed(Reason::Failed, error.to_string(), open))
        }
        ExecError::Unreachable(_) => Obstacle::Passing(Reason::Interrupted, error.to_string()),
    }
}

pub(super) fn inject_obstacle(error: InjectError, open: bool) -> Obstacle {
    if error.is_temporary() {
        return Obstacle::Passing(Reason::PodNotReady, error.to_string());
    }
    let reason = match error {
        InjectError::Exec(_) | InjectError::Agent(_) => Reason::Failed,
        _ => Reason::AgentNotInjectable,
    };
    Obstacle::Lasting(Finish::failed(reason, error.to_string(), open))
}

pub(super) fn access_obstacle(error: AccessError) -> Obstacle {
    if error.is_temporary() {
        Obstacle::Passing(Reason::Interrupted, error.to_string())
    } else {
        Obstacle::Lasting(Finish::failed(error.reason(), error.to_string(), false))
    }
}
