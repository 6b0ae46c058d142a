//! What happens around a backup while it is at work: its storage is cut off, its key is exchanged, the
//! API server or the kubelet is restarted, its resource is deleted or made anew, another backup wants the cluster.
//!
//! Alone, since others need the API server.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use crds::{BackupPhase, CassandraBackup, NodePhase, NodeStatus};
use e2e::backup::Backup;
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::parts::kubernetes;
use e2e::parts::minio::{Key, Minio, Setup, User};
use e2e::product::{BUCKET, OneNode, STORAGE, back_up, ended, one_node, resources, s3_storage};
use kube::ResourceExt;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tokio::time::sleep;

const DB: &str = "db";
const MINUTE: Duration = Duration::from_secs(60);
const S3_ACTIONS: [&str; 4] = [
    "s3:ListBucket",
    "s3:GetObject",
    "s3:PutObject",
    "s3:AbortMultipartUpload",
];

struct Ground<'n> {
    bed: &'n Bed,
    namespace: &'n Namespace,
    parts: OneNode<'n>,
}

impl Ground<'_> {
    async fn start(&self, name: &str, mut spec: Value) {
        spec["keyspaces"] = json!(["shop"]);
        back_up(self.namespace, name, DB, STORAGE, spec)
            .await
            .unwrap();
    }

    /// Starts a backup of some 20 s, whose cluster id nobody else has, and waits until it uploads.
    async fn under_way(&self, name: &str) {
        let slow = json!({"cluster": name, "bandwidthPerNode": "400Ki"});
        self.start(name, slow).await;
        let uploads = |node: &NodeStatus| {
            let uploaded = node.uploaded.as_ref();
            node.phase == NodePhase::Uploading && uploaded.is_some_and(|amount| amount.bytes > 0)
        };
        let under_way = |backup: &CassandraBackup| nodes(backup).iter().any(uploads);
        resources::reaches(self.namespace, name, "uploads", under_way)
            .await
            .unwrap();
    }

    /// It ends in success, and everything of it is there; returns its node.
    async fn succeeds(&self, name: &str) -> NodeStatus {
        let backup = ended(self.namespace, name).await.unwrap();
        let phase = resources::phase(&backup);
        assert_eq!(phase, Some(BackupPhase::Succeeded), "{:#?}", backup.status);
        let read = Backup::read(&self.parts.bucket, &backup.spec.cluster, name);
        let read = read.await.unwrap();
        read.verify(&self.parts.bucket).await.unwrap();
        let node = nodes(&backup)[0].clone();
        assert_eq!(read.nodes[0].header["runId"], node.run_id);
        // Another backup may have begun.
        let run = node.run_id.replace('-', "");
        let snapshots = self.parts.cluster.snapshots().unwrap();
        let of_the_run = |path: &Path| path.to_string_lossy().contains(&run);
        assert!(
            !snapshots.iter().any(|(_, path)| of_the_run(path)),
            "{snapshots:?}"
        );
        node
    }

    async fn get(&self, name: &str) -> Option<CassandraBackup> {
        let backups = self.namespace.api::<CassandraBackup>();
        backups.get_opt(name).await.unwrap()
    }

    async fn delete(&self, name: &str) {
        let backups = self.namespace.api::<CassandraBackup>();
        backups
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    async fn manifests(&self, cluster: &str) -> usize {
        let found = self
            .parts
            .bucket
            .list(&format!("{cluster}/manifests"))
            .await;
        let found = found.unwrap();
        found.keys().filter(|key| key.ends_with(".jsonl")).count()
    }
}

fn nodes(backup: &CassandraBackup) -> &[NodeStatus] {
    backup.status.as_ref().map_or(&[], |status| &status.nodes)
}

fn phase(backup: &CassandraBackup) -> BackupPhase {
    resources::phase(backup).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_end_in_their_true_state_whatever_happens_around_them() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("faults").await.unwrap();
    let parts = one_node(&bed, &namespace, DB, json!({})).await.unwrap();
    let ground = Ground {
        bed: &bed,
        namespace: &namespace,
        parts,
    };

    one_waits_for_the_other(&ground).await;
    the_storage_is_cut_off_for_a_minute(&ground).await;
    the_key_is_exchanged(&ground).await;
    the_api_server_is_restarted(&ground).await;
    the_kubelet_is_restarted(&ground).await;
    the_resource_is_deleted(&ground).await;
    the_resource_is_made_anew(&ground).await;
    namespace.done().await.unwrap();
}

