//! CassandraRestores on a real cluster: what was lost comes back, into the same cluster and into a new
//! one, whatever happens to operator and pods meanwhile; and what cannot be done changes nothing.

mod dead_node;
mod faults;

use std::time::Duration;

use crds::{
    BackupPhase, BackupStorage, CassandraBackup, CassandraRestore, CassandraRestoreStatus,
    NodePhase, RestoreNodePhase, RestorePhase,
};
use e2e::bed::{Bed, Namespace};
use e2e::parts::cassandra::cluster::Cluster;
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::minio::Minio;
use e2e::product::{
    BUCKET, Operator, back_up, bring_back, brought_back, bucket_server, ended, resources,
    s3_storage, start,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// The StatefulSet, and the cluster id in the storage.
const DB: &str = "db";
const STORAGE: &str = "bucket";
const MINUTES: Duration = Duration::from_secs(300);
/// Of the rows that the backup has.
const KEYS: std::ops::Range<i64> = 0..600;

/// Every row on all nodes, and every row on one node alone.
struct Data {
    everywhere: Rows,
    once: Rows,
}

impl Data {
    fn new() -> Self {
        Self {
            everywhere: Rows::new("shop", "orders").with_bytes(8000),
            once: Rows::new("alone", "events").with_bytes(500),
        }
    }

    async fn check(&self, cluster: &Cluster<'_>) {
        let session = cluster.session().await.unwrap();
        self.everywhere.check(&session, KEYS).await.unwrap();
        self.once.check(&session, KEYS).await.unwrap();
        let query = "SELECT id FROM shop.people WHERE city = 'Turku'";
        let found = session.query_unpaged(query, ()).await.unwrap();
        let found = found.into_rows_result().unwrap();
        assert_eq!(found.single_row::<(i32,)>().unwrap(), (2,));
    }

    /// Deletes rows, overwrites rows, and writes rows that no backup has.
    async fn spoil(&self, cluster: &Cluster<'_>) {
        let session = cluster.session().await.unwrap();
        self.everywhere.delete(&session, 0..20).await.unwrap();
        let others = self.once.clone().with_seed(7);
        others.write(&session, 100..120).await.unwrap();
        others.write(&session, 9000..9010).await.unwrap();
    }
}

/// Reason and message of one that failed.
fn why(status: &CassandraRestoreStatus) -> (&str, &str) {
    assert_eq!(status.phase, Some(RestorePhase::Failed), "{status:#?}");
    let mut conditions = status.conditions.iter();
    let complete = conditions.find(|it| it.type_ == "Complete").unwrap();
    (&complete.reason, &complete.message)
}

struct Ground<'n> {
    namespace: &'n Namespace,
    cluster: Cluster<'n>,
    operator: Operator<'n>,
    data: Data,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_comes_back_whatever_happens_meanwhile_also_into_a_new_cluster() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("back").await.unwrap();
    let (minio, _) = bucket_server().await.unwrap();
    {
        let options = Options::new(DB);
        let (cluster, operator) = start(&bed, &namespace, options).await.unwrap();
        s3_storage(&namespace, STORAGE, &minio, BUCKET, minio.root())
            .await
            .unwrap();
        let ground = Ground {
            namespace: &namespace,
            cluster,
            operator,
            data: Data::new(),
        };
        ground.backed_up().await;
        ground.a_dry_run_tells_and_changes_nothing().await;
        ground.a_pod_that_was_not_selected_is_missed().await;
        ground.another_table_of_the_same_name_stays_as_it_is().await;
        ground
            .a_damaged_object_is_named_and_the_restore_goes_on_when_it_is_whole(&minio)
            .await;
        ground
            .rows_that_were_changed_and_tables_that_were_dropped_come_back()
            .await;
        ground
            .backups_wait_and_a_restore_outlives_operator_and_pod()
            .await;
        ground
            .an_operator_that_is_killed_at_every_turn_ends_it_all_the_same()
            .await;
        ground.a_cancelled_one_is_begun_anew_by_another().await;
        ground.a_restore_waits_for_a_backup().await;
        ground
            .a_node_that_lost_its_volume_starts_with_its_tokens_and_rows(&minio)
            .await;
    }
    // Nothing is left of all that but the bucket.
    namespace.done().await.unwrap();
    let namespace = bed.namespace("anew").await.unwrap();
    a_new_cluster_of_another_size_gets_it_from_the_storage_alone(&bed, &namespace, &minio).await;
    namespace.done().await.unwrap();
}

