//! `BackupStorage`: what of it works, as conditions.

mod ask;
#[cfg(test)]
mod conversation;
mod findings;
mod import;
#[cfg(test)]
mod mounts;
mod shared;
mod sources;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use crds::{
    BackupStorage, BackupStorageSpec, BackupStorageStatus, RestorablePoint, SourceVersion,
    StoredCluster,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Api, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use protocol::{ClusterFound, Reason, Restorable, Survey};
use serde_json::json;

use crate::FIELD_MANAGER;
use crate::access::AccessError;
use crate::answer::is_gone;
use crate::conditions::{self, Is};
use crate::context::Context;
use crate::guarded::readable;
use crate::humane;
use findings::{Finding, Findings};

/// The resource, or why it cannot be read.
pub(crate) type Guarded = DeserializeGuard<BackupStorage>;

/// One that does not work is probed again after so long, if not sooner.
const BROKEN: Duration = Duration::from_secs(30);
/// The condition of kstatus that follows `Ready`.
const STALLED: &str = "Stalled";
/// Between two looks at whether a secret has changed.
const LOOK: Duration = Duration::from_secs(10);
/// Storages that are probed at the same time, each by a process of its own.
pub(crate) const AT_ONCE: u16 = 8;
/// Clusters that a status names, as a survey does.
const MOST_CLUSTERS: usize = 100;
/// Messages come from elsewhere and end up in a status, and in Events of at most 1 KiB.
const LONGEST_MESSAGE: usize = 1000;

/// A reconciliation that did not go through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error("cannot look at the secrets that the BackupStorage names: {0}")]
    Look(#[source] Box<kube::Error>),
    #[error("cannot read the pods that the BackupStorage names: {0}")]
    Pods(#[source] Box<kube::Error>),
    #[error("cannot write the status: {0}")]
    Write(#[source] Box<kube::Error>),
}

/// Probes the storage when it is time to, and says in its status what works.
pub(crate) async fn reconcile(
    object: Arc<Guarded>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let Some(storage) = readable(&object) else {
        return Ok(Action::await_change());
    };
    let namespace = storage.namespace().unwrap_or_default();
    // Before the probe: what changes meanwhile is seen at the next look.
    let sources = sources::versions(&context.client, &namespace, &storage.spec)
        .await
        .map_err(|error| Error::Look(Box::new(error)))?;
    if let Some(rest) = rest(storage, &sources, Timestamp::now()) {
        if let Some(status) = &storage.status {
            context.metrics.storage(storage, status);
        }
        return Ok(Action::requeue(next_look(rest, &sources)));
    }
    let object = storage.uid().unwrap_or_else(|| storage.name_any());
    let known = ask::ask(&context, &namespace, storage, &object).await?;
    let mut status = status(storage, sources, &known, Timestamp::now());
    if storage.spec.import_backups {
        // It may take a while, and what works is told before.
        write(&context, storage, &status).await?;
        let finding = import::import(&context, storage, known.survey()).await;
        add(&mut status, finding, Timestamp::now());
    }
    let interval = interval(&storage.spec, &status.conditions);
    let looked = next_look(interval, &status.sources);
    write(&context, storage, &status).await?;
    context.metrics.storage(storage, &status);
    tell(&context, storage, &status).await;
    Ok(Action::requeue(looked))
}

fn next_look(rest: Duration, sources: &[SourceVersion]) -> Duration {
    if sources.is_empty() {
        rest
    } else {
        rest.min(LOOK)
    }
}

fn interval(spec: &BackupStorageSpec, conditions: &[Condition]) -> Duration {
    let seconds = u64::try_from(spec.probe_interval_seconds).unwrap_or_default();
    let chosen = Duration::from_secs(seconds.max(1));
    let ready = condition(conditions, "Ready");
    let works = ready.is_some_and(|ready| ready.status == Is::True.as_str());
    let waits = Reason::MaintenancePodNotStarted.as_str();
    match works && conditions.iter().all(|one| one.reason != waits) {
        true => chosen,
        false => chosen.min(BROKEN),
    }
}

fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|one| one.type_ == type_)
}

/// How long what was probed last holds; none if it is time to probe. Our own writes come back as
/// changes, and are no reason to.
fn rest(storage: &BackupStorage, sources: &[SourceVersion], now: Timestamp) -> Option<Duration> {
    let status = storage.status.as_ref()?;
    if status.observed_generation != storage.meta().generation || status.sources != sources {
        return None;
    }
    let since = status.last_probe_time.as_ref()?.0;
    // A clock that was put back has no age; then it is time, too.
    let age = Duration::try_from(now.duration_since(since)).ok()?;
    interval(&storage.spec, &status.conditions)
        .checked_sub(age)
        .filter(|rest| !rest.is_zero())
}

fn status(
    storage: &BackupStorage,
    sources: Vec<SourceVersion>,
    known: &Findings,
    now: Timestamp,
) -> BackupStorageStatus {
    let (kind, location) = describe(&storage.spec);
    let findings = findings::findings(&storage.spec, known);
    let mut conditions = storage.status.clone().unwrap_or_default().conditions;
    // What is not looked at any more is not told any more.
    conditions.retain(|before| {
        let found = findings.iter().any(|it| it.type_ == before.type_);
        let imported = before.type_ == import::IMPORTED && storage.spec.import_backups;
        found || imported || before.type_ == STALLED
    });
    let mut status = BackupStorageStatus {
        observed_generation: storage.meta().generation,
        kind,
        location,
        last_probe_time: Some(Time(now)),
        sources,
        clusters: clusters(storage, known.survey()),
        conditions,
    };
    for finding in findings {
        add(&mut status, finding, now);
    }
    status
}

/// Adds what was found to the conditions, of which each keeps the time of its transition.
fn add(status: &mut BackupStorageStatus, finding: Finding, now: Timestamp) {
    let Finding {
        type_,
        is,
        reason,
        message,
    } = finding;
    let message = humane::shortened(&message, LONGEST_MESSAGE);
    let why = (reason.as_str(), message.as_str());
    let (all, generation) = (&mut status.conditions, status.observed_generation);
    conditions::set(all, type_, is, why, generation, now);
    if type_ == "Ready" {
        let stalled = (is == Is::False).into();
        conditions::set(all, STALLED, stalled, why, generation, now);
    }
}

/// What was found, and what was known before where nothing could be told.
fn clusters(storage: &BackupStorage, survey: Option<&Survey>) -> Vec<StoredCluster> {
    let before: &[StoredCluster] = match &storage.status {
        Some(status) => &status.clusters,
        None => &[],
    };
    let Some(survey) = survey else {
        return before.to_vec();
    };
    let mut clusters: Vec<_> = survey.clusters.iter().map(stored).collect();
    if !findings::is_whole(survey) {
        let is_told = |one: &&StoredCluster| clusters.iter().any(|it| it.cluster == one.cluster);
        let is_unseen = |one: &&StoredCluster| survey.unseen.contains(&one.cluster);
        let untold = before.iter().filter(|one| is_unseen(one) && !is_told(one));
        let untold: Vec<_> = untold.cloned().collect();
        clusters.extend(untold);
        clusters.truncate(MOST_CLUSTERS);
        clusters.sort_by(|a, b| a.cluster.cmp(&b.cluster));
    }
    clusters
}

fn stored(found: &ClusterFound) -> StoredCluster {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let point = |point: &Restorable| RestorablePoint {
        time: Time(point.time),
        backup: point.backup.clone(),
    };
    StoredCluster {
        cluster: found.cluster.clone(),
        backups: count(found.backups),
        complete: count(found.complete),
        first_restorable: found.first.as_ref().map(point),
        last_restorable: found.last.as_ref().map(point),
    }
}

/// Tells as an Event when the storage begins or ceases to be ready, or is not for another reason.
async fn tell(context: &Context, storage: &BackupStorage, new: &BackupStorageStatus) {
    let old = storage
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice());
    let news = news(old.unwrap_or_default(), &new.conditions);
    context.tell(storage, news).await;
}

