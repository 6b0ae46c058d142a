//! `purge` and `delete`: what is not kept goes, and the data that nobody needs any more.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use manifest::{BackupName, ClusterId};
use protocol::{ExitCode, Reason, StorageAccess};
use serde_json::{Value, json};
use store::Store;
use uuid::Uuid;

use super::query::{self, ClusterFlags, Failure, Form};
use super::table::Table;
use super::{list, values};
use crate::catalogue::{self, Headers};
use crate::purge::{
    self, Amount, Catalogue, PurgeError, PurgeOptions, PurgeProgress, PurgeReport, PurgeStep,
};
use crate::retention::{self, Candidate, Decision, Policy, Refused, Verdict};
use crate::serve::note;
use crate::state::StateDirectory;
use crate::storage;

const PURGE_EXAMPLES: &str = "\
Examples:
  What would go, and why, with a week of days and a year of months:
    cassandra-backup purge --dry-run --keep-daily 7 --keep-monthly 12 --cluster prod \\
      --blob-storage s3 --bucket backups

  Only data that no backup needs:
    cassandra-backup purge --cluster prod --blob-storage file --filebackup-location /backup

Rules are restic's, for each series and scope alone; a backup stays if any rule keeps it. Without a
rule every backup stays. The newest complete backup of each series and scope is never deleted. Run
it with an identity that may delete, outside the Cassandra pods; backups may run meanwhile.";

const DELETE_EXAMPLES: &str = "\
Example:
  cassandra-backup delete before-upgrade --cluster prod --blob-storage s3 --bucket backups

Data that other backups need stays. So does data younger than --grace: the next purge takes it.";

#[derive(Debug, Args)]
#[command(after_help = PURGE_EXAMPLES)]
pub(super) struct PurgeFlags {
    #[command(flatten)]
    common: CommonFlags,
    #[command(flatten)]
    of: ClusterFlags,
    #[command(flatten)]
    keep: KeepFlags,
}

#[derive(Debug, Args)]
#[command(after_help = DELETE_EXAMPLES)]
pub(super) struct DeleteFlags {
    /// The backups to delete
    #[arg(value_name = "NAME", required = true)]
    names: Vec<BackupName>,
    /// Delete it even if it is the newest complete backup of its series and scope
    #[arg(long)]
    even_newest: bool,
    #[command(flatten)]
    common: CommonFlags,
    #[command(flatten)]
    of: ClusterFlags,
}

#[derive(Debug, Args)]
struct CommonFlags {
    /// Say what would go and why, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave data alone that is younger than this, whether a backup needs it or not
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "24h")]
    grace: Duration,
    /// Give up after this time
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "6h")]
    deadline: Duration,
    /// Requests at the same time
    #[arg(long, value_name = "N", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// file: how long other clients of the file system believe what they cached (acdirmax of NFS)
    /// [default: 60s on network file systems, else 0s]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    attribute_cache: Option<Duration>,
    /// How the answer is shown
    #[arg(long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What stays, of each series and scope")]
struct KeepFlags {
    /// The last N backups
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_last: u32,
    /// The last backup of each of the newest N hours that have one
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_hourly: u32,
    /// The same by days
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_daily: u32,
    /// The same by weeks, from Monday
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_weekly: u32,
    /// The same by months
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_monthly: u32,
    /// The same by years
    #[arg(long, value_name = "N", default_value_t = 0)]
    keep_yearly: u32,
    /// All that are not older than the newest by more than this, such as 30d
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    keep_within: Option<Duration>,
    /// At least this many complete backups, whatever the rules say
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    minimum_complete: u32,
    /// Whose midnight divides days, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", value_parser = time_zone, default_value = "UTC")]
    time_zone: TimeZone,
}

fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .map_err(|_| "no time zone has this name; an example is Europe/Berlin".into())
}

impl KeepFlags {
    fn policy(self) -> Policy {
        let within = self.keep_within.map(|within| {
            // Longer than all time is all time.
            SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX)
        });
        Policy {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within,
            minimum_complete: self.minimum_complete,
            time_zone: self.time_zone,
        }
    }
}

