//! Commands, files and logs of pods.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, LogParams};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

/// How much is in flight on each stream, in bytes. kube's default, 1 KiB, is slow for files.
const BUFFER: usize = 256 * 1024;

/// How a command in a pod ended, and what it said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text; an error if the exit code is not 0.
    pub fn text(self) -> Result<String> {
        if self.code == 0 {
            return Ok(String::from_utf8_lossy(&self.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&self.stderr);
        bail!("ended with exit code {}: {}", self.code, stderr.trim())
    }
}

/// Runs `command` in a container, the only one if none is named, and waits for its end.
pub async fn exec(
    pods: &Api<Pod>,
    pod: &str,
    container: Option<&str>,
    command: &[&str],
    stdin: Option<&[u8]>,
) -> Result<Output> {
    let run = run(pods, pod, container, command, stdin);
    run.await
        .with_context(|| format!("could not run {command:?} in pod {pod}"))
}

async fn run(
    pods: &Api<Pod>,
    pod: &str,
    container: Option<&str>,
    command: &[&str],
    stdin: Option<&[u8]>,
) -> Result<Output> {
    let mut params = AttachParams::default().stdin(stdin.is_some());
    params.container = container.map(ToOwned::to_owned);
    let params = params
        .max_stdin_buf_size(BUFFER)
        .max_stdout_buf_size(BUFFER)
        .max_stderr_buf_size(BUFFER);
    let mut process = pods.exec(pod, command.iter().copied(), &params).await?;
    let status = process
        .take_status()
        .context("the connection has no status")?;
    let (writer, stdout, stderr) = (process.stdin(), process.stdout(), process.stderr());
    let feed = async {
        if let (Some(mut writer), Some(bytes)) = (writer, stdin) {
            let _ = writer.write_all(bytes).await;
            let _ = writer.shutdown().await;
        }
        // The end of the command ends this, too: it may not have read everything, and what is
        // written after that is never taken.
        std::future::pending::<()>().await;
    };
    let mut outputs = std::pin::pin!(async { tokio::join!(all(stdout), all(stderr)) });
    let mut status = std::pin::pin!(status);
    let mut feed = std::pin::pin!(feed);
    let mut ended = None;
    // All at once: a stream that nobody reads stops the others.
    let status = loop {
        tokio::select! {
            status = &mut status => break status,
            outputs = &mut outputs, if ended.is_none() => ended = Some(outputs),
            () = &mut feed => {}
        }
    };
    // A connection that was cut ends without a status: how the command ended is unknown. Its
    // streams never end then.
    let Some(status) = status else {
        process.join().await?;
        bail!("the connection ended before the command");
    };
    let (stdout, stderr) = match ended {
        Some(outputs) => outputs,
        None => outputs.await,
    };
    let code = match status.status.as_deref() {
        Some("Success") => 0,
        _ => {
            let causes = status
                .details
                .iter()
                .flat_map(|d| d.causes.iter().flatten());
            let code = causes
                .filter(|cause| cause.reason.as_deref() == Some("ExitCode"))
                .find_map(|cause| cause.message.as_deref()?.parse().ok());
            code.with_context(|| status.message.clone().unwrap_or_default())?
        }
    };
    Ok(Output {
        code,
        stdout: stdout?,
        stderr: stderr?,
    })
}

async fn all(stream: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// What a container has written so far; `previous` is the one before its last restart.
pub async fn logs(
    pods: &Api<Pod>,
    pod: &str,
    container: Option<&str>,
    previous: bool,
) -> Result<String> {
    let params = LogParams {
        container: container.map(ToOwned::to_owned),
        previous,
        ..Default::default()
    };
    Ok(pods.logs(pod, &params).await?)
}
