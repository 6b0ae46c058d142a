//! Conversations with an API server that is played.

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::*;
use crate::played::{Api as Played, context};

const PODS: &str = "/api/v1/namespaces/shop/pods";
const TEMPLATE: &str = "/api/v1/namespaces/shop/podtemplates/small";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
const GROUP: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop";

fn now() -> Timestamp {
    Timestamp::from_second(1_000).unwrap()
}

/// The backup, whose rehearsal began a minute ago.
fn backup() -> CassandraBackup {
    let mut backup: CassandraBackup = serde_json::from_value(json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
        "metadata": {"name": "nightly", "namespace": "shop", "uid": "u1"},
        "spec": {
            "cluster": "prod", "storage": {"name": "s3"},
            "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
            "verify": {"podTemplate": "small"},
        },
        "status": {"phase": "Succeeded", "backupName": "nightly-1"},
    }))
    .unwrap();
    let (request, began) = (request(&backup), Timestamp::from_second(940).unwrap());
    let name = build::name(&backup, &request, began);
    let begun = decide::begun(None, &request, &name, began);
    backup.status.as_mut().unwrap().verification = Some(begun);
    backup
}

fn restore_of(backup: &CassandraBackup) -> String {
    let status = backup.status.clone().unwrap();
    status.verification.unwrap().restore
}

/// The pods are listed, and the restore is looked for.
async fn looked(
    api: &mut Played,
    backup: &CassandraBackup,
    pods: Value,
    restore: Result<Value, u16>,
) {
    let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods});
    api.expect(Method::GET, PODS, Ok(list)).await;
    let path = format!("{GROUP}/cassandrarestores/{}", restore_of(backup));
    api.expect(Method::GET, &path, restore).await;
}

/// The status is written; gives it, and then an Event is, if one is.
async fn said(api: &mut Played, backup: &CassandraBackup, event: bool) -> Value {
    let path = format!("{GROUP}/cassandrabackups/nightly/status");
    let answer = serde_json::to_value(backup).unwrap();
    let patch = api.expect(Method::PATCH, &path, Ok(answer)).await;
    if event {
        let answer = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "eventTime": null,
        });
        api.expect(Method::POST, EVENTS, Ok(answer)).await;
    }
    assert_eq!(patch["metadata"]["uid"], "u1");
    patch["status"].clone()
}

#[tokio::test]
async fn a_pod_that_the_api_server_does_not_want_is_told_with_its_words() {
    let (context, mut api) = context();
    let backup = backup();
    let played = async {
        looked(&mut api, &backup, json!([]), Err(404)).await;
        let template = json!({
            "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "small"},
            "template": {"spec": {"containers": [{"name": "cassandra", "image": "c"}]}},
        });
        api.expect(Method::GET, TEMPLATE, Ok(template)).await;
        api.expect(Method::POST, PODS, Err(403)).await;
        said(&mut api, &backup, true).await
    };
    let (went, status) = tokio::join!(bring_forward(&backup, &context, now()), played);
    went.unwrap();
    let condition = &status["conditions"][0];
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!("RehearsalPodFailed"))
    );
    assert!(status["verification"]["completionTime"].is_string());
    // Nothing else of the status is written by this writer.
    assert_eq!(status.as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn a_template_that_is_missing_is_told_at_once_and_waited_for() {
    let backup = backup();
    for (now, is) in [(945, "Unknown"), (1_000, "False")] {
        let (context, mut api) = context();
        let ends = is == "False";
        let played = async {
            looked(&mut api, &backup, json!([]), Err(404)).await;
            api.expect(Method::GET, TEMPLATE, Err(404)).await;
            said(&mut api, &backup, ends).await
        };
        let now = Timestamp::from_second(now).unwrap();
        let (went, status) = tokio::join!(bring_forward(&backup, &context, now), played);
        went.unwrap();
        let condition = &status["conditions"][0];
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!(is), &json!("PodTemplateNotFound"))
        );
        assert_eq!(status["verification"]["completionTime"].is_string(), ends);
    }
}

