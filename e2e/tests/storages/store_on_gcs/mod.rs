//! The agent's GCS storage on fake-gcs-server: the conformance suite of the crate `store`, service
//! accounts, and a network that breaks. The emulator differs from the cloud in what no test
//! here can show:
//!
//! - a rewrite forgets the storage class, so what is asked for is looked at, not what is there;
//! - uploads in parts end with the server, where the cloud keeps them for a week;
//! - nothing here is throttled but by a proxy of ours, and soft delete, versioning and retention, which make a touch cost
//!   or fail, are not in it.

mod faults;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::host::proxy::Proxy;
use e2e::parts::fake_gcs::{Account, FakeGcs, Identity, Setup, Tls};
use futures::TryStreamExt as _;
use store::conformance::{self, Subject};
use store::testing::{content, key, told, upload};
use store::{Error, GcsConfig, GcsCredentials, GcsStore, GcsTouch, Kept, Outcome, Store};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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
async fn fake_gcs_passes_the_conformance_suite_however_times_are_renewed() {
    for touch in [GcsTouch::Rewrite, GcsTouch::CustomTime] {
        let (_server, mut config) = server().await;
        config.touch = touch;
        let store = connect(&config).await;
        conformance::all(Subject {
            store: &store,
            part_size: config.part_size,
        })
        .await;
    }
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
        nobody.keeps().await.unwrap_err(),
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
        store.keeps().await.unwrap_err(),
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

    // The emulator's buckets have neither versioning nor soft delete.
    assert_eq!(
        connect(&owner).await.keeps().await.unwrap(),
        Some(Kept::Nothing)
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

/// The service that exchanges tokens exists in the cloud only: one of the emulator's stands for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_workload_identity_federation_exchanges_the_token_in_its_file() {
    let mut server = FakeGcs::start(LOOPBACK).await.unwrap();
    server.bucket("backups").unwrap();
    let pod = Identity::federated("token-of-another-provider", &["GET", "POST", "DELETE"]);
    server.admit(&[&pod]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let exchanged = |address: String, format: serde_json::Value| {
        let json = serde_json::json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{address}/sts"),
            "credential_source": {"file": file, "format": format},
        });
        config(
            server.endpoint(),
            GcsCredentials::Explicit(json.to_string()),
        )
    };
    let text = serde_json::json!({"type": "text"});
    let field = serde_json::json!({"type": "json", "subject_token_field_name": "jwt"});
    for (content, format) in [
        ("token-of-another-provider", &text),
        (r#"{"jwt": "token-of-another-provider"}"#, &field),
    ] {
        std::fs::write(&file, content).unwrap();
        let store = connect(&exchanged(server.endpoint(), format.clone())).await;
        let report = store.probe(Some(&key("c/probe"))).await.unwrap();
        assert!(report.write.unwrap().may_delete);
    }

    std::fs::write(&file, "token-of-a-stranger").unwrap();
    let refused = GcsStore::connect(exchanged(server.endpoint(), text.clone())).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    assert!(told(&error).contains("invalid_grant"), "{}", told(&error));
    assert!(!told(&error).contains("stranger"), "{}", told(&error));

    // A service that is too busy is no refusal.
    let proxy = Proxy::start(server.address()).await.unwrap();
    proxy.be_busy(usize::MAX);
    let busy = GcsStore::connect(exchanged(proxy.endpoint(), text)).await;
    let error = busy.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_time_is_set_without_the_right_to_delete_and_by_the_servers_clock() {
    let mut server = FakeGcs::start(LOOPBACK).await.unwrap();
    server.bucket("backups").unwrap();
    let who = account(&server.endpoint(), "writer", &["GET", "POST", "PATCH"]);
    server.admit(&[&who.identity]).await.unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let mut config = config(proxy.endpoint(), explicit(&who));
    config.touch = GcsTouch::CustomTime;
    let store = connect(&config).await;

    // It is set when an object is made, of each size: the answer is lost, and it is sent again.
    let stated = r#""customTime":""#;
    for (path, size) in [("c/small", 10), ("c/large", 3 * MIB)] {
        proxy.lose(stated);
        upload(&store, path, &content(size)).await.unwrap();
        let custom = of_json(&server, path, "customTime").await;
        let created = of_json(&server, path, "timeCreated").await;
        // The clock tells whole seconds.
        assert!(at(&custom) <= at(&created), "{custom} {created}");
    }
    assert_eq!(proxy.hits(), 2);

    let before = of_json(&server, "c/large", "customTime").await;
    let report = store.probe(Some(&key("c/probe"))).await.unwrap();
    let write = report.write.unwrap();
    assert!(write.touch_moves && !write.may_delete, "{write:?}");
    store.touch(&key("c/large"), 3 * MIB).await.unwrap();
    let after = of_json(&server, "c/large", "customTime").await;
    assert!(at(&after) > at(&before), "{before} {after}");
    let log = std::fs::read_to_string(server.log()).unwrap();
    assert!(!log.contains("rewriteTo"), "{log}");

    // Another node was faster: the server refuses to set it back, and the object is young enough.
    let later = "2100-01-01T00:00:00Z";
    patch(
        &server,
        "c/small",
        &format!(r#"{{"customTime":"{later}"}}"#),
    )
    .await;
    store.touch(&key("c/small"), 10).await.unwrap();
    assert_eq!(of_json(&server, "c/small", "customTime").await, later);
    // Whoever renews in another way sees it, too.
    config.touch = GcsTouch::Rewrite;
    let other = connect(&config).await;
    for store in [&store, &other] {
        let young = store.stat(&key("c/small")).await.unwrap().modified;
        assert!(young > std::time::SystemTime::now() + Duration::from_secs(365 * 24 * 3600));
    }
}

fn at(time: &str) -> jiff::Timestamp {
    time.parse().unwrap()
}

/// A field of what the server says of an object.
async fn of_json(server: &FakeGcs, path: &str, field: &str) -> String {
    let answer = ask(server, "GET", path, "").await;
    let json: serde_json::Value = serde_json::from_str(&answer).unwrap();
    json[field].as_str().unwrap_or_default().to_owned()
}

async fn patch(server: &FakeGcs, path: &str, json: &str) {
    ask(server, "PATCH", path, json).await;
}

/// The content of the answer.
async fn ask(server: &FakeGcs, method: &str, path: &str, json: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let path = path.replace('/', "%2F");
    let request = format!(
        "{method} /storage/v1/b/backups/o/{path} HTTP/1.0\r\n\
         Authorization: Bearer token-of-writer@bed.iam.gserviceaccount.com\r\n\
         Content-Length: {}\r\n\r\n{json}",
        json.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, content) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("200 OK"), "{answer}");
    content.to_owned()
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
