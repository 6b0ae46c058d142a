//! `CronBackup`: from a schedule to CassandraBackups.
//!
//! What keeps a slot from being made twice: a child's name is a function of the slot, the status
//! and the children are read anew each time, the status is written only onto what was read, and
//! the children of the newest slot are never deleted by their limits.

mod act;
mod child;
#[cfg(test)]
mod conversation;
mod decide;
mod history;
mod names;
mod news;
mod reason;
mod retain;
#[cfg(test)]
mod retain_conversation;
#[cfg(test)]
mod simulation;
mod slots;
mod status;
#[cfg(test)]
mod tests;
mod verify;

pub(crate) use child::LABEL as CHILD_LABEL;
pub(crate) use reason::Reason;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crds::{CassandraBackup, CronBackup};
use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};

use crate::context::Context;
use crate::guarded::readable;
use act::Desk;
use decide::{Decision, Facts, decide};
use names::Run;
use retain::Retaining;
use slots::{Invalid, Schedule};
use status::Outcome;

/// The resource, or why it cannot be read.
pub(crate) type Guarded = DeserializeGuard<CronBackup>;

/// After somebody else wrote the status meanwhile.
const AGAIN: Duration = Duration::from_secs(1);
/// After the API server refused a backup.
const REFUSED: Duration = Duration::from_secs(30);

/// A reconciliation that did not go through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the CronBackup: {0}")]
    Read(#[source] Box<kube::Error>),
    #[error("cannot list the backups of the CronBackup: {0}")]
    List(#[source] Box<kube::Error>),
    #[error("cannot make CassandraBackup {name}: {cause}")]
    Create {
        name: String,
        #[source]
        cause: Box<kube::Error>,
    },
    #[error("cannot cancel CassandraBackup {name}: {cause}")]
    Cancel {
        name: String,
        #[source]
        cause: Box<kube::Error>,
    },
    #[error("cannot ask CassandraBackup {name} for its rehearsal: {cause}")]
    Rehearse {
        name: String,
        #[source]
        cause: Box<kube::Error>,
    },
    #[error("cannot delete CassandraBackup {name}: {cause}")]
    Delete {
        name: String,
        #[source]
        cause: Box<kube::Error>,
    },
    #[error("cannot write the status: {0}")]
    Write(#[source] Box<kube::Error>),
}

/// Makes what is due, and says so in the resource's status.
pub(crate) async fn reconcile(
    object: Arc<Guarded>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let Some(seen) = readable(&object) else {
        return Ok(Action::await_change());
    };
    bring_forward(seen, &context, Timestamp::now()).await
}

async fn bring_forward(
    seen: &CronBackup,
    context: &Arc<Context>,
    now: Timestamp,
) -> Result<Action, Error> {
    let desk = Desk::new(&context.client, &seen.namespace().unwrap_or_default());
    let Some(cron) = desk.fresh(seen).await? else {
        return Ok(Action::await_change());
    };
    let children = desk.children(&cron).await?;
    let schedule = schedule(&cron);
    let old = cron.status.clone().unwrap_or_default();
    let facts = Facts {
        spec: &cron.spec,
        generation: cron.meta().generation,
        created: cron.creation_timestamp().map_or(now, |created| created.0),
        schedule: &schedule,
        status: &old,
        children: &children,
    };
    let decision = decide(&facts, now);
    for child in &decision.cancel {
        desk.cancel(child).await?;
    }
    let made = make(&desk, &cron, &schedule, &decision).await?;
    let made = made
        .as_ref()
        .map(|(run, name, outcome)| (*run, name.as_str(), outcome));
    let mut new = status::concluded(&facts, &decision, made, now);
    let retaining = Retaining::look(context, &cron, &children, &mut new, now);
    let proof = verify::look(&cron, &children, &mut new, now);
    if let Some((child, slot)) = proof.rehearse {
        verify::tell(&cron, child);
        if let Some(why) = desk.rehearse(&cron, child, slot).await? {
            verify::refused(&mut new, child, &why, now);
        }
    }
    if new != old && !desk.write(&cron, &new).await? {
        return Ok(Action::requeue(AGAIN));
    }
    context.metrics.schedule(&cron, &old, &new);
    let followed = schedule.as_ref().ok().filter(|_| !cron.spec.suspend);
    let interval = followed.and_then(|schedule| schedule.longest_interval(now));
    context.metrics.schedule_interval(&cron, interval);
    let (event, look) = retaining.go_on(context, &cron, &old);
    let mut events = news::news(&old, &new, made);
    events.extend(event);
    context.tell(&cron, events).await;
    for child in &decision.delete {
        desk.delete(child).await?;
    }
    let wake = wake(&decision, made.map(|made| made.2));
    let looks = [look, proof.wake].into_iter().flatten();
    let looks = looks.map(|look| Duration::try_from(look).unwrap_or_default());
    Ok(Action::requeue(looks.fold(wake, Duration::min)))
}

fn schedule(cron: &CronBackup) -> Result<Schedule, Invalid> {
    let spec = &cron.spec;
    let namespace = cron.namespace().unwrap_or_default();
    let jitter = slots::jitter(&namespace, &cron.name_any(), spec.jitter_seconds);
    Schedule::parse(&spec.schedule, &spec.time_zone, jitter)
}

/// Makes the child that was decided on, if one was.
async fn make(
    desk: &Desk,
    cron: &CronBackup,
    schedule: &Result<Schedule, Invalid>,
    decision: &Decision,
) -> Result<Option<(Run, String, Outcome)>, Error> {
    let (Some(run), Ok(schedule)) = (decision.create, schedule) else {
        return Ok(None);
    };
    let name = names::child(&cron.name_any(), run);
    let outcome = desk.create(cron, run, &schedule.shown(run.slot)).await?;
    tracing::info!(
        namespace = cron.namespace(),
        schedule = cron.name_any(),
        backup = name,
        ?outcome,
        "a backup was to be made"
    );
    Ok(Some((run, name, outcome)))
}

fn wake(decision: &Decision, outcome: Option<&Outcome>) -> Duration {
    let wake = Duration::try_from(decision.wake).unwrap_or_default();
    match outcome {
        Some(Outcome::Refused(_)) => wake.min(REFUSED),
        _ => wake,
    }
}

/// What of a child concerns its CronBackup: it looks again when this changes.
pub(crate) fn turn(backup: &DeserializeGuard<CassandraBackup>) -> Option<u64> {
    let status = backup
        .0
        .as_ref()
        .ok()
        .and_then(|backup| backup.status.as_ref());
    let sweeping = status.is_some_and(|status| status.nodes.iter().any(|node| node.sweep_pending));
    let proof = status.and_then(|status| status.verification.as_ref());
    let proven = proof.and_then(|proof| proof.completion_time.as_ref());
    let mut hasher = DefaultHasher::new();
    (
        backup.meta().uid.as_ref(),
        status.and_then(|status| status.phase),
        sweeping,
        proven.map(|time| time.0),
    )
        .hash(&mut hasher);
    Some(hasher.finish())
}
