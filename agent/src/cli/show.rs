//! `show`: one backup, node by node.

use std::collections::BTreeMap;

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use indicatif::HumanBytes;
use jiff::Timestamp;
use manifest::{BackupName, Sum};
use protocol::ExitCode;
use serde::Serialize;
use uuid::Uuid;

use super::list::{self, Listed};
use super::query::{self, ClusterFlags, Failure, Form};
use super::table::Table;
use crate::catalogue::{self, Backup, NodeSummary, TableSum};
use crate::read::ReadFailure;

/// Manifests that are read at the same time.
const PARALLEL: usize = 4;

#[derive(Debug, Args)]
pub(super) struct ShowFlags {
    /// The backup
    #[arg(value_name = "NAME")]
    name: BackupName,
    /// How the answer is shown
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
    #[command(flatten)]
    of: ClusterFlags,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(flatten)]
    backup: Listed,
    total: Sum,
    nodes: Vec<Node>,
    tables: Vec<TableRow>,
}

/// A node's share.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    host_id: Uuid,
    /// Why the manifest cannot be believed; then nothing else is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
    #[serde(flatten)]
    read: Option<ReadNode>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadNode {
    datacenter: String,
    rack: String,
    pod: Option<String>,
    cassandra_version: String,
    run_id: Uuid,
    snapshot_started_at: Timestamp,
    snapshot_ended_at: Timestamp,
    ring_changed: bool,
    schema_changed: bool,
    has_schema: bool,
    files: u64,
    bytes: u64,
    uploaded: Sum,
    reused: Sum,
    touched: u64,
    left_out: Vec<String>,
}

/// A table over all nodes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TableRow {
    keyspace: String,
    table: String,
    sstables: u64,
    files: u64,
    bytes: u64,
}

impl ShowFlags {
    /// Shows it. Returns the exit code.
    pub fn run(self) -> u8 {
        let Self { name, of, output } = self;
        query::ask(of, async |store, cluster, _| {
            let backup = catalogue::read_one(store.as_ref(), &cluster, &name).await?;
            let running = catalogue::running(store.as_ref(), std::slice::from_ref(&backup)).await?;
            let reads = backup.manifests.iter().map(|(node, stored)| async {
                match catalogue::summarize(store.as_ref(), &stored.key).await {
                    Ok(summary) => Ok((*node, Ok(summary))),
                    Err(ReadFailure::Store(error)) => Err(Failure::from(error)),
                    Err(damaged) => Ok((*node, Err(damaged.to_string()))),
                }
            });
            let nodes: Vec<_> = stream::iter(reads).buffered(PARALLEL).try_collect().await?;
            let shown = shown(&backup, running.contains(&name), nodes);
            match output {
                Form::Json => query::print_json(&shown)?,
                Form::Text => query::print(&text(&shown))?,
            }
            Ok(ExitCode::Done)
        })
    }
}

fn shown(backup: &Backup, running: bool, nodes: Vec<(Uuid, Result<NodeSummary, String>)>) -> Shown {
    let mut tables: BTreeMap<(String, String), TableSum> = BTreeMap::new();
    let mut total = Sum::default();
    let nodes = nodes
        .into_iter()
        .map(|(host_id, read)| match read {
            Err(why) => Node {
                host_id,
                unreadable: Some(why),
                read: None,
            },
            Ok(summary) => {
                total.files += summary.footer.files;
                total.bytes += summary.footer.bytes;
                for (table, sum) in &summary.tables {
                    *tables.entry(table.clone()).or_default() += *sum;
                }
                Node {
                    host_id,
                    unreadable: None,
                    read: Some(ReadNode::new(summary)),
                }
            }
        })
        .collect();
    let tables = tables
        .into_iter()
        .map(|((keyspace, table), sum)| TableRow {
            keyspace,
            table,
            sstables: sum.sstables,
            files: sum.files.files,
            bytes: sum.files.bytes,
        })
        .collect();
    Shown {
        backup: Listed::new(backup, running),
        total,
        nodes,
        tables,
    }
}

impl ReadNode {
    fn new(summary: NodeSummary) -> Self {
        let NodeSummary { header, footer, .. } = summary;
        Self {
            datacenter: header.node.datacenter,
            rack: header.node.rack,
            pod: header.node.pod,
            cassandra_version: header.node.cassandra_version,
            run_id: header.run_id,
            snapshot_started_at: header.snapshot.started_at,
            snapshot_ended_at: header.snapshot.ended_at,
            ring_changed: header.ring_hash.before != header.ring_hash.after,
            schema_changed: header.schema_version.before != header.schema_version.after,
            has_schema: header.schema.is_some(),
            files: footer.files,
            bytes: footer.bytes,
            uploaded: footer.uploaded,
            reused: footer.reused,
            touched: footer.touched,
            left_out: footer.left_out,
        }
    }
}

fn text(shown: &Shown) -> String {
    let bytes = |bytes: u64| HumanBytes(bytes).to_string();
    let backup = &shown.backup;
    let mut text = format!("{}\n", backup.summary());
    text.push_str(&format!(
        "total      {} files, {}\n\n",
        shown.total.files,
        bytes(shown.total.bytes)
    ));
    let mut nodes = Table::new([
        "NODE", "DC", "RACK", "POD", "VERSION", "SNAPSHOT", "FILES", "BYTES", "UPLOADED", "REUSED",
    ]);
    let mut remarks = Vec::new();
    for node in &shown.nodes {
        let host = node.host_id;
        let Some(read) = &node.read else {
            let why = node.unreadable.as_deref().unwrap_or_default();
            remarks.push(format!("{host}: the manifest cannot be believed: {why}"));
            continue;
        };
        nodes.row([
            host.to_string(),
            read.datacenter.clone(),
            read.rack.clone(),
            read.pod.clone().unwrap_or_else(|| "-".into()),
            read.cassandra_version.clone(),
            list::started(Some(read.snapshot_started_at)),
            read.files.to_string(),
            bytes(read.bytes),
            bytes(read.uploaded.bytes),
            bytes(read.reused.bytes),
        ]);
        remarks.extend(
            read.remarks()
                .into_iter()
                .map(|remark| format!("{host}: {remark}")),
        );
    }
    text.push_str(&nodes.draw());
    for host in backup.missing() {
        remarks.push(format!(
            "{host}: no manifest; its data is not in this backup"
        ));
    }
    let mut tables = Table::new(["KEYSPACE", "TABLE", "SSTABLES", "FILES", "BYTES"]);
    for table in &shown.tables {
        tables.row([
            table.keyspace.clone(),
            table.table.clone(),
            table.sstables.to_string(),
            table.files.to_string(),
            bytes(table.bytes),
        ]);
    }
    text.push('\n');
    text.push_str(&tables.draw());
    if !remarks.is_empty() {
        text.push('\n');
    }
    for remark in remarks {
        text.push_str(&format!("{remark}\n"));
    }
    text
}

impl ReadNode {
    /// What somebody who restores should know.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.ring_changed {
            remarks.push("the ring changed while it ran".into());
        }
        if self.schema_changed {
            remarks.push("the schema changed while it ran".into());
        }
        if !self.has_schema {
            remarks.push("the whole schema is missing, as CQL could not be asked".into());
        }
        for left_out in &self.left_out {
            remarks.push(format!("damaged and left out: {left_out}"));
        }
        remarks
    }
}
