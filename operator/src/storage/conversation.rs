//! Conversations with an API server that is played, and an agent that is a script.

use std::os::unix::fs::PermissionsExt;

use http::Method;
use protocol::{
    Catalogue, ClusterFound, Operation, Outcome, Probed, Reason, Request, Seen, Survey, Verdict,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::played::{Api, context};

pub(super) const STATUS: &str =
    "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/backupstorages/main/status";
pub(super) const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
const UID: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";

/// An agent that keeps its requests, and sees that all works.
pub(super) struct Agent(TempDir);

impl Agent {
    fn new() -> Self {
        Self::that_finds(None)
    }

    /// One that finds these backups of a cluster, too.
    pub(super) fn that_finds(catalogue: Option<Catalogue>) -> Self {
        Self::that_says(Verdict::Yes, catalogue)
    }

    /// One that can tell the clusters of a storage, or cannot.
    pub(super) fn that_says(surveyed: Verdict, catalogue: Option<Catalogue>) -> Self {
        let clusters = match surveyed {
            Verdict::Yes => vec![prod()],
            _ => Vec::new(),
        };
        Self::that_answers(&[answer(surveyed, clusters, catalogue)])
    }

    /// One that could look into one folder of a storage, and not into others.
    pub(super) fn that_sees_some(catalogue: Catalogue) -> Self {
        let answer = answer(Verdict::Unknown, vec![prod()], Some(catalogue));
        Self::that_answers(&[answer])
    }

    /// One that sees that all works, and then finds these backups, each time that it is asked for them,
    /// or does not say what there is.
    pub(super) fn that_finds_in_turn(catalogues: &[Option<Catalogue>]) -> Self {
        let all = [None].into_iter().chain(catalogues.iter().cloned());
        let answers = all.map(|found| answer(Verdict::Yes, vec![prod()], found));
        Self::that_answers(&answers.collect::<Vec<_>>())
    }

    /// One that gives these answers, and to all that is asked after that the first.
    fn that_answers(answers: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (number, answer) in (1..).zip(answers) {
            let path = directory.path().join(format!("answer-{number}"));
            std::fs::write(path, format!("{answer}\n")).unwrap();
        }
        let at = directory.path().display();
        // By what the shell has itself: it has no PATH.
        let script = format!(
            "#!/bin/sh\nread -r request; printf '%s\\n' \"$request\" >> {at}/requests\n\
             n=0; while read -r line; do n=$((n + 1)); done < {at}/requests\n\
             [ -e {at}/answer-$n ] || n=1\n\
             read -r answer < {at}/answer-$n; printf '%s\\n' \"$answer\"\n"
        );
        let path = directory.path().join("agent");
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        Self(directory)
    }

    fn operations(&self) -> Vec<Operation> {
        let text = std::fs::read_to_string(self.0.path().join("requests")).unwrap_or_default();
        text.lines()
            .map(|line| Request::parse(line.as_bytes()).unwrap().operation)
            .collect()
    }

    fn requests(&self) -> Vec<protocol::ProbeRequest> {
        let operations = self.operations().into_iter();
        operations
            .map(|operation| match operation {
                Operation::Probe(request) => request,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// The backups that were known each time that it was asked for others, by name.
    pub(super) fn known(&self) -> Vec<Vec<String>> {
        let operations = self.operations().into_iter();
        operations
            .filter_map(|operation| match operation {
                Operation::Catalogue(mut request) => {
                    request.known.sort();
                    Some(request.known)
                }
                _ => None,
            })
            .collect()
    }
}

fn prod() -> ClusterFound {
    ClusterFound {
        cluster: "prod".into(),
        backups: 2,
        complete: 1,
        first: None,
        last: Some(Restorable {
            backup: "new".into(),
            time: Timestamp::UNIX_EPOCH,
        }),
    }
}

/// The line of an agent to whatever it is asked.
fn answer(surveyed: Verdict, clusters: Vec<ClusterFound>, catalogue: Option<Catalogue>) -> String {
    let yes = Seen {
        verdict: Verdict::Yes,
        reason: Reason::Probed,
        message: String::new(),
    };
    let probed = Probed {
        reach: yes.clone(),
        list: yes.clone(),
        write: yes.clone(),
        read: yes.clone(),
        create_only: yes.clone(),
        touch: yes.clone(),
        delete: yes.clone(),
        keeps_versions: yes.clone(),
        survey: Some(Survey {
            seen: Seen {
                verdict: surveyed,
                ..yes
            },
            clusters,
            left_out: 0,
            unseen: Vec::new(),
        }),
    };
    let outcome = Outcome {
        probe: Some(Box::new(probed)),
        catalogue: catalogue.map(Box::new),
        ..Outcome::ended(Reason::Reachable, "s3://backups answers", 1)
    };
    let mut event = json!({
        "runId": uuid::Uuid::nil(), "seq": 1, "time": Timestamp::UNIX_EPOCH, "event": "result",
    });
    let outcome = serde_json::to_value(outcome).unwrap();
    event
        .as_object_mut()
        .unwrap()
        .extend(outcome.as_object().unwrap().clone());
    event.to_string()
}

pub(super) fn with_agent(agent: &Agent) -> (Arc<Context>, Api) {
    let (mut context, api) = context();
    Arc::get_mut(&mut context).unwrap().home.agent = agent.0.path().join("agent");
    (context, api)
}

pub(super) fn object(spec: Value) -> Value {
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "main", "namespace": "shop", "uid": UID, "generation": 1},
        "spec": spec,
    })
}

pub(super) fn guarded(object: &Value) -> Arc<Guarded> {
    Arc::new(DeserializeGuard(Ok(
        serde_json::from_value(object.clone()).unwrap()
    )))
}

fn secret_path(name: &str) -> String {
    format!("/api/v1/namespaces/shop/secrets/{name}")
}

/// Metadata and content in one answer; whoever asks for one does not look at the other.
fn secret(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "resourceVersion": version},
        "data": {"AWS_ACCESS_KEY_ID": "cG9kcw==", "AWS_SECRET_ACCESS_KEY": "aw=="},
    })
}

