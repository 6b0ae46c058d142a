//! The proof of a backup: a pod in which Cassandra runs for nothing else, a CassandraRestore into it, and
//! what that says as the backup's condition `Verified`.
//!
//! Nothing is kept in memory: pod and restore have names that are a function of the backup and of what
//! is asked for, and the status says whether that was answered.

mod build;
#[cfg(test)]
mod conversation;
mod decide;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crds::{
    BackupPhase, CassandraBackup, CassandraBackupStatus, CassandraRestore, RestorePhase,
    VerificationStatus,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodTemplate};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use protocol::Reason;
use serde_json::json;

use crate::answer::{is_gone, is_refusal};
use crate::conditions::{self, Is};
use crate::context::Context;
use crate::humane;
use crate::pod::PodView;
use crate::prerequisites::GRACE;
use crate::startup::{self, Progress};
use build::Subject;
use decide::{Facts, Next, Performance, Stage, StageIs, Verdict, next};

/// What else asks for a rehearsal: another value is another one.
pub(crate) const REHEARSE_AT: &str = "cassandrabackup.io/rehearse-at";
/// The condition.
const VERIFIED: &str = "Verified";
/// Who writes of rehearsals, apart from who writes of the backup: each leaves alone what is the other's.
const WRITER: &str = "cassandra-backup-operator-rehearsal";
/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Seconds that Cassandra has to end: nothing of it is needed any more.
const TERMINATION: u32 = 5;
/// Longest note of an Event.
const NOTE: usize = 1000;

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
    let Some(verify) = backup.spec.verify.as_ref().filter(|_| is_whole && stays) else {
        return match known.filter(|known| known.completion_time.is_none()) {
            Some(known) => give_up(backup, known, context, now).await,
            None => Ok(Action::await_change()),
        };
    };
    let request = request(backup);
    let subject = Subject {
        backup,
        verify,
        request: &request,
    };
    let desk = Desk::new(context, backup);
    let pods = desk.pods().await?;
    let performance = desk.restore(&subject.name()).await?;
    let facts = Facts {
        known,
        request: &request,
        stage: stage(&pods, &subject.name(), now),
        performance: performance.as_ref().map(performed),
        limit: SignedDuration::from_secs(verify.active_deadline_seconds),
    };
    match next(&facts, now) {
        Next::Begin => {
            // Of one that was begun for something else.
            desk.clean_up(&pods, known).await?;
            let begun = decide::begun(known, &request, &subject.name(), now);
            let message = "the rehearsal begins";
            desk.say(
                &begun,
                (Is::Unknown, Reason::Running.as_str(), message),
                now,
            )
            .await?;
        }
        Next::MakePod => {
            if let Some(verdict) = desk.make_pod(&subject, known, now).await? {
                desk.end(known, verdict, now).await?;
            }
        }
        Next::MakeRestore => {
            if let Some(verdict) = desk.make_restore(&subject).await? {
                desk.end(known, verdict, now).await?;
            }
        }
        Next::Wait(message) => {
            if let Some(known) = known {
                desk.say(
                    known,
                    (Is::Unknown, Reason::Running.as_str(), &message),
                    now,
                )
                .await?;
            }
        }
        Next::End(verdict) => desk.end(known, verdict, now).await?,
        Next::CleanUp => {
            desk.clean_up(&pods, known).await?;
            return Ok(Action::await_change());
        }
    }
    Ok(Action::requeue(LOOK))
}

/// Nobody asks for it any more.
async fn give_up(
    backup: &CassandraBackup,
    known: &VerificationStatus,
    context: &Context,
    now: Timestamp,
) -> Result<Action, Error> {
    let desk = Desk::new(context, backup);
    let pods = desk.pods().await?;
    desk.clean_up(&pods, Some(known)).await?;
    let message = "the rehearsal was given up: spec.verify was removed, or the backup is no more";
    let verdict = Verdict {
        is: Is::Unknown,
        reason: Reason::Cancelled.to_string(),
        message: message.into(),
        found: None,
    };
    desk.end(Some(known), verdict, now).await?;
    Ok(Action::await_change())
}