fn news(old: &[Condition], new: &[Condition]) -> Option<Event> {
    let (before, now) = (condition(old, "Ready"), condition(new, "Ready")?);
    let key = |ready: &Condition| (ready.status.clone(), ready.reason.clone());
    if before.map(key) == Some(key(now)) {
        return None;
    }
    let works = now.status == Is::True.as_str();
    Some(Event {
        type_: if works {
            EventType::Normal
        } else {
            EventType::Warning
        },
        reason: now.reason.clone(),
        note: Some(now.message.clone()),
        action: "Probe".into(),
        secondary: None,
    })
}

/// Kind and place for people.
fn describe(spec: &BackupStorageSpec) -> (Option<String>, Option<String>) {
    let below = |place: String, prefix: &str| match prefix {
        "" => place,
        prefix => format!("{place}/{prefix}"),
    };
    let (kind, location) = if let Some(file) = &spec.file {
        ("File", file.path.clone())
    } else if let Some(s3) = &spec.s3 {
        ("S3", below(format!("s3://{}", s3.bucket), &s3.prefix))
    } else if let Some(gcs) = &spec.gcs {
        ("GCS", below(format!("gs://{}", gcs.bucket), &gcs.prefix))
    } else if let Some(azure) = &spec.azure {
        let container = format!("azure://{}/{}", azure.account, azure.container);
        ("Azure", below(container, &azure.prefix))
    } else {
        return (None, None);
    };
    (Some(kind.into()), Some(location))
}

async fn write(
    context: &Context,
    storage: &BackupStorage,
    status: &BackupStorageStatus,
) -> Result<(), Error> {
    let namespace = storage.namespace().unwrap_or_default();
    let api: Api<BackupStorage> = Api::namespaced(context.client.clone(), &namespace);
    let patch = json!({
        "apiVersion": BackupStorage::api_version(&()),
        "kind": BackupStorage::kind(&()),
        "metadata": {"name": storage.name_any(), "uid": storage.uid()},
        "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    match api
        .patch_status(&storage.name_any(), &parameters, &Patch::Apply(patch))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if is_gone(&status) => Ok(()),
        Err(error) => Err(Error::Write(Box::new(error))),
    }
}
