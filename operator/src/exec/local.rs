//! For tests: containers are this machine, with the shell that a test names.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::FutureExt;

use super::{ExecError, Exit, PodExec, Session, Target};

/// Runs commands as local processes; `sh` is replaced by `shell`.
pub(crate) struct LocalExec {
    /// Shell and its arguments, such as `busybox sh`.
    pub(crate) shell: Vec<String>,
    /// Commands that were run, without the text of scripts.
    pub(crate) commands: Mutex<Vec<String>>,
    /// `PATH` of the commands.
    pub(crate) path: Option<PathBuf>,
}

impl LocalExec {
    pub(crate) fn with_shell(shell: &[&str]) -> Self {
        Self {
            shell: shell.iter().map(ToString::to_string).collect(),
            commands: Mutex::default(),
            path: None,
        }
    }
}

#[async_trait]
impl PodExec for LocalExec {
    async fn start(&self, _: &Target, command: &[String]) -> Result<Session, ExecError> {
        self.commands.lock().unwrap().push(command[0].clone());
        let (program, arguments) = if command[0] == "sh" {
            (
                self.shell[0].clone(),
                [&self.shell[1..], &command[1..]].concat(),
            )
        } else {
            (command[0].clone(), command[1..].to_vec())
        };
        let mut builder = tokio::process::Command::new(program);
        builder
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(false);
        if let Some(path) = &self.path {
            builder.env("PATH", path);
        }
        let mut child = builder
            .spawn()
            .map_err(|error| ExecError::Unreachable(error.to_string()))?;
        Ok(Session {
            stdin: Box::new(child.stdin.take().unwrap()),
            stdout: Box::new(child.stdout.take().unwrap()),
            stderr: Box::new(child.stderr.take().unwrap()),
            exit: async move {
                match child.wait().await {
                    Ok(status) => Exit::Code(status.code().unwrap_or(137)),
                    Err(_) => Exit::Unknown,
                }
            }
            .boxed(),
            connection: Box::new(()),
        })
    }
}
