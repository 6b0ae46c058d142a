//! The agent's storages on real servers and real disks: the conformance suite of the crate
//! `store`, and what only a real one can do (be full, be slow, refuse, lose an answer).

mod faults;
mod meanwhile;
mod touch;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::parts::filesystem::{Filesystem, Kind};
use e2e::parts::minio::{Minio, Setup, User};
use e2e::parts::versitygw::VersityGw;
use futures::TryStreamExt as _;
use store::conformance::{self, Subject};
use store::testing::{Chunked, content, key, told, upload};
use store::{Credentials, Error, FileStore, Object, S3Config, S3Store, Store};

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
async fn directories_on_ext4_and_in_memory_pass_the_conformance_suite() {
    let folder = tempfile::tempdir().unwrap();
    for (name, kind) in [("ext4", Kind::Ext4), ("tmpfs", Kind::Tmpfs)] {
        let mounted = Filesystem::mount(folder.path(), name, kind, 2 << 30)
            .await
            .unwrap();
        let store = FileStore::open(mounted.path()).unwrap();
        conformance::all(Subject {
            store: &store,
            part_size: MIB,
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_endpoint_is_trusted_by_the_certificate_that_is_given() {
    let (mut minio, mut config) = minio().await;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key_pem = made.signing_key.serialize_pem();
    minio.secure(&made.cert.pem(), &key_pem).await.unwrap();
    config.endpoint = Some(minio.endpoint());
    assert!(minio.endpoint().starts_with("https://"));

    let stranger = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    for ca_pem in [None, Some(stranger.cert.pem())] {
        config.ca_pem = ca_pem;
        for config in both_ways(&config) {
            let store = connect(&config).await;
            for error in [
                store.probe(None).await.unwrap_err(),
                upload(&store, "c/x", &content(6 * MIB)).await.unwrap_err(),
                store.read_small(&key("c/x"), 1).await.unwrap_err(),
            ] {
                assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
                assert!(!error.is_temporary());
                assert!(
                    told(&error).contains("give the certificate of the authority that issued it"),
                    "{}",
                    told(&error)
                );
            }
        }
    }

    config.ca_pem = Some(made.cert.pem());
    for (path, config) in ["c/in-parts", "c/at-once"]
        .into_iter()
        .zip(both_ways(&config))
    {
        let store = connect(&config).await;
        store.probe(Some(&key("c/probe"))).await.unwrap();
        upload(&store, path, &content(12 * MIB)).await.unwrap();
        let read = store.read_small(&key(path), u64::MAX).await.unwrap();
        assert!(read == content(12 * MIB), "{path}");
    }
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
