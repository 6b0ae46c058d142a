//! `restore`: a node's files, back where they were.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use indicatif::{HumanBytes, HumanDuration};
use jiff::{SignedDuration, Timestamp};
use protocol::{ExitCode, Reason};
use serde_json::{Value, json};
use uuid::Uuid;

use super::list;
use super::query::{self, ClusterFlags, Failure, Form};
use super::spinner::Spinner;
use crate::neighbour;
use crate::restore::{self, Done, Node, Plan, RestoreError, Seen, Which};
use crate::serve::note;
use crate::state::StateDirectory;

/// Tombstones live so long where nobody says otherwise: `gc_grace_seconds`.
const GRACE: SignedDuration = SignedDuration::from_hours(240);

const EXAMPLES: &str = "\
Examples:
  What would be done, on the machine of a node that lost its disk, with Cassandra down:
    cassandra-backup restore --offline --dry-run --backup latest --host-id 8d5ed9f4-… \\
      --cluster prod --blob-storage s3 --bucket backups

  The node that ran in a pod, in a helper pod that mounts its volume:
    cassandra-backup restore --offline --backup nightly-1 --pod db-2 \\
      --data-directory /var/lib/cassandra/data --cluster prod \\
      --blob-storage file --filebackup-location /backup

The node gets its host id, its tokens and its rows, and starts by itself: no bootstrap, no
streaming. What was written since the backup comes from the other replicas by a repair. A restore
that was cut off goes on when the same command is given again.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("node").args(["host_id", "pod"])))]
pub(super) struct RestoreFlags {
    /// Into the empty data directories of one node, while Cassandra is down (the only way so far)
    #[arg(long, required = true)]
    offline: bool,
    /// The backup: its name, or the newest, or the newest before a time, such as
    /// before=2026-11-26T03:00:00Z
    #[arg(long, value_name = "NAME|latest|before=TIME")]
    backup: Which,
    /// The node, by Cassandra's host id; not needed where a backup has one node
    #[arg(long, value_name = "ID")]
    host_id: Option<Uuid>,
    /// The node, by the pod that it ran in
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// Where the files come, in the order of the node's data directories [default: where they were]
    #[arg(long, value_name = "DIR,…", value_delimiter = ',')]
    data_directory: Vec<PathBuf>,
    /// Files fetched at the same time, at most 8
    #[arg(long, value_name = "N", default_value_t = 4)]
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
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        Self {
            reason: error.reason(),
            message: crate::chain(&error),
        }
    }
}

impl RestoreFlags {
    /// Restores. Returns the exit code.
    pub fn run(self, state_directory: Option<&Path>) -> u8 {
        let Self {
            backup,
            host_id,
            pod,
            data_directory,
            concurrency,
            dry_run,
            output,
            of,
            ..
        } = self;
        let node = match (host_id, pod) {
            (Some(id), _) => Node::HostId(id),
            (None, Some(pod)) => Node::Pod(pod),
            (None, None) => Node::Only,
        };
        query::ask(of, async |store, cluster, _| {
            let store = store.as_ref();
            let chosen = restore::choose(store, &cluster, &backup, &node).await?;
            let plan = restore::plan(store, chosen, data_directory).await?;
            if !dry_run {
                become_owner(&plan, state_directory)?;
            }
            note!("{}", sentence(&plan, dry_run));
            let began = Instant::now();
            let done = if dry_run {
                None
            } else {
                let spinner = Spinner::new();
                let seen = |seen: Seen| spinner.tell(|| progress(seen, &plan, began));
                let at_once = concurrency.into();
                let warn = |why: String| note!("warning: {why}");
                let done = restore::restore(store, &cluster, &plan, at_once, &seen, &warn);
                let done = done.await;
                spinner.end();
                Some(done?)
            };
            match output {
                Form::Json => query::print_json(&document(&plan, done))?,
                Form::Text => query::print(&text(&plan, done, began))?,
            }
            Ok(ExitCode::Done)
        })
    }
}

/// Root becomes whoever owns the data: what it writes must be Cassandra's.
fn become_owner(plan: &Plan, state_directory: Option<&Path>) -> Result<(), Failure> {
    let Some(directory) = plan.directories().first() else {
        return Ok(());
    };
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if plan.owner()? == Some(0) {
        note!(
            "{} belongs to root, and so will all that is restored: if Cassandra runs as another user, give it to that user before Cassandra is started",
            directory.display()
        );
        return Ok(());
    }
    let failed = |message: String| Failure {
        reason: Reason::Failed,
        message,
    };
    let state = StateDirectory::open(state_directory, Uuid::new_v4());
    let state = state.map_err(|error| failed(error.to_string()))?;
    let became = neighbour::become_owner_of(directory, state.path());
    became.map_err(|error| failed(error.to_string())).map(drop)
}

fn sentence(plan: &Plan, dry_run: bool) -> String {
    let chosen = &plan.chosen;
    let pod = chosen.pod.as_ref().map(|pod| format!(" (pod {pod})"));
    format!(
        "{}{} node {}{} from backup {}, taken {}: {} tables, {} files, {}",
        if dry_run { "would restore" } else { "restores" },
        if plan.resumes { ", going on with," } else { "" },
        chosen.host_id,
        pod.unwrap_or_default(),
        chosen.backup,
        list::started(Some(chosen.taken)),
        plan.tables,
        plan.files,
        HumanBytes(plan.bytes)
    )
}

fn progress(seen: Seen, plan: &Plan, began: Instant) -> String {
    let seconds = began.elapsed().as_secs_f64().max(0.1);
    format!(
        "{} of {}, {} of {} files, {}/s",
        HumanBytes(seen.bytes),
        HumanBytes(plan.bytes),
        seen.files,
        plan.files,
        HumanBytes((seen.bytes as f64 / seconds) as u64)
    )
}

fn text(plan: &Plan, done: Option<Done>, began: Instant) -> String {
    let mut text = String::new();
    let age = Timestamp::now().duration_since(plan.chosen.taken);
    if age > GRACE {
        text.push_str("the backup is older than ten days, Cassandra's default of gc_grace_seconds: rows that were deleted since may come back, see docs/restore.md\n");
    }
    for left_out in &plan.left_out {
        text.push_str(&format!(
            "{left_out} was damaged and is not in the backup\n"
        ));
    }
    let directories: Vec<_> = plan
        .directories()
        .iter()
        .map(|it| it.display().to_string())
        .collect();
    let directories = directories.join(", ");
    match done {
        None => text.push_str(&format!("nothing was changed; the files would come to {directories}\n")),
        Some(Done { fetched, kept }) => text.push_str(&format!(
            "{fetched} files were fetched in {}, {kept} were there already, in {directories}\n\
             Start Cassandra with the configuration that the node had (cluster_name, num_tokens, datacenter and rack). \
             When it is up, run `nodetool repair --full` for what was written since the backup.\n",
            HumanDuration(began.elapsed())
        )),
    }
    text
}

fn document(plan: &Plan, done: Option<Done>) -> Value {
    let chosen = &plan.chosen;
    json!({
        "backup": chosen.backup, "hostId": chosen.host_id, "pod": chosen.pod,
        "snapshotStartedAt": chosen.taken, "dataDirectories": plan.directories(),
        "tables": plan.tables, "files": plan.files, "bytes": plan.bytes, "leftOut": plan.left_out,
        "resumed": plan.resumes, "dryRun": done.is_none(),
        "fetchedFiles": done.map(|done| done.fetched), "keptFiles": done.map(|done| done.kept),
    })
}
