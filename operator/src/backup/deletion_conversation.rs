//! The finalizer, against an API server that is played.

use std::sync::Arc;
use std::time::Duration;

use crds::{CassandraBackup, PurgeResult};
use http::Method;
use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use protocol::{Purged, Reason, Tally};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::conversation::{LEASES, OURS, lease};
use super::deletion::{FINALIZER, SKIP, made_by};
use super::{Guarded, HEARTBEAT, reconcile};
use crate::context::Context;
use crate::played::{Api, context};
use crate::retention::{Chore, Ended, Place};

const BACKUP: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/cassandrabackups/nightly";
const STORAGE: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/backupstorages/main";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
const UID: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";

/// A backup with `deletionPolicy: Delete` that has succeeded, is protected and is deleted.
fn deleted(change: impl FnOnce(&mut Value)) -> Value {
    let mut object = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
        "metadata": {
            "name": "nightly", "namespace": "shop", "uid": UID, "generation": 2,
            "resourceVersion": "7", "finalizers": ["example.org/other", FINALIZER],
            "deletionTimestamp": "2026-11-25T02:30:00Z",
            "creationTimestamp": "2026-11-24T02:30:00Z",
        },
        "spec": {
            "cluster": "prod", "storage": {"name": "main"}, "deletionPolicy": "Delete",
            "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
        },
        "status": {
            "phase": "Succeeded", "backupName": "nightly-1b4e28ba",
            "nodes": [{"pod": "c-0", "phase": "Succeeded", "attempt": 1, "runId": "r"}],
        },
    });
    change(&mut object);
    object
}

fn guarded(object: &Value) -> Arc<Guarded> {
    let backup: CassandraBackup = serde_json::from_value(object.clone()).unwrap();
    Arc::new(DeserializeGuard(Ok(backup)))
}

async fn begun(context: &Arc<Context>, object: &Value) -> tokio::task::JoinHandle<Action> {
    let (object, context) = (guarded(object), Arc::clone(context));
    tokio::spawn(async move { reconcile(object, context).await.unwrap() })
}

async fn ends(reconciled: tokio::task::JoinHandle<Action>) -> Action {
    let ended = timeout(Duration::from_secs(5), reconciled).await;
    ended.expect("nothing more is asked").unwrap()
}

async fn event(api: &mut Api) -> String {
    let answer = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "eventTime": null,
    });
    let event = api.expect(Method::POST, EVENTS, Ok(answer)).await;
    event["reason"].as_str().unwrap().to_owned()
}

/// Expects that the finalizer goes, and nothing else of them.
async fn release(api: &mut Api, object: &Value) {
    let patch = api.expect(Method::PATCH, BACKUP, Ok(object.clone())).await;
    assert_eq!(
        patch,
        json!({"metadata": {
            "uid": UID, "resourceVersion": "7", "finalizers": ["example.org/other"],
        }})
    );
}

fn condition<'a>(patch: &'a Value, kind: &str) -> (&'a str, &'a str, &'a str) {
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|one| one["type"] == kind).unwrap();
    (
        found["status"].as_str().unwrap(),
        found["reason"].as_str().unwrap(),
        found["message"].as_str().unwrap(),
    )
}

/// Lets the deletion of its data end so.
async fn ended(context: &Arc<Context>, result: PurgeResult, reason: Reason) {
    ended_after(context, result, reason, Purged::default()).await;
}

/// The same, with what it had deleted by then.
async fn ended_after(context: &Arc<Context>, result: PurgeResult, reason: Reason, purged: Purged) {
    let place = Place {
        namespace: "shop".into(),
        storage: "main".into(),
        cluster: "prod".into(),
    };
    let now = Timestamp::now();
    let ended = Ended {
        began: now,
        ended: now,
        result,
        reason,
        message: "the agent's words".into(),
        purged: Some(purged),
    };
    let (woken, wakes) = tokio::sync::oneshot::channel();
    let wake = move || woken.send(()).unwrap();
    assert!(
        context
            .chores
            .start(UID.into(), place, async { ended }, wake)
    );
    wakes.await.unwrap();
}

