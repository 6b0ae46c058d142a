//! A backup that takes its data with it, where the storage cannot be reached; and one that takes too long, which
//! leaves nothing.

use std::time::Duration;

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use crds::{BackupPhase, BackupStorage, CassandraBackup};
use e2e::backup::Backup;
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::product::{BUCKET, OneNode, STORAGE, back_up, ended, one_node, resources, s3_storage};
use jiff::{Span, Timestamp};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

const DB: &str = "db";
const MINUTES: Duration = Duration::from_secs(300);

struct Ground<'n> {
    namespace: &'n Namespace,
    parts: OneNode<'n>,
}

#[tokio::test(flavor = "multi_thread")]
async fn data_stays_while_it_is_out_of_reach_and_nothing_of_what_took_too_long() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("deletions").await.unwrap();
    let parts = one_node(&bed, &namespace, DB, json!({})).await.unwrap();
    let ground = Ground {
        namespace: &namespace,
        parts,
    };
    ground
        .what_cannot_be_reached_stays_until_somebody_says_so()
        .await;
    ground.what_ran_out_of_time_leaves_nothing().await;
    ground
        .a_bucket_that_keeps_what_is_touched_is_warned_of()
        .await;
    namespace.done().await.unwrap();
}

impl Ground<'_> {
    /// A backup with its own cluster id that ended long ago, as far as its resource says.
    async fn old(&self, name: &str) {
        let mortal = json!({"cluster": name, "deletionPolicy": "Delete", "keyspaces": ["shop"]});
        back_up(self.namespace, name, DB, STORAGE, mortal)
            .await
            .unwrap();
        let backup = ended(self.namespace, name).await.unwrap();
        let phase = resources::phase(&backup);
        assert_eq!(phase, Some(BackupPhase::Succeeded), "{:#?}", backup.status);
        // Else nobody asks the storage for ten minutes more.
        let long_ago = Timestamp::now() - Span::new().hours(1);
        let status = json!({"status": {"completionTime": long_ago.to_string()}});
        let backups = self.namespace.api::<CassandraBackup>();
        backups
            .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }

    async fn delete(&self, name: &str) {
        let backups = self.namespace.api::<CassandraBackup>();
        let now = DeleteParams::default();
        backups.delete(name, &now).await.unwrap();
    }

    async fn is_gone(&self, name: &str) {
        let backups = self.namespace.api::<CassandraBackup>();
        let gone = async || Ok(backups.get_opt(name).await?.is_none().then_some(()));
        until("the resource is gone", MINUTES, gone).await.unwrap();
    }

    async fn is_whole(&self, name: &str) {
        let backup = Backup::read(&self.parts.bucket, name, name).await.unwrap();
        backup.verify(&self.parts.bucket).await.unwrap();
    }

    async fn what_cannot_be_reached_stays_until_somebody_says_so(&self) {
        self.old("afar").await;
        self.endpoint("http://10.88.0.1:1").await;
        self.delete("afar").await;
        let (reason, message) = resources::stalled(self.namespace, "afar").await.unwrap();
        assert_eq!(reason, "StorageUnavailable", "{message}");

        resources::skip_data_deletion(self.namespace, "afar")
            .await
            .unwrap();
        self.is_gone("afar").await;
        let minio = &self.parts.minio;
        s3_storage(self.namespace, STORAGE, minio, BUCKET, minio.root())
            .await
            .unwrap();
        self.is_whole("afar").await;
    }

    async fn endpoint(&self, url: &str) {
        let patch: Value = json!({"spec": {"s3": {"endpoint": url}}});
        let storages = self.namespace.api::<BackupStorage>();
        storages
            .patch(STORAGE, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// Its versioning is turned on and the storage asked again: by a change of it, as always.
    async fn a_bucket_that_keeps_what_is_touched_is_warned_of(&self) {
        let minio = &self.parts.minio;
        let versioned = VersioningConfiguration::builder();
        let versioned = versioned.status(BucketVersioningStatus::Enabled).build();
        let request = minio.client().put_bucket_versioning().bucket(BUCKET);
        let request = request.versioning_configuration(versioned);
        for (keeps, ready) in [("False", "True"), ("True", "True")] {
            let says = |storage: &BackupStorage| {
                let conditions = storage.status.iter().flat_map(|it| &it.conditions);
                let is = |type_: &str| {
                    let mut of_type = conditions.clone().filter(|it| it.type_ == type_);
                    of_type.next().map(|it| it.status.as_str())
                };
                (is("KeepsVersions"), is("Ready")) == (Some(keeps), Some(ready))
            };
            let what = format!("says {keeps} of versions");
            self.namespace
                .wait_for::<BackupStorage>(STORAGE, &what, MINUTES, says)
                .await
                .unwrap();
            request.clone().send().await.unwrap();
            self.endpoint("http://10.88.0.1:1").await;
            self.endpoint(&minio.endpoint()).await;
        }
    }

    async fn what_ran_out_of_time_leaves_nothing(&self) {
        let endless = json!({
            "cluster": "endless", "bandwidthPerNode": "50Ki", "activeDeadlineSeconds": 30,
            "keyspaces": ["shop"],
        });
        back_up(self.namespace, "endless", DB, STORAGE, endless)
            .await
            .unwrap();
        let backup = ended(self.namespace, "endless").await.unwrap();
        let phase = resources::phase(&backup);
        assert_eq!(phase, Some(BackupPhase::Failed), "{:#?}", backup.status);
        let (_, reason, _) = resources::condition(&backup, "Complete").unwrap();
        assert_eq!(reason, "DeadlineExceeded");
        let node = &backup.status.as_ref().unwrap().nodes[0];
        assert!(node.snapshot.is_some(), "it was not under way: {node:?}");
        let left = self.parts.bucket.list("endless/manifests").await.unwrap();
        assert!(!left.keys().any(|key| key.ends_with(".jsonl")), "{left:?}");
        assert!(self.parts.cluster.snapshots().unwrap().is_empty());
    }
}
