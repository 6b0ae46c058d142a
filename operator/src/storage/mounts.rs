//! Pods that mount volumes, with an agent in each, for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::FutureExt;
use http::Method;
use jiff::Timestamp;
use protocol::{
    Event, EventKind, Operation, Outcome, ProbeRequest, Probed, Reason, Request, Seen, Survey,
    Verdict,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex};

use super::conversation::{STATUS, condition, event, guarded, object};
use super::reconcile;
use crate::exec::{ExecError, Exit, PodExec, Session, Target};
use crate::played::context;

/// Objects of all volumes, by volume and name.
type Objects = Arc<Mutex<BTreeSet<(&'static str, String)>>>;

/// Which pod mounts which volume; others cannot be reached.
struct Mounts {
    volumes: BTreeMap<&'static str, &'static str>,
    objects: Objects,
    agent: String,
}

fn probe(volume: &'static str, objects: &Objects, request: &ProbeRequest) -> Probed {
    let is = |works: bool| Seen {
        verdict: if works { Verdict::Yes } else { Verdict::No },
        reason: Reason::Probed,
        message: String::new(),
    };
    let survey = request.survey.then(|| Survey {
        seen: is(true),
        ..Survey::default()
    });
    let mut objects = objects.lock().unwrap();
    let Some(name) = &request.object else {
        return Probed {
            reach: is(true),
            list: is(true),
            survey,
            ..Probed::default()
        };
    };
    let object = (volume, name.clone());
    if request.left {
        return Probed {
            reach: is(true),
            list: is(true),
            read: is(objects.contains(&object)),
            ..Probed::default()
        };
    }
    if request.leave {
        objects.insert(object);
    } else {
        objects.remove(&object);
    }
    Probed {
        reach: is(true),
        list: is(true),
        write: is(true),
        read: is(true),
        create_only: is(true),
        touch: is(true),
        delete: is(true),
        keeps_versions: is(false),
        survey,
    }
}

#[async_trait]
impl PodExec for Mounts {
    async fn start(&self, target: &Target, command: &[String]) -> Result<Session, ExecError> {
        let Some(volume) = self.volumes.get(target.pod.as_str()).copied() else {
            return Err(ExecError::Unreachable("no route".into()));
        };
        let (stdin, theirs) = duplex(1 << 16);
        let (stdout, mut says) = duplex(1 << 16);
        let (stderr, _) = duplex(16);
        let (objects, found) = (Arc::clone(&self.objects), self.agent.clone());
        let is_script = command[0] == "sh";
        let task = tokio::spawn(async move {
            let line = if is_script {
                found
            } else {
                let mut line = String::new();
                BufReader::new(theirs).read_line(&mut line).await.unwrap();
                let request = Request::parse(line.trim_end().as_bytes()).unwrap();
                let Operation::Probe(asked) = &request.operation else {
                    panic!("{request:?}")
                };
                let outcome = Outcome {
                    probe: Some(Box::new(probe(volume, &objects, asked))),
                    ..Outcome::ended(Reason::Reachable, "/backup answers", 1)
                };
                let event = Event {
                    run_id: request.run_id,
                    seq: 1,
                    time: Timestamp::UNIX_EPOCH,
                    kind: EventKind::Result(Box::new(outcome)),
                };
                serde_json::to_string(&event).unwrap()
            };
            says.write_all(format!("{line}\n").as_bytes())
                .await
                .unwrap();
            Exit::Code(0)
        });
        Ok(Session {
            stdin: Box::new(stdin),
            stdout: Box::new(stdout),
            stderr: Box::new(stderr),
            exit: task.map(|exit| exit.unwrap_or(Exit::Unknown)).boxed(),
            connection: Box::new(()),
        })
    }
}

fn pods(names: &[&str]) -> Value {
    let pods: Vec<_> = names
        .iter()
        .map(|name| {
            json!({
                "metadata": {"name": name, "uid": name},
                "spec": {"containers": [{"name": "cassandra"}]},
                "status": {"containerStatuses": [{
                    "name": "cassandra", "ready": true, "restartCount": 0, "image": "", "imageID": "",
                    "state": {"running": {}},
                }]},
            })
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods})
}

/// The status that the pods `names` lead to, of which some mount a volume, and what is left there.
async fn status(
    names: &[&str],
    volumes: &[(&'static str, &'static str)],
    read_only: bool,
) -> (Value, usize) {
    let (mut context, mut api) = context();
    let objects = Objects::default();
    let shared = Arc::get_mut(&mut context).unwrap();
    let tools = Arc::get_mut(&mut shared.tools).unwrap();
    tools.exec = Arc::new(Mounts {
        volumes: volumes.iter().copied().collect(),
        objects: Arc::clone(&objects),
        agent: format!("/tmp/cassandra-backup\t{}", tools.agent.hash),
    });
    let object = object(json!({"readOnly": read_only, "file": {
        "path": "/backup", "pods": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
    }}));
    let reconciled = tokio::spawn(reconcile(guarded(&object), context));
    let list = "/api/v1/namespaces/shop/pods";
    api.expect(Method::GET, list, Ok(pods(names))).await;
    let patch = api.expect(Method::PATCH, STATUS, Ok(object)).await;
    let events = "/apis/events.k8s.io/v1/namespaces/shop/events";
    api.expect(Method::POST, events, Ok(event())).await;
    reconciled.await.unwrap().unwrap();
    let left = objects.lock().unwrap().len();
    (patch, left)
}

#[tokio::test]
async fn pods_that_see_one_place_share_it_and_nothing_is_left_there() {
    let (patch, left) = status(&["c-0", "c-1"], &[("c-0", "v"), ("c-1", "v")], false).await;
    assert_eq!(condition(&patch, "Shared"), ("True", "Probed"));
    assert_eq!(condition(&patch, "Ready"), ("True", "Reachable"));
    assert_eq!(condition(&patch, "Deletable"), ("True", "Probed"));
    assert_eq!(condition(&patch, "Surveyed"), ("True", "Probed"));
    assert_eq!(left, 0);
}

#[tokio::test]
async fn pods_with_volumes_of_their_own_are_told_before_a_backup_is_scattered() {
    let (patch, left) = status(&["c-0", "c-1"], &[("c-0", "v"), ("c-1", "w")], false).await;
    assert_eq!(condition(&patch, "Shared"), ("False", "StorageUnsuitable"));
    assert_eq!(condition(&patch, "Ready"), ("False", "StorageUnsuitable"));
    assert_eq!(condition(&patch, "Writable"), ("True", "Probed"));
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_pod_that_is_not_reached_leaves_it_open_and_keeps_nobody_from_a_backup() {
    let (patch, _) = status(&["c-0", "c-1"], &[("c-0", "v")], false).await;
    assert_eq!(condition(&patch, "Shared"), ("Unknown", "PodNotReady"));
    assert_eq!(condition(&patch, "Ready"), ("True", "Reachable"));
    for names in [&["c-0", "c-1"][..], &["c-0"], &[]] {
        let (patch, _) = status(names, &[], false).await;
        let expected = if names.is_empty() {
            "PodsNotFound"
        } else {
            "NotProbed"
        };
        assert_eq!(condition(&patch, "Shared"), ("Unknown", expected));
        assert_eq!(condition(&patch, "Ready"), ("True", "NotProbed"));
    }
}

#[tokio::test]
async fn nothing_is_written_to_a_read_only_directory() {
    let (patch, _) = status(&["c-0", "c-1"], &[("c-0", "v"), ("c-1", "w")], true).await;
    assert_eq!(condition(&patch, "Shared"), ("Unknown", "StorageReadOnly"));
    assert_eq!(condition(&patch, "Writable"), ("False", "StorageReadOnly"));
    assert_eq!(condition(&patch, "Surveyed"), ("True", "Probed"));
    assert_eq!(condition(&patch, "Ready"), ("True", "Reachable"));
}
