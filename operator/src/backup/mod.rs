//! `CassandraBackup`: from the resource to a status that is true.

#[cfg(test)]
mod conversation;
mod coverage;
mod deletion;
#[cfg(test)]
mod deletion_conversation;
mod exclusion;
mod expire;
mod imported;
mod news;
mod plan;
mod publish;
mod ring;
mod runs;
mod start;
#[cfg(test)]
mod tests;
mod throttle;
mod verdict;

pub(crate) use expire::{expire, was_whole};
pub(crate) use imported::imported;
pub(crate) use runs::Runs;
pub(crate) use start::name_in_storage;

use std::sync::Arc;
use std::time::Duration;

use crds::{BackupPhase, CassandraBackup, CassandraBackupStatus};
use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

use crate::access;
use crate::answer::is_gone;
use crate::context::Context;
use crate::guarded::readable;
use crate::node::{self, Job, NodeRun, Reporter, sweep};
use crate::{logs, names};
use deletion::Step;
use exclusion::{Exclusion, Turn};
use plan::plan;
use publish::When;
use runs::{Orders, Tracked};
use start::Obstacle;
use verdict::Verdict;

/// The resource, or why it cannot be read.
pub(crate) type Guarded = DeserializeGuard<CassandraBackup>;

/// Looked at again after so long even if nothing wakes us.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// What is missing is looked for again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// A node that does not say within this time what a backup lacks leaves that unknown.
const MEASURED: Duration = Duration::from_secs(60);
/// Between two tries to remove a leftover snapshot.
const SWEEP_AGAIN: Duration = Duration::from_secs(10);

