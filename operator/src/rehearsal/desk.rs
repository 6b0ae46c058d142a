//! Requests to the API server about the rehearsals of one backup.

use crds::{BackupPhase, CassandraBackup, CassandraRestore, RestorePhase, VerificationStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use protocol::Reason;
use serde_json::json;

use super::build::{self, Subject};
use super::decide::{self, Verdict};
use super::{Error, LOOK, REHEARSE_AT, VERIFIED, request};
use crate::answer::{gone_is_fine, is_gone, is_refusal};
use crate::conditions::{self, Is};
use crate::context::Context;
use crate::humane;
use crate::prerequisites::GRACE;

/// Who writes of rehearsals, apart from who writes of the backup: each leaves alone what is the other's.
const WRITER: &str = "cassandra-backup-operator-rehearsal";
/// Seconds that Cassandra has to end: nothing of it is needed any more.
const TERMINATION: u32 = 5;
/// Longest note of an Event.
const NOTE: usize = 1000;

/// Requests to the API server about the rehearsals of one backup.
pub(super) struct Desk<'a> {
    context: &'a Context,
    backup: &'a CassandraBackup,
    pods: Api<Pod>,
    backups: Api<CassandraBackup>,
    restores: Api<CassandraRestore>,
    templates: Api<PodTemplate>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(context: &'a Context, backup: &'a CassandraBackup) -> Self {
        let namespace = backup.namespace().unwrap_or_default();
        let client = || context.client.clone();
        Self {
            context,
            backup,
            pods: Api::namespaced(client(), &namespace),
            backups: Api::namespaced(client(), &namespace),
            restores: Api::namespaced(client(), &namespace),
            templates: Api::namespaced(client(), &namespace),
        }
    }

    /// The pods of all rehearsals of the backup, also of earlier ones.
    pub(super) async fn pods(&self) -> Result<Vec<Pod>, Error> {
        let ours = ListParams::default().labels(&build::all_of(self.backup));
        let list = self.pods.list(&ours).await;
        Ok(list
            .map_err(|error| Error::ReadPods(Box::new(error)))?
            .items)
    }

    pub(super) async fn restore(&self, name: &str) -> Result<Option<CassandraRestore>, Error> {
        let found = self.restores.get_opt(name).await;
        found.map_err(|error| Error::ReadRestore(Box::new(error)))
    }

    /// Makes the pod; how the rehearsal ends, if it cannot be made.
    pub(super) async fn make_pod(
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
            let (reason, missing) = (
                Reason::PodTemplateNotFound,
                format!("PodTemplate {name} does not exist in this namespace"),
            );
            if waited.unsigned_abs() <= GRACE {
                // It may be applied together with what asks for it.
                let message = format!("{missing}: it is waited for, {} s", GRACE.as_secs());
                let why = (Is::Unknown, reason.as_str(), message.as_str());
                self.say(known, why, now).await?;
                return Ok(None);
            }
            let message = format!(
                "{missing}: make it, and set annotation {REHEARSE_AT} to have the backup rehearsed again"
            );
            return Ok(Some(Verdict::failed(reason, message)));
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
    pub(super) async fn make_restore(
        &self,
        subject: &Subject<'_>,
    ) -> Result<Option<Verdict>, Error> {
        let restore = subject.restore();
        let made = self.restores.create(&PostParams::default(), &restore).await;
        refused("CassandraRestore", subject.name, made.map(|_| ()))
    }

    /// Says that another one begins, of which nothing is made yet, and leaves nothing of the last one.
    pub(super) async fn begin(
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
    pub(super) async fn give_up(
        &self,
        known: &VerificationStatus,
        now: Timestamp,
    ) -> Result<Action, Error> {
        let phase = self.backup.status.as_ref().and_then(|status| status.phase);
        let (reason, message) = match phase {
            Some(BackupPhase::Expired) => (Reason::Expired, "the backup is no more"),
            _ => (
                Reason::Cancelled,
                "the rehearsal was given up: nobody asks for it any more",
            ),
        };
        // What was found stays true when nobody asks any more, but not when the backup is gone.
        let told = self
            .verified()
            .is_some_and(|it| it.reason == reason.as_str());
        if known.completion_time.is_some() && (told || reason == Reason::Cancelled) {
            return self.clean_up(known, now).await;
        }
        let given_up = decide::given_up(known, now);
        let why = (Is::Unknown, reason.as_str(), message);
        self.say(&given_up, why, now).await?;
        Ok(Action::requeue(LOOK))
    }

    /// Leaves nothing of one that has ended.
    pub(super) async fn clean_up(
        &self,
        known: &VerificationStatus,
        now: Timestamp,
    ) -> Result<Action, Error> {
        if known.cleaned_up {
            return Ok(Action::await_change());
        }
        if self.remove(known).await? {
            return Ok(Action::requeue(LOOK));
        }
        let why = self.verified().map_or((Is::Unknown, "Unknown", ""), |it| {
            (Is::of(&it.status), it.reason.as_str(), it.message.as_str())
        });
        let cleaned_up = VerificationStatus {
            cleaned_up: true,
            ..known.clone()
        };
        self.say(&cleaned_up, why, now).await?;
        Ok(Action::requeue(LOOK))
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
    pub(super) async fn end(
        &self,
        known: &VerificationStatus,
        verdict: &Verdict,
        now: Timestamp,
    ) -> Result<(), Error> {
        let ended = decide::ended(known, verdict, now);
        let (reason, message) = (verdict.reason.as_str(), verdict.message.as_str());
        if !self.say(&ended, (verdict.is, reason, message), now).await? {
            return Ok(());
        }
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

    /// The condition as it is.
    fn verified(&self) -> Option<&'a Condition> {
        let conditions = self.backup.status.iter().flat_map(|it| &it.conditions);
        conditions.into_iter().find(|it| it.type_ == VERIFIED)
    }

    /// Writes what differs, onto exactly what was read; `false` if somebody wrote meanwhile, or it is gone.
    pub(super) async fn say(
        &self,
        verification: &VerificationStatus,
        (is, reason, message): (Is, &str, &str),
        now: Timestamp,
    ) -> Result<bool, Error> {
        let backup = self.backup;
        let before: Vec<_> = self.verified().into_iter().cloned().collect();
        let mut verified = before.clone();
        let (generation, why) = (backup.meta().generation, (reason, message));
        conditions::set(&mut verified, VERIFIED, is, why, generation, now);
        let status = backup.status.as_ref();
        let known = status.and_then(|status| status.verification.as_ref());
        if verified == before && known == Some(verification) {
            return Ok(true);
        }
        let patch = Patch::Apply(json!({
            "apiVersion": CassandraBackup::api_version(&()),
            "kind": CassandraBackup::kind(&()),
            "metadata": {
                "name": backup.name_any(),
                "uid": backup.uid(),
                "resourceVersion": backup.resource_version(),
            },
            "status": {"verification": verification, "conditions": verified},
        }));
        let parameters = PatchParams::apply(WRITER).force();
        let name = backup.name_any();
        match self.backups.patch_status(&name, &parameters, &patch).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if is_gone(&status) => Ok(false),
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
