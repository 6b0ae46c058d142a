//! A backup that takes its data with it: the finalizer, and what happens before it goes.

use std::sync::Arc;
use std::time::Duration;

use crds::{
    BackupPhase, CassandraBackup, CassandraBackupStatus, DeletionPolicy, NodePhase, NodeStatus,
};
use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use protocol::{DeleteRequest, MadeBy, Operation, PurgeLimits, Reason};
use serde_json::json;

use super::{Error, Guarded, HEARTBEAT, runs};
use crate::FIELD_MANAGER;
use crate::answer::is_gone;
use crate::conditions::{self, Is};
use crate::context::Context;
use crate::humane;
use crate::publish;
use crate::rehearsal;
use crate::retention::{Chore, Ended, Maintained, Place, backoff, perform};

/// Keeps the resource until its data is gone.
pub(super) const FINALIZER: &str = "cassandrabackup.io/delete-data";
/// Annotation that lets the resource go without its data.
pub(super) const SKIP: &str = "cassandrabackup.io/skip-data-deletion";

const DELETING: &str = "Deleting";
const STALLED: &str = "Stalled";
/// After somebody else wrote the resource meanwhile, or while another deletion is at the storage.
const AGAIN: Duration = Duration::from_secs(5);
/// Nothing is deleted later than this after the start.
const DEADLINE: Duration = Duration::from_secs(3600);
/// For an agent to end by itself at the deadline that it was told.
const MARGIN: Duration = Duration::from_secs(300);
/// A request of a run may arrive so long after the run has ended, as the agent's protocol has it, and
/// the storage's clock may differ from ours. Data is deleted after that.
const SETTLED: SignedDuration = SignedDuration::from_secs(630);
const LONGEST_MESSAGE: usize = 1024;
/// Longest note that the API takes is 1 KiB.
const NOTE: usize = 1000;

/// What the resource's deletion asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    None,
    /// To be kept until its data is gone, once somebody deletes it.
    Protect,
    /// To be cancelled: its data is not deleted while it is at work.
    Cancel,
    /// To go without its data, as somebody said so.
    Skip,
    /// To go: it has no data.
    Release,
    /// To go without data that nobody has looked for.
    Unseen,
    /// To go after its data.
    Delete,
}

/// Decides from the resource.
pub(super) fn step(backup: &CassandraBackup) -> Step {
    let meta = backup.meta();
    let protected = backup.finalizers().iter().any(|name| name == FINALIZER);
    let status = backup.status.as_ref();
    match (meta.deletion_timestamp.is_some(), protected) {
        (false, false) if backup.spec.deletion_policy == DeletionPolicy::Delete => {
            // Nobody deletes anything for one that has expired.
            if status.is_some_and(|status| status.phase == Some(BackupPhase::Expired)) {
                Step::None
            } else {
                Step::Protect
            }
        }
        (true, true) if skips(backup) => Step::Skip,
        (true, true) if !runs::is_over(status) => match backup.spec.imported {
            true => Step::Unseen,
            false => Step::Cancel,
        },
        (true, true) if status.is_some_and(may_have_data) => Step::Delete,
        (true, true) => Step::Release,
        _ => Step::None,
    }
}

fn skips(backup: &CassandraBackup) -> bool {
    let said = backup.annotations().get(SKIP);
    said.is_some_and(|said| said == "true")
}

/// Whether it may have left a backup of its own in the storage: also a node of which nobody heard the
/// end may have committed. One that failed because its name was taken, if only on one node, must not
/// delete the other one's.
fn may_have_data(status: &CassandraBackupStatus) -> bool {
    let taken = Reason::BackupExists.as_str();
    let is_taken = |node: &NodeStatus| node.reason.as_deref() == Some(taken);
    status.phase != Some(BackupPhase::Expired)
        && !status.nodes.iter().any(is_taken)
        && status.backup_name.is_some()
        && status
            .nodes
            .iter()
            .any(|node| node.phase == NodePhase::Succeeded || may_have_committed(node))
}

/// Whether nobody heard how a run ended that had begun.
fn may_have_committed(node: &NodeStatus) -> bool {
    let unheard = [
        Reason::Interrupted,
        Reason::PodNotReady,
        Reason::DeadlineExceeded,
        Reason::Cancelled,
    ];
    let reason = node.reason.as_deref();
    node.started_at.is_some() && unheard.iter().any(|one| reason == Some(one.as_str()))
}

