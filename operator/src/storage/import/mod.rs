//! Backups in the storage as resources, where that is asked for: a mirror of each that no resource
//! is about, and none of a backup that is gone.

mod build;
mod decide;
mod desk;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use crds::{BackupStorage, CassandraBackup};
use jiff::Timestamp;
use kube::ResourceExt;
use protocol::{Catalogue, CatalogueRequest, Operation, Reason, Survey};

use super::findings::{Finding, is_whole};
use crate::access::{self, AccessError};
use crate::answer::{is_gone, is_refusal};
use crate::backup;
use crate::conditions::Is;
use crate::context::Context;
use crate::humane;
use crate::maintenance::{self, NotDone, Place};
use crate::node::Errand;
use decide::Step;
use desk::{Desk, Made};

/// The condition.
pub(super) const IMPORTED: &str = "Imported";
/// A storage that does not say within this time what a cluster has there does not say it.
const LIMIT: Duration = Duration::from_secs(120);
/// How often a cluster is asked for in an import, where backups that get no resource are in the way of others: an
/// import has an end.
const ASKS: u32 = 10;
/// After so many clusters of which the storage did not say what it has, no more are asked for.
const FAILURES: usize = 3;

/// Why backups did not become resources.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("cannot read the CassandraBackups: {0}")]
    List(#[source] Box<kube::Error>),
    #[error("cannot make CassandraBackup {name}: {cause}")]
    Make {
        name: String,
        cause: Box<kube::Error>,
    },
    #[error("cannot delete CassandraBackup {name}: {cause}")]
    Delete {
        name: String,
        cause: Box<kube::Error>,
    },
    #[error("cannot write the status of CassandraBackup {name}: {cause}")]
    Write {
        name: String,
        cause: Box<kube::Error>,
    },
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    NotDone(#[from] NotDone),
    #[error("{message}")]
    Told { reason: Reason, message: String },
    #[error("the agent that was asked is too old to know what is in a storage: update it")]
    TooOld,
}

impl ImportError {
    /// Whether others may be imported all the same.
    fn is_of_one_cluster(&self) -> bool {
        matches!(self, Self::NotDone(_) | Self::Told { .. })
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Access(error) => error.reason(),
            Self::NotDone(error) => error.reason(),
            Self::Told { reason, .. } => *reason,
            Self::TooOld => Reason::NotSupported,
            Self::List(_) | Self::Make { .. } | Self::Delete { .. } | Self::Write { .. } => {
                Reason::Failed
            }
        }
    }
}

/// A cluster whose backups are not all imported.
#[derive(Debug, PartialEq, Eq)]
struct Failed {
    cluster: String,
    reason: Reason,
    message: String,
}

/// How far an import is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Mirrors that are there.
    mirrors: usize,
    /// Backups that are left for the next time.
    left: u64,
    /// Clusters that could not be asked for.
    failed: Vec<Failed>,
    /// Those that nobody asked for after that.
    unasked: usize,
    /// Why backups have no resource.
    refused: Vec<String>,
    /// Clusters that nobody has told of.
    untold: u64,
    /// What other clusters have, and which they are, is not known.
    unseen: bool,
}

/// Imports what the storage has, as a survey told it, and says so.
pub(super) async fn import(
    context: &Context,
    storage: &BackupStorage,
    survey: Option<&Survey>,
) -> Finding {
    let Some(survey) = survey else {
        let why = "it is not known what is in the storage: see Surveyed";
        return finding(Is::Unknown, Reason::NotProbed, why.into());
    };
    match all(context, storage, survey).await {
        Ok(tally) => said(&Tally {
            untold: survey.left_out,
            unseen: !is_whole(survey),
            ..tally
        }),
        Err(error) => finding(Is::False, error.reason(), error.to_string()),
    }
}

fn said(tally: &Tally) -> Finding {
    let mirrors = tally.mirrors;
    if let Some(first) = tally.failed.first() {
        let more = match tally.failed.len() - 1 + tally.unasked {
            0 => String::new(),
            more => format!("; and {}", humane::count(more, "more cluster")),
        };
        let message = format!(
            "cluster {}: {}{more}; {} of the others have resources",
            first.cluster,
            first.message,
            humane::count(mirrors, "backup")
        );
        return finding(Is::False, first.reason, message);
    }
    if let Some(first) = tally.refused.first() {
        let more = match tally.refused.len() {
            1 => String::new(),
            all => format!(" (and {} more)", all - 1),
        };
        let left = match tally.left {
            0 => String::new(),
            left => format!("; {left} older ones have not been looked at yet"),
        };
        return finding(Is::False, Reason::Failed, format!("{first}{more}{left}"));
    }
    if tally.untold > 0 {
        let untold = tally.untold;
        let message = format!(
            "{mirrors} backups of the clusters in status.clusters have resources; those of {untold} more have none: give them another prefix, with a BackupStorage of its own"
        );
        return finding(Is::False, Reason::NotSupported, message);
    }
    let left = match tally.left {
        0 => String::new(),
        left => format!("; {left} more follow with the next probes"),
    };
    let message = format!("{mirrors} backups that were found here have resources{left}");
    if tally.unseen {
        let message = format!("{message}; not everything here could be looked into: see Surveyed");
        return finding(Is::Unknown, Reason::NotProbed, message);
    }
    finding(Is::True, Reason::Succeeded, message)
}

fn finding(is: Is, reason: Reason, message: String) -> Finding {
    Finding {
        type_: IMPORTED,
        is,
        reason,
        message,
    }
}