#[tokio::test]
async fn a_backup_that_takes_its_data_with_it_is_protected_before_anything_else() {
    let (context, mut api) = context();
    let fresh = deleted(|it| {
        it["metadata"]["finalizers"] = json!(["example.org/other"]);
        let meta = it["metadata"].as_object_mut().unwrap();
        meta.remove("deletionTimestamp");
        it.as_object_mut().unwrap().remove("status");
    });
    let reconciled = begun(&context, &fresh).await;
    let patch = api.expect(Method::PATCH, BACKUP, Ok(fresh.clone())).await;
    assert_eq!(
        patch["metadata"]["finalizers"],
        json!(["example.org/other", FINALIZER])
    );
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    assert_eq!(ends(reconciled).await, Action::await_change());
}

#[tokio::test]
async fn its_data_is_deleted_and_then_it_goes() {
    let (context, mut api) = context();
    ended(&context, PurgeResult::Succeeded, Reason::Succeeded).await;
    let object = deleted(|_| ());
    let reconciled = begun(&context, &object).await;
    release(&mut api, &object).await;
    assert_eq!(event(&mut api).await, "DataDeleted");
    assert_eq!(ends(reconciled).await, Action::await_change());
    assert!(context.chores.of(UID).is_none());
}

#[tokio::test]
async fn what_is_not_in_the_storage_is_deleted() {
    let (context, mut api) = context();
    ended(&context, PurgeResult::Failed, Reason::BackupNotFound).await;
    let object = deleted(|_| ());
    let reconciled = begun(&context, &object).await;
    release(&mut api, &object).await;
    assert_eq!(event(&mut api).await, "DataDeleted");
    ends(reconciled).await;
}

#[tokio::test]
async fn another_ones_backup_of_the_same_name_stays() {
    let (context, mut api) = context();
    ended(&context, PurgeResult::Failed, Reason::BackupExists).await;
    let object = deleted(|_| ());
    let reconciled = begun(&context, &object).await;
    release(&mut api, &object).await;
    assert_eq!(event(&mut api).await, "DataDeletionSkipped");
    ends(reconciled).await;
}

#[tokio::test]
async fn it_is_deleted_once_nothing_of_its_runs_can_arrive_any_more() {
    let (context, mut api) = context();
    let just_now = Timestamp::now();
    let mut object = deleted(|it| it["status"]["completionTime"] = json!(just_now));
    let reconciled = begun(&context, &object).await;
    let patch = api.expect_status().await;
    let (is, reason, message) = condition(&patch, "Deleting");
    assert_eq!((is, reason), ("True", "DeletingData"));
    assert!(message.contains("may still be on its way"), "{message}");
    assert_eq!(condition(&patch, "Stalled").0, "False");
    assert_eq!(event(&mut api).await, "DeletingData");
    assert_ne!(ends(reconciled).await, Action::requeue(HEARTBEAT));
    assert!(context.chores.of(UID).is_none());
    // Told once.
    object["status"]["conditions"] = patch["status"]["conditions"].clone();
    let reconciled = begun(&context, &object).await;
    assert_ne!(ends(reconciled).await, Action::await_change());
}