/// Carries a step out that is not to cancel.
pub(super) async fn carry_out(
    step: Step,
    backup: &CassandraBackup,
    context: &Arc<Context>,
    now: Timestamp,
) -> Result<Action, Error> {
    match step {
        Step::None | Step::Cancel => Ok(Action::await_change()),
        Step::Protect => {
            let mut finalizers = backup.finalizers().to_vec();
            finalizers.push(FINALIZER.into());
            set_finalizers(backup, context, &finalizers).await
        }
        Step::Skip => {
            let at_work = context.chores.stop(&backup.uid().unwrap_or_default());
            let mut note = format!("the resource goes without its data: {SKIP} says so");
            if at_work {
                note.push_str("; a deletion was at work, which may have deleted some of it, and in a pod goes on to its end");
            }
            release(backup, context, Reason::DataDeletionSkipped, note).await
        }
        Step::Release => {
            let note = "the backup left no data of its own, or it has expired".to_owned();
            release(backup, context, Reason::DataDeleted, note).await
        }
        Step::Unseen => {
            let note = "nobody has looked yet what the storage has of this backup, and nothing was deleted: make the resource again, and delete it when its status says what was found".to_owned();
            release(backup, context, Reason::DataDeletionSkipped, note).await
        }
        Step::Delete => delete(backup, context, now).await,
    }
}

async fn delete(
    backup: &CassandraBackup,
    context: &Arc<Context>,
    now: Timestamp,
) -> Result<Action, Error> {
    let uid = backup.uid().unwrap_or_default();
    match context.chores.of(&uid) {
        Some(Chore::Running) => Ok(Action::requeue(HEARTBEAT)),
        Some(Chore::Ended { ended, .. }) if is_deleted(&ended) => {
            release(backup, context, Reason::DataDeleted, ended.message.clone()).await
        }
        // Ours is not there, and was not before.
        Some(Chore::Ended { ended, .. }) if ended.reason == Reason::BackupExists => {
            release(
                backup,
                context,
                Reason::DataDeletionSkipped,
                ended.message.clone(),
            )
            .await
        }
        Some(Chore::Ended { ended, failures }) => {
            say(backup, context, Told::Failed(&ended), now).await?;
            let again = ended
                .ended
                .saturating_add(backoff(i32::try_from(failures).unwrap_or(i32::MAX)))
                .unwrap_or(Timestamp::MAX);
            let rest = again.duration_since(now);
            if rest.is_positive() {
                return Ok(Action::requeue(wait(rest)));
            }
            Ok(start(backup, context))
        }
        None => {
            let settled = backup.status.as_ref().and_then(settled);
            if let Some(at) = settled.filter(|at| *at > now) {
                say(backup, context, Told::Waits(at), now).await?;
                return Ok(Action::requeue(wait(at.duration_since(now))));
            }
            say(backup, context, Told::Begins, now).await?;
            Ok(start(backup, context))
        }
    }
}

/// From when on nothing of its runs can be on its way to the storage.
fn settled(status: &CassandraBackupStatus) -> Option<Timestamp> {
    let ended = status.completion_time.as_ref()?.0;
    ended.checked_add(SETTLED).ok()
}

/// Whether nothing of it is left to be deleted.
fn is_deleted(ended: &Ended) -> bool {
    ended.is_success() || ended.reason == Reason::BackupNotFound
}

fn wait(rest: SignedDuration) -> Duration {
    Duration::try_from(rest).unwrap_or(AGAIN)
}

fn start(backup: &CassandraBackup, context: &Arc<Context>) -> Action {
    let namespace = backup.namespace().unwrap_or_default();
    let place = Place {
        namespace: namespace.clone(),
        storage: backup.spec.storage.name.clone(),
        cluster: backup.spec.cluster.clone(),
    };
    let object = ObjectRef::<Guarded>::new(&backup.name_any()).within(&namespace);
    let (waker, worker, of) = (Arc::clone(context), Arc::clone(context), backup.clone());
    let started = context.chores.start(
        backup.uid().unwrap_or_default(),
        place,
        async move { work(&worker, &of).await },
        move || waker.wakes.wake(object),
    );
    Action::requeue(if started { HEARTBEAT } else { AGAIN })
}

async fn work(context: &Context, backup: &CassandraBackup) -> Ended {
    let began = Timestamp::now();
    let namespace = backup.namespace().unwrap_or_default();
    let status = backup.status.as_ref();
    let request = |storage: Maintained| {
        Operation::Delete(Box::new(DeleteRequest {
            storage: storage.access,
            cluster: backup.spec.cluster.clone(),
            backup: status
                .and_then(|status| status.backup_name.clone())
                .unwrap_or_default(),
            runs: status
                .map(|status| made_by(&status.nodes))
                .unwrap_or_default(),
            // Who deletes it by name means it.
            even_newest: true,
            limits: PurgeLimits {
                // Else what was uploaded today would stay until somebody purges. Intents keep what
                // runs rely on.
                grace_seconds: 0,
                deadline_seconds: DEADLINE.as_secs(),
                require_own_device: storage.require_own_device,
                ..PurgeLimits::default()
            },
        }))
    };
    let told = perform(
        context,
        &namespace,
        &backup.spec,
        request,
        DEADLINE + MARGIN,
    )
    .await;
    let ended = Ended::of(began, told);
    tracing::info!(
        namespace, resource = backup.name_any(), reason = %ended.reason, detail = ended.message,
        "deletion of data ended"
    );
    ended
}