pub(super) fn event() -> Value {
    json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {}, "eventTime": null})
}

pub(super) fn condition<'a>(patch: &'a Value, type_: &str) -> (&'a str, &'a str) {
    let conditions = patch["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|one| one["type"] == type_).unwrap();
    (
        found["status"].as_str().unwrap(),
        found["reason"].as_str().unwrap(),
    )
}

#[tokio::test]
async fn a_storage_is_probed_with_both_identities_and_the_second_one_deletes() {
    let agent = Agent::new();
    let (context, mut api) = with_agent(&agent);
    let object = object(json!({"s3": {
        "bucket": "backups", "credentials": {"secretName": "pods"},
        "maintenanceCredentials": {"secretName": "keeper"},
    }}));
    let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
    for (name, version) in [
        ("keeper", "2"),
        ("pods", "1"),
        ("pods", "1"),
        ("keeper", "2"),
    ] {
        api.expect(Method::GET, &secret_path(name), Ok(secret(name, version)))
            .await;
    }
    let patch = api.expect(Method::PATCH, STATUS, Ok(object.clone())).await;
    assert_eq!(condition(&patch, "Ready"), ("True", "Reachable"));
    assert_eq!(condition(&patch, "Stalled"), ("False", "Reachable"));
    assert_eq!(condition(&patch, "Deletable"), ("True", "Probed"));
    assert_eq!(patch["status"]["location"], "s3://backups");
    assert_eq!(condition(&patch, "Surveyed"), ("True", "Probed"));
    assert_eq!(
        patch["status"]["clusters"],
        json!([{
            "cluster": "prod", "backups": 2, "complete": 1,
            "lastRestorable": {"backup": "new", "time": "1970-01-01T00:00:00Z"},
        }])
    );
    assert_eq!(
        patch["status"]["sources"],
        json!([
            {"kind": "Secret", "name": "keeper", "resourceVersion": "2"},
            {"kind": "Secret", "name": "pods", "resourceVersion": "1"},
        ])
    );
    let told = api.expect(Method::POST, EVENTS, Ok(event())).await;
    assert_eq!(told["reason"], "Reachable");
    assert_eq!(reconciled.await.unwrap().unwrap(), Action::requeue(LOOK));
    let requests = agent.requests();
    let objects: Vec<_> = requests
        .iter()
        .map(|it| (it.object.as_deref(), it.leave, it.survey))
        .collect();
    assert_eq!(
        objects,
        [(Some(UID), true, true), (Some(UID), false, false)]
    );
}

#[tokio::test]
async fn a_read_only_storage_is_not_written_to() {
    let agent = Agent::new();
    let (context, mut api) = with_agent(&agent);
    let object = object(json!({"readOnly": true, "s3": {
        "bucket": "backups", "credentials": {"secretName": "pods"},
        "maintenanceCredentials": {"secretName": "keeper"},
    }}));
    let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
    for name in ["keeper", "pods", "pods"] {
        api.expect(Method::GET, &secret_path(name), Ok(secret(name, "1")))
            .await;
    }
    let patch = api.expect(Method::PATCH, STATUS, Ok(object.clone())).await;
    assert_eq!(condition(&patch, "Writable"), ("False", "StorageReadOnly"));
    api.expect(Method::POST, EVENTS, Ok(event())).await;
    reconciled.await.unwrap().unwrap();
    let requests = agent.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].object, None);
}

