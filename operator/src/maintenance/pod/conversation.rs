//! Conversations with an API server that is played, and an agent that is a script.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use http::Method;
use protocol::{ProbeRequest, S3Access, StorageAccess};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::exec::local::LocalExec;
use crate::played::{Api as Played, context};

const PODS: &str = "/api/v1/namespaces/shop/pods";

fn pod_path(name: &str) -> String {
    format!("{PODS}/{name}")
}

/// An agent that says that it reached the storage, as the run that it was asked to be.
fn script() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent");
    let outcome = Outcome::ended(Reason::Reachable, "it answers", 1);
    let mut event = json!({
        "runId": "RUN", "seq": 1, "time": jiff::Timestamp::UNIX_EPOCH, "event": "result",
    });
    let outcome = serde_json::to_value(outcome).unwrap();
    let (Value::Object(event), Value::Object(outcome)) = (&mut event, outcome) else {
        unreachable!()
    };
    event.extend(outcome);
    let event = serde_json::to_string(event).unwrap();
    let text = format!(
        "#!/bin/sh\nread -r request\n\
         run=$(echo \"$request\" | sed 's/.*\"runId\":\"\\([^\"]*\\)\".*/\\1/')\n\
         echo '{event}' | sed \"s/RUN/$run/\"\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    directory
}

fn stage(agent: &TempDir) -> (Arc<Context>, Played) {
    let (mut context, api) = context();
    let inner = Arc::get_mut(&mut context).unwrap();
    inner.home.agent = agent.path().join("agent");
    let tools = Arc::get_mut(&mut inner.tools).unwrap();
    tools.exec = Arc::new(LocalExec::with_shell(&["sh"]));
    (context, api)
}

fn storage() -> BackupStorage {
    serde_json::from_value(json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "main", "namespace": "shop", "uid": "u1"},
        "spec": {
            "s3": {"bucket": "backups"}, "maintenancePod": {"serviceAccountName": "keeper"},
        },
    }))
    .unwrap()
}

fn probe() -> Operation {
    Operation::Probe(ProbeRequest {
        storage: StorageAccess::S3(S3Access {
            bucket: "backups".into(),
            ..S3Access::default()
        }),
        object: None,
        leave: false,
        left: false,
        survey: false,
    })
}

fn list(items: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items})
}

fn pod(name: &str, state: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
        "status": {"phase": "Pending", "containerStatuses": [{
            "name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": state,
        }]},
    })
}

/// A run that is asked for, as far as its pod is made.
async fn made(
    context: &Arc<Context>,
    api: &mut Played,
) -> tokio::task::JoinHandle<Result<Outcome, PodError>> {
    let context = Arc::clone(context);
    let run =
        tokio::spawn(
            async move { run(&context, &storage(), probe(), Duration::from_secs(20)).await },
        );
    api.expect(Method::GET, PODS, Ok(list(json!([])))).await;
    let asked = api
        .expect(Method::POST, PODS, Ok(pod("p1", json!({}))))
        .await;
    assert_eq!(asked["spec"]["serviceAccountName"], "keeper");
    assert_eq!(asked["spec"]["containers"][0]["image"], "operator:1");
    run
}

#[tokio::test]
async fn it_is_made_waited_for_and_deleted() {
    let agent = script();
    let (context, mut api) = stage(&agent);
    let run = made(&context, &mut api).await;
    let waiting = pod("p1", json!({"waiting": {"reason": "ContainerCreating"}}));
    let running = pod("p1", json!({"running": {}}));
    for now in [waiting, running] {
        api.expect(Method::GET, &pod_path("p1"), Ok(now)).await;
    }
    api.expect(Method::DELETE, &pod_path("p1"), Ok(pod("p1", json!({}))))
        .await;
    let outcome = run.await.unwrap().unwrap();
    assert_eq!(outcome.reason, Reason::Reachable);
}

#[tokio::test]
async fn one_that_nobody_waits_for_any_more_is_deleted() {
    let agent = script();
    let (context, mut api) = stage(&agent);
    let run = made(&context, &mut api).await;
    let waiting = pod("p1", json!({"waiting": {"reason": "ContainerCreating"}}));
    api.expect(Method::GET, &pod_path("p1"), Ok(waiting)).await;
    run.abort();
    api.expect(Method::DELETE, &pod_path("p1"), Err(404)).await;
}

#[tokio::test]
async fn one_that_an_earlier_process_left_is_deleted_first() {
    let agent = script();
    let (context, mut api) = stage(&agent);
    let asked = Arc::clone(&context);
    let run =
        tokio::spawn(
            async move { run(&asked, &storage(), probe(), Duration::from_secs(20)).await },
        );
    let left = list(json!([pod("old", json!({})), pod("older", json!({}))]));
    api.expect(Method::GET, PODS, Ok(left)).await;
    api.expect(Method::DELETE, &pod_path("old"), Err(404)).await;
    let older = pod_path("older");
    api.expect(Method::DELETE, &older, Ok(pod("older", json!({}))))
        .await;
    // A quota, or a policy.
    api.expect(Method::POST, PODS, Err(403)).await;
    let error = run.await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Reason::MaintenancePodNotStarted);
    assert!(error.to_string().contains("keeper"), "{error}");
}