#[tokio::test]
async fn a_backup_whose_proof_nobody_asks_for_any_more_leaves_nothing() {
    let (context, mut api) = context();
    let mut backup = backup();
    let name = restore_of(&backup);
    backup.spec.verify = None;
    let pod = json!({"metadata": {"name": name}, "spec": {"containers": []}});
    let restore = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraRestore",
        "metadata": {"name": name, "ownerReferences": [
            {"apiVersion": "v1", "kind": "CassandraBackup", "name": "nightly", "uid": "u1"},
        ]},
        "spec": {
            "cluster": "prod", "storage": {"name": "s3"}, "backup": {"name": "nightly-1"},
            "mode": "Rehearse", "cassandra": {"podSelector": {"matchLabels": {"a": "b"}}},
        },
    });
    let told = {
        let played = said(&mut api, &backup, false);
        let (went, status) = tokio::join!(bring_forward(&backup, &context, now()), played);
        went.unwrap();
        assert_eq!(status["conditions"][0]["reason"], "Cancelled");
        // Asked for again, it is another one.
        assert_eq!(status["verification"]["request"], "");
        status
    };
    let mut status = backup.status.clone().unwrap();
    status.conditions = serde_json::from_value(told["conditions"].clone()).unwrap();
    status.verification = serde_json::from_value(told["verification"].clone()).unwrap();
    backup.status = Some(status);
    let played = async {
        let list =
            |items| json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items});
        api.expect(Method::GET, PODS, Ok(list(json!([pod])))).await;
        let path = format!("{PODS}/{name}");
        api.expect(Method::DELETE, &path, Ok(json!({"kind": "Status"})))
            .await;
        let path = format!("{GROUP}/cassandrarestores/{name}");
        api.expect(Method::GET, &path, Ok(restore)).await;
        api.expect(Method::DELETE, &path, Ok(json!({"kind": "Status"})))
            .await;
        // Nothing is left: that is written down, and nothing is asked any more.
        api.expect(Method::GET, PODS, Ok(list(json!([])))).await;
        api.expect(Method::GET, &path, Err(404)).await;
        said(&mut api, &backup, false).await
    };
    let twice = async {
        bring_forward(&backup, &context, now()).await.unwrap();
        bring_forward(&backup, &context, now()).await.unwrap();
    };
    let ((), status) = tokio::join!(twice, played);
    assert_eq!(status["verification"]["cleanedUp"], true);
    assert_eq!(status["conditions"], told["conditions"]);
    let clean = serde_json::from_value(status["verification"].clone()).unwrap();
    backup.status.as_mut().unwrap().verification = Some(clean);
    let went = bring_forward(&backup, &context, now()).await.unwrap();
    assert_eq!(went, Action::await_change());
}

#[tokio::test]
async fn what_was_proven_is_so_no_more_when_the_backup_is_gone() {
    let (context, mut api) = context();
    let mut backup = backup();
    let status = backup.status.as_mut().unwrap();
    status.phase = Some(BackupPhase::Expired);
    status.verification.as_mut().unwrap().completion_time = Some(Time(now()));
    let played = said(&mut api, &backup, false);
    let (went, status) = tokio::join!(bring_forward(&backup, &context, now()), played);
    went.unwrap();
    let condition = &status["conditions"][0];
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("Unknown"), &json!("Expired"))
    );
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_is_not_written_over() {
    let (context, mut api) = context();
    let mut backup = backup();
    backup.metadata.resource_version = Some("7".into());
    let restore = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraRestore",
        "metadata": {"name": restore_of(&backup)},
        "spec": {
            "cluster": "prod", "storage": {"name": "s3"}, "backup": {"name": "nightly-1"},
            "mode": "Rehearse", "cassandra": {"podSelector": {"matchLabels": {"a": "b"}}},
        },
        "status": {"phase": "Failed"},
    });
    let played = async {
        looked(&mut api, &backup, json!([]), Ok(restore)).await;
        let path = format!("{GROUP}/cassandrabackups/nightly/status");
        // No Event tells of what was not written.
        api.expect(Method::PATCH, &path, Err(409)).await
    };
    let (went, patch) = tokio::join!(bring_forward(&backup, &context, now()), played);
    assert_eq!(went.unwrap(), Action::requeue(LOOK));
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
}

#[tokio::test]
async fn nothing_is_asked_where_nothing_is_to_be_proven() {
    let (context, _api) = context();
    let mut partial = backup();
    partial.status.as_mut().unwrap().phase = Some(BackupPhase::PartiallyFailed);
    partial.status.as_mut().unwrap().verification = None;
    let went = bring_forward(&partial, &context, now()).await.unwrap();
    assert_eq!(went, Action::await_change());
}
