//! Rows come back from a storage alone. The backup is written here, by hand and by the words of
//! the specification, so that reading and restoring it is tested without the agent.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use e2e::backup::{Backup, Storage, restore};
use e2e::bed::Bed;
use e2e::parts::cassandra::cluster::Cluster;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::manifests;
use e2e::parts::cassandra::rows::Rows;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_on_fresh_nodes_and_a_changed_object_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let rows = Rows::new("shop", "Orders").with_bytes(500);
    {
        let original = HostCassandra::start(Options::default()).await.unwrap();
        let session = original.session().await.unwrap();
        rows.create(&session, "dc1", 1).await.unwrap();
        let index = "CREATE INDEX by_value ON shop.\"Orders\" (value)";
        session.query_unpaged(index, ()).await.unwrap();
        rows.write(&session, 0..200).await.unwrap();
        original.nodetool(&["flush", "shop"]).await.unwrap();
        rows.write(&session, 200..300).await.unwrap();
        original
            .nodetool(&["snapshot", "-t", "s", "shop"])
            .await
            .unwrap();
        // Written after the snapshot: not in the backup.
        rows.write(&session, 300..310).await.unwrap();
        write_backup(&original, root.path()).await;
    }
    let storage = Storage::File(root.path().to_owned());
    let backup = Backup::read(&storage, "prod", "b1").await.unwrap();
    backup.verify(&storage).await.unwrap();
    let restored = restore::on_host(&storage, "prod", "b1").await.unwrap();
    let session = restored.session().await.unwrap();
    rows.check(&session, 0..300).await.unwrap();
    let ring = restored.nodes[0].nodetool(&["ring"]).await.unwrap();
    for token in &backup.nodes[0].tokens.tokens {
        assert!(ring.contains(token.as_str()), "{token} not in {ring}");
    }
    drop(restored);

    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("restore").await.unwrap();
    let options = restore::options(&storage, "prod", "b1", manifests::Options::new("fresh")).await;
    let fresh = Cluster::start(&bed, &namespace, options.unwrap())
        .await
        .unwrap();
    restore::in_kubernetes(&storage, "prod", "b1", &fresh)
        .await
        .unwrap();
    rows.check(&fresh.session().await.unwrap(), 0..300)
        .await
        .unwrap();
    namespace.done().await.unwrap();

    let data = backup
        .objects()
        .into_keys()
        .find(|key| key.ends_with("-Data.db"))
        .unwrap();
    let path = root.path().join(data);
    let mut bytes = fs::read(&path).unwrap();
    bytes[10] ^= 1;
    fs::write(&path, bytes).unwrap();
    let noticed = backup.verify(&storage).await.unwrap_err();
    assert!(
        format!("{noticed:#}").contains("its manifest says"),
        "{noticed:#}"
    );
}

