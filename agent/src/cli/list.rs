//! `list`: the backups of a cluster.

use clap::Args;
use jiff::Timestamp;
use manifest::Scope;
use protocol::ExitCode;
use serde::Serialize;
use uuid::Uuid;

use super::query::{self, ClusterFlags, Form};
use super::table::Table;
use crate::catalogue::{self, Backup, Completeness, Headers};

#[derive(Debug, Args)]
pub(super) struct ListFlags {
    /// Only backups of this series; an empty one means backups without a series
    #[arg(long, value_name = "NAME")]
    series: Option<String>,
    /// How the answer is shown
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
    #[command(flatten)]
    of: ClusterFlags,
}

/// A backup as `list` and `show` tell it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    name: String,
    series: Option<String>,
    scope: Option<Scope>,
    state: State,
    started_at: Option<Timestamp>,
    committed_nodes: usize,
    /// None where no header can be believed.
    expected_nodes: Option<usize>,
    missing_host_ids: Vec<Uuid>,
}

/// What became of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) enum State {
    /// Every node that belongs to it has a manifest.
    Complete,
    /// Nodes are missing, and one may be at work.
    Running,
    /// Nodes are missing, and none is at work.
    Incomplete,
    /// No manifest can be believed.
    Unreadable,
}

impl State {
    /// Of a backup, of which an attempt may be at work or not.
    pub fn of(backup: &Backup, running: bool) -> Self {
        match backup.completeness() {
            Completeness::Complete => Self::Complete,
            _ if running => Self::Running,
            Completeness::Missing(_) => Self::Incomplete,
            Completeness::Unknown if backup.manifests.is_empty() => Self::Incomplete,
            Completeness::Unknown => Self::Unreadable,
        }
    }
}

impl Listed {
    /// Of a backup, of which an attempt may be at work or not.
    pub fn new(backup: &Backup, running: bool) -> Self {
        let missing = match backup.completeness() {
            Completeness::Missing(nodes) => nodes.into_iter().collect(),
            Completeness::Complete | Completeness::Unknown => Vec::new(),
        };
        let known = !backup.headers.is_empty();
        Self {
            name: backup.name.to_string(),
            series: backup.series().map(str::to_owned),
            scope: backup.scope().cloned(),
            state: State::of(backup, running),
            started_at: backup.started(),
            committed_nodes: backup.manifests.len(),
            expected_nodes: known.then(|| backup.expected().len()),
            missing_host_ids: missing,
        }
    }

    /// What it is, a line a fact.
    pub fn summary(&self) -> String {
        let rows = [
            ("backup", self.name.clone()),
            ("series", self.series.clone().unwrap_or_else(|| "-".into())),
            ("scope", self.scope.as_ref().map(scope).unwrap_or_default()),
            ("state", format!("{:?}", self.state)),
            ("nodes", self.nodes()),
            ("started", started(self.started_at)),
        ];
        let lines = rows.map(|(name, value)| format!("{name:<10} {value}"));
        lines.join("\n")
    }

    /// Nodes that belong to it and have no manifest.
    pub fn missing(&self) -> &[Uuid] {
        &self.missing_host_ids
    }

    fn nodes(&self) -> String {
        match self.expected_nodes {
            Some(expected) => format!("{}/{expected}", self.committed_nodes),
            None => format!("{}/?", self.committed_nodes),
        }
    }
}

impl ListFlags {
    /// Lists them. Returns the exit code.
    pub fn run(self) -> u8 {
        let Self { of, series, output } = self;
        query::ask(of, async |store, cluster, _| {
            let backups = catalogue::read(store.as_ref(), &cluster, Headers::One).await?;
            let running = catalogue::running(store.as_ref(), &backups).await?;
            let listed: Vec<Listed> = backups
                .iter()
                .map(|backup| Listed::new(backup, running.contains(&backup.name)))
                .filter(|listed| match series.as_deref() {
                    None => true,
                    Some(wanted) => listed.series.as_deref().unwrap_or_default() == wanted,
                })
                .collect();
            match output {
                Form::Json => query::print_json(&serde_json::json!({ "backups": listed }))?,
                Form::Text if listed.is_empty() => {
                    query::print(&format!("no backup of {cluster} in {}\n", store.name()))?;
                }
                Form::Text => query::print(&table(&listed))?,
            }
            Ok(ExitCode::Done)
        })
    }
}

fn table(listed: &[Listed]) -> String {
    let mut table = Table::new(["NAME", "SERIES", "STATE", "NODES", "STARTED", "SCOPE"]);
    for backup in listed {
        table.row([
            backup.name.clone(),
            backup.series.clone().unwrap_or_else(|| "-".into()),
            format!("{:?}", backup.state),
            backup.nodes(),
            started(backup.started_at),
            backup.scope.as_ref().map(scope).unwrap_or_default(),
        ]);
    }
    table.draw()
}

/// A time for people.
pub(super) fn started(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".into(), |time| time.strftime("%F %T UTC").to_string())
}

/// A scope for people.
pub(super) fn scope(scope: &Scope) -> String {
    let mut parts = Vec::new();
    if !scope.keyspaces.is_empty() {
        parts.push(scope.keyspaces.join(","));
    }
    if !scope.tables.is_empty() {
        parts.push(scope.tables.join(","));
    }
    if !scope.datacenters.is_empty() {
        parts.push(format!("in {}", scope.datacenters.join(",")));
    }
    if parts.is_empty() {
        "all".into()
    } else {
        parts.join(" ")
    }
}
