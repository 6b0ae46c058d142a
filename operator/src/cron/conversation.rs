//! Reconciliations against an API server that is played.

use std::sync::Arc;
use std::time::Duration;

use crds::{CronBackup, CronBackupStatus};
use http::Method;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::tests::{at, cron, known};
use super::{Error, bring_forward, reconcile};
use crate::context::Context;
use crate::played::{Api, context};

pub(super) const CRON: &str =
    "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/cronbackups/nightly";
const STATUS: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/cronbackups/nightly/status";
pub(super) const BACKUPS: &str =
    "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/cassandrabackups";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
pub(super) const UID: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";

/// The slot of the 25th, when all before it is dealt with.
const DUE: &str = "2026-11-25T02:30:00Z";

fn with(cron: CronBackup, status: CronBackupStatus) -> CronBackup {
    CronBackup {
        status: Some(status),
        ..cron
    }
}

fn before(cron: CronBackup) -> CronBackup {
    let status = known(&cron, "2026-11-25T00:00:00Z");
    with(cron, status)
}

pub(super) fn child(slot: &str, owner: &str, phase: Option<&str>) -> Value {
    let name = format!("nightly-{slot}");
    let mut child = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{slot}"),
            "ownerReferences": [{
                "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
                "name": "nightly", "uid": owner, "controller": true,
            }],
        },
        "spec": {
            "cluster": "prod", "storage": {"name": "main"},
            "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
        },
    });
    if let Some(phase) = phase {
        child["status"] = json!({"phase": phase, "completionTime": "2026-11-24T03:00:00Z"});
    }
    child
}

pub(super) fn list(items: &[Value]) -> Value {
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackupList",
        "metadata": {}, "items": items,
    })
}

type Reconciled = JoinHandle<Result<Action, Error>>;

/// A reconciliation at that time, which reads the resource and these children.
async fn begun(
    cron: &CronBackup,
    children: &[Value],
    now: &str,
) -> (Reconciled, Api, Arc<Context>) {
    let (context, mut api) = context();
    let (seen, shared, now) = (cron.clone(), Arc::clone(&context), at(now));
    let reconciled = tokio::spawn(async move { bring_forward(&seen, &shared, now).await });
    let fresh = serde_json::to_value(cron).unwrap();
    api.expect(Method::GET, CRON, Ok(fresh)).await;
    api.expect(Method::GET, BACKUPS, Ok(list(children))).await;
    (reconciled, api, context)
}

async fn ends(reconciled: Reconciled) -> Action {
    let ended = timeout(Duration::from_secs(5), reconciled).await;
    ended.expect("nothing more is asked").unwrap().unwrap()
}

/// Expects that the status is written, and answers.
pub(super) async fn status(api: &mut Api) -> Value {
    let cron = serde_json::to_value(cron(|_| ())).unwrap();
    let patch = api.expect(Method::PATCH, STATUS, Ok(cron)).await;
    assert_eq!(patch["metadata"]["uid"], UID);
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    patch["status"].clone()
}

/// Expects an Event, and gives its reason.
pub(super) async fn event(api: &mut Api) -> String {
    let answer = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "eventTime": null,
    });
    let event = api.expect(Method::POST, EVENTS, Ok(answer)).await;
    event["reason"].as_str().unwrap().to_owned()
}

fn ready(status: &Value) -> (&str, &str) {
    let conditions = status["conditions"].as_array().unwrap();
    let ready = conditions
        .iter()
        .find(|one| one["type"] == "Ready")
        .unwrap();
    (
        ready["status"].as_str().unwrap(),
        ready["reason"].as_str().unwrap(),
    )
}

