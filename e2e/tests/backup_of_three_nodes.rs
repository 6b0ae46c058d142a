//! The main job: a CassandraBackup of three nodes to files and to S3, with the operator as a pod,
//! and its rows read back from the storage alone.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use crds::{BackupPhase, BackupStorage, CassandraBackup, CassandraBackupStatus};
use e2e::backup::{Backup, Storage, restore};
use e2e::bed::{Bed, Namespace};
use e2e::parts::cassandra::cluster::Cluster;
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::filesystem::Filesystem;
use e2e::product::{
    BUCKET, DISK, back_up, bucket_server, ended, resources, s3_storage, shared_disk, start,
};
use futures::future::try_join_all;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
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
        files_seen_by_all_pods(&namespace).await;
        s3_storage(&namespace, "bucket", &minio, BUCKET, minio.root())
            .await
            .unwrap();
        everything_works(&namespace, "bucket", &[]).await;
        everything_works(&namespace, "files", &["Shared"]).await;
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
async fn files_seen_by_all_pods(namespace: &Namespace) {
    let pods = json!({"podSelector": {"matchLabels": {"app": DB}}});
    let storage = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "BackupStorage",
        "metadata": {"name": "files"},
        "spec": {"file": {"path": DISK, "pods": pods}},
    });
    namespace.apply(&storage.to_string()).await.unwrap();
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

/// All resources of backups are lost; the storages bring them back, and take one away whose backup
/// is gone.
async fn resources_come_back_from_the_storages(namespace: &Namespace, disk: &Filesystem) {
    let backups = namespace.api::<CassandraBackup>();
    let before = backups.list(&ListParams::default()).await.unwrap().items;
    let before: BTreeMap<String, CassandraBackup> = before
        .into_iter()
        .map(|backup| (backup.metadata.name.clone().unwrap(), backup))
        .collect();
    backups
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    for name in ["files", "bucket"] {
        let wanted = json!({"spec": {"importBackups": true, "probeIntervalSeconds": 10}});
        let storages = namespace.api::<BackupStorage>();
        storages
            .patch(name, &PatchParams::default(), &Patch::Merge(wanted))
            .await
            .unwrap();
        let storage = imported(namespace, name, 4).await;
        let found = &storage.status.unwrap().clusters;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].backups, found[0].complete), (4, 4));
        let points = [
            ("1", &found[0].first_restorable),
            ("4", &found[0].last_restorable),
        ];
        for (number, point) in points {
            let point = point.clone().unwrap();
            assert_eq!(point.backup, format!("{name}-{number}"));
            let made = before[&point.backup].status.as_ref().unwrap();
            let snapshots = made.nodes.iter().map(|it| it.snapshot.as_ref().unwrap());
            let first = snapshots.map(|it| it.started_at.0).min().unwrap();
            // A status has whole seconds.
            assert_eq!(point.time.0.as_second(), first.as_second());
        }
        for number in 1..=4 {
            let made = &before[&format!("{name}-{number}")];
            let mirror = backups.get(&format!("{DB}-{name}-{number}")).await.unwrap();
            is_a_mirror_of(&mirror, made);
        }
    }
    // Its data stays: somebody else has expired it.
    let manifests = disk.path().join(format!("{DB}/manifests/files-1"));
    std::fs::remove_dir_all(manifests).unwrap();
    let storage = imported(namespace, "files", 3).await;
    assert_eq!(storage.status.unwrap().clusters[0].backups, 3);
    let gone = backups.get_opt(&format!("{DB}-files-1")).await.unwrap();
    assert!(gone.is_none_or(|it| it.metadata.deletion_timestamp.is_some()));
}

/// Waits until a storage has so many mirrors.
async fn imported(namespace: &Namespace, name: &str, count: usize) -> BackupStorage {
    let expected = format!("{count} backups that were found here have resources");
    let is = |storage: &BackupStorage| {
        let conditions = storage.status.iter().flat_map(|status| &status.conditions);
        let mut imported = conditions.filter(|it| it.type_ == "Imported");
        imported.any(|it| it.status == "True" && it.message == expected)
    };
    namespace
        .wait_for::<BackupStorage>(name, &expected, MINUTES, is)
        .await
        .unwrap()
}

