//! The agent's Azure storage on Azurite: the conformance suite of the crate `store`, by key,
//! signature, application and workload identity. Azurite differs from the cloud in what no test here can show:
//!
//! - it looks at who a token is for and until when, not at its signature nor at roles;
//! - nothing here is throttled but by a proxy of ours, and nothing is ever full;
//! - soft delete, versioning and immutability, which make a touch cost or fail, are not in it;
//! - it takes names that end in a dot, which the cloud's documentation advises against.

mod faults;
mod identities;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::parts::azurite::Azurite;
use futures::TryStreamExt as _;
use store::conformance::{self, Subject};
use store::testing::{content, key, told, upload};
use store::{AzureConfig, AzureCredentials, AzureStore, Error, Kept, Object, Store};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const MIB: u64 = 1 << 20;

fn config(azurite: &Azurite, credentials: AzureCredentials) -> AzureConfig {
    let mut config = AzureConfig::new(azurite.account(), "backups", credentials);
    config.endpoint = Some(azurite.endpoint());
    config.ca_pem = azurite.ca_pem().map(Into::into);
    config.block_size = MIB;
    config
}

/// Azurite with a container, and the configuration of someone who has the account's key.
async fn azurite() -> (Azurite, AzureConfig) {
    let azurite = Azurite::start(LOOPBACK).await.unwrap();
    azurite.container("backups").await.unwrap();
    let config = config(&azurite, AzureCredentials::AccountKey(azurite.key()));
    (azurite, config)
}

fn connect(config: &AzureConfig) -> AzureStore {
    AzureStore::connect(config.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_passes_the_conformance_suite() {
    let (_azurite, config) = azurite().await;
    let store = connect(&config);
    conformance::all(Subject {
        store: &store,
        part_size: config.block_size,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn azurite_passes_it_below_a_prefix_by_a_signature_with_less_memory_than_a_block() {
    let (azurite, mut config) = azurite().await;
    config.credentials = AzureCredentials::Sas(azurite.sas("backups", "rcwdl"));
    config.prefix = "some/prefix of ours".into();
    config.max_in_flight = MIB / 2;
    let store = connect(&config);
    conformance::all(Subject {
        store: &store,
        part_size: config.max_in_flight,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_container_and_address_are_told_apart() {
    let (azurite, good) = azurite().await;
    let with = |credentials| {
        let mut config = good.clone();
        config.credentials = credentials;
        config
    };
    let sas = azurite.sas("backups", "rcwdl");
    let forged = sas.replace("sp=rcwdl", "sp=racwdl");
    let stale = azurite.sas_until("backups", "rcwdl", "2020-01-01T00:00:00Z");
    for config in [
        with(AzureCredentials::AccountKey("bm90IHRoZSBrZXk=".into())),
        with(AzureCredentials::Sas(forged)),
        with(AzureCredentials::Sas(stale)),
    ] {
        let store = connect(&config);
        for error in [
            store.probe(None).await.unwrap_err(),
            store.create(&key("c/x"), Bytes::new()).await.unwrap_err(),
            upload(&store, "c/x", &content(3 * MIB)).await.unwrap_err(),
        ] {
            assert!(matches!(error, Error::Denied { .. }), "{error:?}");
            assert!(!error.is_temporary());
            let told = told(&error);
            assert!(told.contains("Auth") && told.contains("HTTP 403"), "{told}");
            assert!(!told.contains("sig=") && !told.contains("bm90"), "{told}");
        }
        // The clock needs no rights.
        store.now().await.unwrap();
    }

    let mut missing = good.clone();
    missing.container = "no-such-container".into();
    let store = connect(&missing);
    for error in [
        store.probe(None).await.unwrap_err(),
        store.create(&key("c/x"), Bytes::new()).await.unwrap_err(),
        upload(&store, "c/x", &content(3 * MIB)).await.unwrap_err(),
        store
            .list(&key("c"))
            .try_collect::<Vec<_>>()
            .await
            .unwrap_err(),
    ] {
        assert!(matches!(error, Error::StorageMissing { .. }), "{error:?}");
        let name = "azure://bedaccount/no-such-container";
        assert!(told(&error).contains(name), "{error}");
    }

    let mut nobody = good.clone();
    let free = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
    nobody.endpoint = Some(format!("http://{}/a", free.local_addr().unwrap()));
    drop(free);
    let error = connect(&nobody).probe(None).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.is_temporary());

    // A server that takes connections and says nothing is given up in time.
    azurite.pause().unwrap();
    let begun = Instant::now();
    let error = connect(&good).probe(None).await.unwrap_err();
    azurite.resume().unwrap();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_without_the_right_to_delete_can_back_up_and_the_probe_says_so() {
    let (azurite, mut config) = azurite().await;
    config.credentials = AzureCredentials::Sas(azurite.sas("backups", "rcwl"));
    let writer = connect(&config);
    for _ in 0..2 {
        let report = writer.probe(Some(&key("c/probe"))).await.unwrap();
        let write = report.write.unwrap();
        assert!(write.create_only && write.touch_moves, "{write:?}");
        assert!(!write.may_delete, "{write:?}");
    }
    upload(&writer, "c/x", &content(3 * MIB)).await.unwrap();
    writer.touch(&key("c/x"), 3 * MIB).await.unwrap();

    config.credentials = AzureCredentials::Sas(azurite.sas("backups", "rl"));
    let reader = connect(&config);
    reader.probe(None).await.unwrap();
    for error in [
        reader.probe(Some(&key("c/probe2"))).await.unwrap_err(),
        reader.touch(&key("c/x"), 3 * MIB).await.unwrap_err(),
        reader.delete(&key("c/x")).await.unwrap_err(),
        upload(&reader, "c/y", &content(3 * MIB)).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_with_snapshots_is_deleted_with_them() {
    let (azurite, config) = azurite().await;
    let store = connect(&config);
    upload(&store, "c/x", &content(100)).await.unwrap();
    azurite.snapshot("backups/c/x").await.unwrap();
    store.delete(&key("c/x")).await.unwrap();
    let gone = store.stat(&key("c/x")).await;
    assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn soft_delete_is_told_to_who_may_ask_the_account() {
    let (azurite, mut config) = azurite().await;
    let store = connect(&config);
    // Versions would show only with a write.
    assert_eq!(store.keeps().await.unwrap(), None);
    store.probe(Some(&key("c/probe"))).await.unwrap();
    assert_eq!(store.keeps().await.unwrap(), Some(Kept::Nothing));
    azurite.soft_delete(7).await.unwrap();
    let week = Kept::Deleted {
        lasts: Duration::from_secs(7 * 24 * 3600),
        touched: false,
    };
    assert_eq!(store.keeps().await.unwrap(), Some(week));

    config.credentials = AzureCredentials::Sas(azurite.sas("backups", "rcwdl"));
    let error = connect(&config).keeps().await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_others_in_the_container_do_not_hinder_a_list() {
    let (azurite, mut config) = azurite().await;
    config.prefix = "ours".into();
    let ours = connect(&config);
    ours.create(&key("c/x"), Bytes::from_static(b"x"))
        .await
        .unwrap();
    for foreign in ["ours/c//y", "ours/c/y/", "ours2/c/y", "theirs/c/y", "c/y"] {
        azurite
            .blob(&format!("backups/{foreign}"), b"not ours")
            .await
            .unwrap();
    }
    let listed: Vec<Object> = ours.list(&key("c")).try_collect().await.unwrap();
    let keys: Vec<_> = listed.into_iter().map(|object| object.key).collect();
    assert_eq!(keys, [key("c/x")]);
}