impl PurgeFlags {
    /// Purges. Returns the exit code.
    pub fn run(self, state_directory: Option<&Path>) -> u8 {
        let Self { common, keep, of } = self;
        let policy = keep.policy();
        query::ask(of, async |store, cluster, access| {
            let decide = |candidates: &[Candidate]| retention::decide(candidates, &policy);
            purge(
                store.as_ref(),
                &cluster,
                &common,
                &access,
                state_directory,
                &decide,
            )
            .await
        })
    }
}

impl DeleteFlags {
    /// Deletes. Returns the exit code.
    pub fn run(self, state_directory: Option<&Path>) -> u8 {
        let Self {
            names,
            even_newest,
            common,
            of,
        } = self;
        query::ask(of, async |store, cluster, access| {
            let store = store.as_ref();
            let backups = catalogue::read(store, &cluster, Headers::All).await?;
            let running = catalogue::running(store, &backups).await?;
            let there = retention::listed(&backups, &running);
            retention::named(&there, &names, even_newest)?;
            // What can no longer go when the purge looks stays.
            let decide = |candidates: &[Candidate]| {
                retention::named(candidates, &names, even_newest).unwrap_or_default()
            };
            purge(store, &cluster, &common, &access, state_directory, &decide).await
        })
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let reason = match &refused {
            Refused::NotThere(_) => Reason::BackupNotFound,
            Refused::Newest(_) => Reason::InvalidRequest,
            Refused::Running(_) => Reason::Locked,
        };
        Self {
            reason,
            message: refused.to_string(),
        }
    }
}

impl From<PurgeError> for Failure {
    fn from(error: PurgeError) -> Self {
        Self {
            reason: error.reason(),
            message: error.to_string(),
        }
    }
}

/// What the first look of a purge led to.
struct Decided {
    candidates: Vec<Candidate>,
    decisions: Vec<Decision>,
}

async fn purge(
    store: &dyn Store,
    cluster: &ClusterId,
    flags: &CommonFlags,
    access: &StorageAccess,
    state_directory: Option<&Path>,
    decide: &(dyn Fn(&[Candidate]) -> Vec<Decision> + Send + Sync),
) -> Result<ExitCode, Failure> {
    let purge_id = Uuid::new_v4();
    let state = StateDirectory::open(state_directory, purge_id)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let options = PurgeOptions {
        purge_id,
        grace: flags.grace,
        dry_run: flags.dry_run,
        lifetime: flags.deadline,
        concurrency: flags.concurrency.into(),
        attribute_cache: flags
            .attribute_cache
            .unwrap_or_else(|| storage::attribute_cache(access)),
        ..PurgeOptions::new(state.path())
    };
    let first = OnceLock::new();
    let expired = |catalogue: &Catalogue| {
        let candidates = retention::candidates(catalogue);
        let decisions = decide(&candidates);
        let names = decisions
            .iter()
            .filter(|decision| matches!(decision.verdict, Verdict::Expire(_)))
            .map(|decision| decision.name.clone())
            .collect();
        first.get_or_init(|| Decided {
            candidates,
            decisions,
        });
        names
    };
    let looking = Looking::new();
    let told = |progress| looking.tell(progress);
    let report = purge::purge(store, cluster, &expired, options, &told).await;
    looking.end();
    let report = report?;
    let decided = first.into_inner().unwrap_or(Decided {
        candidates: Vec::new(),
        decisions: Vec::new(),
    });
    match flags.output {
        Form::Json => query::print_json(&document(flags.dry_run, &decided, &report))?,
        Form::Text => query::print(&text(flags.dry_run, &decided, &report))?,
    }
    if report.unfinished {
        return Err(Failure {
            reason: Reason::DeadlineExceeded,
            message: "some of what is to go is left for the next purge".into(),
        });
    }
    Ok(ExitCode::Done)
}

