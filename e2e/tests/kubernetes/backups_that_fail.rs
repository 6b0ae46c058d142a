//! What goes wrong is told, with the node and the cause, and the next backup is whole.

use std::time::Duration;

use crds::{BackupPhase, BackupStorage, CassandraBackup, NodePhase, NodeStatus};
use e2e::backup::{Backup, Storage};
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::parts::cassandra::cluster::Cluster;
use e2e::parts::cassandra::config::Jmx;
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::filesystem::Filesystem;
use e2e::parts::minio::{Key, Minio};
use e2e::product::{
    BUCKET, DISK, Operator, back_up, bucket_server, ended, file_storage, resources, s3_storage,
    shared_disk, start,
};
use serde_json::{Value, json};

const DB: &str = "db";

/// A cluster with an operator, a bucket and a small disk.
struct Ground<'n> {
    namespace: &'n Namespace,
    cluster: Cluster<'n>,
    operator: Operator<'n>,
    bucket: Storage,
}

impl Ground<'_> {
    /// Makes a backup and waits for its end.
    async fn back_up(&self, name: &str, storage: &str, more: Value) -> CassandraBackup {
        back_up(self.namespace, name, DB, storage, more)
            .await
            .unwrap();
        ended(self.namespace, name).await.unwrap()
    }

    /// The same, where nothing may go wrong.
    async fn whole(&self, name: &str, storage: &str) -> CassandraBackup {
        let backup = self.back_up(name, storage, json!({})).await;
        assert_eq!(
            phase(&backup),
            BackupPhase::Succeeded,
            "{:#?}",
            backup.status
        );
        backup
    }

    /// A backup in the bucket is read back object by object.
    async fn is_right(&self, cluster: &str, name: &str) {
        let read = Backup::read(&self.bucket, cluster, name).await.unwrap();
        assert_eq!(read.nodes.len(), 3);
        read.verify(&self.bucket).await.unwrap();
    }

    /// Starts a backup that takes some time, and returns once all nodes upload. Its name is its
    /// cluster id too, below which the bucket holds nothing yet.
    async fn begin(&self, name: &str, retries: u32) {
        // 20 s for a node's share.
        let more = json!({
            "cluster": name,
            "bandwidthPerNode": "400Ki",
            "retry": {"limit": retries},
        });
        back_up(self.namespace, name, DB, "bucket", more)
            .await
            .unwrap();
        let under_way = |backup: &CassandraBackup| {
            let uploads = |node: &NodeStatus| {
                node.phase == NodePhase::Uploading
                    && node
                        .uploaded
                        .as_ref()
                        .is_some_and(|amount| amount.bytes > 0)
            };
            nodes(backup).len() == 3 && nodes(backup).iter().all(uploads)
        };
        resources::reaches(self.namespace, name, "uploads from all nodes", under_way)
            .await
            .unwrap();
    }

    async fn no_snapshot_stays(&self) {
        let none = async || Ok(self.cluster.snapshots()?.is_empty().then_some(()));
        until("no snapshot is on any node", Duration::from_secs(60), none)
            .await
            .unwrap();
    }
}

fn nodes(backup: &CassandraBackup) -> &[NodeStatus] {
    backup.status.as_ref().map_or(&[], |status| &status.nodes)
}

fn phase(backup: &CassandraBackup) -> BackupPhase {
    resources::phase(backup).unwrap()
}

