//! `CassandraBackup`: from the resource to a status that is true.

#[cfg(test)]
mod conversation;
mod coverage;
mod deletion;
#[cfg(test)]
mod deletion_conversation;
mod expire;
mod imported;
mod news;
mod plan;
mod ring;
mod runs;
mod start;
#[cfg(test)]
mod tests;
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
use protocol::Scope;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::Instrument;

use crate::context::Context;
use crate::exclusion::{Claim, Exclusion};
use crate::guarded::readable;
use crate::node::{self, Job, Making, NodeRun, Orders, Reach, Reporter, Work, deadline, sweep};
use crate::prerequisites::{self, LookupError, Obstacle, within_grace};
use crate::publish::{self, HEARTBEAT, Published, publish};
use crate::{conditions, logs, names, rehearsal};
use deletion::Step;
use plan::plan;
use runs::{Tracked, adopt};
use verdict::Verdict;

/// The resource, or why it cannot be read.
pub(crate) type Guarded = DeserializeGuard<CassandraBackup>;

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
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("cannot take the cluster's Lease: {0}")]
    Exclude(#[source] Box<kube::Error>),
    #[error("cannot write the finalizers: {0}")]
    Protect(#[source] Box<kube::Error>),
    #[error("cannot write the status: {0}")]
    Write(#[source] Box<kube::Error>),
    #[error(transparent)]
    Rehearse(#[from] rehearsal::Error),
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
                after_end(seen, &context).await
            }
            Step::None => bring_forward(seen, context).await,
            Step::Cancel => bring_forward(&cancelled(seen), context).await,
            step => {
                let now = Timestamp::now();
                if seen.meta().deletion_timestamp.is_some() {
                    rehearsal::bring_forward(seen, &context, now).await?;
                }
                deletion::carry_out(step, seen, &context, now).await
            }
        }
    };
    bring_forward.instrument(span).await
}

async fn bring_forward(backup: &CassandraBackup, context: Arc<Context>) -> Result<Action, Error> {
    let adopted = adopt(&context.runs, &context.client, backup).await;
    let Some(tracked) = adopted.map_err(|error| Error::Read(Box::new(error)))? else {
        return after_end(backup, &context).await;
    };
    let mut tracked = tracked.lock().await;
    let now = Timestamp::now();
    tracked.collect(&backup.spec.datacenters);
    if !has_begun(&tracked.status) {
        begin(&context, backup, &mut tracked, now).await?;
    }
    let mut actions = Vec::new();
    if has_begun(&tracked.status) {
        if !is_final(&tracked.status) {
            let claim = claim(backup);
            tracked.exclusion.keep(&context.client, &claim).await;
        }
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
        let claim = claim(backup);
        tracked.exclusion.release(&context.client, &claim).await;
    }
    if tracked.is_over() {
        context.runs.forget(&tracked.uid);
        // The event of its last status may have come already.
        return Ok(match backup.spec.verify {
            Some(_) => Action::requeue(LOOK_AGAIN),
            None => Action::await_change(),
        });
    }
    Ok(Action::requeue(if has_begun(&tracked.status) {
        again
    } else {
        LOOK_AGAIN
    }))
}