/// Progress on a terminal; elsewhere a line when a step begins.
struct Looking {
    bar: Option<ProgressBar>,
    step: Mutex<Option<PurgeStep>>,
}

impl Looking {
    fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            bar,
            step: Mutex::new(None),
        }
    }

    fn tell(&self, progress: PurgeProgress) {
        let step = match progress.step {
            PurgeStep::Looking => "reading manifests and listing data",
            PurgeStep::Waiting => "waiting until other clients of the file system see the list",
            PurgeStep::LookingAgain => "looking again",
            PurgeStep::Deleting => "deleting",
            PurgeStep::Sweeping => "ending uploads that nobody goes on with",
        };
        if let Some(bar) = &self.bar {
            let total = progress.total.map(|total| format!(" of {total}"));
            let total = total.unwrap_or_default();
            bar.set_message(format!("{step}, {}{total} objects", progress.done));
            return;
        }
        let mut told = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        if told.replace(progress.step) != Some(progress.step) {
            note!("{step}");
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn verdict(decision: &Decision) -> &'static str {
    match decision.verdict {
        Verdict::Keep(_) => "keep",
        Verdict::Expire(_) => "expire",
    }
}

fn text(dry_run: bool, decided: &Decided, report: &PurgeReport) -> String {
    let mut table = Table::new(["NAME", "SERIES", "STATE", "STARTED", "VERDICT", "BECAUSE"]);
    for decision in &decided.decisions {
        let of = |it: &&Candidate| it.name == decision.name;
        let Some(candidate) = decided.candidates.iter().find(of) else {
            continue;
        };
        table.row([
            decision.name.to_string(),
            candidate.series.clone().unwrap_or_else(|| "-".into()),
            format!("{:?}", candidate.state),
            list::started(Some(candidate.started)),
            verdict(decision).into(),
            decision.verdict.reasons(),
        ]);
    }
    let objects =
        |amount: Amount| format!("{} objects, {}", amount.objects, HumanBytes(amount.bytes));
    let done = if dry_run { "would go" } else { "deleted" };
    let mut lines = vec![(
        done,
        format!(
            "{} backups, {}",
            report.expired.len(),
            objects(report.deleted)
        ),
    )];
    let mut more = |name, count: u64, what: &str| {
        if count > 0 {
            lines.push((name, format!("{count} {what}")));
        }
    };
    more(
        "young",
        report.young.objects,
        "objects that no backup needs are younger than --grace: a later purge takes them",
    );
    more("spared", report.spared, "objects are needed again");
    more(
        "held",
        report.held.len() as u64,
        "expired backups stay, as a run relies on them or they changed",
    );
    more("intents", report.intents, "of ended runs");
    more("lists", report.condemned_lists, "of crashed purges");
    more("uploads", report.uploads, "incomplete ones ended");
    more("others", report.other_purges, "other purges are at work");
    let mut text = table.draw();
    text.push('\n');
    for (name, value) in lines {
        text.push_str(&format!("{name:<10} {value}\n"));
    }
    text
}

fn document(dry_run: bool, decided: &Decided, report: &PurgeReport) -> Value {
    let decisions: Vec<Value> = decided
        .decisions
        .iter()
        .map(|decision| {
            let reasons: Vec<String> = match &decision.verdict {
                Verdict::Keep(reasons) => reasons.iter().map(ToString::to_string).collect(),
                Verdict::Expire(reason) => vec![reason.to_string()],
            };
            json!({"backup": decision.name, "verdict": verdict(decision), "reasons": reasons})
        })
        .collect();
    let amount = |amount: Amount| json!({"objects": amount.objects, "bytes": amount.bytes});
    json!({
        "dryRun": dry_run, "decisions": decisions,
        "expired": report.expired, "held": report.held,
        "manifests": report.manifests, "deleted": amount(report.deleted),
        "young": amount(report.young), "spared": report.spared, "intents": report.intents,
        "condemnedLists": report.condemned_lists, "uploads": report.uploads,
        "otherPurges": report.other_purges, "finished": !report.unfinished,
    })
}
