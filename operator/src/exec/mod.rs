//! Running a command in a container.

mod kube;
#[cfg(test)]
pub(crate) mod local;
mod output;
mod stream;

use std::any::Any;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::kube::KubeExec;
pub(crate) use self::output::{Bounded, Output, run_to_end};

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container: String,
}

/// Starts commands in containers.
#[async_trait]
pub(crate) trait PodExec: Send + Sync {
    /// Starts `command`; its input and output are the session's.
    async fn start(&self, target: &Target, command: &[String]) -> Result<Session, ExecError>;
}

/// A command that was started.
///
/// Both outputs must be read all the time, or the connection stalls. Dropping the session cuts the
/// connection; whether the command goes on is its own matter.
pub(crate) struct Session {
    /// Dropping it may close the connection, since older protocols cannot close one direction.
    pub(crate) stdin: Box<dyn AsyncWrite + Send + Unpin>,
    pub(crate) stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Resolves after both outputs ended.
    pub(crate) exit: BoxFuture<'static, Exit>,
    /// What keeps the connection open.
    pub(crate) connection: Box<dyn Any + Send>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The process ended with this code.
    Code(i32),
    /// The process could not be started in the container, such as when its file is missing.
    NotRun(String),
    /// The stream ended without a word about the process, which may live on.
    Unknown,
}

/// A command that could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    /// The API server does not let us.
    #[error(
        "the operator may not exec into pods of this namespace: {0}; grant it create on pods/exec"
    )]
    Forbidden(String),
    /// The pod or the container is not there or does not run.
    #[error("the container cannot be reached: {0}")]
    Unreachable(String),
}
