//! Deletes backups by rules or by name: what the commands `purge` and `delete` and the requests of
//! the same names have in common.

mod request;

use std::sync::OnceLock;

use manifest::{BackupName, ClusterId};
use protocol::Reason;
use store::Store;

pub use request::{delete, purge};

use crate::catalogue::{self, CatalogueError, Headers};
use crate::chain;
use crate::purge::{self as sweep, Catalogue, PurgeError, PurgeOptions, PurgeReport, Told};
use crate::retention::{self, Candidate, Decision, Policy, Refused, Verdict};

/// Why it ended early. Unless deletes had begun, nothing was deleted.
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
}

impl ExpiryError {
    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Purge(error) => error.reason(),
            Self::Catalogue(error) => error.reason(),
            Self::Refused(refused) => refused.reason(),
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
    names: &[BackupName],
    even_newest: bool,
    options: PurgeOptions,
    told: &Told<'_>,
) -> Result<Done, ExpiryError> {
    let backups = catalogue::read(store, cluster, Headers::All).await?;
    let running = catalogue::running(store, &backups).await?;
    let there = retention::listed(&backups, &running);
    retention::named(&there, names, even_newest)?;
    // What can no longer go when the purge looks stays.
    let decide = |candidates: &[Candidate]| {
        retention::named(candidates, names, even_newest).unwrap_or_default()
    };
    run(store, cluster, &decide, options, told).await
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
    let report = sweep::purge(store, cluster, &expired, options, told).await?;
    let (candidates, decisions) = first.into_inner().unwrap_or_default();
    Ok(Done {
        candidates,
        decisions,
        report,
    })
}