/// The same backup, as far as the storage knows it.
fn is_a_mirror_of(mirror: &CassandraBackup, made: &CassandraBackup) {
    let (spec, of) = (&mirror.spec, &made.spec);
    assert!(spec.imported && !of.imported);
    assert_eq!(spec.keyspaces, of.keyspaces);
    let (said, status) = (
        mirror.status.as_ref().unwrap(),
        made.status.as_ref().unwrap(),
    );
    assert_eq!(said.phase, Some(BackupPhase::Succeeded), "{said:#?}");
    assert_eq!(said.backup_name, status.backup_name);
    assert_eq!(said.nodes_done, status.nodes_done);
    let nodes = |status: &CassandraBackupStatus| -> BTreeSet<_> {
        let nodes = status.nodes.iter();
        nodes
            .map(|it| {
                let snapshot = it.snapshot.as_ref().unwrap().started_at.0.as_second();
                (
                    it.pod.clone(),
                    it.host_id.clone(),
                    it.run_id.clone(),
                    snapshot,
                )
            })
            .collect()
    };
    assert_eq!(nodes(said), nodes(status));
    let (complete, reason, _) = resources::condition(mirror, "Complete").unwrap();
    assert_eq!((complete, reason), ("True", "Succeeded"));
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

/// The files that make up the tables of a keyspace on each pod: `<table>[/.<index>]/<file>`. A
/// snapshot of our own says so; nothing is written after it.
async fn snapshot(cluster: &Cluster<'_>, keyspaces: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let taken = (0..NODES).map(|pod| async move {
        let mut arguments = vec!["snapshot", "-t", "by-hand", "--"];
        arguments.extend(keyspaces);
        cluster.nodetool(pod, &arguments).await
    });
    try_join_all(taken).await.unwrap();
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (pod, snapshot) in cluster.snapshots().unwrap() {
        let table = snapshot.ancestors().nth(2).unwrap().file_name().unwrap();
        let of_pod = files.entry(pod).or_default();
        walk(&snapshot, &format!("{}/", table.to_str().unwrap()), of_pod);
    }
    let cleared = (0..NODES).map(|pod| cluster.nodetool(pod, &["clearsnapshot", "-t", "by-hand"]));
    try_join_all(cleared).await.unwrap();
    files
}

fn walk(folder: &Path, prefix: &str, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &format!("{prefix}{name}/"), into);
        } else if !["manifest.json", "schema.cql"].contains(&&*name) {
            into.insert(format!("{prefix}{name}"));
        }
    }
}

/// Each node's manifest lists exactly these files of the users' tables.
fn the_manifests_list(
    read: &Backup,
    backup: &CassandraBackup,
    files: &BTreeMap<String, BTreeSet<String>>,
) {
    assert_eq!(read.nodes.len(), NODES);
    for node in &read.nodes {
        let mut listed = BTreeSet::new();
        for table in node
            .tables
            .iter()
            .filter(|table| !table.keyspace.starts_with("system"))
        {
            assert!(table.schema.is_some(), "{}", table.directory);
            for sstable in &table.sstables {
                let index = sstable.index.as_ref().map(|index| format!("/{index}"));
                let folder = format!("{}{}", table.directory, index.unwrap_or_default());
                listed.extend(
                    sstable
                        .components
                        .iter()
                        .map(|file| format!("{folder}/{}", file.name)),
                );
            }
        }
        let pod = pod_of(backup, &node.host_id);
        assert_eq!(listed, files[&pod], "{pod}");
        assert!(
            listed.iter().any(|file| file.contains("/.by_city/")),
            "{listed:?}"
        );
    }
}

fn pod_of(backup: &CassandraBackup, host_id: &str) -> String {
    let nodes = &backup.status.as_ref().unwrap().nodes;
    let node = nodes
        .iter()
        .find(|node| node.host_id.as_deref() == Some(host_id));
    node.unwrap().pod.clone()
}

/// The storage holds what the manifests of these backups name, their manifests, intents and tokens
/// files, and nothing else.
async fn the_tree_is_exactly_the_layout(storage: &Storage, backups: &[&str]) {
    let mut expected = BTreeSet::new();
    let mut intents = BTreeSet::new();
    for name in backups {
        let read = Backup::read(storage, DB, name).await.unwrap();
        expected.extend(read.objects().into_keys());
        for node in &read.nodes {
            let id = &node.host_id;
            let run = node.header["runId"].as_str().unwrap();
            let (schema, _) = node.schema(DB).unwrap().unwrap();
            expected.extend([
                schema,
                format!("{DB}/manifests/{name}/{id}.jsonl"),
                format!("{DB}/tokens/{name}/{id}.yaml"),
            ]);
            intents.insert(format!("{DB}/manifests/{name}/{id}.{run}.1.intent"));
        }
    }
    expected.extend(intents);
    let listed: BTreeSet<_> = storage.list("").await.unwrap().into_keys().collect();
    let missing: Vec<_> = expected.difference(&listed).collect();
    let strange: Vec<_> = listed.difference(&expected).collect();
    assert!(
        missing.is_empty() && strange.is_empty(),
        "missing {missing:?}, strange {strange:?}"
    );
    for key in listed.iter().filter(|key| key.starts_with("db/data/")) {
        let parts: Vec<_> = key.split('/').skip(2).collect();
        let schema = |name: &str| name.starts_with("schema.") && name.ends_with(".cql");
        let sstable = |name: &str| name.split('.').count() == 3;
        let known = match parts[..] {
            [_, file] | [_, _, _, file] => schema(file),
            [_, _, _, one, _] => sstable(one),
            [_, _, _, index, one, _] => index.starts_with('.') && sstable(one),
            _ => false,
        };
        assert!(known, "{key}");
    }
}

