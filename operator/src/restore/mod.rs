//! `CassandraRestore`: from the resource to a status that is true.
//!
//! A restore takes four steps: each node finds out what it would import, one makes the schema for all,
//! each imports, one makes indexes and views. A step of a node is a run of the agent, whose id is a
//! function of resource, pod and step, so that a restart of anybody finds it again.

mod begin;
mod news;
mod node;
mod plan;
mod runs;
#[cfg(test)]
mod tests;
mod verdict;

pub(crate) use runs::Runs;

use std::sync::Arc;
use std::time::Duration;

use crds::{CassandraRestore, CassandraRestoreStatus, RestoreMode, RestorePhase};
use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use tokio::sync::watch;
use tracing::Instrument;

use crate::context::Context;
use crate::exclusion::Claim;
use crate::guarded::readable;
use crate::node::{Job, NodeRun, Orders, Reporter};
use crate::prerequisites::{LookupError, within_grace};
use crate::publish::{self, HEARTBEAT, Published, publish};
use crate::{conditions, logs};
use runs::{Tracked, adopt};

/// The resource, or why it cannot be read.
pub(crate) type Guarded = DeserializeGuard<CassandraRestore>;

/// What is missing is looked for again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// A reconciliation that did not go through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the CassandraRestore: {0}")]
    Read(#[source] Box<kube::Error>),
    #[error("cannot read the CassandraBackup: {0}")]
    ReadBackup(#[source] Box<kube::Error>),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("cannot take the cluster's Lease: {0}")]
    Exclude(#[source] Box<kube::Error>),
    #[error("cannot write the status: {0}")]
    Write(#[source] Box<kube::Error>),
}

/// Brings the resource's status and its runs forward.
pub(crate) async fn reconcile(
    object: Arc<Guarded>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let Some(seen) = readable(&object) else {
        return Ok(Action::await_change());
    };
    let span = logs::of_restore(&seen.namespace().unwrap_or_default(), &seen.name_any());
    bring_forward(seen, context).instrument(span).await
}

async fn bring_forward(restore: &CassandraRestore, context: Arc<Context>) -> Result<Action, Error> {
    let adopted = adopt(&context.restores, &context.client, restore).await;
    let Some(tracked) = adopted.map_err(|error| Error::Read(Box::new(error)))? else {
        if let Some(status) = restore.status.as_ref().filter(|status| is_final(status)) {
            let seen = publish::observe(&context.client, restore, status.observed_generation).await;
            seen.map_err(|error| Error::Write(Box::new(error)))?;
        }
        return Ok(Action::await_change());
    };
    let mut tracked = tracked.lock().await;
    let (claim, now) = (claim(restore), Timestamp::now());
    tracked.collect();
    if !has_begun(&tracked.status) {
        begin(&context, restore, claim.as_ref(), &mut tracked, now).await?;
    }
    let mut actions = Vec::new();
    if has_begun(&tracked.status) {
        if let Some(claim) = claim.as_ref().filter(|_| !is_final(&tracked.status)) {
            tracked.exclusion.keep(&context.client, claim).await;
        }
        let planned = plan::plan(restore, &tracked.status, &tracked.active(), now);
        tracked.status = planned.status;
        actions = planned.actions;
    }
    // Written before anything is done, so that a restart finds what was begun.
    let Some(again) = write(&context, restore, &mut tracked).await? else {
        return Ok(Action::await_change());
    };
    for action in actions {
        act(&context, restore, &mut tracked, action);
    }
    if let Some(claim) = claim.as_ref().filter(|_| is_final(&tracked.status)) {
        tracked.exclusion.release(&context.client, claim).await;
    }
    if tracked.is_over() {
        context.restores.forget(&tracked.uid);
        return Ok(Action::await_change());
    }
    Ok(Action::requeue(if has_begun(&tracked.status) {
        again
    } else {
        LOOK_AGAIN
    }))
}

/// A rehearsal is into no cluster that anybody else is at work on.
fn claim(restore: &CassandraRestore) -> Option<Claim> {
    let spec = &restore.spec;
    (spec.mode != RestoreMode::Rehearse).then(|| Claim::of(restore, &spec.cluster))
}

/// Whether the nodes are known, or it ended before they were.
fn has_begun(status: &CassandraRestoreStatus) -> bool {
    !status.nodes.is_empty() || is_final(status)
}

fn is_final(status: &CassandraRestoreStatus) -> bool {
    status.phase.is_some_and(RestorePhase::is_final)
}

/// Looks up what the restore needs and, if all is there, fixes its nodes.
async fn begin(
    context: &Context,
    restore: &CassandraRestore,
    claim: Option<&Claim>,
    tracked: &mut Tracked,
    now: Timestamp,
) -> Result<(), Error> {
    let Tracked {
        status, exclusion, ..
    } = tracked;
    status.observed_generation = restore.meta().generation;
    if restore.spec.cancel {
        plan::end(status, verdict::cancelled_before_it_began(), now);
        return Ok(());
    }
    let failed = |error| Error::Exclude(Box::new(error));
    // One that waits for another does not look everything up each time.
    if let Some(claim) = claim.filter(|_| exclusion.waits())
        && let Err(obstacle) = exclusion
            .turn(&context.client, claim)
            .await
            .map_err(failed)?
    {
        plan::wait(status, &obstacle, now);
        return Ok(());
    }
    let looked_up = match (begin::lookup(context, restore, now).await?, claim) {
        (Ok(begun), Some(claim)) => {
            let turn = exclusion.turn(&context.client, claim).await;
            turn.map_err(failed)?.map(|()| begun)
        }
        (looked_up, _) => looked_up,
    };
    match looked_up {
        Ok(begun) => *status = begun,
        Err(obstacle) if obstacle.is_waited_for(within_grace(restore, now)) => {
            plan::wait(status, &obstacle, now);
        }
        Err(obstacle) => plan::end(status, verdict::of_obstacle(obstacle), now),
    }
    Ok(())
}

impl publish::Status for CassandraRestoreStatus {
    fn is_turn(&self, old: &Self) -> bool {
        old.phase != self.phase
            || is_final(self)
            || old.observed_generation != self.observed_generation
            || old.backup_name != self.backup_name
            || old.nodes.len() != self.nodes.len()
            || conditions::gist(&old.conditions) != conditions::gist(&self.conditions)
    }
}

/// Writes the status if it is time to. Returns when to look again; `None` if the resource is gone.
async fn write(
    context: &Context,
    restore: &CassandraRestore,
    tracked: &mut Tracked,
) -> Result<Option<Duration>, Error> {
    let (client, status) = (&context.client, &tracked.status);
    let published = publish(client, restore, &mut tracked.written, status).await;
    match published.map_err(|error| Error::Write(Box::new(error)))? {
        Published::Rests(rest) => return Ok(Some(rest)),
        Published::Told(old) => {
            context.metrics.restored(restore, old.as_ref(), status);
            let news = news::news(old.as_ref(), status);
            context.tell(restore, news).await;
        }
        Published::Gone => {
            tracked.followed.stop_all();
            context.restores.forget(&tracked.uid);
            return Ok(None);
        }
    }
    Ok(Some(HEARTBEAT))
}

fn act(
    context: &Arc<Context>,
    restore: &CassandraRestore,
    tracked: &mut Tracked,
    action: plan::Action,
) {
    match action {
        plan::Action::Stop { pod, stop } => tracked.followed.stop(&pod, stop),
        plan::Action::Follow { pod } => follow(context, restore, tracked, pod),
    }
}

/// Follows the run of a node's present step.
fn follow(context: &Arc<Context>, restore: &CassandraRestore, tracked: &mut Tracked, pod: String) {
    let Some(known) = tracked.status.nodes.iter().find(|node| node.pod == pod) else {
        return;
    };
    let namespace = restore.namespace().unwrap_or_default();
    let object = ObjectRef::<Guarded>::new(&restore.name_any()).within(&namespace);
    let (waker, throttle) = (Arc::clone(context), Arc::clone(&tracked.wakes));
    let nodes = tracked.status.nodes.len();
    let wake = move || {
        let (waker, object) = (Arc::clone(&waker), object.clone());
        throttle.wake(nodes, move || waker.restore_wakes.wake(object));
    };
    let (pace, said) = (context.tools.pace, Box::new(wake.clone()));
    let (reporter, report) = Reporter::new(node::as_run(known), pace, said);
    let (stop, stopped) = watch::channel(None);
    let (turn, its_turn) = watch::channel(true);
    let run = NodeRun {
        tools: Arc::clone(&context.tools),
        run_id: node::run_id(restore, &pod, known.step),
        job: Arc::new(Job {
            shared: Arc::clone(&tracked.shared),
            ..begin::job(restore, &tracked.status, known.step)
        }),
        pod: pod.clone(),
        reporter,
        tells_ring: true,
        stop: stopped,
        turn: its_turn,
    };
    let task = tokio::spawn(async move {
        run.follow().await;
        wake();
    });
    let orders = Orders { stop, turn };
    tracked.followed.follow(pod, report, orders, task);
}
