//! `restore`: rows into a cluster that is up, or a node's files back where they were.

mod offline;
mod online;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use indicatif::HumanBytes;
use jiff::{SignedDuration, Timestamp};
use protocol::Reason;
use uuid::Uuid;

use super::cassandra::CassandraFlags;
use super::query::{ClusterFlags, Failure, Form};
use super::values;
use crate::neighbour;
use crate::restore::online::{Mode, OnlineError, Rename, Step};
use crate::restore::{RestoreError, Seen, TableName, Which};
use crate::state::StateDirectory;

/// Tombstones live so long where nobody says otherwise: `gc_grace_seconds`.
const GRACE: SignedDuration = SignedDuration::from_hours(240);

const EXAMPLES: &str = "\
Examples:
  What would be done to bring one table back into the cluster that this node belongs to:
    cassandra-backup restore --dry-run --mode merge --backup latest --tables shop.orders \\
      --cluster prod --blob-storage s3 --bucket backups

  A table beside the one that is there, to compare the two:
    cassandra-backup restore --mode merge --backup before=2026-11-26T03:00:00Z \\
      --rename shop.orders=shop.orders_before --cluster prod --blob-storage s3 --bucket backups

  A whole backup into a ring of several nodes, also of other size or tokens: once on one node,
  then on each of them, then once on one:
    cassandra-backup restore --mode replace --step prepare --backup nightly-1 …
    cassandra-backup restore --mode replace --step load --backup nightly-1 …
    cassandra-backup restore --mode replace --step finish --backup nightly-1 …

  Whether a backup can be restored, in a Cassandra of one node that is there for nothing else:
    cassandra-backup restore --mode rehearse --backup latest --cluster prod \\
      --blob-storage s3 --bucket backups

  A node that lost its disk, on its machine, with Cassandra down:
    cassandra-backup restore --offline --backup latest --host-id 8d5ed9f4-… \\
      --cluster prod --blob-storage s3 --bucket backups

A restore that was cut off goes on when the same command is given again.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("node").args(["host_id", "pod"]).requires("offline")))]
pub(super) struct RestoreFlags {
    /// The backup: its name, or the newest, or the newest before a time, such as
    /// before=2026-11-26T03:00:00Z
    #[arg(long, value_name = "NAME|latest|before=TIME")]
    backup: Which,
    /// What becomes of rows that are there. A merge cannot bring back what a later DELETE or UPDATE
    /// covers; replace takes a snapshot and truncates the tables first
    #[arg(long, value_enum, required_unless_present = "offline")]
    mode: Option<ModeFlag>,
    /// What is done of it: all of it in a ring of one node; else prepare on one node, load on each,
    /// finish on one
    #[arg(long, value_enum, default_value_t = StepFlag::All)]
    step: StepFlag,
    /// Only these keyspaces [default: all but Cassandra's own; system_auth where it is named]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    keyspaces: Vec<String>,
    /// Only these tables, as keyspace.table
    #[arg(long, value_name = "K.T,…", value_delimiter = ',')]
    tables: Vec<TableName>,
    /// Tables that come under another name; only these, unless others are named
    #[arg(long, value_name = "K.T=K2.T2,…", value_delimiter = ',')]
    rename: Vec<Rename>,
    /// Bytes per second that are fetched, such as 100MiB [default: no limit]
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    bandwidth: Option<u64>,
    /// Bytes that are staged before each import, such as 4GiB [default: an eighth of what is free,
    /// from 1 to 64 GiB]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    batch: Option<u64>,
    /// Go on where nodes of the backup have no manifest: writes that only they had are missing
    #[arg(long)]
    allow_degraded: bool,
    /// Begin anew, whatever was begun on this node: prepare empties again, and another restore that did
    /// not end is given up. What that has imported counts as rows that were there
    #[arg(long)]
    anew: bool,
    /// Into the empty data directories of one node instead, while Cassandra is down
    #[arg(long)]
    #[arg(conflicts_with_all = ["mode", "step", "keyspaces", "tables", "rename", "allow_degraded", "anew", "bandwidth", "batch"])]
    offline: bool,
    /// offline: the node, by Cassandra's host id; not needed where a backup has one node
    #[arg(long, value_name = "ID")]
    host_id: Option<Uuid>,
    /// offline: the node, by the pod that it ran in
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// offline: where the files come, in the order of the node's data directories
    /// [default: where they were]
    #[arg(
        long,
        value_name = "DIR,…",
        value_delimiter = ',',
        requires = "offline"
    )]
    data_directory: Vec<PathBuf>,
    /// Files fetched at the same time, at most 8
    #[arg(long, value_name = "N", default_value_t = crate::restore::CONCURRENCY)]
    // A read of a directory holds one of 16 threads for work that blocks, and writes need some, too.
    #[arg(value_parser = clap::value_parser!(u16).range(1..=8))]
    concurrency: u16,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// How the answer is shown
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
    #[command(flatten)]
    of: ClusterFlags,
    #[command(flatten)]
    cassandra: CassandraFlags,
}

