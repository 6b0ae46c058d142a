//! The agent's GCS storage on fake-gcs-server: the conformance suite of the crate `store`, service
//! accounts, and a network that breaks. The emulator differs from the cloud in what no test
//! here can show:
//!
//! - a rewrite forgets the storage class, so what is asked for is looked at, not what is there;
//! - uploads in parts end with the server, where the cloud keeps them for a week;
//! - nothing here is throttled, and soft delete, versioning and retention, which make a touch cost
//!   or fail, are not in it.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::host::proxy::{Fault, Proxy};
use e2e::parts::fake_gcs::{Account, FakeGcs, Setup, Tls};
use futures::TryStreamExt as _;
use store::conformance::{self, Subject};
use store::testing::{Gated, content, key, told, upload};
use store::{Error, GcsConfig, GcsCredentials, GcsStore, Object, Outcome, Store};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MIB: u64 = 1 << 20;

fn config(endpoint: String, credentials: GcsCredentials) -> GcsConfig {
    let mut config = GcsConfig::new("backups", credentials);
    config.endpoint = Some(endpoint);
    config.part_size = MIB;
    config
}

/// A server with a bucket that lets everyone in, and the configuration of someone.
async fn server() -> (FakeGcs, GcsConfig) {
    let server = FakeGcs::start(LOOPBACK).await.unwrap();
    server.bucket("backups").unwrap();
    let config = config(server.endpoint(), GcsCredentials::Anonymous);
    (server, config)
}

async fn connect(config: &GcsConfig) -> GcsStore {
    GcsStore::connect(config.clone()).await.unwrap()
}

async fn read(store: &dyn Store, path: &str) -> Bytes {
    store.read_small(&key(path), u64::MAX).await.unwrap()
}

fn account(server: &str, name: &str, methods: &[&str]) -> Account {
    Account::new(server, name, methods).unwrap()
}

