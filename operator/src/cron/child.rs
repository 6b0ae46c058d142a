//! A CassandraBackup of a CronBackup: how it is made, and what is known of it.

use crds::{BackupPhase, CassandraBackup, CronBackup, DeletionPolicy};
use jiff::{Timestamp, Zoned};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use super::names::{self, Run};
use super::verify::Proof;
use crate::backup::was_whole;

/// Label of a child: the name of its CronBackup.
pub(crate) const LABEL: &str = "cassandrabackup.io/cron-backup";
/// Annotation of a child: the time of the schedule that it is of, in the schedule's time zone.
const SCHEDULED_AT: &str = "cassandrabackup.io/scheduled-at";

/// What is known of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Child {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) run: Run,
    /// `None` if nobody has looked at it yet.
    pub(super) phase: Option<BackupPhase>,
    pub(super) completed: Option<Timestamp>,
    /// It was whole when it ended, whatever became of its data since.
    pub(super) whole: bool,
    /// It was told to stop.
    pub(super) cancelled: bool,
    /// A snapshot may be left on a node, which the operator removes as long as the child is there.
    pub(super) sweeping: bool,
    /// What is known of its proof.
    pub(super) proof: Option<Proof>,
}

impl Child {
    /// What is known of a CassandraBackup; `None` if it is not this CronBackup's.
    pub(super) fn of(cron: &CronBackup, backup: &CassandraBackup) -> Option<Self> {
        if !is_ours(cron, backup) {
            return None;
        }
        let status = backup.status.as_ref();
        Some(Self {
            name: backup.name_any(),
            uid: backup.uid()?,
            run: names::parse(&cron.name_any(), &backup.name_any())?,
            phase: status.and_then(|status| status.phase),
            completed: status
                .and_then(|status| status.completion_time.as_ref())
                .map(|time| time.0),
            whole: status.is_some_and(was_whole),
            cancelled: backup.spec.cancel,
            sweeping: status
                .is_some_and(|status| status.nodes.iter().any(|node| node.sweep_pending)),
            proof: Proof::of(backup),
        })
    }

    pub(super) fn is_active(&self) -> bool {
        !self.phase.is_some_and(BackupPhase::is_final)
    }

    /// Whether it is being rehearsed.
    pub(super) fn is_rehearsed(&self) -> bool {
        let proof = self.proof.as_ref();
        proof.is_some_and(|proof| proof.ended.is_none())
    }

    /// Whether trying again may help.
    pub(super) fn has_failed(&self) -> bool {
        matches!(
            self.phase,
            Some(BackupPhase::Failed | BackupPhase::PartiallyFailed)
        )
    }

    /// Whether it was whole when it ended.
    pub(super) fn has_succeeded(&self) -> bool {
        match self.phase {
            Some(BackupPhase::Expired) => self.whole,
            phase => phase == Some(BackupPhase::Succeeded),
        }
    }
}

/// Whether this very CronBackup made it: a namesake that was deleted had another uid.
pub(super) fn is_ours(cron: &CronBackup, backup: &CassandraBackup) -> bool {
    let uid = cron.uid();
    let mut owners = backup.owner_references().iter();
    owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
}

/// The CassandraBackup of a run.
pub(super) fn build(cron: &CronBackup, run: Run, scheduled_at: &Zoned) -> CassandraBackup {
    let template = &cron.spec.template;
    let mut labels = crds::untracked(&template.metadata.labels);
    labels.insert(LABEL.into(), cron.name_any());
    let mut annotations = crds::untracked(&template.metadata.annotations);
    annotations.insert(
        SCHEDULED_AT.into(),
        scheduled_at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    );
    let mut backup =
        CassandraBackup::new(&names::child(&cron.name_any(), run), template.spec.clone());
    backup.spec.series = Some(cron.name_any());
    if cron.spec.verify_schedule.is_some() {
        // It is asked for when its time comes.
        backup.spec.verify = None;
    }
    // Whatever the template says: the schema refuses these, and older objects may have them.
    backup.spec.backup_name = None;
    backup.spec.cancel = false;
    backup.spec.imported = false;
    backup.spec.deletion_policy = DeletionPolicy::Retain;
    backup.metadata = ObjectMeta {
        name: backup.metadata.name,
        namespace: cron.namespace(),
        labels: Some(labels),
        annotations: Some(annotations),
        // GitOps tools leave alone what has an owner. Nothing of it is in the storage, whose data
        // only retention deletes. Without blockOwnerDeletion, which needs more rights.
        owner_references: Some(vec![OwnerReference {
            api_version: CronBackup::api_version(&()).into(),
            kind: CronBackup::kind(&()).into(),
            name: cron.name_any(),
            uid: cron.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    };
    backup
}