/// A hash of what is asked for.
fn request(backup: &CassandraBackup) -> String {
    let at = backup.annotations().get(REHEARSE_AT);
    let text = serde_json::to_vec(&(&backup.spec.verify, at)).unwrap_or_default();
    blake3::hash(&text).to_hex()[..16].to_owned()
}

/// The pod of that name, as far as it matters.
fn stage(pods: &[Pod], name: &str, now: Timestamp) -> Option<Stage> {
    let pod = pods.iter().find(|pod| pod.name_any() == name)?;
    let is = match (startup::progress(pod), PodView::of(pod)) {
        (Progress::Ended(why), _) => StageIs::Ended(why),
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

/// Requests to the API server about the rehearsals of one backup.
struct Desk<'a> {
    context: &'a Context,
    backup: &'a CassandraBackup,
    pods: Api<Pod>,
    restores: Api<CassandraRestore>,
    templates: Api<PodTemplate>,
}

impl<'a> Desk<'a> {
    fn new(context: &'a Context, backup: &'a CassandraBackup) -> Self {
        let namespace = backup.namespace().unwrap_or_default();
        let client = || context.client.clone();
        Self {
            context,
            backup,
            pods: Api::namespaced(client(), &namespace),
            restores: Api::namespaced(client(), &namespace),
            templates: Api::namespaced(client(), &namespace),
        }
    }

    /// The pods of all rehearsals of the backup, also of earlier ones.
    async fn pods(&self) -> Result<Vec<Pod>, Error> {
        let ours = ListParams::default().labels(&build::all_of(self.backup));
        let list = self.pods.list(&ours).await;
        Ok(list
            .map_err(|error| Error::ReadPods(Box::new(error)))?
            .items)
    }

    async fn restore(&self, name: &str) -> Result<Option<CassandraRestore>, Error> {
        let found = self.restores.get_opt(name).await;
        found.map_err(|error| Error::ReadRestore(Box::new(error)))
    }

    /// Makes the pod; how the rehearsal ends, if it cannot be made.
    async fn make_pod(
        &self,
        subject: &Subject<'_>,
        known: Option<&VerificationStatus>,
        now: Timestamp,
    ) -> Result<Option<Verdict>, Error> {
        let name = &subject.verify.pod_template;
        let template = self.templates.get_opt(name).await;
        let template = template.map_err(|error| Error::ReadTemplate(Box::new(error)))?;
        let Some(template) = template else {
            let began = known.and_then(|it| it.start_time.as_ref());
            let waited = began.map_or(SignedDuration::ZERO, |it| now.duration_since(it.0));
            let late = waited.unsigned_abs() > GRACE;
            let message = format!(
                "PodTemplate {name} does not exist in this namespace: make it, and set annotation {REHEARSE_AT} to have the backup rehearsed again"
            );
            let verdict = Verdict::failed(Reason::PodTemplateNotFound, message);
            return Ok(late.then_some(verdict));
        };
        let Some(pod) = subject.pod(&template) else {
            let message = format!("PodTemplate {name} has no spec of a pod");
            let verdict = Verdict::failed(Reason::InvalidRequest, message);
            return Ok(Some(verdict));
        };
        let made = self.pods.create(&PostParams::default(), &pod).await;
        refused("pod", &subject.name(), made.map(|_| ()))
    }

    /// Makes the restore; how the rehearsal ends, if it cannot be made.
    async fn make_restore(&self, subject: &Subject<'_>) -> Result<Option<Verdict>, Error> {
        let restore = subject.restore();
        let made = self.restores.create(&PostParams::default(), &restore).await;
        refused("CassandraRestore", &subject.name(), made.map(|_| ()))
    }

    /// Deletes all pods, and the restore if it is still at work.
    async fn clean_up(
        &self,
        pods: &[Pod],
        known: Option<&VerificationStatus>,
    ) -> Result<(), Error> {
        let parameters = DeleteParams {
            grace_period_seconds: Some(TERMINATION),
            ..DeleteParams::default()
        };
        let leaving = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
        for pod in pods.iter().filter(leaving) {
            let name = pod.name_any();
            let deleted = self.pods.delete(&name, &parameters).await;
            gone_is_fine("pod", &name, deleted.map(|_| ()))?;
        }
        let Some(name) = known.map(|known| known.restore.as_str()) else {
            return Ok(());
        };
        let left = self.restore(name).await?;
        let ours = |it: &CassandraRestore| {
            let uid = self.backup.uid();
            let mut owners = it.owner_references().iter();
            owners.any(|owner| Some(&owner.uid) == uid.as_ref())
        };
        let at_work = |it: &CassandraRestore| {
            let phase = it.status.as_ref().and_then(|status| status.phase);
            !phase.is_some_and(RestorePhase::is_final)
        };
        if left.is_some_and(|it| ours(&it) && at_work(&it)) {
            let deleted = self.restores.delete(name, &DeleteParams::default()).await;
            gone_is_fine("CassandraRestore", name, deleted.map(|_| ()))?;
        }
        Ok(())
    }

    /// Says how it ended, in the status and as an Event.
    async fn end(
        &self,
        known: Option<&VerificationStatus>,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<(), Error> {
        let Some(known) = known else {
            return Ok(());
        };
        let ended = decide::ended(known, &verdict, now);
        let (reason, message) = (verdict.reason.as_str(), verdict.message.as_str());
        self.say(&ended, (verdict.is, reason, message), now).await?;
        let event = Event {
            type_: match verdict.is {
                Is::False => EventType::Warning,
                Is::True | Is::Unknown => EventType::Normal,
            },
            reason: reason.to_owned(),
            note: Some(humane::shortened(message, NOTE)),
            action: "Verify".into(),
            secondary: None,
        };
        self.context.tell(self.backup, [event]).await;
        Ok(())
    }

    /// Writes what differs from what is there.
    async fn say(
        &self,
        verification: &VerificationStatus,
        (is, reason, message): (Is, &str, &str),
        now: Timestamp,
    ) -> Result<(), Error> {
        let backup = self.backup;
        let old = backup.status.clone().unwrap_or_default();
        let mut verified = old.conditions;
        verified.retain(|it| it.type_ == VERIFIED);
        let before = verified.clone();
        let generation = backup.meta().generation;
        conditions::set(
            &mut verified,
            VERIFIED,
            is,
            (reason, message),
            generation,
            now,
        );
        if verified == before && old.verification.as_ref() == Some(verification) {
            return Ok(());
        }
        let namespace = backup.namespace().unwrap_or_default();
        let api: Api<CassandraBackup> = Api::namespaced(self.context.client.clone(), &namespace);
        let patch = Patch::Apply(json!({
            "apiVersion": CassandraBackup::api_version(&()),
            "kind": CassandraBackup::kind(&()),
            "metadata": {"name": backup.name_any(), "uid": backup.uid()},
            "status": {"verification": verification, "conditions": verified},
        }));
        let parameters = PatchParams::apply(WRITER).force();
        match api
            .patch_status(&backup.name_any(), &parameters, &patch)
            .await
        {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if is_gone(&status) => Ok(()),
            Err(error) => Err(Error::Write(Box::new(error))),
        }
    }
}

/// How the rehearsal ends, if the API server does not want what was to be made.
fn refused(
    what: &'static str,
    name: &str,
    made: Result<(), kube::Error>,
) -> Result<Option<Verdict>, Error> {
    match made {
        Ok(()) => Ok(None),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
        Err(kube::Error::Api(status)) if is_refusal(&status) => {
            let message = format!("{what} {name} cannot be made: {}", status.message);
            let verdict = Verdict::failed(Reason::RehearsalPodFailed, message);
            Ok(Some(verdict))
        }
        Err(error) => Err(Error::Make {
            what,
            name: name.to_owned(),
            cause: Box::new(error),
        }),
    }
}

fn gone_is_fine(
    what: &'static str,
    name: &str,
    deleted: Result<(), kube::Error>,
) -> Result<(), Error> {
    match deleted {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) if is_gone(&status) => Ok(()),
        Err(error) => Err(Error::Delete {
            what,
            name: name.to_owned(),
            cause: Box::new(error),
        }),
    }
}