/// The backup failed on all nodes for `reason`; the message names each pod and holds `cause`.
fn failed_everywhere(backup: &CassandraBackup, reason: &str, cause: &str) {
    let status = backup.status.as_ref().unwrap();
    assert_eq!(phase(backup), BackupPhase::Failed, "{status:#?}");
    let (complete, said, message) = resources::condition(backup, "Complete").unwrap();
    assert_eq!((complete, said), ("False", reason), "{message}");
    for node in nodes(backup) {
        assert_eq!(node.phase, NodePhase::Failed, "{node:?}");
        assert_eq!(node.reason.as_deref(), Some(reason), "{node:?}");
        assert!(node.message.as_ref().unwrap().contains(cause), "{node:?}");
        assert!(message.contains(&node.pod), "{message}");
    }
    assert!(message.contains(cause), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_told_with_node_and_cause_and_the_next_backup_is_whole() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("fails").await.unwrap();
    let (disk, mount) = shared_disk(&bed, &namespace, 256 << 20).await.unwrap();
    let (minio, bucket) = bucket_server().await.unwrap();
    let options = Options {
        mounts: vec![mount],
        ..Options::new(DB)
    };
    let (cluster, operator) = start(&bed, &namespace, options).await.unwrap();
    let ground = Ground {
        namespace: &namespace,
        cluster,
        operator,
        bucket,
    };
    let rows = Rows::new("shop", "orders").with_bytes(20_000);
    let session = ground.cluster.session().await.unwrap();
    rows.create(&session, "dc1", 3).await.unwrap();
    rows.write(&session, 0..400).await.unwrap();
    Rows::new("alone", "events")
        .create(&session, "dc1", 1)
        .await
        .unwrap();

    wrong_credentials(&ground, &minio).await;
    missing_bucket(&ground, &minio).await;
    keyspace_that_does_not_exist(&ground).await;
    full_disk(&ground, &disk).await;
    ground.no_snapshot_stays().await;
    operator_is_killed(&ground).await;
    operator_is_killed_while_nodes_wait_for_their_turn(&ground).await;
    pod_is_killed(&ground).await;
    pod_is_killed_and_may_not_try_again(&ground).await;
    ground.no_snapshot_stays().await;
    ring_member_without_pod(&ground).await;
    ring_member_that_hangs(&ground).await;
    ground.no_snapshot_stays().await;
    namespace.done().await.unwrap();
}

async fn wrong_credentials(ground: &Ground<'_>, minio: &Minio) {
    let wrong = Key {
        id: minio.root().id.clone(),
        secret: "not-the-secret".into(),
    };
    // One that is well is probed again after ten minutes, or when its secret changes.
    s3_storage(ground.namespace, "bucket", minio, BUCKET, minio.root())
        .await
        .unwrap();
    storage_says(ground.namespace, "True", "Reachable").await;
    s3_storage(ground.namespace, "bucket", minio, BUCKET, &wrong)
        .await
        .unwrap();
    storage_says(ground.namespace, "False", "StorageDenied").await;
    let backup = ground.back_up("denied", "bucket", json!({})).await;
    failed_everywhere(&backup, "StorageDenied", "SignatureDoesNotMatch");
    let data = format!("{DB}/data");
    assert!(ground.bucket.list(&data).await.unwrap().is_empty());
    s3_storage(ground.namespace, "bucket", minio, BUCKET, minio.root())
        .await
        .unwrap();
    storage_says(ground.namespace, "True", "Reachable").await;
    ground.whole("allowed", "bucket").await;
    ground.is_right(DB, "allowed").await;
}

/// The condition Ready of the storage, which follows its secret at once.
async fn storage_says(namespace: &Namespace, ready: &str, reason: &str) {
    let says = |storage: &BackupStorage| {
        let conditions = storage.status.iter().flat_map(|status| &status.conditions);
        let mut ready_ones = conditions.filter(|condition| condition.type_ == "Ready");
        ready_ones.any(|condition| condition.status == ready && condition.reason == reason)
    };
    let what = format!("says {ready} for {reason}");
    namespace
        .wait_for::<BackupStorage>("bucket", &what, Duration::from_secs(60), says)
        .await
        .unwrap();
}

async fn missing_bucket(ground: &Ground<'_>, minio: &Minio) {
    s3_storage(
        ground.namespace,
        "missing",
        minio,
        "no-such-bucket",
        minio.root(),
    )
    .await
    .unwrap();
    let backup = ground.back_up("no-bucket", "missing", json!({})).await;
    failed_everywhere(&backup, "StorageNotFound", "no-such-bucket");
    minio.bucket("no-such-bucket").await.unwrap();
    ground.whole("with-bucket", "missing").await;
}

async fn keyspace_that_does_not_exist(ground: &Ground<'_>) {
    let backup = ground
        .back_up("misspelt", "bucket", json!({"keyspaces": ["shpo"]}))
        .await;
    failed_everywhere(&backup, "KeyspaceNotFound", "shpo");
    let again = ground
        .back_up("spelt-right", "bucket", json!({"keyspaces": ["shop"]}))
        .await;
    assert_eq!(phase(&again), BackupPhase::Succeeded, "{:#?}", again.status);
}

async fn full_disk(ground: &Ground<'_>, disk: &Filesystem) {
    file_storage(ground.namespace, "disk", DISK).await.unwrap();
    disk.fill(3 << 20).unwrap();
    let backup = ground.back_up("too-large", "disk", json!({})).await;
    failed_everywhere(&backup, "NoSpace", DISK);
    let storage = Storage::File(disk.path().to_owned());
    let held = storage.list("").await.unwrap();
    assert!(!held.keys().any(|key| key.ends_with(".jsonl")), "{held:?}");
    disk.relieve().unwrap();
    ground.whole("fits-now", "disk").await;
    let read = Backup::read(&storage, DB, "fits-now").await.unwrap();
    read.verify(&storage).await.unwrap();
}

/// The runs go on, and so does the status: nothing is done twice.
async fn operator_is_killed(ground: &Ground<'_>) {
    ground.begin("orphaned", 3).await;
    ground.operator.kill().await.unwrap();
    let backup = ended(ground.namespace, "orphaned").await.unwrap();
    assert_eq!(
        phase(&backup),
        BackupPhase::Succeeded,
        "{:#?}",
        backup.status
    );
    for node in nodes(&backup) {
        assert_eq!(node.attempt, 1, "{node:?}");
        assert!(
            node.uploaded.as_ref().unwrap().bytes > 8_000_000,
            "{node:?}"
        );
    }
    ground.is_right("orphaned", "orphaned").await;
}

/// All have their snapshot before the first is done, and one uploads at a time.
async fn operator_is_killed_while_nodes_wait_for_their_turn(ground: &Ground<'_>) {
    let in_turns = json!({"cluster": "turns", "bandwidthPerNode": "1Mi", "concurrentNodes": 1});
    back_up(ground.namespace, "turns", DB, "bucket", in_turns)
        .await
        .unwrap();
    let one_uploads = |backup: &CassandraBackup| {
        let in_phase = |phase| {
            nodes(backup)
                .iter()
                .filter(|node| node.phase == phase)
                .count()
        };
        in_phase(NodePhase::Uploading) == 1 && in_phase(NodePhase::Holding) == 2
    };
    resources::reaches(
        ground.namespace,
        "turns",
        "uploads from one node",
        one_uploads,
    )
    .await
    .unwrap();
    ground.operator.kill().await.unwrap();
    let backup = ended(ground.namespace, "turns").await.unwrap();
    let status = backup.status.as_ref().unwrap();
    assert_eq!(phase(&backup), BackupPhase::Succeeded, "{status:#?}");
    let mut turns: Vec<_> = nodes(&backup).iter().collect();
    turns.sort_by_key(|node| node.turn_at.as_ref().unwrap().0);
    for pair in turns.windows(2) {
        let (done, turn) = (&pair[0].completed_at, &pair[1].turn_at);
        assert!(
            done.as_ref().unwrap().0 <= turn.as_ref().unwrap().0,
            "{pair:#?}"
        );
    }
    for node in nodes(&backup) {
        assert_eq!(node.attempt, 1, "{node:?}");
        let snapshot = node.snapshot.as_ref().unwrap();
        let first_done = turns[0].completed_at.as_ref().unwrap();
        assert!(snapshot.ended_at.0 <= first_done.0, "{node:?}");
    }
    ground.is_right("turns", "turns").await;
}

async fn pod_is_killed(ground: &Ground<'_>) {
    ground.begin("killed", 3).await;
    ground.cluster.delete_pod(1, true).await.unwrap();
    let backup = ended(ground.namespace, "killed").await.unwrap();
    assert_eq!(
        phase(&backup),
        BackupPhase::Succeeded,
        "{:#?}",
        backup.status
    );
    let attempts: Vec<_> = nodes(&backup).iter().map(|node| node.attempt).collect();
    assert_eq!(attempts, [1, 2, 1]);
    ground.is_right("killed", "killed").await;
}

async fn pod_is_killed_and_may_not_try_again(ground: &Ground<'_>) {
    ground.begin("lost", 0).await;
    ground.cluster.delete_pod(2, true).await.unwrap();
    let backup = ended(ground.namespace, "lost").await.unwrap();
    let status = backup.status.as_ref().unwrap();
    assert_eq!(phase(&backup), BackupPhase::PartiallyFailed, "{status:#?}");
    assert_eq!(status.nodes_done.as_deref(), Some("2/3"));
    let (complete, reason, message) = resources::condition(&backup, "Complete").unwrap();
    assert_eq!((complete, reason), ("False", "Interrupted"), "{message}");
    assert!(
        message.contains("db-2") && !message.contains("db-1"),
        "{message}"
    );
    // The operator's sweep when the pod is back; a next backup would sweep, too.
    ground.no_snapshot_stays().await;
    let again = ground
        .back_up("found", "bucket", json!({"cluster": "lost"}))
        .await;
    assert_eq!(phase(&again), BackupPhase::Succeeded, "{:#?}", again.status);
    ground.is_right("lost", "found").await;
}

async fn ring_member_without_pod(ground: &Ground<'_>) {
    let before = ground.whole("before", "bucket").await;
    let away = nodes(&before)[2].host_id.clone().unwrap();
    ground.cluster.scale(2).await.unwrap();
    let backup = ground.back_up("without", "bucket", json!({})).await;
    let status = backup.status.as_ref().unwrap();
    assert_eq!(phase(&backup), BackupPhase::PartiallyFailed, "{status:#?}");
    assert_eq!(status.nodes_done.as_deref(), Some("2/3"));
    let (complete, reason, message) = resources::condition(&backup, "Complete").unwrap();
    assert_eq!((complete, reason), ("False", "NodeWithoutPod"), "{message}");
    assert!(message.contains(&away), "{message}");
    a_third_is_not_covered(&backup, message);
    its_pod_comes_during_a_backup(ground).await;
    ground.whole("with-all", "bucket").await;
    ground.is_right(DB, "with-all").await;
}

/// What is on one node only, of the three with four tokens each.
fn a_third_is_not_covered(backup: &CassandraBackup, message: &str) {
    let ring = backup.status.as_ref().unwrap().ring.as_ref().unwrap();
    let coverage = ring.coverage.as_ref().unwrap();
    assert_eq!(coverage.unknown, None);
    let uncovered = coverage.uncovered.iter().find(|it| it.keyspace == "alone");
    let uncovered = uncovered.unwrap();
    assert!(!coverage.uncovered.iter().any(|it| it.keyspace == "shop"));
    assert_eq!((uncovered.ranges, uncovered.of_ranges), (4, 12));
    let share = uncovered.share.as_ref().unwrap().trim_end_matches('%');
    assert!(
        (5.0..70.0).contains(&share.parse::<f64>().unwrap()),
        "{share}"
    );
    assert!(message.contains("of alone ("), "{message}");
}

/// Who belongs to a backup is known at its beginning: a pod that comes later is no part of it, nor does it change
/// what is said of the others.
async fn its_pod_comes_during_a_backup(ground: &Ground<'_>) {
    // Two minutes and more, within which another Cassandra starts beside it.
    let slow = json!({"cluster": "grows", "bandwidthPerNode": "60Ki"});
    back_up(ground.namespace, "grows", DB, "bucket", slow)
        .await
        .unwrap();
    let two_upload = |backup: &CassandraBackup| {
        let uploads = |node: &&NodeStatus| node.phase == NodePhase::Uploading;
        nodes(backup).iter().filter(uploads).count() == 2
    };
    resources::reaches(ground.namespace, "grows", "uploads from two", two_upload)
        .await
        .unwrap();
    ground.cluster.scale(3).await.unwrap();
    let backup = resources::reaches(ground.namespace, "grows", "is there", |_| true)
        .await
        .unwrap();
    assert!(!phase(&backup).is_final(), "it had ended before");
    let backup = ended(ground.namespace, "grows").await.unwrap();
    let status = backup.status.as_ref().unwrap();
    assert_eq!(phase(&backup), BackupPhase::PartiallyFailed, "{status:#?}");
    assert_eq!(status.nodes_done.as_deref(), Some("2/3"));
    let (_, reason, message) = resources::condition(&backup, "Complete").unwrap();
    assert_eq!(reason, "NodeWithoutPod", "{message}");
    let manifests = ground.bucket.list("grows/manifests/grows").await.unwrap();
    let manifests = manifests.keys().filter(|key| key.ends_with(".jsonl"));
    assert_eq!(manifests.count(), 2);
}

/// A node that the others take for down, with its pod there.
async fn ring_member_that_hangs(ground: &Ground<'_>) {
    ground.cluster.pause(2).await.unwrap();
    let down = async || {
        let ring = ground.cluster.nodetool(0, &["status"]).await?;
        Ok(ring
            .lines()
            .any(|line| line.starts_with("DN"))
            .then_some(()))
    };
    until(
        "the others take it for down",
        Duration::from_secs(120),
        down,
    )
    .await
    .unwrap();
    let once = json!({"retry": {"limit": 0}});
    let backup = ground.back_up("hanging", "bucket", once).await;
    ground.cluster.go_on(2).await.unwrap();
    let status = backup.status.as_ref().unwrap();
    assert_eq!(phase(&backup), BackupPhase::PartiallyFailed, "{status:#?}");
    assert_eq!(status.nodes_done.as_deref(), Some("2/3"));
    let (complete, reason, message) = resources::condition(&backup, "Complete").unwrap();
    assert_eq!((complete, reason), ("False", "JmxUnreachable"), "{message}");
    assert!(message.contains("db-2"), "{message}");
    a_third_is_not_covered(&backup, message);
    ground.whole("woken", "bucket").await;
    ground.is_right(DB, "woken").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jmx_that_is_switched_off_is_named_with_the_node_and_what_to_do() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("no-jmx").await.unwrap();
    let (minio, bucket) = bucket_server().await.unwrap();
    let options = Options {
        replicas: 1,
        jmx: Jmx::Off,
        ..Options::new(DB)
    };
    let (cluster, _operator) = start(&bed, &namespace, options).await.unwrap();
    s3_storage(&namespace, "bucket", &minio, BUCKET, minio.root())
        .await
        .unwrap();
    let once = json!({"retry": {"limit": 1}});
    back_up(&namespace, "deaf", DB, "bucket", once)
        .await
        .unwrap();
    let backup = ended(&namespace, "deaf").await.unwrap();
    failed_everywhere(&backup, "JmxUnreachable", "7199");
    assert_eq!(nodes(&backup)[0].attempt, 2);
    assert!(cluster.snapshots().unwrap().is_empty());

    let heard = Options {
        jmx: Jmx::Open,
        ..cluster.options.clone()
    };
    let cluster = Cluster::apply(&bed, &namespace, heard).await.unwrap();
    cluster.restart(0).await.unwrap();
    back_up(&namespace, "heard", DB, "bucket", json!({}))
        .await
        .unwrap();
    let backup = ended(&namespace, "heard").await.unwrap();
    assert_eq!(
        phase(&backup),
        BackupPhase::Succeeded,
        "{:#?}",
        backup.status
    );
    let read = Backup::read(&bucket, DB, "heard").await.unwrap();
    read.verify(&bucket).await.unwrap();
    assert!(cluster.snapshots().unwrap().is_empty());
    namespace.done().await.unwrap();
}