/// A reconciliation that did not go through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the CassandraBackup: {0}")]
    Read(#[source] Box<kube::Error>),
    #[error("cannot read the pods: {0}")]
    ReadPods(#[source] Box<kube::Error>),
    #[error("cannot read the BackupStorage: {0}")]
    ReadStorage(#[source] Box<kube::Error>),
    #[error(transparent)]
    Access(#[from] access::AccessError),
    #[error("cannot take the cluster's Lease: {0}")]
    Exclude(#[source] Box<kube::Error>),
    #[error("cannot write the finalizers: {0}")]
    Protect(#[source] Box<kube::Error>),
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
    let span = logs::of_backup(
        &seen.namespace().unwrap_or_default(),
        &seen.name_any(),
        &start::name_in_storage(seen),
    );
    let bring_forward = async {
        match deletion::step(seen) {
            Step::None if seen.spec.imported => {
                // Whoever looks into the storage says what is found there.
                show_ended(seen, &context);
                Ok(Action::await_change())
            }
            Step::None => bring_forward(seen, context).await,
            Step::Cancel => bring_forward(&cancelled(seen), context).await,
            step => deletion::carry_out(step, seen, &context, Timestamp::now()).await,
        }
    };
    bring_forward.instrument(span).await
}

async fn bring_forward(backup: &CassandraBackup, context: Arc<Context>) -> Result<Action, Error> {
    let adopted = context.runs.adopt(&context.client, backup).await;
    let Some(tracked) = adopted.map_err(|error| Error::Read(Box::new(error)))? else {
        show_ended(backup, &context);
        return Ok(Action::await_change());
    };
    let mut tracked = tracked.lock().await;
    let now = Timestamp::now();
    tracked.collect(&backup.spec.datacenters);
    if !has_begun(&tracked.status) {
        begin(&context, backup, &mut tracked, now).await?;
    }
    let mut actions = Vec::new();
    if has_begun(&tracked.status) {
        keep_turn(&context, backup, &mut tracked).await;
        if tracked.job.is_none() {
            tracked.job = Some(job(backup, &tracked.status));
        }
        let planned = plan(
            &backup.spec,
            backup.meta().generation,
            &tracked.status,
            &tracked.active(),
            now,
        );
        tracked.status = planned.status;
        actions = planned.actions;
    }
    // Written before anything is done, so that a restart finds what was begun.
    let Some(again) = write(&context, backup, &mut tracked).await? else {
        return Ok(Action::await_change());
    };
    for action in actions {
        act(&context, backup, &mut tracked, action);
    }
    if is_final(&tracked.status) {
        let released = tracked.exclusion.release(&context.client, backup).await;
        if let Err(error) = released {
            tracing::warn!(%error, "the cluster's Lease could not be given up; the next one finds that its holder has ended");
        }
    }
    if tracked.is_over() {
        context.runs.forget(&tracked.uid);
        return Ok(Action::await_change());
    }
    Ok(Action::requeue(if has_begun(&tracked.status) {
        again
    } else {
        LOOK_AGAIN
    }))
}

/// Shows what has ended: after a restart that is known only from its status.
fn show_ended(backup: &CassandraBackup, context: &Context) {
    if let Some(status) = backup.status.as_ref().filter(|status| is_final(status)) {
        context.metrics.show(backup, status);
    }
}

/// The same, as if somebody had cancelled it.
fn cancelled(backup: &CassandraBackup) -> CassandraBackup {
    let mut backup = backup.clone();
    backup.spec.cancel = true;
    backup
}

/// Whether the nodes are known, or it ended before they were.
fn has_begun(status: &CassandraBackupStatus) -> bool {
    !status.nodes.is_empty() || is_final(status)
}

fn is_final(status: &CassandraBackupStatus) -> bool {
    status.phase.is_some_and(BackupPhase::is_final)
}

/// Keeps others from the cluster while the backup is at work. It goes on where that fails: the
/// agents lock their nodes themselves.
async fn keep_turn(context: &Context, backup: &CassandraBackup, tracked: &mut Tracked) {
    if is_final(&tracked.status) {
        return;
    }
    match tracked.exclusion.take(&context.client, backup).await {
        Ok(Turn::Ours) => {}
        Ok(Turn::Busy(holder)) => {
            tracing::warn!(holder, "another one is at work on the cluster too");
        }
        Err(error) => tracing::warn!(%error, "the cluster's Lease could not be renewed"),
    }
}

/// Whether it is this backup's turn on its cluster, or who is at work.
async fn turn(
    context: &Context,
    backup: &CassandraBackup,
    exclusion: &mut Exclusion,
) -> Result<Result<(), Obstacle>, Error> {
    let turn = exclusion.take(&context.client, backup).await;
    Ok(
        match turn.map_err(|error| Error::Exclude(Box::new(error)))? {
            Turn::Ours => Ok(()),
            Turn::Busy(holder) => Err(Obstacle {
                reason: protocol::Reason::ClusterBusy,
                message: format!(
                    "{holder} is at work on cluster {}; this backup begins when that has ended",
                    backup.spec.cluster
                ),
                passing: true,
            }),
        },
    )
}

/// Looks up what the backup needs and, if all is there, fixes its nodes.
async fn begin(
    context: &Context,
    backup: &CassandraBackup,
    tracked: &mut Tracked,
    now: Timestamp,
) -> Result<(), Error> {
    let Tracked {
        status, exclusion, ..
    } = tracked;
    status.observed_generation = backup.meta().generation;
    if backup.spec.cancel {
        let verdict = Verdict {
            phase: BackupPhase::Cancelled,
            reason: protocol::Reason::Cancelled.to_string(),
            message: "cancelled before it began".into(),
        };
        plan::end(status, verdict, now);
        return Ok(());
    }
    // One that waits for another does not look everything up each time.
    if exclusion.waits()
        && let Err(obstacle) = turn(context, backup, exclusion).await?
    {
        wait(status, &obstacle, now);
        return Ok(());
    }
    let looked_up = match lookup(context, backup, now).await? {
        Ok(begun) => turn(context, backup, exclusion).await?.map(|()| begun),
        missing => missing,
    };
    match looked_up {
        Ok(begun) => {
            let observed = status.observed_generation;
            *status = begun;
            status.observed_generation = observed;
        }
        Err(obstacle) if obstacle.is_waited_for(start::within_grace(backup, now)) => {
            wait(status, &obstacle, now);
        }
        Err(Obstacle {
            reason, message, ..
        }) => {
            let reason = reason.to_string();
            plan::end(
                status,
                Verdict {
                    phase: BackupPhase::Failed,
                    reason,
                    message,
                },
                now,
            );
        }
    }
    Ok(())
}

fn wait(status: &mut CassandraBackupStatus, obstacle: &Obstacle, now: Timestamp) {
    status.phase = Some(BackupPhase::Pending);
    plan::at_work(status, obstacle.reason, &obstacle.message, now);
}

/// The status of the backup as it begins, or what keeps it from that.
async fn lookup(
    context: &Context,
    backup: &CassandraBackup,
    now: Timestamp,
) -> Result<Result<CassandraBackupStatus, Obstacle>, Error> {
    let cluster = &*context.tools.cluster;
    let namespace = backup.namespace().unwrap_or_default();
    let spec = &backup.spec;
    let validated = match start::validate(spec) {
        Ok(validated) => validated,
        Err(obstacle) => return Ok(Err(obstacle)),
    };
    let storage = cluster
        .storage(&namespace, &spec.storage.name)
        .await
        .map_err(|error| Error::ReadStorage(Box::new(error)))?;
    let Some(storage) = storage else {
        return Ok(Err(Obstacle {
            reason: protocol::Reason::BackupStorageNotFound,
            message: format!(
                "BackupStorage {} does not exist in namespace {namespace}",
                spec.storage.name
            ),
            passing: true,
        }));
    };
    if storage.spec.read_only {
        return Ok(Err(Obstacle {
            reason: protocol::Reason::StorageReadOnly,
            message: format!(
                "BackupStorage {} has readOnly: true, so no backup is made into it: name another one",
                spec.storage.name
            ),
            passing: false,
        }));
    }
    let secrets = async {
        access::storage(cluster, &namespace, &storage.spec).await?;
        access::jmx(cluster, &namespace, &spec.cassandra.jmx).await?;
        access::password(cluster, &namespace, spec.cassandra.cql.credentials.as_ref()).await
    };
    if let Err(error) = secrets.await {
        if error.is_temporary() {
            return Err(error.into());
        }
        let (reason, message) = (error.reason(), error.to_string());
        return Ok(Err(Obstacle {
            reason,
            message,
            passing: true,
        }));
    }
    let pods = cluster
        .pods(&namespace, &validated.selector)
        .await
        .map_err(|error| Error::ReadPods(Box::new(error)))?;
    Ok(start::begin(backup, &pods, now))
}

fn job(backup: &CassandraBackup, status: &CassandraBackupStatus) -> Arc<Job> {
    Arc::new(Job {
        namespace: backup.namespace().unwrap_or_default(),
        resource: backup.name_any(),
        uid: backup.uid().unwrap_or_default(),
        spec: backup.spec.clone(),
        backup: status.backup_name.clone().unwrap_or_default(),
        bandwidth: start::validate(&backup.spec)
            .ok()
            .and_then(|valid| valid.bandwidth),
        snapshot_at: status.snapshot_at.as_ref().map(|time| time.0),
        hold: plan::holds(&backup.spec, status),
        deadline: plan::deadline(&backup.spec, status),
        rings: Arc::default(),
    })
}

/// Writes the status if it is time to. Returns when to look again; `None` if the resource is gone.
async fn write(
    context: &Context,
    backup: &CassandraBackup,
    tracked: &mut Tracked,
) -> Result<Option<Duration>, Error> {
    // Also what needs no writing: after a restart nobody has shown it yet.
    context.metrics.show(backup, &tracked.status);
    match publish::when(tracked.written.as_ref(), &tracked.status, Instant::now()) {
        When::Never => return Ok(Some(HEARTBEAT)),
        When::After(rest) => return Ok(Some(rest)),
        When::Now => {}
    }
    match publish::write(&context.client, backup, &tracked.status).await {
        Ok(()) => {}
        // A namesake has another uid, which conflicts.
        Err(kube::Error::Api(status)) if is_gone(&status) => {
            tracked.stop_all();
            context.runs.forget(&tracked.uid);
            return Ok(None);
        }
        Err(error) => return Err(Error::Write(Box::new(error))),
    }
    let old = tracked
        .written
        .replace((tracked.status.clone(), Instant::now()));
    let old = old.map(|(status, _)| status);
    context
        .metrics
        .observe(backup, old.as_ref(), &tracked.status);
    for event in news::news(old.as_ref(), &tracked.status) {
        if let Err(error) = context
            .recorder
            .publish(&event, &backup.object_ref(&()))
            .await
        {
            tracing::warn!(%error, "an Event could not be recorded");
        }
    }
    Ok(Some(HEARTBEAT))
}

fn act(
    context: &Arc<Context>,
    backup: &CassandraBackup,
    tracked: &mut Tracked,
    action: plan::Action,
) {
    let Some(job) = tracked.job.clone() else {
        return;
    };
    let object = ObjectRef::<Guarded>::new(&backup.name_any()).within(&job.namespace);
    let (waker, throttle) = (Arc::clone(context), Arc::clone(&tracked.wakes));
    let nodes = tracked.status.nodes.len();
    let wake = move || {
        let (waker, object) = (Arc::clone(&waker), object.clone());
        throttle.wake(nodes, move || waker.wakes.wake(object));
    };
    match action {
        plan::Action::Stop { pod, stop } => tracked.stop(&pod, stop),
        plan::Action::Proceed { pod } => tracked.proceed(&pod),
        plan::Action::Follow { pod } => {
            let mut all = tracked.status.nodes.iter().enumerate();
            let Some((at, node)) = all.find(|(_, node)| node.pod == pod) else {
                return;
            };
            let (reporter, report) =
                Reporter::new(node.clone(), context.tools.pace, Box::new(wake.clone()));
            let (stop, stopped) = watch::channel(None);
            let (turn, its_turn) = watch::channel(node.turn_at.is_some());
            let run = NodeRun {
                tools: Arc::clone(&context.tools),
                run_id: names::run_id(&job.uid, &pod),
                pod: pod.clone(),
                reporter,
                tells_ring: plan::tells_ring(at, nodes),
                stop: stopped,
                turn: its_turn,
                job,
            };
            let task = tokio::spawn(async move {
                run.follow().await;
                wake();
            });
            tracked.follow(pod, report, Orders { stop, turn }, task);
        }
        plan::Action::Measure { pod, without } => {
            let (tools, name) = (Arc::clone(&context.tools), pod.clone());
            let task = tokio::spawn(async move {
                let asked = timeout(MEASURED, node::coverage(&tools, &job, &name, without)).await;
                let nothing = |_| Err(format!("{name} did not answer within {MEASURED:?}"));
                let told = coverage::told(asked.unwrap_or_else(nothing));
                wake();
                told
            });
            tracked.measure(pod, task);
        }
        plan::Action::Sweep { pod } => {
            let (tools, name) = (Arc::clone(&context.tools), pod.clone());
            let span = logs::of_node(&job, &pod, names::run_id(&job.uid, &pod));
            let sweeping = async move {
                while let Err(error) = sweep(&tools, &job, &name).await {
                    tracing::info!(error, "snapshots are not removed yet");
                    sleep(SWEEP_AGAIN).await;
                }
                wake();
            };
            let task = tokio::spawn(sweeping.instrument(span));
            tracked.sweep(pod, task);
        }
    }
}
