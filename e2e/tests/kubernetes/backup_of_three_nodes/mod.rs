//! The main job: a CassandraBackup of three nodes to files and to S3, with the operator as a pod,
//! and its rows read back from the storage alone.

mod contents;
mod mirrors;

use std::collections::BTreeMap;
use std::time::Duration;

use self::contents::{
    only_what_is_new_was_uploaded, snapshot, the_manifests_list, the_tokens_are_nodetools,
    the_tree_is_exactly_the_layout,
};
use self::mirrors::resources_come_back_from_the_storages;
use crds::{BackupPhase, BackupStorage, CassandraBackup};
use e2e::backup::{Backup, Storage, restore};
use e2e::bed::{Bed, Namespace};
use e2e::parts::cassandra::cluster::Cluster;
use e2e::parts::cassandra::manifests::{HOME, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::product::{
    BUCKET, DISK, back_up, bucket_server, ended, resources, s3_storage, shared_disk, start,
};
use kube::api::DeleteParams;
use serde_json::json;

/// The StatefulSet, and the cluster id in the storages.
const DB: &str = "db";
const NODES: usize = 3;
const MINUTES: Duration = Duration::from_secs(120);

/// Every row on all nodes, and every row on one node alone: without that node's share of a backup
/// it is lost.
struct Data {
    everywhere: Rows,
    once: Rows,
}

impl Data {
    fn new() -> Self {
        Self {
            everywhere: Rows::new("shop", "orders").with_bytes(2000),
            once: Rows::new("alone", "events").with_bytes(500),
        }
    }

    async fn create(&self, cluster: &Cluster<'_>) {
        let session = cluster.session().await.unwrap();
        self.everywhere.create(&session, "dc1", 3).await.unwrap();
        self.once.create(&session, "dc1", 1).await.unwrap();
        for statement in [
            "CREATE TABLE shop.people (id int PRIMARY KEY, city text)",
            "CREATE INDEX by_city ON shop.people (city)",
            "INSERT INTO shop.people (id, city) VALUES (1, 'Bergen')",
            "INSERT INTO shop.people (id, city) VALUES (2, 'Turku')",
        ] {
            session.query_unpaged(statement, ()).await.unwrap();
        }
    }

    async fn write(&self, cluster: &Cluster<'_>, keys: std::ops::Range<i64>) {
        let session = cluster.session().await.unwrap();
        self.everywhere.write(&session, keys.clone()).await.unwrap();
        self.once.write(&session, keys).await.unwrap();
    }

    async fn come_back(&self, storage: &Storage, backup: &str, keys: std::ops::Range<i64>) {
        let restored = restore::on_host(storage, DB, backup).await.unwrap();
        let session = restored.session().await.unwrap();
        self.everywhere.check(&session, keys.clone()).await.unwrap();
        self.once.check(&session, keys).await.unwrap();
        let found = session
            .query_unpaged("SELECT id FROM shop.people WHERE city = 'Turku'", ())
            .await
            .unwrap();
        let found = found.into_rows_result().unwrap();
        assert_eq!(found.single_row::<(i32,)>().unwrap(), (2,));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_are_backed_up_to_files_and_to_s3_and_every_row_comes_back_from_the_storage_alone()
 {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("three").await.unwrap();
    let (disk, mount) = shared_disk(&bed, &namespace, 1 << 30).await.unwrap();
    let (minio, bucket) = bucket_server().await.unwrap();
    let storages = [
        ("files", Storage::File(disk.path().to_owned())),
        ("bucket", bucket),
    ];
    let data = Data::new();
    {
        let options = Options {
            mounts: vec![mount],
            ..Options::new(DB)
        };
        let (cluster, _operator) = start(&bed, &namespace, options).await.unwrap();
        files_in_all_pods(&namespace, "files", DISK).await;
        files_in_all_pods(&namespace, "own", HOME).await;
        s3_storage(&namespace, "bucket", &minio, BUCKET, minio.root())
            .await
            .unwrap();
        everything_works(&namespace, "bucket", &[]).await;
        everything_works(&namespace, "files", &["Shared"]).await;
        each_pod_sees_its_own(&namespace, "own").await;
        data.create(&cluster).await;
        data.write(&cluster, 0..300).await;

        let files = snapshot(&cluster, &["shop", "alone"]).await;
        for (name, storage) in &storages {
            let backup = format!("{name}-1");
            let whole = succeeded(&namespace, &backup, name, json!({})).await;
            the_tree_is_exactly_the_layout(storage, &[&backup]).await;
            let read = Backup::read(storage, DB, &backup).await.unwrap();
            read.verify(storage).await.unwrap();
            the_manifests_list(&read, &whole, &files);
            the_tokens_are_nodetools(&cluster, &read, &whole).await;
        }

        data.write(&cluster, 300..400).await;
        for (name, storage) in &storages {
            let (first, second, third) = (
                format!("{name}-1"),
                format!("{name}-2"),
                format!("{name}-3"),
            );
            let before = storage.list(&format!("{DB}/data")).await.unwrap();
            let only = json!({"keyspaces": ["shop", "alone"]});
            let more = succeeded(&namespace, &second, name, only.clone()).await;
            let after = storage.list(&format!("{DB}/data")).await.unwrap();
            only_what_is_new_was_uploaded(storage, &more, &before, &after, &second).await;

            let nothing = succeeded(&namespace, &third, name, only).await;
            let status = nothing.status.unwrap();
            assert_eq!(status.uploaded.unwrap().bytes, 0);
            let still = storage.list(&format!("{DB}/data")).await.unwrap();
            assert!(still.keys().eq(after.keys()));
            the_tree_is_exactly_the_layout(storage, &[&first, &second, &third]).await;
        }

        numbers_are_used_again(&cluster, &data).await;
        for (name, storage) in &storages {
            let fourth = format!("{name}-4");
            succeeded(&namespace, &fourth, name, json!({"keyspaces": ["shop"]})).await;
            let second = format!("{name}-2");
            for backup in [&second, &fourth] {
                let read = Backup::read(storage, DB, backup).await.unwrap();
                read.verify(storage).await.unwrap();
            }
            let (old, new) = (
                sstables(storage, &second).await,
                sstables(storage, &fourth).await,
            );
            let again = old
                .iter()
                .find(|(number, one)| new.get(*number).is_some_and(|other| other != *one));
            assert!(again.is_some(), "no number came again: {old:?} {new:?}");
        }
        no_snapshot_of_ours_stays(&cluster);
        resources_come_back_from_the_storages(&namespace, &disk).await;
        namespace.done().await.unwrap();
    }
    for (name, storage) in &storages {
        data.come_back(storage, &format!("{name}-2"), 0..400).await;
    }
}

/// A storage that the operator probes through the pods.
async fn files_in_all_pods(namespace: &Namespace, name: &str, path: &str) {
    let pods = json!({"podSelector": {"matchLabels": {"app": DB}}});
    let storage = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "BackupStorage",
        "metadata": {"name": name},
        "spec": {"file": {"path": path, "pods": pods}},
    });
    namespace.apply(&storage.to_string()).await.unwrap();
}

/// What is on a volume of each pod's own is no storage of all.
async fn each_pod_sees_its_own(namespace: &Namespace, name: &str) {
    let told = |storage: &BackupStorage| {
        let mut conditions = storage.status.iter().flat_map(|status| &status.conditions);
        conditions.any(|it| {
            let (shared, no) = (it.type_ == "Shared", it.status == "False");
            let named = it.message.contains("is not seen there by db-");
            shared && no && it.reason == "StorageUnsuitable" && named
        })
    };
    namespace
        .wait_for::<BackupStorage>(name, "is told to be no storage of all", MINUTES, told)
        .await
        .unwrap();
    let storages = namespace.api::<BackupStorage>();
    let gone = storages.delete(name, &DeleteParams::default()).await;
    gone.map(drop).unwrap();
}

/// Every condition of a storage that says what works is True.
async fn everything_works(namespace: &Namespace, name: &str, more: &[&str]) {
    let works = |storage: &BackupStorage| {
        let conditions = storage.status.iter().flat_map(|status| &status.conditions);
        let works: Vec<_> = conditions
            .filter(|condition| condition.status == "True")
            .map(|condition| condition.type_.as_str())
            .collect();
        let usual = [
            "Ready",
            "Readable",
            "Writable",
            "CreateOnly",
            "Touchable",
            "Deletable",
            "Surveyed",
        ];
        usual.iter().chain(more).all(|one| works.contains(one))
    };
    namespace
        .wait_for::<BackupStorage>(name, "works in every way", MINUTES, works)
        .await
        .unwrap();
}

/// Makes a backup that must succeed, on all nodes, in their first attempts.
async fn succeeded(
    namespace: &Namespace,
    name: &str,
    storage: &str,
    more: serde_json::Value,
) -> CassandraBackup {
    back_up(namespace, name, DB, storage, more).await.unwrap();
    let backup = ended(namespace, name).await.unwrap();
    let status = backup.status.clone().unwrap();
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
    assert_eq!(status.nodes_done.as_deref(), Some("3/3"));
    assert!(status.warnings.is_empty(), "{:?}", status.warnings);
    for node in &status.nodes {
        assert_eq!(node.attempt, 1, "{node:?}");
        let lateness = node.snapshot.as_ref().and_then(|one| one.late_milliseconds);
        assert!(lateness.is_some(), "{node:?}");
    }
    let (_, reason, _) = resources::condition(&backup, "Complete").unwrap();
    assert_eq!(reason, "Succeeded");
    backup
}

/// Empties a table and restarts a node: its next SSTables bear numbers that were there before.
async fn numbers_are_used_again(cluster: &Cluster<'_>, data: &Data) {
    let session = cluster.session().await.unwrap();
    session
        .query_unpaged("TRUNCATE shop.orders", ())
        .await
        .unwrap();
    drop(session);
    cluster.restart(0).await.unwrap();
    let session = cluster.session().await.unwrap();
    let other = data.everywhere.clone().with_seed(7);
    other.write(&session, 0..50).await.unwrap();
}

/// The SSTables of the table `orders`: `<node>/<descriptor>`, and the folder that each is kept in.
async fn sstables(storage: &Storage, backup: &str) -> BTreeMap<String, String> {
    let read = Backup::read(storage, DB, backup).await.unwrap();
    let mut found = BTreeMap::new();
    for node in &read.nodes {
        for table in node.tables.iter().filter(|table| table.table == "orders") {
            for sstable in &table.sstables {
                let descriptor = sstable.sstable.split('.').next().unwrap();
                found.insert(
                    format!("{}/{descriptor}", node.host_id),
                    sstable.sstable.clone(),
                );
            }
        }
    }
    found
}

/// `TRUNCATE` makes snapshots of its own, which stay.
fn no_snapshot_of_ours_stays(cluster: &Cluster<'_>) {
    let mut snapshots = cluster.snapshots().unwrap();
    snapshots.retain(|(_, path)| {
        !path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with("truncated-")
    });
    assert!(snapshots.is_empty(), "{snapshots:?}");
}
