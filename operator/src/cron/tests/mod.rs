//! Decisions, from resources as users write them.

mod children;
mod due;

use crds::{BackupPhase, CronBackup, CronBackupStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::child::{Child, build};
use super::decide::{Decision, Facts, decide};
use super::names::{self, Run};
use super::reason::Reason;
use super::schedule;
use super::status::{Outcome, concluded};

/// The CronBackup `nightly`, made at noon of the day before the 25th.
pub(super) fn cron(change: impl FnOnce(&mut Value)) -> CronBackup {
    let mut object = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "CronBackup",
        "metadata": {
            "name": "nightly", "namespace": "shop", "generation": 1, "resourceVersion": "7",
            "uid": "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
            "creationTimestamp": "2026-11-24T12:00:00Z",
        },
        "spec": {
            "schedule": "30 2 * * *",
            "template": {
                "metadata": {
                    "labels": {"team": "shop", "app.kubernetes.io/instance": "gitops"},
                    "annotations": {"note": "x", "argocd.argoproj.io/tracking-id": "y"},
                },
                "spec": {
                    "cluster": "prod",
                    "storage": {"name": "main"},
                    "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
                },
            },
        },
    });
    change(&mut object["spec"]);
    serde_json::from_value(object).unwrap()
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn run(slot: &str, retry: i32) -> Run {
    Run {
        slot: at(slot),
        retry,
        immediate: false,
    }
}

pub(super) fn child(run: Run, phase: Option<BackupPhase>, completed: Option<&str>) -> Child {
    let name = names::child("nightly", run);
    Child {
        uid: format!("uid of {name}"),
        name,
        run,
        phase,
        completed: completed.map(at),
        whole: matches!(phase, Some(BackupPhase::Succeeded | BackupPhase::Expired)),
        cancelled: false,
        sweeping: false,
        proof: None,
    }
}

/// What is known after everything until `since` was dealt with.
pub(super) fn known(cron: &CronBackup, since: &str) -> CronBackupStatus {
    CronBackupStatus {
        observed_generation: Some(1),
        effective_schedule: Some(format!("{} {}", cron.spec.schedule, cron.spec.time_zone)),
        decided_until: Some(Time(at(since))),
        ..CronBackupStatus::default()
    }
}

/// Decides, and concludes as if making a child came to `outcome`.
fn with_outcome(
    cron: &CronBackup,
    status: &CronBackupStatus,
    children: &[Child],
    now: &str,
    outcome: &Outcome,
) -> (Decision, CronBackupStatus) {
    let schedule = schedule(cron);
    let facts = Facts {
        spec: &cron.spec,
        generation: cron.meta().generation,
        created: cron.creation_timestamp().unwrap().0,
        schedule: &schedule,
        status,
        children,
    };
    let decision = decide(&facts, at(now));
    let name = decision
        .create
        .map(|run| names::child("nightly", run))
        .unwrap_or_default();
    let made = decision.create.map(|run| (run, name.as_str(), outcome));
    let status = concluded(&facts, &decision, made, at(now));
    (decision, status)
}

fn decided(
    cron: &CronBackup,
    status: &CronBackupStatus,
    children: &[Child],
    now: &str,
) -> (Decision, CronBackupStatus) {
    with_outcome(cron, status, children, now, &Outcome::Created)
}

fn reason(status: &CronBackupStatus) -> (&str, &str) {
    let ready = status
        .conditions
        .iter()
        .find(|one| one.type_ == "Ready")
        .unwrap();
    let stalled = status
        .conditions
        .iter()
        .find(|one| one.type_ == "Stalled")
        .unwrap();
    assert_ne!(ready.status, stalled.status);
    (&ready.status, &ready.reason)
}

const FIRST: &str = "2026-11-25T02:30:00Z";
const SECOND: &str = "2026-11-26T02:30:00Z";
