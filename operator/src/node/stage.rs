//! A stage for tests of runs: an agent that plays scenes in a pod that can be replaced.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use crds::{BackupStorage, BackupStorageSpec, CassandraBackupSpec, NodePhase, NodeStatus};
use futures::FutureExt;
use jiff::Timestamp;
use kube::core::Selector;
use protocol::{Event, EventKind, Request, Scope};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, duplex};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::agent_binary::AgentBinary;
use crate::cluster::Cluster;
use crate::exec::{ExecError, Exit, PodExec, Session, Target};
use crate::names;
use crate::pod::PodView;
use crate::pod::tests::pod as pod_view;

pub(super) const UID: &str = "1b4e28ba-2fa1-11d2-883f-0016d3cca427";
pub(super) const POD: &str = "c-0";
pub(super) const PASSWORD: &str = "hunter2";

/// What the agent does when it is sent a request.
pub(super) enum Scene {
    /// Says these events, numbered from the first number on, and ends so.
    Says(u64, Vec<EventKind>, Exit),
    /// Says these events and then nothing more.
    Hangs(Vec<EventKind>),
    /// The container cannot be reached.
    Unreachable,
    /// Nobody answers.
    Silent,
}

pub(super) struct Stage {
    pub(super) scenes: Mutex<VecDeque<Scene>>,
    pub(super) requests: Arc<Mutex<Vec<Request>>>,
    /// What runs were told, by processes beside them.
    pub(super) told: Mutex<Vec<String>>,
    /// How often such a process finds no run.
    pub(super) deaf: Mutex<u32>,
    pub(super) pod: Mutex<Option<PodView>>,
    pub(super) shell: bool,
    /// Whether runs hold after their snapshot.
    pub(super) holds: bool,
    pub(super) hash: String,
    /// After so many requests the password is another one.
    pub(super) exchanged_after: usize,
    /// The container's id after so many requests.
    pub(super) restarts: BTreeMap<usize, &'static str>,
}

pub(super) fn pod(container_id: &str) -> PodView {
    let mut pod = pod_view(POD, &[("cassandra", true)]);
    pod.containers[0].id = Some(container_id.into());
    pod
}

/// A session in which the other side reads a line, says its lines and ends.
pub(super) fn session(
    lines: Vec<String>,
    exit: Option<Exit>,
    heard: impl FnOnce(String) + Send + 'static,
) -> Session {
    let (stdin, theirs) = duplex(1 << 16);
    let (stdout, mut says) = duplex(1 << 16);
    let (stderr, _) = duplex(16);
    let task = tokio::spawn(async move {
        let mut request = String::new();
        let mut theirs = BufReader::new(theirs);
        // Never to the end of the input, which may not come.
        theirs.read_line(&mut request).await.unwrap();
        heard(request);
        for line in lines {
            says.write_all(line.as_bytes()).await.unwrap();
        }
        match exit {
            Some(exit) => exit,
            None => {
                let _open = (theirs, says);
                std::future::pending().await
            }
        }
    });
    Session {
        stdin: Box::new(stdin),
        stdout: Box::new(stdout),
        stderr: Box::new(stderr),
        exit: task.map(|exit| exit.unwrap_or(Exit::Unknown)).boxed(),
        connection: Box::new(()),
    }
}

pub(super) fn line(seq: u64, kind: EventKind) -> String {
    let event = Event {
        run_id: names::run_id(UID, POD),
        seq,
        time: Timestamp::UNIX_EPOCH,
        kind,
    };
    format!("{}\n", serde_json::to_string(&event).unwrap())
}

#[async_trait]
impl PodExec for Stage {
    async fn start(&self, target: &Target, command: &[String]) -> Result<Session, ExecError> {
        assert_eq!(
            (target.pod.as_str(), target.container.as_str()),
            (POD, "cassandra")
        );
        assert!(
            !command.concat().contains(PASSWORD),
            "a password in a command line"
        );
        let done = Some(Exit::Code(0));
        if command[0] == "sh" {
            // The scripts take no line of input, so the session must not wait for one.
            let mut script = session(
                vec![format!("/tmp/cassandra-backup\t{}\n", self.hash)],
                if self.shell {
                    done
                } else {
                    Some(Exit::NotRun("no sh".into()))
                },
                |_| (),
            );
            script.stdin.write_all(b"\n").await.unwrap();
            return Ok(script);
        }
        if ["cancel", "proceed"].contains(&command[1].as_str()) {
            assert_eq!(
                command[2..],
                ["--run", &names::run_id(UID, POD).to_string()]
            );
            self.told.lock().unwrap().push(command[1].clone());
            let code = {
                let mut deaf = self.deaf.lock().unwrap();
                let code = if *deaf > 0 { 10 } else { 0 };
                *deaf = deaf.saturating_sub(1);
                code
            };
            let mut told = session(Vec::new(), Some(Exit::Code(code)), |_| ());
            told.stdin.write_all(b"\n").await.unwrap();
            return Ok(told);
        }
        assert_eq!(command[1..], ["--request", "-"]);
        let scene = self.scenes.lock().unwrap().pop_front();
        let (first, kinds, exit) = match scene.expect("one request too many") {
            Scene::Unreachable => return Err(ExecError::Unreachable("no route".into())),
            Scene::Silent => std::future::pending().await,
            Scene::Says(first, kinds, exit) => (first, kinds, Some(exit)),
            Scene::Hangs(kinds) => (1, kinds, None),
        };
        let lines = (first..)
            .zip(kinds)
            .map(|(seq, kind)| line(seq, kind))
            .collect();
        let requests = Arc::clone(&self.requests);
        let count = requests.lock().unwrap().len() + 1;
        if let Some(id) = self.restarts.get(&count) {
            *self.pod.lock().unwrap() = Some(pod(id));
        }
        Ok(session(lines, exit, move |request| {
            let request = Request::parse(request.trim_end().as_bytes()).unwrap();
            requests.lock().unwrap().push(request);
        }))
    }
}

