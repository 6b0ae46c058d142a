//! The agent's storages on real servers and real disks: the conformance suite of the crate
//! `store`, and what only a real one can do (be full, be slow, refuse, lose an answer).

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::parts::minio::{KMS_KEY, Minio, Setup, User};
use e2e::parts::versitygw::VersityGw;
use futures::TryStreamExt as _;
use store::conformance::{self, Subject};
use store::testing::{Chunked, content, key, told, upload};
use store::{Credentials, Encryption, Error, Object, S3Config, S3Store, Store};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MIB: u64 = 1 << 20;

fn config(endpoint: &str, id: &str, secret: &str) -> S3Config {
    let credentials = Credentials::Explicit {
        access_key: id.into(),
        secret_key: secret.into(),
        session_token: None,
    };
    let mut config = S3Config::new("backups", credentials);
    config.endpoint = Some(endpoint.into());
    config.path_style = true;
    config.part_size = 5 * MIB;
    config.single_limit = config.part_size;
    config
}

/// MinIO with a bucket, and the configuration of someone who may do everything in it.
async fn minio() -> (Minio, S3Config) {
    let minio = Minio::start(LOOPBACK).await.unwrap();
    minio.bucket("backups").await.unwrap();
    let config = config(&minio.endpoint(), &minio.root().id, &minio.root().secret);
    (minio, config)
}

/// In parts, and in one request that is sent while the source is read.
fn both_ways(config: &S3Config) -> [S3Config; 2] {
    let mut streaming = config.clone();
    streaming.single_limit = 64 * MIB;
    [config.clone(), streaming]
}

