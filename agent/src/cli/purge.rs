//! `purge` and `delete`: what is not kept goes, and the data that nobody needs any more.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use manifest::BackupName;
use protocol::{ExitCode, Reason, StorageAccess};
use uuid::Uuid;

use super::purge_report;
use super::query::{self, CacheFlags, ClusterFlags, Failure, Form};
use super::spinner::Spinner;
use super::values;
use crate::expiry::{self, Done, ExpiryError};
use crate::purge::{PurgeOptions, PurgeProgress, PurgeStep};
use crate::retention::{ByName, Policy};
use crate::state::StateDirectory;

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
    /// Judge only the backups of this series; the others stay
    #[arg(long, value_name = "NAME")]
    #[arg(help_heading = "What stays, of each series and scope")]
    series: Option<String>,
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
    #[command(flatten)]
    caches: CacheFlags,
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
        let Self {
            common,
            keep,
            of,
            series,
        } = self;
        let policy = keep.policy();
        query::ask(of, async |store, cluster, access| {
            let options = common.options(&access, state_directory)?;
            let (store, series) = (store.as_ref(), series.as_deref());
            let spinner = Spinner::new();
            let told = |progress| tell(&spinner, progress);
            let done = expiry::by_policy(store, &cluster, &policy, series, options, &told).await;
            spinner.end();
            answer(common.shown(done)?.left())
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
            let options = common.options(&access, state_directory)?;
            let store = store.as_ref();
            let spinner = Spinner::new();
            let told = |progress| tell(&spinner, progress);
            let asked = ByName {
                names: &names,
                even_newest,
                runs: None,
            };
            let done = expiry::by_name(store, &cluster, asked, options, &told).await;
            spinner.end();
            answer(common.shown(done)?.left_of(&names))
        })
    }
}

/// Whether all that was to go is gone.
fn answer(left: Option<(Reason, String)>) -> Result<ExitCode, Failure> {
    match left {
        None => Ok(ExitCode::Done),
        Some((reason, message)) => Err(Failure { reason, message }),
    }
}

impl From<ExpiryError> for Failure {
    fn from(error: ExpiryError) -> Self {
        Self {
            reason: error.reason(),
            message: error.to_string(),
        }
    }
}

impl CommonFlags {
    fn options(
        &self,
        access: &StorageAccess,
        state_directory: Option<&Path>,
    ) -> Result<PurgeOptions, Failure> {
        let purge_id = Uuid::new_v4();
        let state = StateDirectory::open(state_directory, purge_id)
            .map_err(|error| Failure::usage(error.to_string()))?;
        Ok(PurgeOptions {
            purge_id,
            grace: self.grace,
            dry_run: self.dry_run,
            lifetime: self.deadline,
            concurrency: self.concurrency.into(),
            attribute_cache: self.caches.wait(access),
            ..PurgeOptions::new(state.path())
        })
    }

    /// Prints what was done, also where it failed half way.
    fn shown(&self, ended: Result<Done, ExpiryError>) -> Result<Done, Failure> {
        let done = match &ended {
            Ok(done) => Some(done),
            Err(error) => error.done(),
        };
        if let Some(done) = done {
            self.print(done)?;
        }
        ended.map_err(Failure::from)
    }

    fn print(&self, done: &Done) -> Result<(), Failure> {
        match self.output {
            Form::Json => query::print_json(&purge_report::document(done, self.dry_run)),
            Form::Text => query::print(&purge_report::text(done, self.dry_run)),
        }
    }
}

fn tell(spinner: &Spinner, progress: PurgeProgress) {
    let step = match progress.step {
        PurgeStep::Looking => "reading manifests and listing data",
        PurgeStep::Waiting => "waiting until other clients of the file system see the list",
        PurgeStep::LookingAgain => "looking again",
        PurgeStep::Deleting => "deleting",
        PurgeStep::Sweeping => "ending uploads that nobody goes on with",
    };
    spinner.tell(|| match progress.total {
        Some(total) => format!("{step}, {} of {total} objects", progress.done),
        None if progress.done > 0 => format!("{step}, {} objects", progress.done),
        None => step.to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        keep: KeepFlags,
    }

    #[test]
    fn each_rule_is_that_of_its_flag() {
        let line = "purge --keep-last 1 --keep-hourly 2 --keep-daily 3 --keep-weekly 4 --keep-monthly 5 \
                    --keep-yearly 6 --keep-within 7h --minimum-complete 8 --time-zone Europe/Berlin";
        let Line { keep } = Line::try_parse_from(line.split(' ')).unwrap();
        let expected = Policy {
            last: 1,
            hourly: 2,
            daily: 3,
            weekly: 4,
            monthly: 5,
            yearly: 6,
            within: Some(SignedDuration::from_hours(7)),
            minimum_complete: 8,
            time_zone: TimeZone::get("Europe/Berlin").unwrap(),
        };
        assert_eq!(keep.policy(), expected);

        let Line { keep } = Line::try_parse_from(["purge"]).unwrap();
        assert_eq!(keep.policy(), Policy::default());
    }
}
