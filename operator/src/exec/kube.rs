//! Exec through the API server.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::AttachParams;
use kube::client::UpgradeConnectionError;
use kube::core::Request;

use super::{ExecError, PodExec, Session, Target, stream};

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
        let parameters = AttachParams {
            container: Some(target.container.clone()),
            stdin: true,
            stdout: true,
            stderr: true,
            tty: false,
            ..AttachParams::default()
        };
        let pods = Request::new(Pod::url_path(&(), Some(&target.namespace)));
        let request = pods
            .exec(&target.pod, command, &parameters)
            .map_err(|error| ExecError::Unreachable(error.to_string()))?;
        let connection = self.client.connect(request).await.map_err(refused)?;
        Ok(stream::open(connection).await)
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