fn explicit(account: &Account) -> GcsCredentials {
    GcsCredentials::Explicit(account.json.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn fake_gcs_passes_the_conformance_suite() {
    let (_server, config) = server().await;
    let store = connect(&config).await;
    conformance::all(Subject {
        store: &store,
        part_size: config.part_size,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_below_a_prefix_as_a_service_account_with_less_memory_than_a_part() {
    let mut server = FakeGcs::start(LOOPBACK).await.unwrap();
    server.bucket("backups").unwrap();
    let who = account(&server.endpoint(), "backup", &["GET", "POST", "DELETE"]);
    server.admit(&[&who.identity]).await.unwrap();
    let mut config = config(server.endpoint(), explicit(&who));
    config.prefix = "some/prefix of ours".into();
    config.max_in_flight = MIB / 2;
    let store = connect(&config).await;
    conformance::all(Subject {
        store: &store,
        part_size: config.max_in_flight,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_bucket_and_address_are_told_apart() {
    let mut server = FakeGcs::start(LOOPBACK).await.unwrap();
    server.bucket("backups").unwrap();
    let methods = ["GET", "POST", "DELETE"];
    let (known, stranger) = (
        account(&server.endpoint(), "backup", &methods),
        account(&server.endpoint(), "stranger", &methods),
    );
    let forger = account(&server.endpoint(), "backup", &methods);
    server.admit(&[&known.identity]).await.unwrap();

    for wrong in [&stranger, &forger] {
        let config = config(server.endpoint(), explicit(wrong));
        let error = GcsStore::connect(config).await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
        assert!(!error.is_temporary());
        assert!(told(&error).contains("invalid_grant"), "{}", told(&error));
        assert!(!told(&error).contains("PRIVATE KEY"), "{}", told(&error));
    }

    let nobody = connect(&config(server.endpoint(), GcsCredentials::Anonymous)).await;
    for error in [
        nobody.probe(None).await.unwrap_err(),
        nobody.create(&key("c/x"), Bytes::new()).await.unwrap_err(),
        upload(&nobody, "c/x", &content(3 * MIB)).await.unwrap_err(),
        nobody.read_small(&key("c/x"), 1).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
        assert!(
            told(&error).contains("authError (HTTP 401)"),
            "{}",
            told(&error)
        );
    }
    // The clock needs no rights.
    nobody.now().await.unwrap();

    let mut missing = config(server.endpoint(), explicit(&known));
    missing.bucket = "no-such-bucket".into();
    let store = connect(&missing).await;
    for error in [
        store.probe(None).await.unwrap_err(),
        store.create(&key("c/x"), Bytes::new()).await.unwrap_err(),
        upload(&store, "c/x", &content(3 * MIB)).await.unwrap_err(),
        store.stat(&key("c/x")).await.unwrap_err(),
        store.read_small(&key("c/x"), 1).await.unwrap_err(),
        store.touch(&key("c/x"), 1).await.unwrap_err(),
        store.delete(&key("c/x")).await.unwrap_err(),
        store
            .list(&key("c"))
            .try_collect::<Vec<_>>()
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::StorageMissing { .. }), "{error:?}");
        assert!(told(&error).contains("gs://no-such-bucket"), "{error}");
    }

    let free = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    let address = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let nowhere = connect(&config(address, GcsCredentials::Anonymous)).await;
    let error = nowhere.probe(None).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.is_temporary());

    // A server that takes connections and says nothing is given up in time.
    let store = connect(&config(server.endpoint(), explicit(&known))).await;
    server.pause().unwrap();
    let begun = Instant::now();
    let error = store.probe(None).await.unwrap_err();
    server.resume().unwrap();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_delete_an_identity_can_store_but_not_touch() {
    let mut server = FakeGcs::start(LOOPBACK).await.unwrap();
    server.bucket("backups").unwrap();
    let owner = account(&server.endpoint(), "owner", &["GET", "POST", "DELETE"]);
    let writer = account(&server.endpoint(), "writer", &["GET", "POST"]);
    let reader = account(&server.endpoint(), "reader", &["GET"]);
    let identities = [&owner.identity, &writer.identity, &reader.identity];
    server.admit(&identities).await.unwrap();
    let connect = async |who: &Account| connect(&config(server.endpoint(), explicit(who))).await;

    let report = connect(&owner).await.probe(Some(&key("c/probe"))).await;
    let write = report.unwrap().write.unwrap();
    assert!(
        write.create_only && write.touch_moves && write.may_delete,
        "{write:?}"
    );

    let writer = connect(&writer).await;
    upload(&writer, "c/x", &content(3 * MIB)).await.unwrap();
    let again = upload(&writer, "c/x", &content(3 * MIB)).await.unwrap();
    assert_eq!(again, Outcome::AlreadyThere);
    for error in [
        writer.probe(Some(&key("c/probe"))).await.unwrap_err(),
        writer.touch(&key("c/x"), 3 * MIB).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
        assert!(
            told(&error).contains("storage.objects.delete"),
            "{}",
            told(&error)
        );
    }

    let reader = connect(&reader).await;
    reader.probe(None).await.unwrap();
    assert!(read(&reader, "c/x").await == content(3 * MIB));
    for error in [
        reader.probe(Some(&key("c/probe2"))).await.unwrap_err(),
        reader.delete(&key("c/x")).await.unwrap_err(),
        upload(&reader, "c/y", &content(3 * MIB)).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_endpoint_is_trusted_by_the_certificate_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let tls = Tls {
        cert: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
    };
    std::fs::write(&tls.cert, made.cert.pem()).unwrap();
    std::fs::write(&tls.key, made.signing_key.serialize_pem()).unwrap();
    let setup = Setup {
        tls: Some(tls),
        ..Setup::default()
    };
    let server = FakeGcs::start_with(LOOPBACK, setup).await.unwrap();
    server.bucket("backups").unwrap();

    let mut config = config(server.endpoint(), GcsCredentials::Anonymous);
    let error = connect(&config).await.probe(None).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(told(&error).contains("certificate"), "{}", told(&error));
    config.ca_pem = Some(made.cert.pem());
    let store = connect(&config).await;
    store.probe(Some(&key("c/probe"))).await.unwrap();
    upload(&store, "c/x", &content(3 * MIB)).await.unwrap();
    assert!(read(&store, "c/x").await == content(3 * MIB));
}

#[tokio::test(flavor = "multi_thread")]
async fn small_objects_outlive_a_restart_of_the_server_and_one_under_way_is_worth_a_retry() {
    let (mut server, config) = server().await;
    let store = connect(&config).await;
    upload(&store, "c/before", &content(3 * MIB)).await.unwrap();
    let (mut source, gate) = Gated::new(&content(6 * MIB));
    let uploading = tokio::spawn({
        let store = store.clone();
        async move { store.upload(&key("c/x"), 6 * MIB, &mut source).await }
    });
    gate.reached().await;
    server.stop().await.unwrap();
    let creating = tokio::spawn({
        let store = store.clone();
        async move { store.create(&key("c/y"), Bytes::from_static(b"y")).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.restart().await.unwrap();
    creating.await.unwrap().unwrap();
    assert_eq!(read(&store, "c/y").await, "y");
    assert!(read(&store, "c/before").await == content(3 * MIB));
    gate.open();
    // Here the upload is gone with the server. In the cloud it would go on.
    let error = uploading.await.unwrap().unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
    assert!(!format!("{error:?}").contains("upload_id"), "{error:?}");
    let there = store.stat(&key("c/x")).await.unwrap_err();
    assert!(matches!(there, Error::NotFound { .. }), "{there:?}");
    upload(&store, "c/x", &content(3 * MIB)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_on_the_way_changes_no_result() {
    let (server, mut config) = server().await;
    let proxy = Proxy::start(server.address()).await.unwrap();
    config.endpoint = Some(proxy.endpoint());
    let store = connect(&config).await;

    let multipart = "uploadType=multipart";
    proxy.lose(multipart);
    store
        .create(&key("c/intent"), Bytes::from_static(b"ours"))
        .await
        .unwrap();
    // With other content it is not ours, however the answer came.
    proxy.lose(multipart);
    let error = store
        .create(&key("c/intent"), Bytes::from_static(b"them"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");

    proxy.lose(multipart);
    upload(&store, "c/small", &content(1000)).await.unwrap();
    assert!(read(&store, "c/small").await == content(1000));
    let large = content(5 * MIB + 1);
    for (path, request) in [
        ("c/start", "uploadType=resumable&"),
        ("c/first", "content-range: bytes 0-"),
        ("c/middle", "content-range: bytes 2097152-"),
        ("c/last", "content-range: bytes 5242880-"),
    ] {
        proxy.lose(request);
        let outcome = upload(&store, path, &large).await;
        assert_eq!(outcome.unwrap(), Outcome::Stored, "{path}");
        assert!(read(&store, path).await == large, "{path}");
    }
    for request in ["POST /storage/v1/b/backups/o/c%2Flast/rewriteTo", "DELETE "] {
        proxy.lose(request);
        match request {
            "DELETE " => store.delete(&key("c/last")).await.unwrap(),
            _ => store
                .touch(&key("c/last"), large.len() as u64)
                .await
                .unwrap(),
        }
    }
    assert_eq!(proxy.hits(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_class_is_stated_for_new_and_for_touched_objects() {
    let (server, mut config) = server().await;
    let proxy = Proxy::start(server.address()).await.unwrap();
    config.endpoint = Some(proxy.endpoint());
    config.storage_class = Some("NEARLINE".into());
    let store = connect(&config).await;
    let stated = r#""storageClass":"NEARLINE""#;
    // The answer to a request that states it is lost, and the request is sent again.
    proxy.lose(stated);
    upload(&store, "c/small", &content(10)).await.unwrap();
    proxy.lose(stated);
    upload(&store, "c/large", &content(3 * MIB)).await.unwrap();
    proxy.lose(stated);
    store.touch(&key("c/small"), 10).await.unwrap();
    assert_eq!(proxy.hits(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_the_middle_of_an_upload_is_gone_on_with() {
    let (server, mut config) = server().await;
    let proxy = Proxy::start(server.address()).await.unwrap();
    config.endpoint = Some(proxy.endpoint());
    let store = connect(&config).await;
    let large = content(5 * MIB + 1);
    for (path, request) in [
        ("c/small", "uploadType=multipart"),
        ("c/first", "content-range: bytes 0-"),
        ("c/middle", "content-range: bytes 3145728-"),
    ] {
        let content = match path {
            "c/small" => content(MIB),
            _ => large.clone(),
        };
        // More than a step of what the server keeps, and less than all.
        proxy.next(request, Fault::RequestAfter(600_000));
        let outcome = upload(&store, path, &content).await;
        assert_eq!(outcome.unwrap(), Outcome::Stored, "{path}");
        assert!(read(&store, path).await == content, "{path}");
    }
    assert_eq!(proxy.hits(), 3);

    // A network that never holds long enough ends the upload, and leaves nothing.
    proxy.always("content-range: bytes 1048576-", Fault::RequestAfter(1000));
    let error = upload(&store, "c/never", &large).await.unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
    // The address of an upload is as good as a key.
    assert!(!format!("{error:?}").contains("upload_id"), "{error:?}");
    let listed: Vec<Object> = store.list(&key("c")).try_collect().await.unwrap();
    let keys: Vec<_> = listed.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["c/first", "c/middle", "c/small"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_the_middle_of_a_read_is_gone_on_with_or_an_error() {
    let (server, mut config) = server().await;
    let whole = content(5 * MIB + 1);
    upload(&connect(&config).await, "c/x", &whole)
        .await
        .unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();
    config.endpoint = Some(proxy.endpoint());
    let store = connect(&config).await;
    for range in [None, Some(1_000..4_000_000)] {
        proxy.next("alt=media", Fault::AnswerAfter(2_000_000));
        let read = store.get(&key("c/x"), range.clone()).await.unwrap();
        let (start, end) = (read.range.start as usize, read.range.end as usize);
        let chunks: Vec<Bytes> = read.chunks.try_collect().await.unwrap();
        assert!(chunks.concat() == whole[start..end], "{range:?}");
    }
    assert_eq!(proxy.hits(), 2);

    // Little more than the head of each answer comes through.
    proxy.always("alt=media", Fault::AnswerAfter(600));
    let read = store.get(&key("c/x"), None).await.unwrap();
    let error = read.chunks.try_collect::<Vec<_>>().await.err();
    assert!(
        matches!(error, Some(Error::Unavailable { .. })),
        "{error:?}"
    );
    assert!(proxy.hits() < 20);
}