/// The ring of each tokens file is what `nodetool ring` prints on that node, and its own tokens
/// are those of its address there.
async fn the_tokens_are_nodetools(cluster: &Cluster<'_>, read: &Backup, backup: &CassandraBackup) {
    let printed = try_join_all((0..NODES).map(|pod| cluster.nodetool(pod, &["ring"])))
        .await
        .unwrap();
    for (pod, printed) in printed.iter().enumerate() {
        let name = cluster.options.pod(pod);
        let mut node = read.nodes.iter();
        let node = node
            .find(|node| pod_of(backup, &node.host_id) == name)
            .unwrap();
        // Address, rack, status, state, token of each token; loads change from call to call.
        let printed: BTreeSet<[String; 5]> = printed
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.len() == 8)
            .map(|words| [0, 1, 2, 3, 7].map(|at| words[at].to_owned()))
            .collect();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let mut stored = BTreeSet::new();
        let address = cluster.address(pod).await.unwrap();
        for member in &node.tokens.ring {
            let tokens: Vec<_> = member["tokens"]
                .as_array()
                .unwrap()
                .iter()
                .map(text)
                .collect();
            for token in &tokens {
                let of = |field: &str| text(&member[field]);
                stored.insert([
                    of("address"),
                    of("rack"),
                    of("status"),
                    of("state"),
                    token.clone(),
                ]);
            }
            if text(&member["address"]) == address {
                assert_eq!(text(&member["hostId"]), node.host_id);
                assert_eq!(tokens, node.tokens.tokens);
            }
        }
        assert_eq!(stored.len(), NODES * 4);
        assert_eq!(stored, printed, "{name}");
    }
}

/// New objects are those of SSTables that the storage did not hold, all others that the backup
/// names were touched, and the status counts both.
async fn only_what_is_new_was_uploaded(
    storage: &Storage,
    backup: &CassandraBackup,
    before: &BTreeMap<String, e2e::backup::storage::Object>,
    after: &BTreeMap<String, e2e::backup::storage::Object>,
    name: &str,
) {
    let read = Backup::read(storage, DB, name).await.unwrap();
    read.verify(storage).await.unwrap();
    let mut named: BTreeMap<String, u64> = BTreeMap::new();
    for (key, stored) in read.objects() {
        named.insert(key, stored.bytes);
    }
    for node in &read.nodes {
        let (key, stored) = node.schema(DB).unwrap().unwrap();
        named.insert(key, stored.bytes);
    }
    let (reused, uploaded): (BTreeMap<_, _>, BTreeMap<_, _>) = named
        .into_iter()
        .partition(|(key, _)| before.contains_key(key));
    assert!(!reused.is_empty() && !uploaded.is_empty());
    for key in reused.keys() {
        assert!(
            after[key].modified > before[key].modified,
            "{key} was not touched"
        );
    }
    let new: BTreeSet<_> = after
        .keys()
        .filter(|key| !before.contains_key(*key))
        .collect();
    assert!(new.iter().copied().eq(uploaded.keys()));
    let fresh = |key: &&String| key.ends_with("-Data.db") && key.contains("/shop/orders-");
    assert_eq!(new.iter().copied().filter(fresh).count(), NODES, "{new:?}");
    let status = backup.status.as_ref().unwrap();
    for (amount, objects) in [(&status.uploaded, &uploaded), (&status.reused, &reused)] {
        let amount = amount.as_ref().unwrap();
        assert_eq!(amount.files, i64::try_from(objects.len()).unwrap());
        assert_eq!(amount.bytes, objects.values().sum::<u64>().cast_signed());
    }
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
