//! The proof of a backup: a pod in which Cassandra runs for nothing else, a CassandraRestore into it, and
//! what that says as the backup's condition `Verified`.
//!
//! Nothing is kept in memory: the status names pod and restore before they are made, and says what was
//! asked for and whether that was answered.

mod build;
#[cfg(test)]
mod conversation;
mod decide;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crds::{
    BackupPhase, CassandraBackup, CassandraBackupStatus, CassandraRestore, Rehearsal, RestorePhase,
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

use crate::answer::{gone_is_fine, is_gone, is_refusal};
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
        known: &VerificationStatus,
        now: Timestamp,
    ) -> Result<Option<Verdict>, Error> {
        let name = &subject.verify.pod_template;
        let template = match self.templates.get_opt(name).await {
            Ok(template) => template,
            Err(kube::Error::Api(status)) if is_refusal(&status) => {
                let message = format!("PodTemplate {name} cannot be read: {}", status.message);
                let verdict = Verdict::failed(Reason::RehearsalPodFailed, message);
                return Ok(Some(verdict));
            }
            Err(error) => return Err(Error::ReadTemplate(Box::new(error))),
        };
        let Some(template) = template else {
            let began = known.start_time.as_ref();
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
        refused("pod", subject.name, made.map(|_| ()))
    }

    /// Makes the restore; how the rehearsal ends, if it cannot be made.
    async fn make_restore(&self, subject: &Subject<'_>) -> Result<Option<Verdict>, Error> {
        let restore = subject.restore();
        let made = self.restores.create(&PostParams::default(), &restore).await;
        refused("CassandraRestore", subject.name, made.map(|_| ()))
    }

    /// Says that another one begins, of which nothing is made yet, and leaves nothing of the last one.
    async fn begin(
        &self,
        known: Option<&VerificationStatus>,
        now: Timestamp,
    ) -> Result<Action, Error> {
        if let Some(known) = known {
            self.remove(known).await?;
        }
        let request = request(self.backup);
        let name = build::name(self.backup, &request, now);
        let begun = decide::begun(known, &request, &name, now);
        let why = (
            Is::Unknown,
            Reason::Running.as_str(),
            "the rehearsal begins",
        );
        self.say(&begun, why, now).await?;
        Ok(Action::requeue(LOOK))
    }

    /// Nobody asks for it any more, or the backup is no more.
    async fn give_up(&self, known: &VerificationStatus, now: Timestamp) -> Result<Action, Error> {
        let phase = self.backup.status.as_ref().and_then(|status| status.phase);
        let (reason, message) = match phase {
            Some(BackupPhase::Expired) => (Reason::Expired, "the backup is no more"),
            _ => (
                Reason::Cancelled,
                "the rehearsal was given up: nobody asks for it any more",
            ),
        };
        if known.completion_time.is_some() && reason != Reason::Expired {
            return self.clean_up(known, now).await;
        }
        self.remove(known).await?;
        let given_up = decide::given_up(known, now);
        self.say(&given_up, (Is::Unknown, reason.as_str(), message), now)
            .await?;
        Ok(Action::await_change())
    }

    /// Leaves nothing of one that has ended.
    async fn clean_up(&self, known: &VerificationStatus, now: Timestamp) -> Result<Action, Error> {
        if known.cleaned_up {
            return Ok(Action::await_change());
        }
        if self.remove(known).await? {
            return Ok(Action::requeue(LOOK));
        }
        let conditions = self.backup.status.iter().flat_map(|it| &it.conditions);
        let verified = conditions.into_iter().find(|it| it.type_ == VERIFIED);
        let why = verified.map_or((Is::Unknown, "Unknown", ""), |it| {
            (Is::of(&it.status), it.reason.as_str(), it.message.as_str())
        });
        let mut known = known.clone();
        known.cleaned_up = true;
        self.say(&known, why, now).await?;
        Ok(Action::await_change())
    }

    /// Deletes all pods, and the restore if it is still at work. Whether there was anything to delete.
    async fn remove(&self, known: &VerificationStatus) -> Result<bool, Error> {
        let parameters = DeleteParams {
            grace_period_seconds: Some(TERMINATION),
            ..DeleteParams::default()
        };
        let pods = self.pods().await?;
        let leaving = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
        for pod in pods.iter().filter(leaving) {
            let name = pod.name_any();
            let deleted = self.pods.delete(&name, &parameters).await;
            gone_is_fine(deleted).map_err(|cause| deletion("pod", &name, cause))?;
        }
        let name = &known.restore;
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
        let left = left.is_some_and(|it| ours(&it) && at_work(&it));
        if left {
            let deleted = self.restores.delete(name, &DeleteParams::default()).await;
            let failed = |cause| deletion("CassandraRestore", name, cause);
            gone_is_fine(deleted).map_err(failed)?;
        }
        Ok(left || !pods.is_empty())
    }

    /// Says how it ended, in the status and as an Event.
    async fn end(
        &self,
        known: &VerificationStatus,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<(), Error> {
        let ended = decide::ended(known, verdict, now);
        let (reason, message) = (verdict.reason.as_str(), verdict.message.as_str());
        self.say(&ended, (verdict.is, reason, message), now).await?;
        self.context.metrics.rehearsed(self.backup, reason);
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

fn deletion(what: &'static str, name: &str, cause: kube::Error) -> Error {
    Error::Delete {
        what,
        name: name.to_owned(),
        cause: Box::new(cause),
    }
}
