//! Deletes backups by rules or by name: what the commands `purge` and `delete` and the requests of
//! the same names have in common.

mod request;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::SystemTime;

use jiff::Timestamp;
use manifest::{BackupName, ClusterId};
use protocol::Reason;
use store::Store;
use uuid::Uuid;

pub use request::{delete, purge};

use crate::catalogue::{self, CatalogueError, Headers};
use crate::chain;
use crate::lease::MARGIN;
use crate::purge::{self as sweep, Catalogue, PurgeError, PurgeOptions, PurgeReport, Told};
use crate::retention::{self, ByName, Candidate, Decision, Policy, Refused, Verdict};

/// Why it ended early. But for [`ExpiryError::HalfWay`], nothing is known to be deleted.
#[derive(Debug, thiserror::Error)]
pub enum ExpiryError {
    /// The purge.
    #[error(transparent)]
    Purge(#[from] PurgeError),
    /// What is there.
    #[error("{}", chain(.0))]
    Catalogue(#[from] CatalogueError),
    /// A name that cannot go.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The purge, which had begun to delete.
    #[error("{cause}")]
    HalfWay {
        /// Why it ended.
        cause: Box<PurgeError>,
        /// What is known to have been done.
        done: Box<Done>,
    },
}

impl ExpiryError {
    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Purge(error) => error.reason(),
            Self::Catalogue(error) => error.reason(),
            Self::Refused(refused) => refused.reason(),
            Self::HalfWay { cause, .. } => cause.reason(),
        }
    }

    /// What was done by then, if anything was deleted.
    pub fn done(&self) -> Option<&Done> {
        match self {
            Self::HalfWay { done, .. } => Some(done),
            _ => None,
        }
    }
}

/// What was decided and done.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// All backups that the first look found.
    pub candidates: Vec<Candidate>,
    /// What it led to.
    pub decisions: Vec<Decision>,
    /// What was done about it.
    pub report: PurgeReport,
}

impl Done {
    /// Whether all that was to go is gone, and if not, why.
    pub fn left(&self) -> Option<(Reason, String)> {
        self.report.unfinished.then(|| {
            let message = "some of what is to go is left for the next purge";
            (Reason::DeadlineExceeded, message.to_owned())
        })
    }

    /// The same where these backups were to go.
    pub fn left_of(&self, names: &[BackupName]) -> Option<(Reason, String)> {
        let kept = |name: &&BackupName| !self.report.expired.contains(name);
        self.left().or_else(|| {
            names.iter().find(kept).map(|name| {
                let message = format!(
                    "{name} stays, as a run relies on it or it changed meanwhile: try again later"
                );
                (Reason::Locked, message)
            })
        })
    }
}

/// Deletes what a policy does not keep; of one series only, if one is named.
pub async fn by_policy(
    store: &dyn Store,
    cluster: &ClusterId,
    policy: &Policy,
    series: Option<&str>,
    options: PurgeOptions,
    told: &Told<'_>,
) -> Result<Done, ExpiryError> {
    let decide = |candidates: &[Candidate]| retention::decide_of(candidates, policy, series);
    run(store, cluster, &decide, options, told).await
}

/// Deletes the backups of these names: all of them, or none.
pub async fn by_name(
    store: &dyn Store,
    cluster: &ClusterId,
    asked: ByName<'_>,
    options: PurgeOptions,
    told: &Told<'_>,
) -> Result<Done, ExpiryError> {
    let backups = catalogue::read(store, cluster, Headers::All).await?;
    let of = |backup: &&catalogue::Backup| asked.names.contains(&backup.name);
    if let Some(refused) = backups.iter().filter(of).find_map(unreadable) {
        return Err(refused.into());
    }
    let running = catalogue::running(store, &backups).await?;
    let there = retention::listed(&backups, &running);
    match retention::named(&there, asked) {
        // An earlier deletion may have come as far as its manifests.
        Err(gone @ Refused::NotThere(_)) if !options.ended.is_empty() => {
            let done = run(store, cluster, &|_| Vec::new(), options, told).await?;
            return match done.left() {
                None => Err(gone.into()),
                Some(_) => Ok(done),
            };
        }
        decided => decided?,
    };
    let now = store.now().await.map_err(CatalogueError::from)?;
    let young = |backup| just_committed(backup, &options.ended, now);
    if let Some(refused) = backups.iter().filter(of).find_map(young) {
        return Err(refused.into());
    }
    // What can no longer go when the purge looks stays.
    let decide = |candidates: &[Candidate]| retention::named(candidates, asked).unwrap_or_default();
    run(store, cluster, &decide, options, told).await
}

/// Retention does not see a backup of which no header can be believed.
fn unreadable(backup: &catalogue::Backup) -> Option<Refused> {
    let cause = backup.unreadable.values().next()?;
    Some(Refused::Unreadable {
        name: backup.name.clone(),
        cause: cause.clone(),
    })
}

/// A lost answer makes a run write its manifest again, and the first request may arrive within the
/// margin: a manifest that was deleted before would come back without its data.
fn just_committed(
    backup: &catalogue::Backup,
    ended: &BTreeSet<Uuid>,
    now: SystemTime,
) -> Option<Refused> {
    let by_ended = |node: &Uuid| {
        let header = backup.headers.get(node);
        header.is_some_and(|header| ended.contains(&header.run_id))
    };
    let manifests = backup.manifests.iter();
    let committed = manifests
        .filter(|(node, _)| by_ended(node))
        .map(|(_, stored)| stored.modified)
        .max()?;
    let from = committed + MARGIN;
    (now < from).then(|| Refused::JustCommitted {
        name: backup.name.clone(),
        from: Timestamp::try_from(from).unwrap_or(Timestamp::MAX),
    })
}

async fn run(
    store: &dyn Store,
    cluster: &ClusterId,
    decide: &(dyn Fn(&[Candidate]) -> Vec<Decision> + Send + Sync),
    options: PurgeOptions,
    told: &Told<'_>,
) -> Result<Done, ExpiryError> {
    let first = OnceLock::new();
    let expired = |catalogue: &Catalogue| {
        let candidates = retention::candidates(catalogue);
        let decisions = decide(&candidates);
        let names = decisions
            .iter()
            .filter(|decision| matches!(decision.verdict, Verdict::Expire(_)))
            .map(|decision| decision.name.clone())
            .collect();
        first.get_or_init(|| (candidates, decisions));
        names
    };
    let purged = sweep::purge(store, cluster, &expired, options, told).await;
    let (candidates, decisions) = first.into_inner().unwrap_or_default();
    let done = |report| Done {
        candidates,
        decisions,
        report,
    };
    match purged {
        Ok(report) => Ok(done(report)),
        Err(PurgeError::HalfWay { cause, report }) => Err(ExpiryError::HalfWay {
            cause,
            done: Box::new(done(*report)),
        }),
        Err(error) => Err(error.into()),
    }
}