#[tokio::test]
async fn a_backup_is_made_and_then_written_down() {
    let (reconciled, mut api, context) = begun(&before(cron(|_| ())), &[], DUE).await;
    let made = child("20261125-0230", UID, None);
    let created = api.expect(Method::POST, BACKUPS, Ok(made)).await;
    assert_eq!(created["metadata"]["name"], "nightly-20261125-0230");
    assert_eq!(created["metadata"]["ownerReferences"][0]["uid"], UID);
    assert_eq!(created["spec"]["series"], "nightly");
    let status = status(&mut api).await;
    assert_eq!(status["lastScheduleTime"], DUE);
    assert_eq!(status["active"], json!(["nightly-20261125-0230"]));
    assert_eq!(ready(&status), ("True", "Scheduled"));
    assert_eq!(event(&mut api).await, "BackupCreated");
    assert_eq!(event(&mut api).await, "Scheduled");
    assert_eq!(
        ends(reconciled).await,
        Action::requeue(Duration::from_secs(300))
    );
    let text = context.metrics.text(0).unwrap();
    assert!(
        text.contains("schedule_missed_total{namespace=\"shop\",schedule=\"nightly\"} 0"),
        "{text}"
    );
}

#[tokio::test]
async fn a_name_that_is_there_and_ours_counts_as_made() {
    let (reconciled, mut api, _) = begun(&before(cron(|_| ())), &[], DUE).await;
    api.expect(Method::POST, BACKUPS, Err(409)).await;
    let path = format!("{BACKUPS}/nightly-20261125-0230");
    api.expect(Method::GET, &path, Ok(child("20261125-0230", UID, None)))
        .await;
    let status = status(&mut api).await;
    assert_eq!(status["lastScheduleTime"], DUE);
    assert_eq!(status["missed"], 0);
    // Whoever made it has told so.
    assert_eq!(event(&mut api).await, "Scheduled");
    ends(reconciled).await;
}