#[async_trait]
impl Cluster for Stage {
    async fn pod(&self, _: &str, name: &str) -> Result<Option<PodView>, kube::Error> {
        assert_eq!(name, POD);
        Ok(self.pod.lock().unwrap().clone())
    }
    async fn pods(&self, _: &str, _: &Selector) -> Result<Vec<PodView>, kube::Error> {
        unreachable!("a run looks only at its pod")
    }
    async fn storage(&self, _: &str, name: &str) -> Result<Option<BackupStorage>, kube::Error> {
        let spec: BackupStorageSpec =
            serde_json::from_value(json!({"file": {"path": "/backup"}})).unwrap();
        Ok(Some(BackupStorage::new(name, spec)))
    }
    async fn secret(
        &self,
        _: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, kube::Error> {
        let asked = self.requests.lock().unwrap().len();
        let password = match asked < self.exchanged_after {
            true => PASSWORD,
            false => "hunter3",
        };
        let data = [("username", "u"), ("password", password)]
            .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
        Ok((name == "jmx").then(|| data.into()))
    }
    async fn config_map(
        &self,
        _: &str,
        _: &str,
    ) -> Result<Option<BTreeMap<String, String>>, kube::Error> {
        Ok(None)
    }
}

pub(super) fn stage(scenes: Vec<Scene>) -> Stage {
    Stage {
        scenes: Mutex::new(scenes.into()),
        requests: Arc::default(),
        told: Mutex::default(),
        deaf: Mutex::default(),
        pod: Mutex::new(Some(pod("one"))),
        shell: true,
        holds: false,
        hash: AgentBinary::new(b"agent".to_vec()).hash,
        exchanged_after: usize::MAX,
        restarts: BTreeMap::new(),
    }
}

pub(super) fn node() -> NodeStatus {
    serde_json::from_value(json!({
        "pod": POD, "phase": "Pending", "attempt": 1, "runId": names::run_id(UID, POD),
    }))
    .unwrap()
}

pub(super) fn spec() -> CassandraBackupSpec {
    serde_json::from_value(json!({
        "cluster": "prod",
        "storage": {"name": "main"},
        "cassandra": {
            "podSelector": {"matchLabels": {"app": "cassandra"}},
            "jmx": {"port": 7199, "credentials": {"secretName": "jmx"}},
        },
    }))
    .unwrap()
}

pub(super) struct Play {
    pub(super) stage: Arc<Stage>,
    pub(super) report: watch::Receiver<NodeReport>,
    pub(super) stop: watch::Sender<Option<Stop>>,
    pub(super) turn: watch::Sender<bool>,
    pub(super) task: JoinHandle<()>,
}

pub(super) fn play_from(stage: Stage, node: NodeStatus) -> Play {
    let stage = Arc::new(stage);
    let pace = Pace::default();
    let (stop, stopped) = watch::channel(None);
    let (turn, its_turn) = watch::channel(node.turn_at.is_some());
    let (reporter, report) = Reporter::new(node, pace, Box::new(|| ()));
    let run = NodeRun {
        tools: Arc::new(Tools {
            cluster: stage.clone(),
            exec: stage.clone(),
            agent: AgentBinary::new(b"agent".to_vec()),
            pace,
        }),
        job: Arc::new(Job {
            resource: "nightly".into(),
            uid: UID.into(),
            reach: Reach::of_backup("shop", &spec()),
            cluster: "prod".into(),
            backup: "nightly-1b4e28ba".into(),
            scope: Scope::default(),
            bandwidth: Some(1000),
            deadline: None,
            work: Work::Backup(Making {
                hold: stage.holds,
                ..Making::default()
            }),
            rings: Arc::default(),
            shared: Arc::default(),
        }),
        run_id: names::run_id(UID, POD),
        pod: POD.into(),
        reporter,
        tells_ring: true,
        stop: stopped,
        turn: its_turn,
    };
    let task = tokio::spawn(run.follow());
    Play {
        stage,
        report,
        stop,
        turn,
        task,
    }
}

pub(super) fn play(scenes: Vec<Scene>) -> Play {
    play_from(stage(scenes), node())
}

impl Play {
    /// The node at the end; time passes as fast as it can.
    pub(super) async fn end(self) -> (NodeStatus, Vec<Request>) {
        let Self {
            stage,
            report,
            task,
            stop: _stop,
            turn: _turn,
        } = self;
        timeout(Duration::from_secs(3600), task)
            .await
            .expect("it ends")
            .unwrap();
        assert!(
            stage.scenes.lock().unwrap().is_empty(),
            "a scene was not played"
        );
        let report = report.borrow().clone();
        assert!(
            !format!("{report:?}").contains(PASSWORD),
            "a password in the report"
        );
        let requests = stage.requests.lock().unwrap().clone();
        (report.node, requests)
    }

    pub(super) async fn until(&mut self, phase: NodePhase) {
        let reached = self.report.wait_for(|report| report.node.phase == phase);
        timeout(Duration::from_secs(600), reached)
            .await
            .expect("the phase comes")
            .unwrap();
    }
}
