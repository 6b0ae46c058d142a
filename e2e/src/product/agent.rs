//! The agent as a command line beside a Cassandra on the host.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::parts::binaries;
use crate::parts::cassandra::host::HostCassandra;

/// What people type, on one node, with a directory as the storage.
#[derive(Debug, Clone, Copy)]
pub struct Agent<'a> {
    /// The node.
    pub cassandra: &'a HostCassandra,
    /// The storage.
    pub root: &'a Path,
    /// Journals and caches.
    pub state: &'a Path,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Exit code.
    pub code: Option<i32>,
    /// What it told.
    pub events: Vec<Value>,
    /// Standard error.
    pub complaints: String,
}

impl Agent<'_> {
    /// Makes a backup over JMX as it is open to everybody.
    pub async fn back_up(&self, cluster: &str, name: &str, more: &[&str]) -> Result<Ended> {
        let mut flags = vec![format!("--jmx-port={}", self.cassandra.jmx_port())];
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        self.backup(cluster, name, &flags).await
    }

    /// Makes a backup; the flags say where JMX is.
    pub async fn backup(&self, cluster: &str, name: &str, flags: &[String]) -> Result<Ended> {
        let agent = binaries::build().await?.agent;
        let mut command = Command::new(agent);
        command
            .args(["backup", "--blob-storage", "file", "--output", "json"])
            .args(["--cluster", cluster, "--name", name])
            .args(["--cql-host", self.cassandra.address()])
            .arg("--filebackup-location")
            .arg(self.root)
            .arg("--state-dir")
            .arg(self.state)
            .args(flags);
        Ended::of(&mut command).await
    }
}

impl Agent<'_> {
    /// Runs a command that looks at the storage. Gives the exit code and the document.
    pub async fn ask(&self, cluster: &str, arguments: &[&str]) -> Result<(Option<i32>, Value)> {
        let agent = binaries::build().await?.agent;
        let output = Command::new(agent)
            .args(arguments)
            .args(["--blob-storage", "file", "--output", "json"])
            .args(["--cluster", cluster])
            .arg("--filebackup-location")
            .arg(self.root)
            .arg("--state-dir")
            .arg(self.state)
            .output()
            .await?;
        let document = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok((output.status.code(), document))
    }
}

impl Ended {
    /// Runs a command that prints events to its end.
    pub async fn of(command: &mut Command) -> Result<Self> {
        let output = command.output().await?;
        let text = String::from_utf8(output.stdout)?;
        let events = text.lines().map(serde_json::from_str);
        let events: Result<Vec<Value>, _> = events.collect();
        Ok(Self {
            code: output.status.code(),
            events: events.with_context(|| text.clone())?,
            complaints: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// An error that shows the result, unless it is of this exit code and reason.
    pub fn expect(&self, code: i32, reason: &str) -> Result<()> {
        let result = self.result()?;
        ensure!(
            self.code == Some(code) && result["reason"] == reason,
            "exit code {:?}, not {code} for {reason}: {result}",
            self.code
        );
        Ok(())
    }

    /// The last event.
    pub fn result(&self) -> Result<&Value> {
        self.events.last().with_context(|| self.complaints.clone())
    }

    /// The texts of all warnings for a reason.
    pub fn warnings(&self, reason: &str) -> Vec<&str> {
        let of_reason = |event: &&Value| event["event"] == "warning" && event["reason"] == reason;
        let warnings = self.events.iter().filter(of_reason);
        warnings
            .filter_map(|event| event["message"].as_str())
            .collect()
    }
}
