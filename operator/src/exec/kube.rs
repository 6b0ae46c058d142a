//! Exec through the API server.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::FusedFuture;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams};
use kube::client::UpgradeConnectionError;
use tokio::io::{AsyncRead, ReadBuf};

use super::{ExecError, Exit, PodExec, Session, Target};

/// Bytes that may wait in each direction; the default of 1 KiB makes the copy of the agent slow.
const BUFFER: usize = 256 * 1024;

/// Exec through the API server.
pub(crate) struct KubeExec {
    client: kube::Client,
}

impl KubeExec {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl PodExec for KubeExec {
    async fn start(&self, target: &Target, command: &[String]) -> Result<Session, ExecError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &target.namespace);
        let parameters = AttachParams {
            container: Some(target.container.clone()),
            stdin: true,
            stdout: true,
            stderr: true,
            tty: false,
            max_stdin_buf_size: Some(BUFFER),
            max_stdout_buf_size: Some(BUFFER),
            max_stderr_buf_size: Some(BUFFER),
        };
        let mut process = pods
            .exec(&target.pod, command, &parameters)
            .await
            .map_err(refused)?;
        let missing = || ExecError::Unreachable("the exec stream has no streams".into());
        let status = process.take_status().ok_or_else(missing)?;
        let exit = status.map(exit).boxed().shared();
        let stdin = process.stdin().ok_or_else(missing)?;
        let stdout = process.stdout().ok_or_else(missing)?;
        let stderr = process.stderr().ok_or_else(missing)?;
        Ok(Session {
            stdin: Box::new(stdin),
            stdout: Box::new(UntilExit::new(stdout, exit.clone())),
            stderr: Box::new(UntilExit::new(stderr, exit.clone())),
            exit: exit.boxed(),
            connection: Box::new(process),
        })
    }
}

/// An output that ends with the connection. That of kube 5 does so only where the connection ends well:
/// when it is cut, as by an API server that is killed, nobody shuts the pipe down, and a reader would
/// wait for ever.
struct UntilExit<R, F> {
    output: R,
    exit: F,
}

impl<R, F> UntilExit<R, F> {
    fn new(output: R, exit: F) -> Self {
        Self { output, exit }
    }
}

impl<R, F> AsyncRead for UntilExit<R, F>
where
    R: AsyncRead + Unpin,
    F: Future + Unpin + FusedFuture,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.output).poll_read(context, buffer);
        if read.is_ready() {
            return read;
        }
        if !this.exit.is_terminated() && Pin::new(&mut this.exit).poll(context).is_pending() {
            return Poll::Pending;
        }
        // What was written in between is read; then nothing more comes.
        let rest = Pin::new(&mut this.output).poll_read(context, buffer);
        if rest.is_pending() {
            Poll::Ready(Ok(()))
        } else {
            rest
        }
    }
}

fn refused(error: kube::Error) -> ExecError {
    use kube::Error::{Api, UpgradeConnection};
    match &error {
        Api(status) if status.is_forbidden() => ExecError::Forbidden(status.message.clone()),
        UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) if code.as_u16() == 403 => {
            ExecError::Forbidden(error.to_string())
        }
        _ => ExecError::Unreachable(error.to_string()),
    }
}

/// Reads how the process ended from the status that closes the stream. A process that ended with
/// another code than 0 is told as reason `NonZeroExitCode` with a cause `ExitCode`.
fn exit(status: Option<Status>) -> Exit {
    let Some(status) = status else {
        return Exit::Unknown;
    };
    if status.status.as_deref() == Some("Success") {
        return Exit::Code(0);
    }
    let code = status
        .details
        .iter()
        .flat_map(|details| details.causes.iter().flatten())
        .find_map(|cause| {
            (cause.reason.as_deref() == Some("ExitCode"))
                .then(|| cause.message.as_deref()?.parse().ok())
                .flatten()
        });
    match code {
        Some(code) => Exit::Code(code),
        None => Exit::NotRun(status.message.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, simplex};
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::{Exit, UntilExit, exit};

    #[tokio::test(start_paused = true)]
    async fn an_output_whose_connection_is_cut_is_read_to_the_last_byte_and_ends() {
        let (output, mut pipe) = simplex(16);
        let (connection, cut) = oneshot::channel::<()>();
        let mut output = UntilExit::new(output, cut.shared());
        pipe.write_all(b"one").await.unwrap();
        let mut read = [0; 8];
        assert_eq!(output.read(&mut read).await.unwrap(), 3);
        let minute = Duration::from_secs(60);
        assert!(timeout(minute, output.read(&mut read)).await.is_err());
        pipe.write_all(b"two").await.unwrap();
        drop((pipe, connection));
        assert_eq!(output.read(&mut read).await.unwrap(), 3);
        for _ in 0..2 {
            let end = timeout(minute, output.read(&mut read)).await;
            assert_eq!(end.expect("it ends").unwrap(), 0);
        }
    }

    fn status(value: serde_json::Value) -> Exit {
        exit(Some(serde_json::from_value(value).unwrap()))
    }

    #[test]
    fn the_exit_code_is_read_from_the_cause() {
        assert_eq!(status(json!({"status": "Success"})), Exit::Code(0));
        assert_eq!(
            status(json!({
                "status": "Failure", "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": "75"}]}
            })),
            Exit::Code(75)
        );
    }

    #[test]
    fn a_process_that_never_started_and_a_stream_without_status_are_told_apart() {
        assert_eq!(
            status(json!({"status": "Failure", "message": "no such file"})),
            Exit::NotRun("no such file".into())
        );
        assert_eq!(exit(None), Exit::Unknown);
    }
}