#[tokio::test]
async fn without_an_identity_of_its_own_the_operator_asks_nobody() {
    let agent = Agent::new();
    for spec in [
        json!({"s3": {"bucket": "backups"}}),
        json!({"gcs": {"bucket": "backups"}}),
        json!({"azure": {"account": "acme", "container": "backups"}}),
        json!({"file": {"path": "/backup"}}),
    ] {
        let (context, mut api) = with_agent(&agent);
        let object = object(spec);
        let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
        let patch = api.expect(Method::PATCH, STATUS, Ok(object.clone())).await;
        assert_eq!(condition(&patch, "Ready"), ("True", "NotProbed"));
        let is_file = object["spec"].get("file").is_some();
        let expected = if is_file {
            ("Unknown", "NotProbed")
        } else {
            ("False", "MaintenanceCredentialsMissing")
        };
        assert_eq!(condition(&patch, "Deletable"), expected);
        api.expect(Method::POST, EVENTS, Ok(event())).await;
        let action = reconciled.await.unwrap().unwrap();
        assert_eq!(action, Action::requeue(Duration::from_secs(600)));
    }
    assert!(agent.requests().is_empty());
}

#[tokio::test]
async fn a_maintenance_pod_is_asked_besides_the_pods_and_instead_of_them() {
    const PODS: &str = "/api/v1/namespaces/shop/pods";
    let keys = json!({"bucket": "backups", "credentials": {"secretName": "pods"}});
    let none = json!({"bucket": "backups"});
    for (s3, read_only, ready, deletable) in [
        (&keys, false, "Reachable", "MaintenancePodNotStarted"),
        (&none, false, "NotProbed", "MaintenancePodNotStarted"),
        (&none, true, "MaintenancePodNotStarted", "StorageReadOnly"),
    ] {
        let agent = Agent::new();
        let (context, mut api) = with_agent(&agent);
        let object = object(json!({
            "s3": s3, "readOnly": read_only, "maintenancePod": {"serviceAccountName": "keeper"},
        }));
        let reconciled = tokio::spawn(reconcile(guarded(&object), Arc::clone(&context)));
        if s3.get("credentials").is_some() {
            // For its version, and for its content.
            for _ in 0..2 {
                let secret = secret("pods", "1");
                api.expect(Method::GET, &secret_path("pods"), Ok(secret))
                    .await;
            }
        }
        let nothing = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": []});
        api.expect(Method::GET, PODS, Ok(nothing)).await;
        api.expect(Method::POST, PODS, Err(403)).await;
        let patch = api.expect(Method::PATCH, STATUS, Ok(object.clone())).await;
        assert_eq!(condition(&patch, "Ready").1, ready);
        assert_eq!(condition(&patch, "Deletable").1, deletable);
        api.expect(Method::POST, EVENTS, Ok(event())).await;
        reconciled.await.unwrap().unwrap();
        // What the pods' identity writes, that of maintenance deletes.
        assert!(agent.requests().iter().all(|request| request.leave));
    }
}

#[tokio::test]
async fn a_rotated_secret_is_probed_at_once_and_one_that_is_gone_is_told() {
    let agent = Agent::new();
    let mut object = object(json!({"s3": {
        "bucket": "backups", "credentials": {"secretName": "pods"},
    }}));
    object["status"] = json!({
        "observedGeneration": 1, "lastProbeTime": Timestamp::now(),
        "sources": [{"kind": "Secret", "name": "pods", "resourceVersion": "1"}],
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "Reachable", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    });
    let path = secret_path("pods");

    let (context, mut api) = with_agent(&agent);
    let reconciled = tokio::spawn(reconcile(guarded(&object), context));
    api.expect(Method::GET, &path, Ok(secret("pods", "1")))
        .await;
    assert_eq!(reconciled.await.unwrap().unwrap(), Action::requeue(LOOK));
    assert!(agent.requests().is_empty());

    let (context, mut api) = with_agent(&agent);
    let reconciled = tokio::spawn(reconcile(guarded(&object), context));
    for _ in 0..2 {
        api.expect(Method::GET, &path, Ok(secret("pods", "2")))
            .await;
    }
    let patch = api.expect(Method::PATCH, STATUS, Ok(object.clone())).await;
    assert_eq!(patch["status"]["sources"][0]["resourceVersion"], "2");
    reconciled.await.unwrap().unwrap();
    assert_eq!(agent.requests().len(), 1);

    let (context, mut api) = with_agent(&agent);
    let reconciled = tokio::spawn(reconcile(guarded(&object), context));
    for _ in 0..2 {
        api.expect(Method::GET, &path, Err(404)).await;
    }
    let patch = api.expect(Method::PATCH, STATUS, Ok(object.clone())).await;
    assert_eq!(condition(&patch, "Ready"), ("False", "SecretNotFound"));
    assert_eq!(condition(&patch, "Stalled"), ("True", "SecretNotFound"));
    let told = api.expect(Method::POST, EVENTS, Ok(event())).await;
    assert_eq!(
        (&told["reason"], &told["type"]),
        (&json!("SecretNotFound"), &json!("Warning"))
    );
    assert_eq!(reconciled.await.unwrap().unwrap(), Action::requeue(LOOK));
    assert_eq!(agent.requests().len(), 1);
}