/// The runs that the backup is made of. One of which there was a second attempt may have a first one
/// at work where nobody sees it.
pub(super) fn made_by(nodes: &[NodeStatus]) -> Vec<MadeBy> {
    let made = nodes.iter().filter_map(|node| {
        Some(MadeBy {
            run_id: node.run_id.parse().ok()?,
            ended: node.phase == NodePhase::Succeeded && node.attempt == 1,
        })
    });
    made.collect()
}

/// How far the deletion is.
enum Told<'a> {
    /// It begins then.
    Waits(Timestamp),
    Begins,
    Failed(&'a Ended),
}

/// Says in the status that the data is being deleted, or what keeps it from that.
async fn say(
    backup: &CassandraBackup,
    context: &Context,
    told: Told<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let before = backup.status.clone().unwrap_or_default();
    let (reason, message) = match &told {
        Told::Waits(at) => (
            Reason::DeletingData,
            format!(
                "the backup's data is deleted at {at}: until then a request of its run may still be on its way to the storage"
            ),
        ),
        Told::Begins => (
            Reason::DeletingData,
            "the backup's data is being deleted".to_owned(),
        ),
        Told::Failed(ended) => {
            let so_far = match ended.has_deleted_a_backup() {
                true => "not all of the data is deleted",
                false => "the data is not deleted",
            };
            let message = format!(
                "{so_far}, and it is tried again: {}. To let the resource go without, annotate it with {SKIP}=true",
                ended.message
            );
            (ended.reason, humane::shortened(&message, LONGEST_MESSAGE))
        }
    };
    let failed = matches!(told, Told::Failed(_));
    let mut status = before.clone();
    let why = (reason.as_str(), message.as_str());
    let generation = backup.meta().generation;
    let all = &mut status.conditions;
    conditions::set(all, DELETING, Is::True, why, generation, now);
    conditions::set(all, STALLED, failed.into(), why, generation, now);
    if status == before {
        return Ok(());
    }
    rehearsal::leave_out(&mut status);
    match publish::write(&context.client, backup, &status).await {
        Ok(()) => {}
        Err(kube::Error::Api(status)) if is_gone(&status) => {
            return Ok(());
        }
        Err(error) => return Err(Error::Write(Box::new(error))),
    }
    let type_ = if failed {
        EventType::Warning
    } else {
        EventType::Normal
    };
    tell(backup, context, type_, reason, &message).await;
    Ok(())
}

/// Lets the resource go.
async fn release(
    backup: &CassandraBackup,
    context: &Context,
    reason: Reason,
    note: String,
) -> Result<Action, Error> {
    let others: Vec<_> = backup
        .finalizers()
        .iter()
        .filter(|name| *name != FINALIZER)
        .cloned()
        .collect();
    let action = set_finalizers(backup, context, &others).await?;
    if action == Action::await_change() {
        context.chores.forget(&backup.uid().unwrap_or_default());
        tell(backup, context, EventType::Normal, reason, &note).await;
    }
    Ok(action)
}

/// Writes the finalizers onto exactly what was seen.
async fn set_finalizers(
    backup: &CassandraBackup,
    context: &Context,
    finalizers: &[String],
) -> Result<Action, Error> {
    let namespace = backup.namespace().unwrap_or_default();
    let api: Api<CassandraBackup> = Api::namespaced(context.client.clone(), &namespace);
    let patch = Patch::Merge(json!({"metadata": {
        "uid": backup.uid(),
        "resourceVersion": backup.resource_version(),
        "finalizers": finalizers,
    }}));
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.into()),
        ..PatchParams::default()
    };
    match api.patch(&backup.name_any(), &parameters, &patch).await {
        Ok(_) => Ok(Action::await_change()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Action::await_change()),
        Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Action::requeue(AGAIN)),
        Err(error) => Err(Error::Protect(Box::new(error))),
    }
}

async fn tell(
    backup: &CassandraBackup,
    context: &Context,
    type_: EventType,
    reason: Reason,
    note: &str,
) {
    let event = Event {
        type_,
        reason: reason.to_string(),
        note: Some(humane::shortened(note, NOTE)),
        action: "Delete".into(),
        secondary: None,
    };
    context.tell(backup, [event]).await;
}