impl Ground<'_> {
    async fn backed_up(&self) {
        let session = self.cluster.session().await.unwrap();
        self.data
            .everywhere
            .create(&session, "dc1", 3)
            .await
            .unwrap();
        self.data.once.create(&session, "dc1", 1).await.unwrap();
        for statement in [
            "CREATE TABLE shop.people (id int PRIMARY KEY, city text)",
            "CREATE INDEX by_city ON shop.people (city)",
            "INSERT INTO shop.people (id, city) VALUES (1, 'Bergen')",
            "INSERT INTO shop.people (id, city) VALUES (2, 'Turku')",
        ] {
            session.query_unpaged(statement, ()).await.unwrap();
        }
        self.data.everywhere.write(&session, KEYS).await.unwrap();
        self.data.once.write(&session, KEYS).await.unwrap();
        back_up(self.namespace, "b1", DB, STORAGE, json!({}))
            .await
            .unwrap();
        let backup = ended(self.namespace, "b1").await.unwrap();
        let phase = backup.status.unwrap().phase;
        assert_eq!(phase, Some(BackupPhase::Succeeded));
    }

    async fn restore(&self, name: &str, more: Value) {
        let mut spec = json!({"backup": {"resource": "b1"}, "mode": "Replace"});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        bring_back(self.namespace, name, DB, STORAGE, spec)
            .await
            .unwrap();
    }

    async fn ended(&self, name: &str) -> CassandraRestoreStatus {
        let restore = brought_back(self.namespace, name).await.unwrap();
        restore.status.unwrap()
    }

    async fn succeeds(&self, name: &str) -> CassandraRestoreStatus {
        let status = self.ended(name).await;
        assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
        assert_eq!(status.backup_name.as_deref(), Some("b1"));
        let done = |phase| phase == RestoreNodePhase::Succeeded;
        assert!(status.nodes.iter().all(|it| done(it.phase)), "{status:#?}");
        let (plan, fetched) = (
            status.plan.clone().unwrap(),
            status.fetched.clone().unwrap(),
        );
        assert_eq!(fetched.bytes, plan.total.bytes, "{status:#?}");
        status
    }

    async fn reaches(&self, name: &str, what: &str, is: impl Fn(&CassandraRestoreStatus) -> bool) {
        let is = |restore: &CassandraRestore| restore.status.as_ref().is_some_and(&is);
        let waited = self.namespace.wait_for(name, what, MINUTES, is);
        waited.await.map(drop).unwrap();
    }

    /// A restore so slow that something can happen to it, with some of it fetched.
    async fn loads_slowly(&self, name: &str) {
        self.restore(name, json!({"bandwidthPerNode": "250Ki"}))
            .await;
        let loads = |status: &CassandraRestoreStatus| {
            let fetched = status.fetched.as_ref().map_or(0, |it| it.bytes);
            status.phase == Some(RestorePhase::Loading) && fetched > 0
        };
        self.reaches(name, "has fetched something", loads).await;
    }

    async fn a_dry_run_tells_and_changes_nothing(&self) {
        let sstables = || async {
            let tables = ["tablestats", "shop", "alone"];
            let told = self.cluster.nodetool(0, &tables).await.unwrap();
            let lines = told.lines().filter(|it| it.contains("SSTable count"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let before = sstables().await;
        let latest = json!({"dryRun": true, "backup": {"latest": true}});
        self.restore("look", latest).await;
        let status = self.ended("look").await;
        assert_eq!(status.phase, Some(RestorePhase::Planned), "{status:#?}");
        assert_eq!(status.backup_name.as_deref(), Some("b1"));
        let plan = status.plan.clone().unwrap();
        assert_eq!(plan.tables, 3);
        // Three replicas of 600 rows with 8,000 bytes.
        assert!(plan.total.bytes > 3 * 600 * 8000, "{plan:?}");
        assert!(
            plan.peak.bytes > 0 && plan.free.bytes > plan.peak.bytes,
            "{plan:?}"
        );
        assert_eq!(
            plan.not_empty,
            ["alone.events", "shop.orders", "shop.people"]
        );
        assert_eq!(sstables().await, before);
        assert!(self.cluster.snapshots().unwrap().is_empty());
    }

    async fn a_pod_that_was_not_selected_is_missed(&self) {
        let two = json!({"matchExpressions": [{
            "key": "statefulset.kubernetes.io/pod-name", "operator": "In", "values": ["db-0", "db-1"],
        }]});
        let spec = json!({
            "cluster": DB, "storage": {"name": STORAGE}, "backup": {"resource": "b1"},
            "mode": "Replace", "cassandra": {"podSelector": two},
        });
        let restore = json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraRestore",
            "metadata": {"name": "two-of-three"}, "spec": spec,
        });
        self.namespace.apply(&restore.to_string()).await.unwrap();
        let status = self.ended("two-of-three").await;
        let (reason, message) = why(&status);
        assert_eq!(reason, "NodeWithoutPod");
        assert!(message.starts_with("nothing was changed"), "{message}");
        self.data.check(&self.cluster).await;
    }

    async fn rows_that_were_changed_and_tables_that_were_dropped_come_back(&self) {
        self.data.spoil(&self.cluster).await;
        let session = self.cluster.session().await.unwrap();
        let dropped = session.query_unpaged("DROP TABLE shop.people", ()).await;
        dropped.unwrap();
        drop(session);
        self.restore("replace", json!({})).await;
        let status = self.succeeds("replace").await;
        self.data.check(&self.cluster).await;
        // What was there before is not lost.
        let kept = status
            .warnings
            .iter()
            .find(|it| it.message.contains("before-restore-"));
        assert!(kept.is_some(), "{:?}", status.warnings);
        let events = self.namespace.api::<Event>();
        let events = events.list(&ListParams::default()).await.unwrap();
        let said = |event: &&Event| {
            let of = event.regarding.as_ref();
            let ours = of.is_some_and(|it| it.name.as_deref() == Some("replace"));
            ours && event.reason.as_deref() == Some("Succeeded")
        };
        assert_eq!(events.iter().filter(said).count(), 1);
    }

    async fn backups_wait_and_a_restore_outlives_operator_and_pod(&self) {
        self.data.spoil(&self.cluster).await;
        self.loads_slowly("killed").await;
        back_up(self.namespace, "meanwhile", DB, STORAGE, json!({}))
            .await
            .unwrap();
        let waits = |backup: &CassandraBackup| {
            let conditions = backup.status.iter().flat_map(|status| &status.conditions);
            let mut busy = conditions.filter(|it| it.reason == "ClusterBusy");
            busy.any(|it| it.message.contains("CassandraRestore killed"))
        };
        let waiting = self
            .namespace
            .wait_for("meanwhile", "waits", MINUTES, waits);
        waiting.await.map(drop).unwrap();
        self.operator.kill().await.unwrap();
        self.cluster.delete_pod(1, true).await.unwrap();
        let status = self.succeeds("killed").await;
        assert!(status.nodes.iter().any(|it| it.attempt > 1), "{status:#?}");
        self.cluster.wait_ready().await.unwrap();
        self.cluster.agree().await.unwrap();
        self.data.check(&self.cluster).await;
        let backup = ended(self.namespace, "meanwhile").await.unwrap();
        let phase = backup.status.unwrap().phase;
        assert_eq!(phase, Some(BackupPhase::Succeeded));
    }

    async fn a_cancelled_one_is_begun_anew_by_another(&self) {
        self.data.spoil(&self.cluster).await;
        self.loads_slowly("cancelled").await;
        let cancel = Patch::Merge(json!({"spec": {"cancel": true}}));
        let restores = self.namespace.api::<CassandraRestore>();
        let parameters = PatchParams::default();
        restores
            .patch("cancelled", &parameters, &cancel)
            .await
            .unwrap();
        let status = self.ended("cancelled").await;
        assert_eq!(status.phase, Some(RestorePhase::Cancelled), "{status:#?}");
        // Also one of other tables; what was begun is given up.
        self.restore("other", json!({"tables": ["shop.people"]}))
            .await;
        let status = self.ended("other").await;
        assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
        let given_up = |text: &str| text.contains("did not end is given up");
        let told = status.warnings.iter().filter(|it| given_up(&it.message));
        assert!(told.count() > 0, "{:?}", status.warnings);
        self.restore("again", json!({})).await;
        self.succeeds("again").await;
        self.data.check(&self.cluster).await;
    }

    /// What was imported has other names, so that all of it is uploaded.
    async fn a_restore_waits_for_a_backup(&self) {
        let slow = json!({"bandwidthPerNode": "100Ki"});
        back_up(self.namespace, "late", DB, STORAGE, slow)
            .await
            .unwrap();
        let uploads = |backup: &CassandraBackup| {
            let nodes = backup.status.iter().flat_map(|status| &status.nodes);
            nodes.clone().any(|it| it.phase == NodePhase::Uploading)
        };
        resources::reaches(self.namespace, "late", "uploads", uploads)
            .await
            .unwrap();
        self.restore("patient", json!({"tables": ["shop.people"]}))
            .await;
        let waits = |status: &CassandraRestoreStatus| {
            let mut busy = status.conditions.iter();
            busy.any(|it| it.reason == "ClusterBusy" && it.message.contains("CassandraBackup late"))
        };
        self.reaches("patient", "waits", waits).await;
        let cancel = Patch::Merge(json!({"spec": {"cancel": true}}));
        let backups = self.namespace.api::<CassandraBackup>();
        let parameters = PatchParams::default();
        let cancelled = backups.patch("late", &parameters, &cancel).await;
        cancelled.map(drop).unwrap();
        self.succeeds("patient").await;
        let late = ended(self.namespace, "late").await.unwrap();
        assert_eq!(resources::phase(&late), Some(BackupPhase::Cancelled));
        self.data.check(&self.cluster).await;
    }
}

