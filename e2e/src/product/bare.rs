//! The agent as a command line beside a Cassandra on the host, with no Kubernetes.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::process::Command;

use crate::parts::binaries;
use crate::parts::cassandra::host::HostCassandra;

/// The agent, a storage and, for backups, the Cassandra beside it.
pub struct Bare {
    agent: PathBuf,
    storage: Vec<String>,
    cassandra: Vec<String>,
    state: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: Option<i32>,
    /// What it printed, a JSON value a line or one document.
    pub answer: Vec<Value>,
    /// Standard error.
    pub told: String,
}

impl Bare {
    /// For a storage of files.
    pub async fn file(cassandra: &HostCassandra, root: &Path, state: &Path) -> Result<Self> {
        let root = root.display().to_string();
        let storage = ["--blob-storage", "file", "--filebackup-location", &root];
        Self::new(cassandra, &storage, state).await
    }

    /// For the storage of these flags.
    pub async fn new(cassandra: &HostCassandra, storage: &[&str], state: &Path) -> Result<Self> {
        let port = cassandra.jmx_port().to_string();
        let cassandra = ["--jmx-port", &port, "--cql-host", cassandra.address()];
        Ok(Self {
            agent: binaries::build().await?.agent,
            storage: storage.iter().map(|flag| (*flag).to_owned()).collect(),
            cassandra: cassandra.map(str::to_owned).to_vec(),
            state: state.to_owned(),
        })
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.agent
    }

    /// The arguments of a backup of the cluster `prod`.
    pub fn backup_arguments(&self, name: &str, more: &[&str]) -> Vec<String> {
        let given = more.iter().map(|flag| (*flag).to_owned());
        let mut all = self.arguments("backup", given);
        all.extend(["--name".to_owned(), name.to_owned()]);
        all.extend(self.cassandra.clone());
        all
    }

    /// Makes a backup of the cluster `prod`. Its answer is its events.
    pub async fn backup(&self, name: &str, more: &[&str]) -> Result<Ended> {
        self.run(Command::new(&self.agent).args(self.backup_arguments(name, more)))
            .await
    }

    /// Runs a command that needs no Cassandra.
    pub async fn ask(&self, command: &str, more: &[&str]) -> Result<Ended> {
        let given = more.iter().map(|flag| (*flag).to_owned());
        let arguments = self.arguments(command, given);
        self.run(Command::new(&self.agent).args(arguments)).await
    }

    /// Runs `command` to its end, as one of the agent's.
    pub async fn run(&self, command: &mut Command) -> Result<Ended> {
        ended(&command.kill_on_drop(true).output().await?)
    }

    fn arguments(&self, command: &str, given: impl Iterator<Item = String>) -> Vec<String> {
        let fixed = ["--cluster", "prod", "--output", "json", "--state-dir"];
        std::iter::once(command.to_owned())
            .chain(given)
            .chain(fixed.map(str::to_owned))
            .chain([self.state.display().to_string()])
            .chain(self.storage.clone())
            .collect()
    }
}

fn ended(output: &Output) -> Result<Ended> {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .with_context(|| format!("not JSON on standard output; on standard error: {told}"))?;
    Ok(Ended {
        code: output.status.code(),
        answer,
        told,
    })
}

impl Ended {
    /// The last value: a backup's result, or the document.
    pub fn last(&self) -> &Value {
        self.answer.last().unwrap_or(&Value::Null)
    }

    /// The reason of a backup's result.
    pub fn reason(&self) -> &str {
        self.last()["reason"].as_str().unwrap_or_default()
    }

    /// The message of a backup's result.
    pub fn message(&self) -> &str {
        self.last()["message"].as_str().unwrap_or_default()
    }

    /// The reasons of a backup's warnings.
    pub fn warnings(&self) -> Vec<&str> {
        self.answer
            .iter()
            .filter(|event| event["event"] == "warning")
            .filter_map(|event| event["reason"].as_str())
            .collect()
    }
}
