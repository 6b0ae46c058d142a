//! Exec through the API server.

use async_trait::async_trait;
use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{Api, AttachParams};
use kube::client::UpgradeConnectionError;

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
        Ok(Session {
            stdin: Box::new(process.stdin().ok_or_else(missing)?),
            stdout: Box::new(process.stdout().ok_or_else(missing)?),
            stderr: Box::new(process.stderr().ok_or_else(missing)?),
            exit: status.map(exit).boxed(),
            connection: Box::new(process),
        })
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
    use serde_json::json;

    use super::{Exit, exit};

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