async fn connect(config: &S3Config) -> S3Store {
    S3Store::connect(config.clone()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_passes_the_conformance_suite() {
    let (_minio, config) = minio().await;
    let store = connect(&config).await;
    conformance::all(Subject {
        store: &store,
        part_size: config.part_size,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_passes_it_with_objects_that_are_sent_while_they_are_read() {
    let (_minio, mut config) = minio().await;
    config.single_limit = 64 * MIB;
    let store = connect(&config).await;
    conformance::all(Subject {
        store: &store,
        part_size: MIB,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minio_passes_it_below_a_prefix_with_less_memory_than_a_part() {
    let (_minio, mut config) = minio().await;
    config.prefix = "some/prefix of ours".into();
    config.max_in_flight = MIB;
    let store = connect(&config).await;
    conformance::all(Subject {
        store: &store,
        part_size: config.max_in_flight,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw_whose_self_copies_move_no_time_passes_the_conformance_suite() {
    let server = VersityGw::start(LOOPBACK).await.unwrap();
    server.bucket("backups").await.unwrap();
    let mut config = config(&server.endpoint(), &server.root().id, &server.root().secret);
    for (single_limit, part_size) in [(config.part_size, config.part_size), (64 * MIB, MIB)] {
        config.single_limit = single_limit;
        let store = connect(&config).await;
        conformance::all(Subject {
            store: &store,
            part_size,
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_and_storage_class_are_asked_for_and_kept_by_a_touch() {
    let minio = Minio::start_with_kms(LOOPBACK).await.unwrap();
    minio.bucket("backups").await.unwrap();
    let mut config = config(&minio.endpoint(), &minio.root().id, &minio.root().secret);
    config.storage_class = Some("REDUCED_REDUNDANCY".into());
    // Copies of the largest object go in parts.
    config.copy_limit = 6 * MIB;
    let kms = Encryption::Kms {
        key_id: Some(KMS_KEY.into()),
    };
    for (encryption, name, key_id) in [
        (Encryption::BucketDefault, None, None),
        (Encryption::S3, Some("AES256"), None),
        (kms, Some("aws:kms"), Some(KMS_KEY)),
    ] {
        let root = format!("c/{}", name.unwrap_or("none").replace(':', "-"));
        config.encryption = encryption;
        let store = connect(&config).await;
        for size in [100, 6 * MIB, 11 * MIB] {
            let path = format!("{root}/{size}");
            let whole = content(size);
            upload(&store, &path, &whole).await.unwrap();
            let kept = async || {
                let head = minio.client().head_object().bucket("backups").key(&path);
                let head = head.send().await.unwrap();
                assert_eq!(
                    head.server_side_encryption().map(|kind| kind.as_str()),
                    name,
                    "{path}"
                );
                let id = head
                    .ssekms_key_id()
                    .and_then(|id| id.rsplit([':', '/']).next());
                assert_eq!(id, key_id, "{path}");
                let class = head.storage_class().map(|class| class.as_str());
                assert_eq!(class, Some("REDUCED_REDUNDANCY"), "{path}");
                head.last_modified().unwrap().secs()
            };
            let before = kept().await;
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                store.touch(&key(&path), size).await.unwrap();
                if kept().await > before {
                    break;
                }
                assert!(Instant::now() < deadline, "{path}");
            }
            let read = store.read_small(&key(&path), u64::MAX).await.unwrap();
            assert!(read == whole, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_too_large_to_be_copied_at_once_is_touched_in_parts() {
    let (_minio, mut config) = minio().await;
    config.copy_limit = 5 * MIB;
    let store = connect(&config).await;
    let whole = content(17 * MIB + 1);
    upload(&store, "c/x", &whole).await.unwrap();
    let before = store.stat(&key("c/x")).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let after = loop {
        store.touch(&key("c/x"), before.size).await.unwrap();
        let after = store.stat(&key("c/x")).await.unwrap();
        if after.modified > before.modified {
            break after;
        }
        assert!(Instant::now() < deadline, "{after:?}");
    };
    assert_eq!(after.size, before.size);
    let read = store.read_small(&key("c/x"), u64::MAX).await.unwrap();
    assert!(read == whole);
    let missing = store.touch(&key("c/y"), before.size).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_or_is_dropped_leaves_no_parts_that_are_paid_for() {
    let (minio, config) = minio().await;
    let whole = content(12 * MIB);
    let large = content(64 * MIB);
    for config in both_ways(&config) {
        let store = connect(&config).await;
        let rot = std::io::Error::other("rot");
        let mut failing = Chunked::failing(whole.clone(), 1 << 20, rot);
        let failed = store.upload(&key("c/failed"), 12 * MIB, &mut failing).await;
        assert!(matches!(failed, Err(Error::Source { .. })), "{failed:?}");
        // Dropped when some of it is on its way.
        let uploading = upload(&store, "c/dropped", &large);
        let dropped = tokio::time::timeout(Duration::from_millis(60), uploading);
        assert!(dropped.await.is_err());
    }
    let store = connect(&config).await;
    for path in ["c/failed", "c/dropped"] {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            // MinIO lists the uploads of one key only.
            let uploads = minio
                .client()
                .list_multipart_uploads()
                .bucket("backups")
                .prefix(path)
                .send()
                .await
                .unwrap();
            if uploads.uploads().is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "{path}: {uploads:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    let listed: Vec<Object> = store.list(&key("c")).try_collect().await.unwrap();
    assert_eq!(listed, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_bucket_and_address_are_told_apart() {
    let (minio, good) = minio().await;
    let root = minio.root().clone();

    let wrong_secret = config(&minio.endpoint(), &root.id, "not-the-secret");
    let wrong_id = config(&minio.endpoint(), "nobody", &root.secret);
    let refused = [
        (wrong_secret, "SignatureDoesNotMatch"),
        (wrong_id, "InvalidAccessKeyId"),
    ];
    for (config, code) in refused
        .iter()
        .flat_map(|(config, code)| both_ways(config).map(|c| (c, *code)))
    {
        let store = connect(&config).await;
        let body = Bytes::from_static(b"x");
        for error in [
            store.probe(None).await.unwrap_err(),
            store.create(&key("c/x"), body.clone()).await.unwrap_err(),
            upload(&store, "c/x", &content(6 * MIB)).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Denied { .. }), "{error:?}");
            assert!(!error.is_temporary());
            assert!(told(&error).contains(code), "{}", told(&error));
            assert!(!told(&error).contains(&root.secret));
        }
        // The clock needs no rights.
        store.now().await.unwrap();
    }

    let mut missing = good.clone();
    missing.bucket = "no-such-bucket".into();
    let store = connect(&missing).await;
    for error in [
        store.probe(None).await.unwrap_err(),
        store.create(&key("c/x"), Bytes::new()).await.unwrap_err(),
        upload(&store, "c/x", &content(6 * MIB)).await.unwrap_err(),
        store
            .list(&key("c"))
            .try_collect::<Vec<_>>()
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::StorageMissing { .. }), "{error:?}");
        assert!(told(&error).contains("s3://no-such-bucket"), "{error}");
    }

    let mut nobody = good.clone();
    let free = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    nobody.endpoint = Some(format!("http://{}", free.local_addr().unwrap()));
    drop(free);
    let error = connect(&nobody).await.probe(None).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.is_temporary());

    // A server that takes connections and says nothing is given up in time.
    minio.pause().unwrap();
    let begun = Instant::now();
    let error = connect(&good).await.probe(None).await.unwrap_err();
    minio.resume().unwrap();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_without_the_right_to_delete_can_back_up_and_the_probe_says_so() {
    let (minio, _) = minio().await;
    let writes = [
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "s3:AbortMultipartUpload",
    ];
    let setup = Setup {
        users: vec![
            User::allowed("writer", "writer-secret", &writes, &["backups"]),
            User::allowed("reader", "reader-secret", &writes[..2], &["backups"]),
        ],
        ..Setup::default()
    };
    minio.set_up(setup).await.unwrap();

    let writer = connect(&config(&minio.endpoint(), "writer", "writer-secret")).await;
    for _ in 0..2 {
        let report = writer.probe(Some(&key("c/probe"))).await.unwrap();
        let write = report.write.unwrap();
        assert!(write.create_only && write.touch_moves, "{write:?}");
        assert!(!write.may_delete, "{write:?}");
    }
    upload(&writer, "c/x", &content(6 * MIB)).await.unwrap();
    writer.touch(&key("c/x"), 6 * MIB).await.unwrap();

    let reader = connect(&config(&minio.endpoint(), "reader", "reader-secret")).await;
    reader.probe(None).await.unwrap();
    let error = reader.probe(Some(&key("c/probe2"))).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    for error in [
        reader.touch(&key("c/x"), 6 * MIB).await.unwrap_err(),
        reader.delete(&key("c/x")).await.unwrap_err(),
        upload(&reader, "c/y", &content(6 * MIB)).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    }
}
