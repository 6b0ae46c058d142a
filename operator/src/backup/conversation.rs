//! Reconciliations against an API server that is played.

use std::sync::Arc;

use crds::CassandraBackup;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use serde_json::{Value, json};

use super::{Guarded, HEARTBEAT, LOOK_AGAIN, reconcile};
use crate::played::{Api, context};

const BACKUP: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/cassandrabackups/nightly";
const STORAGE: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/backupstorages/main";

impl Api {
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
    api.expect(Method::GET, STORAGE, Ok(storage())).await;
    let list = pods(&["c-1", "c-0"]);
    api.expect(Method::GET, "/api/v1/namespaces/shop/pods", Ok(list))
        .await;
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
async fn a_backup_that_has_ended_is_left_alone() {
    let (context, _api) = context();
    let mut object = object(60);
    object["status"] = json!({"phase": "Succeeded"});
    let reconciled = reconcile(guarded(&object), Arc::clone(&context)).await;
    assert_eq!(reconciled.unwrap(), Action::await_change());
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
    api.expect(Method::GET, STORAGE, Ok(storage())).await;
    let list = pods(&["c-0"]);
    api.expect(Method::GET, "/api/v1/namespaces/shop/pods", Ok(list))
        .await;
    api.expect(Method::PATCH, &format!("{BACKUP}/status"), Err(409))
        .await;
    assert_eq!(reconciled.await.unwrap().unwrap(), Action::await_change());
    assert_eq!(context.runs.len(), 0);
}