async fn one_waits_for_the_other(ground: &Ground<'_>) {
    ground.under_way("first").await;
    ground.start("second", json!({"cluster": "first"})).await;
    let waits = |backup: &CassandraBackup| {
        let said = resources::condition(backup, "Reconciling");
        said.is_some_and(|(_, reason, message)| {
            reason == "ClusterBusy" && message.contains("first")
        })
    };
    let second = resources::reaches(ground.namespace, "second", "waits", waits)
        .await
        .unwrap();
    assert_eq!(phase(&second), BackupPhase::Pending);
    assert!(nodes(&second).is_empty());
    assert_eq!(
        phase(&ground.get("first").await.unwrap()),
        BackupPhase::Uploading
    );
    ground.succeeds("first").await;
    ground.succeeds("second").await;
    let [first, second] = [ground.get("first").await, ground.get("second").await];
    let ended = first.unwrap().status.unwrap().completion_time.unwrap().0;
    let began = second.unwrap().status.unwrap().start_time.unwrap().0;
    // Whole seconds.
    assert!(ended.as_second() <= began.as_second(), "{ended} {began}");
}

/// Connections stay open and nothing answers.
async fn the_storage_is_cut_off_for_a_minute(ground: &Ground<'_>) {
    ground.under_way("cut-off").await;
    ground.parts.minio.pause().unwrap();
    sleep(MINUTE).await;
    let meanwhile = ground.get("cut-off").await.unwrap();
    assert!(!phase(&meanwhile).is_final(), "{:#?}", meanwhile.status);
    ground.parts.minio.resume().unwrap();
    ground.succeeds("cut-off").await;
}

async fn user(minio: &Minio, name: &str, secret: &str) -> Key {
    let user = User::allowed(name, secret, &S3_ACTIONS, &[BUCKET]);
    let setup = Setup {
        users: vec![user],
        ..Setup::default()
    };
    minio.set_up(setup).await.unwrap();
    Key {
        id: name.into(),
        secret: secret.into(),
    }
}

/// The new key is in the Secret before the old one is worth nothing.
async fn the_key_is_exchanged(ground: &Ground<'_>) {
    let minio = &ground.parts.minio;
    let old = user(minio, "old-user", "old-secret").await;
    let new = user(minio, "new-user", "new-secret").await;
    s3_storage(ground.namespace, STORAGE, minio, BUCKET, &old)
        .await
        .unwrap();
    ground.under_way("exchanged").await;
    s3_storage(ground.namespace, STORAGE, minio, BUCKET, &new)
        .await
        .unwrap();
    user(minio, "old-user", "another-secret").await;
    let node = ground.succeeds("exchanged").await;
    assert_eq!(node.attempt, 2, "{node:?}");
    s3_storage(ground.namespace, STORAGE, minio, BUCKET, minio.root())
        .await
        .unwrap();
}

async fn the_api_server_is_restarted(ground: &Ground<'_>) {
    ground.under_way("unwatched").await;
    kubernetes::restart_api_server(ground.bed.ground())
        .await
        .unwrap();
    let node = ground.succeeds("unwatched").await;
    assert_eq!(node.attempt, 1, "{node:?}");
}

async fn the_kubelet_is_restarted(ground: &Ground<'_>) {
    ground.under_way("cut").await;
    kubernetes::restart_kubelet(ground.bed.ground())
        .await
        .unwrap();
    let node = ground.succeeds("cut").await;
    assert_eq!(node.attempt, 1, "{node:?}");
}

/// Its runs end, nothing of them is committed, and the next one is not kept from the node.
async fn the_resource_is_deleted(ground: &Ground<'_>) {
    ground.under_way("deleted").await;
    ground.delete("deleted").await;
    let none = async || Ok(ground.parts.cluster.snapshots()?.is_empty().then_some(()));
    until("no snapshot is there", MINUTE, none).await.unwrap();
    assert!(ground.get("deleted").await.is_none());
    let next = json!({"cluster": "deleted"});
    ground.start("after-it", next).await;
    ground.succeeds("after-it").await;
    assert_eq!(ground.manifests("deleted").await, 1);
}

/// Under the same name in the storage, too: only the new one is made.
async fn the_resource_is_made_anew(ground: &Ground<'_>) {
    ground.under_way("anew").await;
    let before = ground.get("anew").await.unwrap();
    ground.delete("anew").await;
    ground.start("anew", json!({"cluster": "anew"})).await;
    let node = ground.succeeds("anew").await;
    let after = ground.get("anew").await.unwrap();
    assert_ne!(before.uid(), after.uid());
    assert_ne!(nodes(&before)[0].run_id, node.run_id);
    assert_eq!(ground.manifests("anew").await, 1);
}