#[tokio::test]
async fn the_deletion_is_told_before_it_begins_and_an_unreachable_storage_stays_in_the_status() {
    let (context, mut api) = context();
    let mut object = deleted(|_| ());
    let reconciled = begun(&context, &object).await;
    let patch = api.expect_status().await;
    assert_eq!(condition(&patch, "Deleting").1, "DeletingData");
    assert_eq!(condition(&patch, "Stalled").0, "False");
    assert_eq!(patch["status"]["phase"], "Succeeded");
    object["status"]["conditions"] = patch["status"]["conditions"].clone();
    assert_eq!(event(&mut api).await, "DeletingData");
    assert_eq!(ends(reconciled).await, Action::requeue(HEARTBEAT));
    // While it is at work, nothing more is begun.
    let reconciled = begun(&context, &object).await;
    assert_eq!(ends(reconciled).await, Action::requeue(HEARTBEAT));
    api.expect(Method::GET, STORAGE, Err(404)).await;
    timeout(Duration::from_secs(5), async {
        while !matches!(context.chores.of(UID), Some(Chore::Ended { .. })) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();

    let reconciled = begun(&context, &object).await;
    let patch = api.expect_status().await;
    let (is, reason, message) = condition(&patch, "Stalled");
    assert_eq!((is, reason), ("True", "BackupStorageNotFound"));
    assert!(message.contains(SKIP), "{message}");
    assert_eq!(condition(&patch, "Deleting").0, "True");
    assert_eq!(event(&mut api).await, "BackupStorageNotFound");
    let Action { .. } = ends(reconciled).await;
    // Told once, and not tried again before its time.
    object["status"]["conditions"] = patch["status"]["conditions"].clone();
    let reconciled = begun(&context, &object).await;
    let again = ends(reconciled).await;
    assert_ne!(again, Action::await_change());
    assert_ne!(again, Action::requeue(HEARTBEAT));
    assert!(matches!(
        context.chores.of(UID),
        Some(Chore::Ended { failures: 1, .. })
    ));
}

#[tokio::test]
async fn a_deletion_that_stopped_half_way_does_not_say_that_nothing_is_deleted() {
    // What else a purge takes with it is no part of this backup.
    for (manifests, files, begin) in [
        (0, 0, "the data is not deleted, "),
        (0, 3, "the data is not deleted, "),
        (1, 0, "not all of the data is deleted, "),
    ] {
        let (context, mut api) = context();
        let purged = Purged {
            deleted: Tally { files, bytes: 9 },
            manifests,
            ..Purged::default()
        };
        let reason = Reason::StorageUnavailable;
        ended_after(&context, PurgeResult::Failed, reason, purged).await;
        let reconciled = begun(&context, &deleted(|_| ())).await;
        let patch = api.expect_status().await;
        let (is, reason, message) = condition(&patch, "Stalled");
        assert_eq!((is, reason), ("True", "StorageUnavailable"));
        assert!(message.starts_with(begin), "{message}");
        assert_eq!(event(&mut api).await, "StorageUnavailable");
        ends(reconciled).await;
    }
}

#[tokio::test]
async fn an_annotation_lets_it_go_without_its_data() {
    for status in ["Succeeded", "Uploading"] {
        let (context, mut api) = context();
        let object = deleted(|it| {
            it["metadata"]["annotations"] = json!({SKIP: "true"});
            it["status"]["phase"] = json!(status);
        });
        let reconciled = begun(&context, &object).await;
        release(&mut api, &object).await;
        assert_eq!(event(&mut api).await, "DataDeletionSkipped");
        assert_eq!(ends(reconciled).await, Action::await_change());
    }
}

#[tokio::test]
async fn a_deletion_at_work_ends_when_its_resource_goes_without_its_data() {
    let (context, mut api) = context();
    let place = Place {
        namespace: "shop".into(),
        storage: "main".into(),
        cluster: "prod".into(),
    };
    let (alive, ended) = tokio::sync::oneshot::channel::<()>();
    let work = async {
        let _alive = alive;
        std::future::pending().await
    };
    assert!(context.chores.start(UID.into(), place, work, || ()));
    let object = deleted(|it| it["metadata"]["annotations"] = json!({SKIP: "true"}));
    let reconciled = begun(&context, &object).await;
    release(&mut api, &object).await;
    assert_eq!(event(&mut api).await, "DataDeletionSkipped");
    ends(reconciled).await;
    let ended = timeout(Duration::from_secs(5), ended).await;
    assert!(ended.expect("the work is ended").is_err());
    assert!(context.chores.of(UID).is_none());
}

#[tokio::test]
async fn who_left_nothing_of_his_own_deletes_nothing() {
    let without: [fn(&mut Value); 4] = [
        |it| it["status"]["phase"] = json!("Expired"),
        |it| {
            it["status"]["phase"] = json!("Failed");
            // Its name was taken by another one's backup.
            it["status"]["nodes"][0]["phase"] = json!("Failed");
            it["status"]["nodes"][0]["reason"] = json!("BackupExists");
        },
        |it| it["status"] = json!({"phase": "Cancelled"}),
        |it| {
            it["status"]["phase"] = json!("Failed");
            // It said itself how it ended.
            it["status"]["nodes"][0]["phase"] = json!("Failed");
            it["status"]["nodes"][0]["reason"] = json!("StorageDenied");
            it["status"]["nodes"][0]["startedAt"] = json!("2026-11-24T02:30:00Z");
        },
    ];
    for change in without {
        let (context, mut api) = context();
        let object = deleted(change);
        let reconciled = begun(&context, &object).await;
        release(&mut api, &object).await;
        assert_eq!(event(&mut api).await, "DataDeleted");
        assert_eq!(ends(reconciled).await, Action::await_change());
    }
}

#[test]
fn only_a_run_that_committed_at_its_first_attempt_has_surely_ended() {
    let run = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
    let ended = |phase: &str, attempt: i32| {
        let node = json!({"pod": "c-0", "phase": phase, "attempt": attempt, "runId": run});
        let made = made_by(&[serde_json::from_value(node).unwrap()]);
        assert_eq!(made[0].run_id.to_string(), run);
        made[0].ended
    };
    assert!(ended("Succeeded", 1));
    assert!(!ended("Succeeded", 2) && !ended("Cancelled", 1) && !ended("Failed", 1));
}

#[tokio::test]
async fn what_may_have_been_committed_though_nobody_heard_so_is_deleted_too() {
    for reason in ["Interrupted", "Cancelled"] {
        let (context, mut api) = context();
        let object = deleted(|it| {
            it["status"]["phase"] = json!("Failed");
            it["status"]["nodes"][0]["phase"] = json!("Failed");
            it["status"]["nodes"][0]["reason"] = json!(reason);
            it["status"]["nodes"][0]["startedAt"] = json!("2026-11-24T02:30:00Z");
        });
        let reconciled = begun(&context, &object).await;
        let patch = api.expect_status().await;
        assert_eq!(condition(&patch, "Deleting").0, "True");
        assert_eq!(event(&mut api).await, "DeletingData");
        ends(reconciled).await;
    }
}

#[tokio::test]
async fn a_backup_at_work_is_cancelled_first() {
    let (context, mut api) = context();
    let object = deleted(|it| {
        it["status"] = json!({
            "phase": "Preparing", "backupName": "nightly-1b4e28ba",
            "nodes": [{"pod": "c-0", "phase": "Pending", "attempt": 1, "runId": "r"}],
        });
    });
    let reconciled = begun(&context, &object).await;
    api.expect(Method::GET, BACKUP, Ok(object.clone())).await;
    api.expect_free_lease().await;
    let patch = api.expect_status().await;
    assert_eq!(patch["status"]["phase"], "Cancelled");
    assert_eq!(patch["status"]["nodes"][0]["phase"], "Cancelled");
    assert_eq!(event(&mut api).await, "Cancelled");
    let path = format!("{LEASES}/cassandra-backup");
    api.expect(Method::DELETE, &path, Ok(lease(OURS))).await;
    assert_eq!(ends(reconciled).await, Action::await_change());
    assert!(context.chores.of(UID).is_none());
}

#[tokio::test]
async fn a_change_that_somebody_else_made_meanwhile_is_looked_at_first() {
    let (context, mut api) = context();
    ended(&context, PurgeResult::Succeeded, Reason::Succeeded).await;
    let reconciled = begun(&context, &deleted(|_| ())).await;
    api.expect(Method::PATCH, BACKUP, Err(409)).await;
    assert_ne!(ends(reconciled).await, Action::await_change());
    assert!(context.chores.of(UID).is_some());
}

#[tokio::test]
async fn a_found_backup_that_nobody_has_looked_at_goes_at_once_and_says_that_its_data_stays() {
    let (context, mut api) = context();
    let object = deleted(|it| {
        it["spec"]["imported"] = json!(true);
        it["spec"]["backupName"] = json!("found");
        it["status"] = Value::Null;
    });
    let reconciled = begun(&context, &object).await;
    release(&mut api, &object).await;
    assert_eq!(event(&mut api).await, "DataDeletionSkipped");
    assert_eq!(ends(reconciled).await, Action::await_change());
}