/// Stores the snapshot `s` of the keyspace `shop` as the backup `b1` of the cluster `prod`.
async fn write_backup(node: &HostCassandra, root: &Path) {
    let info = node.nodetool(&["info", "-T"]).await.unwrap();
    let field = |name: &str| {
        let lines = info.lines().filter_map(|line| line.split_once(':'));
        let values = lines.filter(|(key, _)| key.trim() == name);
        values
            .map(|(_, value)| value.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let host_id = field("ID").remove(0);
    let cluster = root.join("prod");
    let data = cluster.join("data").join(&host_id);
    let put = |folder: &Path, object: &str, bytes: &[u8]| {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(object), bytes).unwrap();
        json!({"object": object, "bytes": bytes.len(), "blake3": blake3::hash(bytes).to_hex().as_str()})
    };
    let hash16 = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();

    let schema = describe(node).await;
    let schema = put(
        &data,
        &format!("schema.{}.cql", hash16(schema.as_bytes())),
        schema.as_bytes(),
    );
    let mut lines = vec![json!({
        "kind": "header", "formatVersion": "1.0", "backup": "b1", "cluster": "prod",
        "expectedHostIds": [host_id], "node": {"hostId": host_id}, "schema": schema,
    })];
    let (mut files, mut bytes) = (0, 0);
    for table in folders(&node.data().join("shop")) {
        let directory = table.file_name().unwrap().to_str().unwrap().to_owned();
        let (name, id) = directory.rsplit_once('-').unwrap();
        lines.push(
            json!({"kind": "table", "keyspace": "shop", "table": name, "id": id,
                          "directory": directory}),
        );
        let mut sstables: BTreeMap<(Option<String>, String), Vec<_>> = BTreeMap::new();
        let snapshot = table.join("snapshots/s");
        let places = [snapshot.clone()].into_iter().chain(folders(&snapshot));
        for place in places {
            let index = (place != snapshot)
                .then(|| place.file_name().unwrap().to_str().unwrap().to_owned());
            for entry in fs::read_dir(&place).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap();
                if let Some((sstable, _)) = name.rsplit_once('-').filter(|_| path.is_file()) {
                    let sstable = (index.clone(), sstable.to_owned());
                    sstables.entry(sstable).or_default().push(path.clone());
                }
            }
        }
        for ((index, sstable), paths) in sstables {
            let folder = data.join("shop").join(&directory);
            let folder = index
                .iter()
                .fold(folder, |folder, index| folder.join(index));
            let mut components = Vec::new();
            for path in paths {
                let (name, content) = (path.file_name().unwrap(), fs::read(&path).unwrap());
                let name = name.to_str().unwrap();
                let fixed = [
                    "Data.db",
                    "Index.db",
                    "CompressionInfo.db",
                    "CRC.db",
                    "Digest.crc32",
                ];
                let object = match fixed.iter().any(|fixed| name.ends_with(fixed)) {
                    true => name.to_owned(),
                    false => format!("{name}.{}", hash16(&content)),
                };
                let mut component: Value =
                    put(&folder.join(format!("{sstable}.0.0")), &object, &content);
                component["name"] = name.into();
                components.push(component);
                files += 1;
                bytes += content.len();
            }
            lines.push(
                json!({"kind": "sstable", "sstable": format!("{sstable}.0.0"), "index": index,
                              "dataDirectory": 0, "components": components}),
            );
        }
    }
    let mut manifest: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let hash = blake3::hash(manifest.as_bytes()).to_hex();
    // Schema objects are counted too, that of the whole cluster among them.
    if let Some(schema_bytes) = schema["bytes"].as_u64() {
        files += 1;
        bytes += schema_bytes as usize;
    }
    let footer = json!({"kind": "footer", "files": files, "bytes": bytes, "blake3": hash.as_str(),
                        "tokens": format!("tokens/b1/{host_id}.yaml")});
    manifest.push_str(&format!("{footer}\n"));
    put(
        &cluster.join("manifests/b1"),
        &format!("{host_id}.jsonl"),
        manifest.as_bytes(),
    );
    let tokens = json!({"hostId": host_id, "datacenter": "dc1", "rack": "r1", "numTokens": 4,
                        "tokens": field("Token"), "ring": []});
    put(
        &cluster.join("tokens/b1"),
        &format!("{host_id}.yaml"),
        tokens.to_string().as_bytes(),
    );
}

/// `DESCRIBE FULL SCHEMA WITH INTERNALS`.
async fn describe(node: &HostCassandra) -> String {
    let session = node.session().await.unwrap();
    let described = session
        .query_unpaged("DESCRIBE FULL SCHEMA WITH INTERNALS", ())
        .await
        .unwrap();
    let described = described.into_rows_result().unwrap();
    let rows = described
        .rows::<(String, String, String, String)>()
        .unwrap();
    rows.map(|row| format!("{}\n\n", row.unwrap().3)).collect()
}

fn folders(path: &Path) -> Vec<std::path::PathBuf> {
    let paths = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir()).collect()
}