/// What becomes of rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeFlag {
    /// They stay, and the newer write counts
    Merge,
    /// They go, after a snapshot
    Replace,
    /// There are none: the node is there for nothing else, and what it then has is compared with what
    /// the backup recorded
    Rehearse,
}

/// What is done of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StepFlag {
    /// All of it, in a ring of one node
    All,
    /// The schema, and the truncation of replace
    Prepare,
    /// The import into this node
    Load,
    /// Indexes and views
    Finish,
}

impl From<ModeFlag> for Mode {
    fn from(flag: ModeFlag) -> Self {
        match flag {
            ModeFlag::Merge => Self::Merge,
            ModeFlag::Replace => Self::Replace,
            ModeFlag::Rehearse => Self::Rehearse,
        }
    }
}

impl From<StepFlag> for Step {
    fn from(flag: StepFlag) -> Self {
        match flag {
            StepFlag::All => Self::All,
            StepFlag::Prepare => Self::Prepare,
            StepFlag::Load => Self::Load,
            StepFlag::Finish => Self::Finish,
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        Self {
            reason: error.reason(),
            message: crate::chain(&error),
        }
    }
}

impl From<OnlineError> for Failure {
    fn from(error: OnlineError) -> Self {
        Self {
            reason: error.reason(),
            message: crate::chain(&error),
        }
    }
}

impl RestoreFlags {
    /// Restores. Returns the exit code.
    pub fn run(self, state_directory: Option<&Path>) -> u8 {
        match (self.offline, self.mode) {
            (false, Some(mode)) => online::run(self, mode.into(), state_directory),
            _ => offline::run(self, state_directory),
        }
    }
}

/// Root becomes whoever owns the data: what it writes must be Cassandra's.
fn become_owner(
    data: &Path,
    owner: Option<u32>,
    state_directory: Option<&Path>,
) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() || owner == Some(0) {
        return Ok(());
    }
    let failed = |message: String| Failure {
        reason: Reason::Failed,
        message,
    };
    let state = StateDirectory::open(state_directory, Uuid::new_v4());
    let state = state.map_err(|error| failed(error.to_string()))?;
    let became = neighbour::become_owner_of(data, state.path());
    became.map_err(|error| failed(error.to_string())).map(drop)
}

/// How far a restore of so many files and bytes is.
fn progress(seen: Seen, files: u64, bytes: u64, began: Instant) -> String {
    let seconds = began.elapsed().as_secs_f64().max(0.1);
    format!(
        "{} of {}, {} of {files} files, {}/s",
        HumanBytes(seen.bytes),
        HumanBytes(bytes),
        seen.files,
        HumanBytes((seen.bytes as f64 / seconds) as u64)
    )
}

/// What is to be known of what was taken so long ago, and of what was damaged then.
fn warnings(taken: Option<Timestamp>, left_out: &[String]) -> String {
    let mut text = String::new();
    let age = taken.map(|taken| Timestamp::now().duration_since(taken));
    if age.is_some_and(|age| age > GRACE) {
        text.push_str("the backup is older than ten days, Cassandra's default of gc_grace_seconds: rows that were deleted since may come back, see docs/restore.md\n");
    }
    for left_out in left_out {
        text.push_str(&format!(
            "{left_out} was damaged and is not in the backup\n"
        ));
    }
    text
}
