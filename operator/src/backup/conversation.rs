//! Reconciliations against an API server that is played.

use std::sync::Arc;

use crds::CassandraBackup;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use super::{Guarded, HEARTBEAT, LOOK_AGAIN, reconcile};
use crate::logs::tests::Captured;
use crate::played::{Api, context};

const BACKUP: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/cassandrabackups/nightly";
const STORAGE: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/backupstorages/main";

pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/shop/leases";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

/// The lease of the cluster `prod`.
fn lease_path() -> String {
    format!(
        "{LEASES}/cassandra-backup-{}",
        &blake3::hash(b"prod").to_hex()[..16]
    )
}

/// The identity of the resource that is reconciled.
pub(super) const OURS: &str = "CassandraBackup/nightly/1b4e28ba-2fa1-11d2-883f-0016d3cca427";

pub(super) fn lease(holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "cassandra-backup", "namespace": "shop", "uid": "l", "resourceVersion": "5"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 60},
    })
}

impl Api {
    /// What is looked up before a backup begins.
    async fn expect_lookup(&mut self, pods: Value) {
        self.expect(Method::GET, STORAGE, Ok(storage())).await;
        self.expect(Method::GET, "/api/v1/namespaces/shop/pods", Ok(pods))
            .await;
    }

    pub(super) async fn expect_free_lease(&mut self) -> Value {
        self.expect(Method::GET, &lease_path(), Err(404)).await;
        self.expect(Method::POST, LEASES, Ok(lease(OURS))).await
    }

    pub(super) async fn expect_status(&mut self) -> Value {
        let path = format!("{BACKUP}/status");
        self.expect(Method::PATCH, &path, Ok(object(0))).await
    }
}

/// The resource, made so many seconds ago.
fn object(age: i64) -> Value {
    let created = Timestamp::now() - SignedDuration::from_secs(age);
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "CassandraBackup",
        "metadata": {
            "name": "nightly", "namespace": "shop", "generation": 1,
            "uid": "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
            "creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        },
        "spec": {
            "cluster": "prod",
            "storage": {"name": "main"},
            "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
        },
    })
}

fn storage() -> Value {
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "main", "namespace": "shop"},
        "spec": {"file": {"path": "/backup"}},
    })
}

fn pods(names: &[&str]) -> Value {
    let pods: Vec<_> = names
        .iter()
        .map(|name| json!({"metadata": {"name": name, "uid": name}, "spec": {"containers": []}}))
        .collect();
    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods})
}

fn guarded(object: &Value) -> Arc<Guarded> {
    let backup: CassandraBackup = serde_json::from_value(object.clone()).unwrap();
    Arc::new(DeserializeGuard(Ok(backup)))
}

fn condition<'a>(patch: &'a Value, kind: &str) -> (&'a str, &'a str) {
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|one| one["type"] == kind).unwrap();
    (
        found["status"].as_str().unwrap(),
        found["reason"].as_str().unwrap(),
    )
}

#[tokio::test]
async fn nodes_name_and_time_are_written_before_anything_is_done() {
    let (context, mut api) = context();
    let object = object(0);
    let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
    api.expect(Method::GET, BACKUP, Ok(object.clone())).await;
    api.expect_lookup(pods(&["c-1", "c-0"])).await;
    let lease = api.expect_free_lease().await;
    assert_eq!(lease["spec"]["holderIdentity"], OURS);
    assert_eq!(lease["metadata"]["ownerReferences"][0]["name"], "nightly");
    assert_eq!(
        lease["metadata"]["annotations"]["cassandrabackup.io/cluster"],
        "prod"
    );
    let patch = api.expect_status().await;
    assert_eq!(patch["metadata"]["uid"], object["metadata"]["uid"]);
    let status = &patch["status"];
    assert_eq!(status["backupName"], "nightly-1b4e28ba");
    assert_eq!(status["nodesDone"], "0/2");
    assert_eq!(
        (&status["nodes"][0]["pod"], &status["nodes"][1]["pod"]),
        (&json!("c-0"), &json!("c-1"))
    );
    assert!(status["snapshotAt"].is_string());
    assert_eq!(condition(&patch, "Reconciling"), ("True", "Running"));
    let text = context.metrics.text(0).unwrap();
    assert!(text.contains(r#"pod="c-1",stage="Pending"} 1"#), "{text}");
    let event = api
        .expect(Method::POST, "/apis/events.k8s.io/v1/namespaces/shop/events", Ok(json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "eventTime": null,
        })))
        .await;
    assert_eq!(event["reason"], "Running");
    assert_eq!(
        reconciled.await.unwrap().unwrap(),
        Action::requeue(HEARTBEAT)
    );
    assert_eq!(context.runs.len(), 1);
}

