//! The agent as a child process, with the protocol that it speaks in pods.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use protocol::{Event, EventKind, Operation, Outcome, PROTOCOL_VERSION, Reason, Request};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;
use uuid::Uuid;

/// How the network is reached and whom to trust there: the chart's `env` may say so.
const WAY: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The agent did not say how it went.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("cannot start the agent {path}: {cause}", path = .path.display())]
    Start {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("cannot make the request: {0}")]
    Request(#[source] serde_json::Error),
    #[error("cannot talk to the agent: {0}")]
    Talk(#[source] std::io::Error),
    #[error("the agent ended without a result")]
    NoResult,
    #[error("the agent was ended: it had no result within {} s", limit.as_secs())]
    TooSlow { limit: Duration },
}

impl ChildError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::TooSlow { .. } => Reason::DeadlineExceeded,
            Self::NoResult => Reason::Interrupted,
            Self::Start { .. } | Self::Request(_) | Self::Talk(_) => Reason::Failed,
        }
    }
}

/// Runs the agent at `path` to its result, for at most `limit`.
pub(super) async fn run(
    path: &Path,
    operation: Operation,
    limit: Duration,
) -> Result<Outcome, ChildError> {
    let request = Request {
        protocol: PROTOCOL_VERSION.into(),
        run_id: Uuid::new_v4(),
        attempt: 1,
        state_directory: Some(
            std::env::temp_dir()
                .join("maintenance")
                .display()
                .to_string(),
        ),
        from_seq: 0,
        operation,
    };
    let mut line = request.to_line().map_err(ChildError::Request)?;
    line.push('\n');
    // Nothing else of the environment: the operator's own identity is not for tenants to borrow.
    let way = WAY
        .iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut child = Command::new(path)
        .args(["--request", "-"])
        .env_clear()
        .envs(way)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|cause| ChildError::Start {
            path: path.to_owned(),
            cause,
        })?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
        return Err(ChildError::NoResult);
    };
    let conversation = async {
        stdin.write_all(line.as_bytes()).await?;
        stdin.flush().await?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            if let Ok(Event {
                kind: EventKind::Result(outcome),
                ..
            }) = serde_json::from_str(&line)
            {
                return Ok(Some(*outcome));
            }
        }
        Ok(None)
    };
    let outcome = match timeout(limit, conversation).await {
        Ok(talked) => talked
            .map_err(ChildError::Talk)?
            .ok_or(ChildError::NoResult),
        Err(_) => Err(ChildError::TooSlow { limit }),
    };
    // It has said all; waiting for it keeps it from becoming a zombie.
    if timeout(Duration::from_secs(5), child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use protocol::{ProbeRequest, StorageAccess};

    use super::*;

    fn probe() -> Operation {
        Operation::Probe(ProbeRequest {
            storage: StorageAccess::File { path: "/b".into() },
            object: None,
            leave: false,
            left: false,
            survey: false,
        })
    }

    async fn probe_with(script: &str) -> Result<Outcome, ChildError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        run(&path, probe(), Duration::from_secs(20)).await
    }

    #[tokio::test]
    async fn the_result_of_the_child_is_the_finding_and_its_environment_is_empty() {
        let outcome = Outcome::ended(Reason::StorageDenied, "m", 1);
        let event = serde_json::json!({
            "runId": Uuid::nil(), "seq": 1, "time": jiff::Timestamp::UNIX_EPOCH,
            "event": "result",
        });
        let mut event = event.as_object().unwrap().clone();
        event.extend(
            serde_json::to_value(&outcome)
                .unwrap()
                .as_object()
                .unwrap()
                .clone(),
        );
        let line = serde_json::to_string(&event).unwrap();
        let script = format!("read -r request; [ -z \"$HOME$CARGO\" ] || exit 1; echo '{line}'");
        assert_eq!(probe_with(&script).await.unwrap(), outcome);
    }

    #[tokio::test]
    async fn an_agent_without_a_result_is_no_finding() {
        assert!(matches!(
            probe_with("read -r request; echo nonsense").await,
            Err(ChildError::NoResult)
        ));
        let missing = run(Path::new("/nonexistent"), probe(), Duration::from_secs(20));
        assert!(matches!(missing.await, Err(ChildError::Start { .. })));
    }
}