/// Shows what has ended, since after a restart that is known only from its status; and has it proven,
/// where that is asked for.
async fn after_end(backup: &CassandraBackup, context: &Context) -> Result<Action, Error> {
    if let Some(status) = backup.status.as_ref().filter(|status| is_final(status)) {
        context.metrics.show(backup, status);
        let seen = publish::observe(&context.client, backup, status.observed_generation).await;
        seen.map_err(|error| Error::Write(Box::new(error)))?;
    }
    Ok(rehearsal::bring_forward(backup, context, Timestamp::now()).await?)
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

fn claim(backup: &CassandraBackup) -> Claim {
    Claim::of(backup, &backup.spec.cluster)
}

/// Whether it is this backup's turn on its cluster, or who is at work.
async fn turn(
    context: &Context,
    backup: &CassandraBackup,
    exclusion: &mut Exclusion,
) -> Result<Result<(), Obstacle>, Error> {
    let turn = exclusion.turn(&context.client, &claim(backup)).await;
    turn.map_err(|error| Error::Exclude(Box::new(error)))
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
        Err(obstacle) if obstacle.is_waited_for(within_grace(backup, now)) => {
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
    let reach = Reach::of_backup(&namespace, spec);
    let storage = match prerequisites::storage(cluster, &reach).await? {
        Ok(storage) => storage,
        Err(obstacle) => return Ok(Err(obstacle)),
    };
    if storage.read_only {
        return Ok(Err(Obstacle {
            reason: protocol::Reason::StorageReadOnly,
            message: format!(
                "BackupStorage {} has readOnly: true, so no backup is made into it: name another one",
                spec.storage.name
            ),
            passing: false,
        }));
    }
    if let Err(obstacle) = prerequisites::secrets(cluster, &reach, &storage).await? {
        return Ok(Err(obstacle));
    }
    let pods = prerequisites::pods(cluster, &reach, &validated.selector).await?;
    Ok(start::begin(backup, &pods, now))
}

fn job(backup: &CassandraBackup, status: &CassandraBackupStatus) -> Arc<Job> {
    let spec = &backup.spec;
    Arc::new(Job {
        resource: backup.name_any(),
        uid: backup.uid().unwrap_or_default(),
        reach: Reach::of_backup(&backup.namespace().unwrap_or_default(), spec),
        cluster: spec.cluster.clone(),
        backup: status.backup_name.clone().unwrap_or_default(),
        scope: Scope {
            keyspaces: spec.keyspaces.clone(),
            tables: spec.tables.clone(),
            datacenters: spec.datacenters.clone(),
        },
        bandwidth: start::validate(spec).ok().and_then(|valid| valid.bandwidth),
        deadline: deadline(status.start_time.as_ref(), spec.active_deadline_seconds),
        work: Work::Backup(Making {
            series: spec.series.clone(),
            allow_corrupt: spec.allow_corrupt,
            snapshot_at: status.snapshot_at.as_ref().map(|time| time.0),
            hold: plan::holds(spec, status),
        }),
        rings: Arc::default(),
        shared: Arc::default(),
    })
}

impl publish::Status for CassandraBackupStatus {
    fn is_turn(&self, old: &Self) -> bool {
        old.phase != self.phase
            || is_final(self)
            || old.observed_generation != self.observed_generation
            || old.nodes.len() != self.nodes.len()
            || conditions::gist(&old.conditions) != conditions::gist(&self.conditions)
    }
}

/// Writes the status if it is time to. Returns when to look again; `None` if the resource is gone.
async fn write(
    context: &Context,
    backup: &CassandraBackup,
    tracked: &mut Tracked,
) -> Result<Option<Duration>, Error> {
    // Also what needs no writing: after a restart nobody has shown it yet.
    context.metrics.show(backup, &tracked.status);
    let (client, status) = (&context.client, &tracked.status);
    let published = publish(client, backup, &mut tracked.written, status).await;
    match published.map_err(|error| Error::Write(Box::new(error)))? {
        Published::Rests(rest) => return Ok(Some(rest)),
        Published::Told(old) => {
            context.metrics.observe(backup, old.as_ref(), status);
            context.tell(backup, news::news(old.as_ref(), status)).await;
        }
        Published::Gone => {
            tracked.followed.stop_all();
            context.runs.forget(&tracked.uid);
            return Ok(None);
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
    let object = ObjectRef::<Guarded>::new(&backup.name_any()).within(&job.reach.namespace);
    let (waker, throttle) = (Arc::clone(context), Arc::clone(&tracked.wakes));
    let nodes = tracked.status.nodes.len();
    let wake = move || {
        let (waker, object) = (Arc::clone(&waker), object.clone());
        throttle.wake(nodes, move || waker.wakes.wake(object));
    };
    match action {
        plan::Action::Stop { pod, stop } => tracked.followed.stop(&pod, stop),
        plan::Action::Proceed { pod } => tracked.followed.proceed(&pod),
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
            tracked
                .followed
                .follow(pod, report, Orders { stop, turn }, task);
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
