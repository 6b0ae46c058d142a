//! The same, as a caller of the protocol asks for it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use indicatif::HumanBytes;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use manifest::{BackupName, ClusterId};
use protocol::{
    DeleteRequest, ExpiredBackup, NAMED_BACKUPS, Outcome, PurgeLimits, PurgeRequest, Purged,
    Reason, RetentionPolicy, StorageAccess, Tally,
};
use store::Store;
use uuid::Uuid;

use super::{Done, ExpiryError, by_name, by_policy};
use crate::catalogue::CatalogueError;
use crate::field::{self, BadField};
use crate::neighbour::{self, NoMemory};
use crate::probe::outcome;
use crate::purge::{Amount, PurgeOptions};
use crate::retention::{ByName, Policy, Verdict};
use crate::run_context::Run;
use crate::storage::{self, DeviceError};

/// Why a request is not carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error(transparent)]
    Field(#[from] BadField),
    #[error("no time zone has the name {0:?}; an example is Europe/Berlin")]
    TimeZone(String),
    #[error(transparent)]
    Memory(#[from] NoMemory),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Expiry(#[from] ExpiryError),
}

impl RequestError {
    fn reason(&self) -> Reason {
        match self {
            Self::Field(_) | Self::TimeZone(_) => Reason::InvalidRequest,
            Self::Memory(_) => Reason::OutOfMemory,
            Self::Device(_) => Reason::StorageUnsuitable,
            Self::Expiry(error) => error.reason(),
        }
    }

    /// What was done by then.
    fn done(&self) -> Option<&Done> {
        match self {
            Self::Expiry(error) => error.done(),
            _ => None,
        }
    }
}

impl From<store::Error> for RequestError {
    fn from(error: store::Error) -> Self {
        Self::Expiry(CatalogueError::from(error).into())
    }
}

/// Deletes what the request's policy does not keep.
pub async fn purge(run: &Run, request: &PurgeRequest) -> Outcome {
    let purged = async {
        let cluster = field::parse::<ClusterId>("cluster", &request.cluster)?;
        let policy = policy(&request.policy)?;
        let store = open(&request.storage, request.limits).await?;
        let options = PurgeOptions {
            dry_run: request.dry_run,
            ..options(run, request.limits, &request.storage)
        };
        let series = request.series.as_deref();
        let done = by_policy(&*store, &cluster, &policy, series, options, &|_| ()).await?;
        Ok((done.left(), done))
    };
    tell(run, request.dry_run, &request.known, purged.await)
}

/// Deletes the request's backup.
pub async fn delete(run: &Run, request: &DeleteRequest) -> Outcome {
    let deleted = async {
        let cluster = field::parse::<ClusterId>("cluster", &request.cluster)?;
        let names = [field::parse::<BackupName>("backup", &request.backup)?];
        let runs: BTreeSet<Uuid> = request.runs.iter().map(|made| made.run_id).collect();
        let asked = ByName {
            names: &names,
            even_newest: request.even_newest,
            runs: (!runs.is_empty()).then_some(&runs),
        };
        let ended = request.runs.iter().filter(|made| made.ended);
        let options = PurgeOptions {
            ended: ended.map(|made| made.run_id).collect(),
            ..options(run, request.limits, &request.storage)
        };
        let store = open(&request.storage, request.limits).await?;
        let done = by_name(&*store, &cluster, asked, options, &|_| ()).await?;
        Ok((done.left_of(&names), done))
    };
    tell(run, false, &[], deleted.await)
}

/// Opens the storage, once it is sure that it is there and that Cassandra keeps its memory.
async fn open(access: &StorageAccess, limits: PurgeLimits) -> Result<Arc<dyn Store>, RequestError> {
    // Only directories are looked after in Cassandra's own containers.
    if matches!(access, StorageAccess::File { .. }) {
        neighbour::enough_memory()?;
    }
    let store = storage::open(access).await?;
    let reached = store.reach().await?;
    if limits.require_own_device {
        storage::own_device(access, reached, [Path::new("/")])?;
    }
    Ok(store)
}

fn policy(asked: &RetentionPolicy) -> Result<Policy, RequestError> {
    let time_zone = match asked.time_zone.as_deref() {
        None => TimeZone::UTC,
        Some(name) => TimeZone::get(name).map_err(|_| RequestError::TimeZone(name.to_owned()))?,
    };
    Ok(Policy {
        last: asked.keep_last,
        hourly: asked.keep_hourly,
        daily: asked.keep_daily,
        weekly: asked.keep_weekly,
        monthly: asked.keep_monthly,
        yearly: asked.keep_yearly,
        // Longer than all time is all time.
        within: asked.keep_within_seconds.map(|seconds| {
            SignedDuration::try_from(Duration::from_secs(seconds)).unwrap_or(SignedDuration::MAX)
        }),
        minimum_complete: asked.minimum_complete,
        time_zone,
    })
}

fn options(run: &Run, limits: PurgeLimits, access: &StorageAccess) -> PurgeOptions {
    PurgeOptions {
        grace: Duration::from_secs(limits.grace_seconds),
        lifetime: Duration::from_secs(limits.deadline_seconds),
        attribute_cache: match access {
            StorageAccess::File { .. } => Duration::from_secs(limits.attribute_cache_seconds),
            _ => Duration::ZERO,
        },
        cancel: run.cancel.clone(),
        ..PurgeOptions::new(&run.state)
    }
}

type Left = Option<(Reason, String)>;

/// The outcome of what has ended so. What was deleted is told though it failed.
fn tell(
    run: &Run,
    dry_run: bool,
    known: &[String],
    ended: Result<(Left, Done), RequestError>,
) -> Outcome {
    let (left, done) = match ended {
        Ok(ended) => ended,
        Err(error) => {
            let told = |done| Box::new(purged(dry_run, known, done));
            return Outcome {
                purged: error.done().map(told),
                ..outcome(run, error.reason(), error.to_string())
            };
        }
    };
    let purged = purged(dry_run, known, &done);
    let (reason, message) = match left {
        // Cancelled, it looks the same: deletes were left out.
        Some((_, message)) if run.cancel.is_cancelled() => (Reason::Cancelled, message),
        Some(left) => left,
        None => (Reason::Succeeded, summary(&purged, &done)),
    };
    Outcome {
        purged: Some(Box::new(purged)),
        ..outcome(run, reason, message)
    }
}

/// What was done, small enough to be told.
fn purged(dry_run: bool, known: &[String], done: &Done) -> Purged {
    let report = &done.report;
    let gone: BTreeSet<&str> = report.expired.iter().map(|name| name.as_str()).collect();
    let expired = done.decisions.iter().filter_map(|decision| {
        let went = gone.contains(decision.name.as_str());
        went.then(|| ExpiredBackup {
            backup: decision.name.to_string(),
            reason: decision.verdict.reasons(),
        })
    });
    let there: BTreeSet<&str> = done
        .candidates
        .iter()
        .map(|candidate| candidate.name.as_str())
        .filter(|name| dry_run || !gone.contains(name))
        .collect();
    let kept = |verdict: &Verdict| matches!(verdict, Verdict::Keep(_));
    Purged {
        dry_run,
        expired: expired.take(NAMED_BACKUPS).collect(),
        expired_unnamed: report.expired.len().saturating_sub(NAMED_BACKUPS) as u64,
        kept: done.decisions.iter().filter(|it| kept(&it.verdict)).count() as u64,
        held: report.held.len() as u64,
        manifests: report.manifests,
        deleted: tally(report.deleted),
        young: tally(report.young),
        gone: known
            .iter()
            .filter(|name| !there.contains(name.as_str()))
            .cloned()
            .collect(),
        finished: !report.unfinished,
        unswept: report.unswept.clone(),
    }
}

fn tally(amount: Amount) -> Tally {
    Tally {
        files: amount.objects,
        bytes: amount.bytes,
    }
}

fn summary(purged: &Purged, done: &Done) -> String {
    let verb = if purged.dry_run {
        "would go"
    } else {
        "deleted"
    };
    let mut text = format!(
        "{verb}: {} backups, {} objects, {}; {} backups are kept",
        done.report.expired.len(),
        purged.deleted.files,
        HumanBytes(purged.deleted.bytes),
        purged.kept
    );
    if purged.held > 0 {
        text.push_str(&format!(
            "; {} expired ones stay for now, as a run relies on them or they changed",
            purged.held
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZoneDatabase;

    use super::*;
    use crate::purge::{PurgeError, PurgeReport};

    #[test]
    fn what_was_done_is_told_though_it_failed() {
        let run = Run::unheard(Uuid::nil(), "/nonexistent".into());
        let told = |error: ExpiryError| tell(&run, false, &["old".to_owned()], Err(error.into()));
        let plain = told(PurgeError::Cancelled.into());
        assert_eq!((plain.reason, plain.purged), (Reason::Cancelled, None));
        let amount = Amount {
            objects: 2,
            bytes: 10,
        };
        let report = PurgeReport {
            manifests: 1,
            deleted: amount,
            expired: vec!["old".parse().unwrap()],
            unfinished: true,
            ..PurgeReport::default()
        };
        let outcome = told(ExpiryError::HalfWay {
            cause: Box::new(PurgeError::Cancelled),
            done: Box::new(Done {
                candidates: Vec::new(),
                decisions: Vec::new(),
                report,
            }),
        });
        assert_eq!(outcome.reason, Reason::Cancelled);
        let purged = outcome.purged.unwrap();
        assert_eq!((purged.manifests, purged.deleted), (1, tally(amount)));
        assert_eq!(purged.gone, ["old"]);
        assert!(!purged.finished);
    }

    #[test]
    fn time_zones_are_known_where_the_machine_knows_none() {
        for name in ["Europe/Berlin", "Etc/UTC"] {
            assert!(TimeZoneDatabase::bundled().get(name).is_ok(), "{name}");
        }
    }
}
