//! `check`: what works and what does not.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use manifest::ClusterId;
use protocol::{ExitCode, Reason};
use serde_json::{Value, json};
use uuid::Uuid;

use super::cassandra::CassandraFlags;
use super::query::{self, ClusterFlags, Failure, Form};
use super::table::Table;
use crate::check::{self, Check, State};
use crate::state::StateDirectory;

const EXAMPLES: &str = "\
Examples:
  Beside Cassandra, as a backup would run:
    cassandra-backup check --cluster prod --blob-storage s3 --bucket backups

  The storage alone, from anywhere:
    cassandra-backup check --no-cassandra --cluster prod --blob-storage s3 --bucket backups

One small object is written below <cluster>/manifests/.probe, and deleted if that is allowed.
The exit code is 0 if backups would work, else that of the first line that says FAILS.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckFlags {
    /// Look at the storage only
    #[arg(long)]
    no_cassandra: bool,
    /// How the answer is shown
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
    #[command(flatten)]
    of: ClusterFlags,
    #[command(flatten)]
    cassandra: CassandraFlags,
}

impl CheckFlags {
    /// Looks. Returns the exit code.
    pub fn run(self, state_directory: Option<&Path>) -> u8 {
        query::answer(async {
            let checks = self.look(state_directory).await?;
            match self.output {
                Form::Json => query::print_json(&document(&self.of.cluster, &checks))?,
                Form::Text => query::print(&text(&checks))?,
            }
            match check::verdict(&checks) {
                Reason::Succeeded => Ok(ExitCode::Done),
                reason => Err(Failure {
                    reason,
                    message: "backups would fail here".into(),
                }),
            }
        })
    }

    async fn look(&self, state_directory: Option<&Path>) -> Result<Vec<Check>, Failure> {
        let access = self.of.storage.access().map_err(Failure::usage)?;
        let mut checks = check::storage(&access, &self.of.cluster).await;
        if !self.no_cassandra {
            let jmx = self.cassandra.jmx().map_err(Failure::usage)?;
            let cql = self.cassandra.cql().map_err(Failure::usage)?;
            let state = StateDirectory::open(state_directory, Uuid::new_v4())
                .map_err(|error| Failure::usage(error.to_string()))?;
            checks.extend(check::cassandra(&jmx, &cql, Some(&access), state.path()).await);
        }
        Ok(checks)
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Works => "ok",
        State::Warning => "warning",
        State::Fails => "FAILS",
    }
}

fn text(checks: &[Check]) -> String {
    let mut table = Table::new(["CHECK", "STATE", "WHAT WAS SEEN"]);
    for check in checks {
        let state = word(check.state).to_owned();
        table.row([check.what.to_owned(), state, check.detail.clone()]);
    }
    table.draw()
}

fn document(cluster: &ClusterId, checks: &[Check]) -> Value {
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "check": check.what,
                "state": match check.state {
                    State::Works => "Works", State::Warning => "Warning", State::Fails => "Fails",
                },
                "reason": check.reason,
                "detail": check.detail,
            })
        })
        .collect();
    json!({ "cluster": cluster, "at": Timestamp::now(), "checks": checks })
}