/// One node gets what three had. The words of docs/restore.md for that are followed in `quick_start`.
async fn a_new_cluster_of_another_size_gets_it_from_the_storage_alone(
    bed: &Bed,
    namespace: &Namespace,
    minio: &Minio,
) {
    let options = Options {
        replicas: 1,
        ..Options::new("fresh")
    };
    let (cluster, _operator) = start(bed, namespace, options).await.unwrap();
    s3_storage(namespace, STORAGE, minio, BUCKET, minio.root())
        .await
        .unwrap();
    let known = |storage: &BackupStorage| {
        let clusters = storage.status.iter().flat_map(|status| &status.clusters);
        clusters.clone().any(|it| it.last_restorable.is_some())
    };
    let storage = namespace.wait_for::<BackupStorage>(STORAGE, "knows what it has", MINUTES, known);
    let storage = storage.await.unwrap();
    let found = &storage.status.unwrap().clusters[0];
    let last = found.last_restorable.clone().unwrap();
    assert_eq!(last.backup, "whole");
    let restore = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraRestore",
        "metadata": {"name": "all"},
        "spec": {
            "cluster": DB, "storage": {"name": STORAGE}, "backup": {"latest": true}, "mode": "Merge",
            "cassandra": {"podSelector": {"matchLabels": {"app": "fresh"}}},
        },
    });
    namespace.apply(&restore.to_string()).await.unwrap();
    let status = brought_back(namespace, "all")
        .await
        .unwrap()
        .status
        .unwrap();
    assert_eq!(status.phase, Some(RestorePhase::Succeeded), "{status:#?}");
    assert_eq!(status.backup_name, Some(last.backup));
    let pods = namespace
        .api::<Pod>()
        .list(&ListParams::default())
        .await
        .unwrap();
    assert!(pods.items.len() >= 2, "a node and the operator");
    // One node cannot have three replicas of a row; what it has is what is asked for.
    let session = cluster.session().await.unwrap();
    let one =
        "ALTER KEYSPACE shop WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}";
    session.query_unpaged(one, ()).await.unwrap();
    drop(session);
    Data::new().check(&cluster).await;
}
