//! A cluster of a thousand nodes: pods that kwok plays, with a stand-in of the agent in each. What the
//! operator needs for one backup of them is printed, and is in docs/performance.md.

use std::time::{Duration, Instant};

use crds::{BackupPhase, CassandraBackup, NodeStatus};
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::parts::binaries;
use e2e::parts::kwok::{Kwok, PLAYED};
use e2e::product::{Operator, resources};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};

const NODES: usize = 1_000;
/// How long each node's data takes.
const SECONDS: usize = 10;
const MACHINES: usize = 10;
/// Most memory that an operator with nothing to do may have, in KiB.
const IDLE: u64 = 32 << 10;
/// Most memory that the operator may ever have had, in KiB.
const MEMORY: u64 = 96 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_thousand_nodes_succeeds_in_bounded_memory() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("thousand").await.unwrap();
    let (stand_in, operator) = tokio::try_join!(
        binaries::example("stand_in"),
        Operator::install(&bed, &namespace)
    )
    .unwrap();
    let _kwok = Kwok::start(bed.ground()).await.unwrap();
    let machines = Machines::start(&bed).await;
    pods(&namespace).await;
    let state = tempfile::tempdir().unwrap();
    let idle = operator.memory().await.unwrap();
    assert!(idle.now <= IDLE, "{idle:?}");

    let begun = Instant::now();
    let backup = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
        "metadata": {"name": "large"},
        "spec": {
            "cluster": format!("ring-{NODES}-{SECONDS}"),
            "storage": {"name": "nowhere"},
            "cassandra": {"podSelector": {"matchLabels": {"app": "large"}}},
            "agent": {
                "mode": "Container", "container": "cassandra", "path": stand_in,
                "directories": [state.path()],
            },
        },
    });
    let storage = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "nowhere"}, "spec": {"file": {"path": "/nowhere"}},
    });
    namespace.apply(&storage.to_string()).await.unwrap();
    namespace.apply(&backup.to_string()).await.unwrap();
    let over = |backup: Option<&CassandraBackup>| {
        backup
            .and_then(resources::phase)
            .is_some_and(BackupPhase::is_final)
    };
    // Watched: with so many nodes, whoever reads it again and again keeps the API server busy.
    let ended = await_condition(namespace.api::<CassandraBackup>(), "large", over);
    let backup = tokio::time::timeout(Duration::from_secs(600), ended).await;
    let backup = backup.unwrap().unwrap().unwrap();
    let took = begun.elapsed();
    let status = backup.status.as_ref().unwrap();
    let lost = status.nodes.iter().find(|node| node.manifest.is_none());
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{lost:#?}");
    assert_eq!(status.nodes.len(), NODES);
    assert!(status.nodes.iter().all(|node| node.attempt == 1));

    // The times are in whole seconds, but how late each was is not.
    let late = |node: &NodeStatus| node.snapshot.as_ref().unwrap().late_milliseconds.unwrap();
    let latest = status.nodes.iter().map(late).max().unwrap();
    let skew = latest - status.nodes.iter().map(late).min().unwrap();
    let agreed = status.snapshot_at.as_ref().unwrap().0;
    let waited = agreed.duration_since(status.start_time.as_ref().unwrap().0);
    let size = serde_json::to_vec(&backup).unwrap().len() >> 10;
    let peak = operator.memory().await.unwrap();
    println!(
        "{NODES} nodes of {SECONDS} s: {took:.1?}, of which {waited:#} for the agreed time; \
         between the first snapshot and the last {skew} ms; the resource has {size} KiB; the operator \
         had {} MiB before and at most {} MiB",
        idle.now >> 10,
        peak.most >> 10,
    );
    assert!(peak.most <= MEMORY, "{peak:?}");
    machines.end().await;
    namespace.done().await.unwrap();
}

/// Nodes of Kubernetes that kwok plays.
struct Machines(Api<Node>);

impl Machines {
    async fn start(bed: &Bed) -> Self {
        let nodes: Api<Node> = Api::all(bed.client());
        for number in 0..MACHINES {
            let node = json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {"name": machine(number), "annotations": {PLAYED: "played"}},
                // Nothing else is to be put there.
                "spec": {"taints": [{"key": PLAYED, "effect": "NoSchedule"}]},
            });
            let node = serde_json::from_value(node).unwrap();
            nodes.create(&PostParams::default(), &node).await.unwrap();
        }
        let ready = async || {
            let node = nodes.get_status(&machine(MACHINES - 1)).await?;
            let conditions = node.status.and_then(|status| status.conditions);
            let mut conditions = conditions.into_iter().flatten();
            let ready = conditions.any(|one| one.type_ == "Ready" && one.status == "True");
            Ok(ready.then_some(()))
        };
        until("the played nodes are ready", Duration::from_secs(60), ready)
            .await
            .unwrap();
        Self(nodes)
    }

    async fn end(self) {
        for number in 0..MACHINES {
            let now = DeleteParams::default();
            self.0.delete(&machine(number), &now).await.unwrap();
        }
    }
}

fn machine(number: usize) -> String {
    format!("played-{number}")
}

fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("large-{number}"), "labels": {"app": "large"}},
        "spec": {
            "nodeName": machine(number % MACHINES),
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "cassandra", "image": "played"}],
        },
    })
}

/// Makes all pods, and waits until they are ready.
async fn pods(namespace: &Namespace) {
    let pods = namespace.api::<Pod>();
    let made = (0..NODES).map(|number| {
        let (pods, pod) = (pods.clone(), serde_json::from_value(pod(number)).unwrap());
        async move { pods.create(&PostParams::default(), &pod).await }
    });
    let made: Vec<Pod> = stream::iter(made)
        .buffer_unordered(32)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(made.len(), NODES);
    let ready = async || {
        let list = pods
            .list(&ListParams::default().labels("app=large"))
            .await?;
        let ready = list.iter().filter(|pod| e2e::bed::is_ready(pod)).count();
        Ok((ready == NODES).then_some(()))
    };
    until("all pods are ready", Duration::from_secs(300), ready)
        .await
        .unwrap();
}
