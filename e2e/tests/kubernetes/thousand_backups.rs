//! A thousand CassandraBackups that have ended: what the operator needs of memory for them is printed,
//! and is in docs/performance.md.

use std::time::Duration;

use crds::CassandraBackup;
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::product::Operator;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const BACKUPS: usize = 1_000;
const NODES: usize = 3;
/// Most memory that an operator with nothing to do may have, in KiB.
const IDLE: u64 = 32 << 10;
/// Most memory that the operator may ever have had, in KiB.
const MEMORY: u64 = 64 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_backups_are_known_in_bounded_memory() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("many").await.unwrap();
    let operator = Operator::install(&bed, &namespace).await.unwrap();
    let idle = operator.memory().await.unwrap();
    assert!(idle.now <= IDLE, "{idle:?}");
    let made = (0..BACKUPS).map(|number| make(&namespace, number));
    stream::iter(made)
        .buffer_unordered(32)
        .try_collect::<()>()
        .await
        .unwrap();
    let after = operator.memory().await.unwrap();

    // The next one lists them all.
    operator.kill().await.unwrap();
    let known = async || {
        let shown = operator.metrics().await?;
        let successes = shown.matches("cassandra_backup_last_success_timestamp_seconds{");
        Ok((successes.count() == BACKUPS).then_some(()))
    };
    until(
        "the operator knows them all",
        Duration::from_secs(120),
        known,
    )
    .await
    .unwrap();
    let anew = operator.memory().await.unwrap();
    println!(
        "{BACKUPS} backups of {NODES} nodes: the operator had {} MiB before them, {} MiB with them, \
         and {} MiB, at most {}, after a restart",
        idle.now >> 10,
        after.now >> 10,
        anew.now >> 10,
        anew.most >> 10,
    );
    assert!(
        anew.most <= MEMORY && after.most <= MEMORY,
        "{after:?} {anew:?}"
    );
    namespace.done().await.unwrap();
}

/// A backup that ended long ago. Each is of a cluster of its own, which has its own metrics.
async fn make(namespace: &Namespace, number: usize) -> kube::Result<()> {
    let backups = namespace.api::<CassandraBackup>();
    let name = format!("backup-{number}");
    let backup = serde_json::from_value(json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
        "metadata": {"name": name},
        "spec": {
            "cluster": format!("cluster-{number}"), "storage": {"name": "main"},
            "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
            // Else it would be made.
            "imported": true, "backupName": name,
        },
    }))
    .unwrap();
    backups.create(&PostParams::default(), &backup).await?;
    let nodes: Vec<Value> = (0..NODES).map(|node| node_status(&name, node)).collect();
    let amount = json!({"files": 40_000, "bytes": 1_099_511_627_776_i64, "size": "1.0 TiB"});
    let condition = |type_: &str, status: &str| {
        json!({
            "type": type_, "status": status, "reason": "Succeeded", "observedGeneration": 1,
            "message": "all 3 nodes are backed up", "lastTransitionTime": "2026-01-01T01:00:00Z",
        })
    };
    let status = json!({"status": {
        "phase": "Succeeded", "backupName": name, "nodesDone": "3/3", "nodes": nodes,
        "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T01:00:00Z",
        "total": amount, "uploaded": amount, "reused": amount, "duration": "1h",
        "ring": {"members": NODES},
        "conditions": [
            condition("Complete", "True"),
            condition("Reconciling", "False"),
            condition("Stalled", "False"),
        ],
    }});
    let parameters = PatchParams::default();
    backups
        .patch_status(&name, &parameters, &Patch::Merge(status))
        .await
        .map(drop)
}

fn node_status(backup: &str, node: usize) -> Value {
    let id = uuid::Uuid::from_u128(node as u128);
    let amount = json!({"files": 13_000, "bytes": 366_503_875_925_i64, "size": "341.3 GiB"});
    json!({
        "pod": format!("cassandra-{node}"), "podUid": id, "hostId": id, "runId": id, "attempt": 1,
        "containerId": "containerd://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "datacenter": "dc1", "rack": format!("rack-{node}"), "cassandraVersion": "5.0.9",
        "phase": "Succeeded", "reason": "Succeeded",
        "message": "40000 files, 341.3 GiB, of which 2.0 GiB were uploaded",
        "total": amount, "uploaded": amount, "reused": amount, "lastSeq": 900,
        "snapshot": {
            "startedAt": "2026-01-01T00:00:15Z", "endedAt": "2026-01-01T00:00:16Z",
            "lateMilliseconds": 12,
        },
        "manifest": format!("cluster/manifests/{backup}/{id}.jsonl"),
        "startedAt": "2026-01-01T00:00:00Z", "completedAt": "2026-01-01T01:00:00Z",
    })
}