/// An import under way.
struct Import<'a> {
    context: &'a Context,
    storage: &'a BackupStorage,
    desk: Desk<'a>,
    /// All CassandraBackups of the namespace, as they were before it.
    resources: Vec<CassandraBackup>,
    tally: Tally,
}

async fn all(
    context: &Context,
    storage: &BackupStorage,
    survey: &Survey,
) -> Result<Tally, ImportError> {
    let desk = Desk::new(&context.client, storage);
    let resources = desk.list().await?;
    let mut import = Import {
        context,
        storage,
        desk,
        resources,
        tally: Tally::default(),
    };
    let mut clusters = import.clusters(survey).into_iter();
    while import.tally.failed.len() < FAILURES
        && let Some(cluster) = clusters.next()
    {
        match import.cluster(&cluster).await {
            Ok(()) => {}
            Err(error) if error.is_of_one_cluster() => import.tally.failed.push(Failed {
                cluster,
                reason: error.reason(),
                message: error.to_string(),
            }),
            Err(error) => return Err(error),
        }
    }
    import.tally.unasked = clusters.count();
    Ok(import.tally)
}

impl Import<'_> {
    fn clusters(&self, survey: &Survey) -> BTreeSet<String> {
        let told = survey.clusters.iter();
        let mut names: BTreeSet<String> = told.map(|it| it.cluster.clone()).collect();
        if is_whole(survey) {
            // Also of which no backup is left.
            let mirrored = self.resources.iter().filter(|it| decide::is_mirror(it));
            names.extend(mirrored.map(|it| it.spec.cluster.clone()));
        }
        names
    }

    /// Imports the backups of one cluster.
    async fn cluster(&mut self, cluster: &str) -> Result<(), ImportError> {
        let Self {
            context,
            storage,
            desk,
            resources,
            tally,
        } = self;
        let mut known = decide::known(resources, cluster);
        let mut catalogue = ask(context, storage, cluster, known.clone()).await?;
        let may_be_unmounted = storage.spec.file.is_some();
        for step in decide::of_mirrors(resources, cluster, &catalogue.names, may_be_unmounted) {
            carry_out(context, desk, step, tally).await?;
        }
        let mut asks = 1;
        loop {
            let refused = catalogue.unreadable.iter().map(|backup| {
                format!("backup {backup} of cluster {cluster} has no manifest that can be believed")
            });
            tally.refused.extend(refused);
            let told = catalogue.found.len() + catalogue.unreadable.len();
            known.extend(catalogue.found.iter().map(|found| found.backup.clone()));
            known.append(&mut catalogue.unreadable);
            let before = tally.mirrors;
            for step in decide::of_found(resources, cluster, catalogue.found) {
                carry_out(context, desk, step, tally).await?;
            }
            let made = tally.mirrors - before;
            if asks == ASKS || !decide::is_in_the_way(told, made, catalogue.left_out) {
                tally.left += catalogue.left_out;
                return Ok(());
            }
            catalogue = ask(context, storage, cluster, known.clone()).await?;
            asks += 1;
        }
    }
}

async fn carry_out(
    context: &Context,
    desk: &Desk<'_>,
    step: Step<'_>,
    tally: &mut Tally,
) -> Result<(), ImportError> {
    let (resource, found) = match step {
        Step::Keep => {
            tally.mirrors += 1;
            return Ok(());
        }
        Step::Remove(mirror) => return desk.delete(mirror).await,
        Step::Fill(resource, found) => (resource.clone(), found),
        Step::Make(cluster, found) => match desk.make(cluster, &found).await? {
            Made::There(resource) => {
                tally.mirrors += 1;
                (*resource, found)
            }
            Made::Refused(why) => {
                tally.refused.push(why);
                return Ok(());
            }
        },
    };
    match backup::imported(context, &resource, &found, Timestamp::now()).await {
        Ok(()) => Ok(()),
        // Somebody deleted it meanwhile.
        Err(kube::Error::Api(status)) if is_gone(&status) => Ok(()),
        // Another time would be the same.
        Err(kube::Error::Api(status)) if is_refusal(&status) => {
            let name = resource.name_any();
            tally.refused.push(format!(
                "the status of CassandraBackup {name}: {}",
                status.message
            ));
            Ok(())
        }
        Err(cause) => Err(ImportError::Write {
            name: resource.name_any(),
            cause: Box::new(cause),
        }),
    }
}

/// Asks the storage what a cluster has there: with the identity of the pods, where the operator has
/// it, else with that of maintenance; a directory in a pod that mounts it.
async fn ask(
    context: &Context,
    storage: &BackupStorage,
    cluster: &str,
    known: Vec<String>,
) -> Result<Catalogue, ImportError> {
    let namespace = storage.namespace().unwrap_or_default();
    let tools = &context.tools;
    let access = match access::storage(&*tools.cluster, &namespace, &storage.spec).await? {
        access if access::has_identity(&access) || storage.spec.file.is_some() => access,
        _ => access::keeper_storage(&*tools.cluster, &namespace, &storage.spec).await?,
    };
    let spec = build::spec(storage, cluster);
    let pods = Errand {
        namespace: &namespace,
        spec: &spec,
    };
    let place = Place::of(storage, &access, &pods);
    let operation = Operation::Catalogue(CatalogueRequest {
        storage: access,
        cluster: cluster.to_owned(),
        known,
    });
    let outcome = maintenance::carry_out(context, place, operation, LIMIT).await?;
    match outcome.catalogue {
        Some(catalogue) => Ok(*catalogue),
        None if outcome.reason == Reason::InvalidRequest => Err(ImportError::TooOld),
        None => Err(ImportError::Told {
            reason: outcome.reason,
            message: outcome.message,
        }),
    }
}