#[tokio::test]
async fn a_name_that_is_there_and_not_ours_is_left_alone_and_told() {
    let (reconciled, mut api, _) = begun(&before(cron(|_| ())), &[], DUE).await;
    api.expect(Method::POST, BACKUPS, Err(409)).await;
    let path = format!("{BACKUPS}/nightly-20261125-0230");
    let other = child("20261125-0230", "the uid of a namesake", None);
    api.expect(Method::GET, &path, Ok(other)).await;
    let status = status(&mut api).await;
    assert_eq!(ready(&status), ("False", "NameTaken"));
    assert_eq!(
        (&status["missed"], &status["active"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(event(&mut api).await, "SlotsMissed");
    assert_eq!(event(&mut api).await, "NameTaken");
    ends(reconciled).await;
}

#[tokio::test]
async fn a_backup_that_is_refused_is_told_and_tried_again() {
    let (reconciled, mut api, _) = begun(&before(cron(|_| ())), &[], DUE).await;
    api.expect(Method::POST, BACKUPS, Err(403)).await;
    let status = status(&mut api).await;
    assert_eq!(ready(&status), ("False", "CreateRefused"));
    assert_eq!(status["lastScheduleTime"], Value::Null);
    assert_eq!(event(&mut api).await, "CreateRefused");
    assert_eq!(
        ends(reconciled).await,
        Action::requeue(Duration::from_secs(30))
    );
}

#[tokio::test]
async fn an_api_server_in_trouble_is_asked_again() {
    let (reconciled, mut api, _) = begun(&before(cron(|_| ())), &[], DUE).await;
    api.expect(Method::POST, BACKUPS, Err(500)).await;
    let error = reconciled.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Create { .. }), "{error}");
}

#[tokio::test]
async fn forbid_makes_none_beside_another() {
    let running = [child("20261124-0230", UID, Some("Uploading"))];
    let (reconciled, mut api, _) = begun(&before(cron(|_| ())), &running, DUE).await;
    let status = status(&mut api).await;
    assert_eq!(ready(&status), ("True", "WaitsForRunning"));
    assert_eq!(status["pendingScheduleTime"], DUE);
    assert_eq!(event(&mut api).await, "WaitsForRunning");
    assert_eq!(
        ends(reconciled).await,
        Action::requeue(Duration::from_secs(60))
    );
}

#[tokio::test]
async fn replace_cancels_the_other() {
    let replace = before(cron(|spec| spec["concurrencyPolicy"] = json!("Replace")));
    let running = [child("20261124-0230", UID, Some("Uploading"))];
    let (reconciled, mut api, _) = begun(&replace, &running, DUE).await;
    let path = format!("{BACKUPS}/nightly-20261124-0230");
    let patch = api
        .expect(Method::PATCH, &path, Ok(running[0].clone()))
        .await;
    assert_eq!(
        patch,
        json!({"metadata": {"uid": "uid-20261124-0230"}, "spec": {"cancel": true}})
    );
    assert_eq!(ready(&status(&mut api).await), ("True", "ReplacesRunning"));
    assert_eq!(event(&mut api).await, "ReplacesRunning");
    ends(reconciled).await;
}

#[tokio::test]
async fn history_goes_after_the_status_is_written_and_only_what_is_ours() {
    let limited = cron(|spec| spec["successfulBackupsHistoryLimit"] = json!(1));
    let children = [
        child("20261121-0230", "another", Some("Succeeded")),
        child("20261122-0230", UID, Some("Succeeded")),
        child("20261123-0230", UID, Some("Succeeded")),
        child("20261124-0230", UID, Some("Succeeded")),
    ];
    let (reconciled, mut api, _) = begun(&before(limited), &children, "2026-11-25T01:00:00Z").await;
    assert_eq!(status(&mut api).await["lastResult"], "Succeeded");
    assert_eq!(event(&mut api).await, "Scheduled");
    for slot in ["20261122-0230", "20261123-0230"] {
        let path = format!("{BACKUPS}/nightly-{slot}");
        let deleted = api
            .expect(Method::DELETE, &path, Ok(child(slot, UID, None)))
            .await;
        assert_eq!(deleted["preconditions"]["uid"], format!("uid-{slot}"));
    }
    ends(reconciled).await;
}

#[tokio::test]
async fn nothing_is_made_while_suspended() {
    let suspended = before(cron(|spec| spec["suspend"] = json!(true)));
    let (reconciled, mut api, _) = begun(&suspended, &[], DUE).await;
    let status = status(&mut api).await;
    assert_eq!(ready(&status), ("True", "Suspended"));
    assert_eq!(status["nextScheduleTime"], Value::Null);
    assert_eq!(event(&mut api).await, "Suspended");
    ends(reconciled).await;
}

#[tokio::test]
async fn a_schedule_that_is_none_is_told() {
    let wrong = cron(|spec| spec["schedule"] = json!("0 25 * * *"));
    let (reconciled, mut api, _) = begun(&wrong, &[], DUE).await;
    let status = status(&mut api).await;
    assert_eq!(ready(&status), ("False", "InvalidSchedule"));
    assert_eq!(event(&mut api).await, "InvalidSchedule");
    ends(reconciled).await;
}

#[tokio::test]
async fn nothing_is_written_when_nothing_is_new() {
    let quiet = cron(|_| ());
    let (reconciled, mut api, _) = begun(&before(quiet.clone()), &[], "2026-11-25T01:00:00Z").await;
    let first = status(&mut api).await;
    assert_eq!(event(&mut api).await, "Scheduled");
    ends(reconciled).await;
    let written = with(quiet, serde_json::from_value(first).unwrap());
    let (reconciled, _api, _) = begun(&written, &[], "2026-11-25T01:10:00Z").await;
    ends(reconciled).await;
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_is_looked_at_first() {
    let limited = before(cron(|spec| {
        spec["successfulBackupsHistoryLimit"] = json!(0)
    }));
    let children = [
        child("20261123-0230", UID, Some("Succeeded")),
        child("20261124-0230", UID, Some("Succeeded")),
    ];
    let (reconciled, mut api, _) = begun(&limited, &children, "2026-11-25T01:00:00Z").await;
    api.expect(Method::PATCH, STATUS, Err(409)).await;
    // And nothing is deleted.
    assert_eq!(
        ends(reconciled).await,
        Action::requeue(Duration::from_secs(1))
    );
}

#[tokio::test]
async fn an_old_view_makes_nothing() {
    let (context, mut api) = context();
    let seen = serde_json::from_value(serde_json::to_value(cron(|_| ())).unwrap()).unwrap();
    let reconciled = tokio::spawn(reconcile(Arc::new(DeserializeGuard(Ok(seen))), context));
    let mut anew = serde_json::to_value(cron(|_| ())).unwrap();
    anew["metadata"]["uid"] = json!("another");
    api.expect(Method::GET, CRON, Ok(anew)).await;
    assert_eq!(ends(reconciled).await, Action::await_change());
}
