//! What a backup consists of in the storage, beside what the nodes and nodetool say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crds::CassandraBackup;
use e2e::backup::{Backup, Storage};
use e2e::parts::cassandra::cluster::Cluster;
use futures::future::try_join_all;

use super::{DB, NODES};

/// The files that make up the tables of a keyspace on each pod: `<table>[/.<index>]/<file>`. A
/// snapshot of our own says so; nothing is written after it.
pub async fn snapshot(
    cluster: &Cluster<'_>,
    keyspaces: &[&str],
) -> BTreeMap<String, BTreeSet<String>> {
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
pub fn the_manifests_list(
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
pub async fn the_tree_is_exactly_the_layout(storage: &Storage, backups: &[&str]) {
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
pub async fn the_tokens_are_nodetools(
    cluster: &Cluster<'_>,
    read: &Backup,
    backup: &CassandraBackup,
) {
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
pub async fn only_what_is_new_was_uploaded(
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