#[tokio::test]
async fn a_missing_storage_is_waited_for_and_then_fails_the_backup() {
    for (age, phase, stalled) in [(0, "Pending", "False"), (60, "Failed", "True")] {
        let (context, mut api) = context();
        let object = object(age);
        let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
        api.expect(Method::GET, BACKUP, Ok(object.clone())).await;
        api.expect(Method::GET, STORAGE, Err(404)).await;
        let patch = api.expect_status().await;
        assert_eq!(patch["status"]["phase"], phase);
        assert_eq!(
            condition(&patch, "Stalled"),
            (stalled, "BackupStorageNotFound")
        );
        if phase == "Pending" {
            assert_eq!(
                reconciled.await.unwrap().unwrap(),
                Action::requeue(LOOK_AGAIN)
            );
            assert_eq!(context.runs.len(), 1);
        } else {
            let events = "/apis/events.k8s.io/v1/namespaces/shop/events";
            api.expect(Method::POST, events, Err(409)).await;
            assert_eq!(reconciled.await.unwrap().unwrap(), Action::await_change());
            assert_eq!(context.runs.len(), 0);
        }
    }
}

#[tokio::test]
async fn no_backup_is_made_into_a_read_only_storage() {
    let (context, mut api) = context();
    let object = object(0);
    let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
    api.expect(Method::GET, BACKUP, Ok(object.clone())).await;
    let mut read_only = storage();
    read_only["spec"]["readOnly"] = json!(true);
    api.expect(Method::GET, STORAGE, Ok(read_only)).await;
    let patch = api.expect_status().await;
    assert_eq!(patch["status"]["phase"], "Failed");
    assert_eq!(condition(&patch, "Stalled"), ("True", "StorageReadOnly"));
    let events = "/apis/events.k8s.io/v1/namespaces/shop/events";
    api.expect(Method::POST, events, Err(409)).await;
    assert_eq!(reconciled.await.unwrap().unwrap(), Action::await_change());
}

