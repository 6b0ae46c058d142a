//! A purge of a real bucket.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use agent::purge::{Amount, PurgeOptions, purge};
use bytes::Bytes;
use e2e::parts::minio::Minio;
use futures::TryStreamExt as _;
use manifest::*;
use store::{Credentials, Key, Object, S3Config, S3Store, Store};
use uuid::Uuid;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NODE: Uuid = Uuid::from_u128(1);

fn key(path: &str) -> Key {
    Key::parse(path).unwrap()
}

fn data(n: u32) -> String {
    format!("prod/data/{NODE}/shop/orders-0af/nb-{n}-big.1a2b3c4d.9/nb-{n}-big-Data.db")
}

/// A manifest that names these objects.
fn manifest_of(backup: &str, objects: &[u32]) -> Bytes {
    let header = Header {
        format_version: FORMAT_VERSION.into(),
        backup: backup.parse().unwrap(),
        run_id: Uuid::from_u128(2),
        cluster: "prod".parse().unwrap(),
        series: None,
        scope: Scope::default(),
        ring_hash: RingHash::default(),
        expected_host_ids: vec![NODE],
        node: NodeHeader {
            host_id: NODE,
            datacenter: "dc1".into(),
            rack: "r1".into(),
            addresses: Vec::new(),
            pod: None,
            cassandra_version: "5.0.9".into(),
            partitioner: "Murmur3Partitioner".into(),
            tokens: Vec::new(),
            data_directories: Vec::new(),
        },
        schema_version: SchemaVersions::default(),
        schema: None,
        snapshot: Snapshot {
            tag: "t".into(),
            started_at: "2026-11-23T03:00:00Z".parse().unwrap(),
            ended_at: "2026-11-23T03:00:01Z".parse().unwrap(),
        },
        agent_version: "0".into(),
    };
    let mut writer = ManifestWriter::new(Vec::new(), header).unwrap();
    writer
        .table(Table {
            keyspace: "shop".into(),
            table: "orders".into(),
            id: "0af".into(),
            directory: "orders-0af".into(),
            schema: None,
        })
        .unwrap();
    for n in objects {
        let name = format!("nb-{n}-big-Data.db");
        writer
            .sstable(SsTable {
                sstable: format!("nb-{n}-big.1a2b3c4d.9"),
                index: None,
                data_directory: 0,
                first_token: None,
                last_token: None,
                content: None,
                components: vec![Component {
                    object: name.clone(),
                    name,
                    bytes: 9,
                    blake3: blake3::hash(b"123456789").to_string(),
                }],
            })
            .unwrap();
    }
    let footer = Footer {
        tokens: format!("tokens/{backup}/{NODE}.yaml"),
        ..Footer::default()
    };
    writer.finish(footer).unwrap().into()
}

async fn keys(store: &S3Store) -> BTreeSet<String> {
    let objects: Vec<Object> = store.list(&key("prod")).try_collect().await.unwrap();
    objects.into_iter().map(|o| o.key.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_backup_leaves_the_bucket_and_what_others_share_stays() {
    let minio = Minio::start(LOOPBACK).await.unwrap();
    minio.bucket("backups").await.unwrap();
    let credentials = Credentials::Explicit {
        access_key: minio.root().id.clone(),
        secret_key: minio.root().secret.clone(),
        session_token: None,
    };
    let mut config = S3Config::new("backups", credentials);
    config.endpoint = Some(minio.endpoint());
    config.path_style = true;
    config.prefix = "below/a prefix".into();
    let store = S3Store::connect(config).await.unwrap();

    // More than two pages of a list, most of them only of the old backup.
    let old: Vec<u32> = (0..2_100).collect();
    let new: Vec<u32> = (2_090..2_110).collect();
    futures::stream::iter((0..2_110).map(Ok))
        .try_for_each_concurrent(16, |n| {
            let store = &store;
            async move { store.create(&key(&data(n)), "123456789".into()).await }
        })
        .await
        .unwrap();
    for (backup, objects) in [("old", &old), ("new", &new)] {
        let tokens = key(&format!("prod/tokens/{backup}/{NODE}.yaml"));
        store.create(&tokens, "hostId: x".into()).await.unwrap();
        let manifest = key(&format!("prod/manifests/{backup}/{NODE}.jsonl"));
        store
            .create(&manifest, manifest_of(backup, objects))
            .await
            .unwrap();
    }
    let begun = minio
        .client()
        .create_multipart_upload()
        .bucket("backups")
        .key(format!("below/a prefix/{}", data(9_999)))
        .send()
        .await
        .unwrap();
    assert!(begun.upload_id().is_some());
    // The storage tells time in seconds: what was written must be of an earlier one.
    tokio::time::sleep(Duration::from_millis(2_100)).await;

    let directory = tempfile::tempdir().unwrap();
    let mut options = PurgeOptions::new(directory.path());
    options.grace = Duration::ZERO;
    let cluster = "prod".parse().unwrap();
    let decide = |_: &agent::purge::Catalogue| vec!["old".parse().unwrap()];
    let report = purge(&store, &cluster, &decide, options, &|_| {})
        .await
        .unwrap();
    assert_eq!(report.manifests, 1);
    let objects = 2_090 + 1;
    let bytes = 9 * objects;
    assert_eq!(report.deleted, Amount { objects, bytes });
    let mut left: BTreeSet<String> = new.iter().map(|n| data(*n)).collect();
    left.insert(format!("prod/tokens/new/{NODE}.yaml"));
    left.insert(format!("prod/manifests/new/{NODE}.jsonl"));
    assert_eq!(keys(&store).await, left);

    // MinIO does not show incomplete uploads of a prefix, only those of one key.
    let upload = key(&data(9_999));
    let now = store.now().await.unwrap();
    let hour = Duration::from_secs(3600);
    let (nobody, somebody) = (|_: &Key| false, |key: &Key| *key == upload);
    assert_eq!(store.sweep(&upload, now - hour, &nobody).await.unwrap(), 0);
    assert_eq!(store.sweep(&upload, now, &somebody).await.unwrap(), 0);
    assert_eq!(store.sweep(&upload, now, &nobody).await.unwrap(), 1);
    assert_eq!(store.sweep(&upload, now, &nobody).await.unwrap(), 0);
}
