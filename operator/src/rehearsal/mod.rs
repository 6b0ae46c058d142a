//! The proof of a backup: a pod in which Cassandra runs for nothing else, a CassandraRestore into it, and
//! what that says as the backup's condition `Verified`.
//!
//! Nothing is kept in memory: the status names pod and restore before they are made, and says what was
//! asked for and whether that was answered.

mod build;
#[cfg(test)]
mod conversation;
mod decide;
mod desk;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crds::{BackupPhase, CassandraBackup, CassandraBackupStatus, CassandraRestore, Rehearsal};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use protocol::Reason;

use crate::conditions::Is;
use crate::context::Context;
use crate::pod::PodView;
use crate::startup::{self, Progress};
use build::Subject;
use decide::{Facts, Next, Performance, Stage, StageIs, next};
use desk::Desk;

/// What else asks for a rehearsal: another value is another one.
pub(crate) const REHEARSE_AT: &str = "cassandrabackup.io/rehearse-at";
/// The condition.
const VERIFIED: &str = "Verified";
/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// A step that did not go through, and is taken again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the pods of a rehearsal: {0}")]
    ReadPods(#[source] Box<kube::Error>),
    #[error("cannot read the CassandraRestore of a rehearsal: {0}")]
    ReadRestore(#[source] Box<kube::Error>),
    #[error("cannot read the PodTemplate of a rehearsal: {0}")]
    ReadTemplate(#[source] Box<kube::Error>),
    #[error("cannot make {what} {name} of a rehearsal: {cause}")]
    Make {
        what: &'static str,
        name: String,
        cause: Box<kube::Error>,
    },
    #[error("cannot delete {what} {name} of a rehearsal: {cause}")]
    Delete {
        what: &'static str,
        name: String,
        cause: Box<kube::Error>,
    },
    #[error("cannot write the status of a rehearsal: {0}")]
    Write(#[source] Box<kube::Error>),
}

/// Takes what another writer says out of a status that is to be written of the backup.
pub(crate) fn leave_out(status: &mut CassandraBackupStatus) {
    status.verification = None;
    status.conditions.retain(|it| it.type_ != VERIFIED);
}

/// Brings the rehearsal of a backup that has ended forward, if one is asked for.
pub(crate) async fn bring_forward(
    backup: &CassandraBackup,
    context: &Context,
    now: Timestamp,
) -> Result<Action, Error> {
    let status = backup.status.as_ref();
    let known = status.and_then(|status| status.verification.as_ref());
    let is_whole = status.is_some_and(|it| it.phase == Some(BackupPhase::Succeeded));
    let stays = backup.meta().deletion_timestamp.is_none();
    let wanted = backup.spec.verify.as_ref();
    let desk = Desk::new(context, backup);
    let (verify, known) = match (wanted.filter(|_| is_whole && stays), known) {
        (None, None) => return Ok(Action::await_change()),
        (None, Some(known)) => return desk.give_up(known, now).await,
        (Some(_), None) => return desk.begin(None, now).await,
        (Some(verify), Some(known)) => (verify, known),
    };
    if known.request != request(backup) {
        return desk.begin(Some(known), now).await;
    }
    if known.completion_time.is_some() {
        return desk.clean_up(known, now).await;
    }
    let subject = Subject {
        backup,
        verify,
        name: &known.restore,
    };
    let pods = desk.pods().await?;
    let performance = desk.restore(&known.restore).await?;
    let facts = Facts {
        known,
        stage: stage(&pods, verify, &known.restore, now),
        performance: performance.as_ref().map(performed),
        limit: SignedDuration::from_secs(verify.active_deadline_seconds),
    };
    let ended = match next(&facts, now) {
        Next::MakePod => desk.make_pod(&subject, known, now).await?,
        Next::MakeRestore => desk.make_restore(&subject).await?,
        Next::Wait(message) => {
            let why = (Is::Unknown, Reason::Running.as_str(), message.as_str());
            desk.say(known, why, now).await?;
            None
        }
        Next::End(verdict) => Some(verdict.within(verify)),
    };
    if let Some(verdict) = ended {
        desk.end(known, &verdict, now).await?;
    }
    Ok(Action::requeue(LOOK))
}

/// A hash of what is asked for.
fn request(backup: &CassandraBackup) -> String {
    let at = backup.annotations().get(REHEARSE_AT);
    let text = serde_json::to_vec(&(&backup.spec.verify, at)).unwrap_or_default();
    blake3::hash(&text).to_hex()[..16].to_owned()
}

/// The pod of that name, as far as it matters.
fn stage(pods: &[Pod], verify: &Rehearsal, name: &str, now: Timestamp) -> Option<Stage> {
    let pod = pods.iter().find(|pod| pod.name_any() == name)?;
    // Its pod may go on with other containers.
    let died = startup::died(pod, verify.container.as_deref());
    let is = match (startup::progress(pod), PodView::of(pod)) {
        (Progress::Ended(why), _) => StageIs::Ended(died.unwrap_or(why)),
        (_, _) if died.is_some() => StageIs::Ended(died.unwrap_or_default()),
        (_, view) if view.leaving => StageIs::Ended("somebody deletes it".into()),
        (_, view) if view.ready => StageIs::Ready,
        (Progress::Running, _) => {
            StageIs::Waits("it runs, and says that it is not ready yet".into())
        }
        (Progress::Waits(why), _) => StageIs::Waits(why),
    };
    let since = pod.creation_timestamp().map_or(now, |time| time.0);
    Some(Stage { since, is })
}

/// The restore, as far as it matters.
fn performed(restore: &CassandraRestore) -> Performance {
    let status = restore.status.clone().unwrap_or_default();
    let complete = status.conditions.iter().find(|it| it.type_ == "Complete");
    Performance {
        phase: status.phase,
        reason: complete.map_or_else(|| Reason::Pending.to_string(), |it| it.reason.clone()),
        message: complete.map_or_else(|| "it waits".to_owned(), |it| it.message.clone()),
        rehearsed: status.rehearsed,
    }
}