#[tokio::test]
async fn a_backup_that_has_ended_is_left_alone() {
    let (context, _api) = context();
    let mut object = object(60);
    object["status"] = json!({"phase": "Succeeded"});
    let reconciled = reconcile(guarded(&object), Arc::clone(&context)).await;
    assert_eq!(reconciled.unwrap(), Action::await_change());
    let text = context.metrics.text(0).unwrap();
    assert!(text.contains(r#"result="Succeeded"} 1"#), "{text}");
}

#[tokio::test]
async fn an_old_view_of_a_backup_that_has_ended_does_not_begin_it_again() {
    let (context, mut api) = context();
    let old = object(60);
    let reconciled = tokio::spawn(reconcile(guarded(&old), Arc::clone(&context)));
    let mut fresh = old.clone();
    fresh["status"] = json!({"phase": "Failed"});
    api.expect(Method::GET, BACKUP, Ok(fresh)).await;
    assert_eq!(reconciled.await.unwrap().unwrap(), Action::await_change());
}

#[tokio::test]
async fn a_resource_made_anew_under_the_same_name_is_not_written_to() {
    let (context, mut api) = context();
    let object = object(0);
    let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
    api.expect(Method::GET, BACKUP, Ok(object.clone())).await;
    api.expect_lookup(pods(&["c-0"])).await;
    api.expect_free_lease().await;
    api.expect(Method::PATCH, &format!("{BACKUP}/status"), Err(409))
        .await;
    assert_eq!(reconciled.await.unwrap().unwrap(), Action::await_change());
    assert_eq!(context.runs.len(), 0);
}

/// Another backup of the same cluster.
fn other(phase: Option<&str>) -> Value {
    let mut other = object(100);
    other["metadata"]["name"] = json!("first");
    other["metadata"]["uid"] = json!("2");
    other["status"] = json!({"phase": phase});
    other
}

#[tokio::test]
async fn a_backup_waits_for_another_of_its_cluster_however_long_and_begins_after_it() {
    let first = BACKUP.replace("nightly", "first");
    let theirs = lease("CassandraBackup/first/2");
    let (context, mut api) = context();
    let object = object(3600);
    let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
    api.expect(Method::GET, BACKUP, Ok(object.clone())).await;
    api.expect_lookup(pods(&["c-0"])).await;
    api.expect(Method::GET, &lease_path(), Ok(theirs.clone()))
        .await;
    api.expect(Method::GET, &first, Ok(other(Some("Uploading"))))
        .await;
    let patch = api.expect_status().await;
    assert_eq!(patch["status"]["phase"], "Pending");
    assert_eq!(patch["status"]["nodes"], Value::Null);
    assert_eq!(condition(&patch, "Reconciling"), ("True", "ClusterBusy"));
    let event = api.expect(Method::POST, EVENTS, Err(403)).await;
    assert_eq!(event["reason"], "ClusterBusy");
    let note = event["note"].as_str().unwrap();
    assert!(
        note.starts_with("CassandraBackup first is at work"),
        "{note}"
    );
    assert_eq!(
        reconciled.await.unwrap().unwrap(),
        Action::requeue(LOOK_AGAIN)
    );

    // Not all is looked up again while it waits.
    let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
    api.expect(Method::GET, &lease_path(), Ok(theirs.clone()))
        .await;
    api.expect(Method::GET, &first, Ok(other(None))).await;
    assert_eq!(
        reconciled.await.unwrap().unwrap(),
        Action::requeue(LOOK_AGAIN)
    );

    // The first has ended, and its operator did not say so any more.
    let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
    api.expect(Method::GET, &lease_path(), Ok(theirs)).await;
    api.expect(Method::GET, &first, Ok(other(Some("Failed"))))
        .await;
    let taken = api
        .expect(Method::PUT, &lease_path(), Ok(lease(OURS)))
        .await;
    assert_eq!(taken["metadata"]["resourceVersion"], "5");
    assert_eq!(taken["metadata"]["ownerReferences"][0]["name"], "nightly");
    api.expect_lookup(pods(&["c-0"])).await;
    let patch = api.expect_status().await;
    assert_eq!(condition(&patch, "Reconciling"), ("True", "Running"));
    api.expect(Method::POST, EVENTS, Err(403)).await;
    reconciled.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_lease_of_a_resource_that_is_gone_or_was_made_anew_is_taken() {
    let mut anew = other(Some("Uploading"));
    anew["metadata"]["uid"] = json!("3");
    for found in [Err(404), Ok(anew)] {
        let (context, mut api) = context();
        let object = object(0);
        let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
        api.expect(Method::GET, BACKUP, Ok(object.clone())).await;
        api.expect_lookup(pods(&["c-0"])).await;
        let theirs = lease("CassandraBackup/first/2");
        api.expect(Method::GET, &lease_path(), Ok(theirs)).await;
        api.expect(Method::GET, &BACKUP.replace("nightly", "first"), found)
            .await;
        api.expect(Method::PUT, &lease_path(), Ok(lease(OURS)))
            .await;
        api.expect_status().await;
        api.expect(Method::POST, EVENTS, Err(403)).await;
        reconciled.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn one_that_is_beaten_to_the_lease_waits() {
    let (context, mut api) = context();
    let object = object(0);
    let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
    api.expect(Method::GET, BACKUP, Ok(object.clone())).await;
    api.expect_lookup(pods(&["c-0"])).await;
    api.expect(Method::GET, &lease_path(), Err(404)).await;
    api.expect(Method::POST, LEASES, Err(409)).await;
    let patch = api.expect_status().await;
    assert_eq!(condition(&patch, "Reconciling"), ("True", "ClusterBusy"));
    api.expect(Method::POST, EVENTS, Err(403)).await;
    reconciled.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_backup_found_at_work_renews_the_lease_and_gives_it_up_when_it_has_ended() {
    let (context, mut api) = context();
    let mut object = object(60);
    object["status"] = json!({
        "phase": "Uploading", "startTime": "2026-01-01T00:00:00Z",
        "nodes": [{"pod": "c-0", "phase": "Failed", "attempt": 1, "runId": "r", "reason": "NoSpace"}],
    });
    let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
    api.expect(Method::GET, BACKUP, Ok(object.clone())).await;
    api.expect(Method::GET, &lease_path(), Ok(lease(OURS)))
        .await;
    let mut renewed = lease(OURS);
    renewed["metadata"]["resourceVersion"] = json!("6");
    api.expect(Method::PUT, &lease_path(), Ok(renewed)).await;
    let patch = api.expect_status().await;
    assert_eq!(patch["status"]["phase"], "Failed");
    api.expect(Method::POST, EVENTS, Err(403)).await;
    let path = format!("{LEASES}/cassandra-backup");
    let deleted = api.expect(Method::DELETE, &path, Ok(lease(OURS))).await;
    assert_eq!(
        deleted["preconditions"],
        json!({"uid": "l", "resourceVersion": "6"})
    );
    assert_eq!(reconciled.await.unwrap().unwrap(), Action::await_change());
}

#[tokio::test]
async fn lines_of_the_log_say_which_backup_they_are_about() {
    let (lines, _guard) = Captured::begin();
    let (context, mut api) = context();
    let object = object(60);
    let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
    api.expect(Method::GET, BACKUP, Ok(object.clone())).await;
    api.expect(Method::GET, STORAGE, Err(404)).await;
    api.expect_status().await;
    api.expect(Method::POST, EVENTS, Err(403)).await;
    reconciled.await.unwrap().unwrap();
    let lines = lines.lines();
    let line = lines
        .iter()
        .find(|line| line["message"] == "an Event could not be recorded");
    let span = &line.unwrap()["span"];
    for (field, value) in [
        ("namespace", "shop"),
        ("resource", "nightly"),
        ("backup", "nightly-1b4e28ba"),
    ] {
        assert_eq!(span[field], value);
    }
}

#[tokio::test]
async fn a_backup_that_was_found_in_a_storage_is_never_made() {
    let (context, _api) = context();
    let mut object = object(0);
    object["spec"]["imported"] = json!(true);
    object["spec"]["backupName"] = json!("found");
    for status in [Value::Null, json!({"phase": "PartiallyFailed"})] {
        object["status"] = status;
        let backup: CassandraBackup = serde_json::from_value(object.clone()).unwrap();
        let reconciled = reconcile(Arc::new(DeserializeGuard(Ok(backup))), Arc::clone(&context));
        // Whoever asked the API server would wait for its answer.
        let ended = tokio::time::timeout(std::time::Duration::from_secs(5), reconciled).await;
        let action = ended.expect("nobody is asked").unwrap();
        assert_eq!(action, Action::await_change());
        assert_eq!(context.runs.len(), 0);
    }
}

/// Such as `verify`, or `cancel` too late: nobody is at work, and the generation is that of the spec.
#[tokio::test]
async fn a_change_of_what_has_ended_is_seen() {
    let (context, mut api) = context();
    let mut changed = object(0);
    changed["metadata"]["generation"] = json!(2);
    changed["status"] = json!({"phase": "Succeeded", "observedGeneration": 1});
    let changed: CassandraBackup = serde_json::from_value(changed).unwrap();
    let (went, patch) = tokio::join!(super::after_end(&changed, &context), api.expect_status());
    went.unwrap();
    assert_eq!(patch["status"], json!({"observedGeneration": 2}));
    assert_eq!(
        patch["metadata"]["uid"],
        "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    );
    // Once.
    let mut seen = changed.clone();
    seen.status.as_mut().unwrap().observed_generation = Some(2);
    super::after_end(&seen, &context).await.unwrap();
}
