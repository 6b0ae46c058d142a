//! Errands in pods that are played.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use crds::{BackupStorage, CassandraBackupSpec};
use futures::FutureExt;
use jiff::Timestamp;
use kube::core::Selector;
use protocol::{
    DeleteRequest, Event, EventKind, Operation, Outcome, PurgeLimits, Reason, Request,
    StorageAccess,
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex};

use super::errand::{Errand, ErrandError, errand};
use super::{Pace, Tools};
use crate::agent_binary::AgentBinary;
use crate::cluster::Cluster;
use crate::exec::{ExecError, Exit, PodExec, Session, Target};
use crate::pod::PodView;
use crate::pod::tests::pod as pod_view;

/// What comes of a request.
#[derive(Clone, Copy)]
enum Scene {
    Unreachable,
    /// The stream is cut, after an event or without a word.
    Cut {
        heard: bool,
    },
    Result(Reason),
}

struct Pods {
    pods: Vec<PodView>,
    scenes: Mutex<VecDeque<Scene>>,
    /// Pod and run of each request.
    asked: Arc<Mutex<Vec<(String, Request)>>>,
}

#[async_trait]
impl PodExec for Pods {
    async fn start(&self, target: &Target, command: &[String]) -> Result<Session, ExecError> {
        assert_eq!(command, ["/agent", "--request", "-"]);
        assert_eq!(target.container, "sidecar");
        let scene = self.scenes.lock().unwrap().pop_front();
        let scene = scene.expect("one request too many");
        if matches!(scene, Scene::Unreachable) {
            return Err(ExecError::Unreachable("no route".into()));
        }
        let (stdin, theirs) = duplex(1 << 16);
        let (stdout, mut says) = duplex(1 << 16);
        let (stderr, _) = duplex(16);
        let (asked, pod) = (Arc::clone(&self.asked), target.pod.clone());
        let task = tokio::spawn(async move {
            let mut line = String::new();
            BufReader::new(theirs).read_line(&mut line).await.unwrap();
            let request = Request::parse(line.trim_end().as_bytes()).unwrap();
            let kind = match scene {
                Scene::Result(reason) => Some(EventKind::Result(Box::new(Outcome::ended(
                    reason,
                    "its words",
                    1,
                )))),
                Scene::Cut { heard: true } => Some(EventKind::Started {
                    attempt: 1,
                    agent_version: "1".into(),
                    pid: 1,
                }),
                _ => None,
            };
            if let Some(kind) = kind {
                let event = Event {
                    run_id: request.run_id,
                    seq: 1,
                    time: Timestamp::UNIX_EPOCH,
                    kind,
                };
                let line = serde_json::to_string(&event).unwrap() + "\n";
                says.write_all(line.as_bytes()).await.unwrap();
            }
            asked.lock().unwrap().push((pod, request));
            Exit::Unknown
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

#[async_trait]
impl Cluster for Pods {
    async fn pod(&self, _: &str, _: &str) -> Result<Option<PodView>, kube::Error> {
        unreachable!("any pod will do")
    }
    async fn pods(&self, namespace: &str, _: &Selector) -> Result<Vec<PodView>, kube::Error> {
        assert_eq!(namespace, "shop");
        Ok(self.pods.clone())
    }
    async fn storage(&self, _: &str, _: &str) -> Result<Option<BackupStorage>, kube::Error> {
        unreachable!("the operation has its storage")
    }
    async fn secret(
        &self,
        _: &str,
        _: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, kube::Error> {
        Ok(None)
    }
    async fn config_map(
        &self,
        _: &str,
        _: &str,
    ) -> Result<Option<BTreeMap<String, String>>, kube::Error> {
        Ok(None)
    }
}

fn pods() -> Vec<PodView> {
    let containers = [("cassandra", true), ("sidecar", true)];
    let mut starting = pod_view("c-0", &containers);
    starting.ready = false;
    let mut gone = pod_view("c-1", &containers);
    gone.ended = true;
    let mut halted = pod_view("c-2", &[("cassandra", true), ("sidecar", false)]);
    halted.ready = true;
    let mut ready = pod_view("c-3", &containers);
    ready.ready = true;
    vec![starting, gone, halted, ready]
}

async fn run(
    pods: Vec<PodView>,
    scenes: Vec<Scene>,
) -> (Result<Outcome, ErrandError>, Vec<(String, Request)>) {
    let played = Arc::new(Pods {
        pods,
        scenes: Mutex::new(scenes.into()),
        asked: Arc::default(),
    });
    let tools = Tools {
        cluster: played.clone(),
        exec: played.clone(),
        agent: AgentBinary::new(b"agent".to_vec()),
        pace: Pace::default(),
    };
    let spec: CassandraBackupSpec = serde_json::from_value(json!({
        "cluster": "prod", "storage": {"name": "main"},
        "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
        "agent": {"mode": "Container", "container": "sidecar", "path": "/agent"},
    }))
    .unwrap();
    let of = Errand {
        namespace: "shop",
        spec: &spec,
    };
    let operation = Operation::Delete(Box::new(DeleteRequest {
        storage: StorageAccess::File { path: "/b".into() },
        cluster: "prod".into(),
        backup: "b1".into(),
        runs: Vec::new(),
        even_newest: true,
        limits: PurgeLimits::default(),
    }));
    let told = errand(&tools, &of, operation, Duration::from_secs(3600)).await;
    assert!(
        played.scenes.lock().unwrap().is_empty(),
        "a scene was not played"
    );
    let asked = played.asked.lock().unwrap().clone();
    (told, asked)
}

#[tokio::test(start_paused = true)]
async fn the_first_pod_that_is_ready_is_asked_until_it_says_how_it_went() {
    let scenes = vec![
        Scene::Unreachable,
        Scene::Cut { heard: true },
        Scene::Result(Reason::Succeeded),
    ];
    let (told, asked) = run(pods(), scenes).await;
    assert_eq!(told.unwrap().message, "its words");
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|(pod, _)| pod == "c-3"));
    // The same run, so that it never runs twice.
    assert_eq!(asked[0].1, asked[1].1);
}

#[tokio::test(start_paused = true)]
async fn where_a_pod_has_no_room_the_next_one_is_asked() {
    let mut two = pods();
    two.push(pod_view("c-4", &[("sidecar", true)]));
    let scenes = vec![
        Scene::Result(Reason::OutOfMemory),
        Scene::Result(Reason::Succeeded),
    ];
    let (told, asked) = run(two, scenes).await;
    assert_eq!(told.unwrap().reason, Reason::Succeeded);
    let names: Vec<_> = asked.iter().map(|(pod, _)| pod.as_str()).collect();
    assert_eq!(names, ["c-3", "c-4"]);
    let scenes = vec![Scene::Result(Reason::OutOfMemory)];
    let (told, _) = run(pods(), scenes).await;
    assert_eq!(told.unwrap().reason, Reason::OutOfMemory);
}

#[tokio::test(start_paused = true)]
async fn without_a_pod_that_is_ready_nobody_is_asked_and_it_is_told_why() {
    let mut none = pods();
    none.pop();
    let (told, _) = run(none, Vec::new()).await;
    let error = told.unwrap_err();
    assert_eq!(error.reason(), Reason::PodNotReady);
    assert!(error.to_string().contains("c-2"), "{error}");
    let (told, _) = run(Vec::new(), Vec::new()).await;
    assert!(told.unwrap_err().to_string().contains("podSelector"));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_never_says_a_word_is_given_up() {
    let (told, asked) = run(pods(), vec![Scene::Cut { heard: false }; 10]).await;
    assert!(matches!(told, Err(ErrandError::NotRun { .. })));
    assert_eq!(asked.len(), 10);
}
