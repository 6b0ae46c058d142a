//! The agent's Azure storage on Azurite: the conformance suite of the crate `store`, by key,
//! signature, application and workload identity. Azurite differs from the cloud in what no test here can show:
//!
//! - it looks at who a token is for and until when, not at its signature nor at roles;
//! - nothing here is throttled, and nothing is ever full;
//! - soft delete, versioning and immutability, which make a touch cost or fail, are not in it;
//! - it takes names that end in a dot, which the cloud's documentation advises against.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use e2e::host::proxy::{Fault, Proxy};
use e2e::parts::azurite::Azurite;
use futures::TryStreamExt as _;
use store::conformance::{self, Subject};
use store::testing::{Chunked, Gated, content, key, told, upload};
use store::{AzureConfig, AzureCredentials, AzureStore, Error, Object, Outcome, Source, Store};

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
async fn azurite_passes_it_by_the_tokens_of_an_application() {
    let azurite = Azurite::start_with_tokens(LOOPBACK).await.unwrap();
    azurite.container("backups").await.unwrap();
    let application = |client_secret: String| AzureCredentials::ServicePrincipal {
        tenant: "bed".into(),
        client_id: azurite.client_id().into(),
        client_secret,
        authority: azurite.authority(),
    };
    let config = config(&azurite, application(azurite.client_secret()));
    let store = connect(&config);
    conformance::all(Subject {
        store: &store,
        part_size: config.block_size,
    })
    .await;

    let mut stranger = config.clone();
    stranger.credentials = application("not-the-secret".into());
    let error = connect(&stranger).probe(None).await.unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error:?}");
    assert!(told(&error).contains("AADSTS7000215"), "{}", told(&error));
    assert!(!told(&error).contains("not-the-secret"), "{}", told(&error));

    let mut distrustful = config.clone();
    distrustful.ca_pem = None;
    distrustful.credentials = AzureCredentials::AccountKey(azurite.key());
    let error = connect(&distrustful).probe(None).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(told(&error).contains("certificate"), "{}", told(&error));
}

/// Tells this very test, started again, where the server is.
const CHILD: &str = "STORE_ON_AZURE_CA";

#[tokio::test(flavor = "multi_thread")]
async fn the_identity_of_the_environment_is_found() {
    if let Ok(ca_file) = std::env::var(CHILD) {
        let mut config = AzureConfig::new("", "backups", AzureCredentials::Ambient);
        config.ca_pem = Some(std::fs::read_to_string(ca_file).unwrap());
        let store = connect(&config);
        let report = store.probe(Some(&key("c/probe"))).await.unwrap();
        assert!(report.write.unwrap().may_delete);
        return;
    }
    let azurite = Azurite::start_with_tokens(LOOPBACK).await.unwrap();
    azurite.container("backups").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (ca_file, assertion) = (folder.path().join("ca"), folder.path().join("assertion"));
    std::fs::write(&ca_file, azurite.ca_pem().unwrap()).unwrap();
    std::fs::write(&assertion, azurite.client_secret()).unwrap();
    let assertion = assertion.to_str().unwrap().to_owned();
    let application = || {
        [
            ("AZURE_CLIENT_ID", azurite.client_id().to_owned()),
            ("AZURE_TENANT_ID", "bed".to_owned()),
            ("AZURE_AUTHORITY_HOST", azurite.authority().unwrap()),
        ]
    };
    let workload = ("AZURE_FEDERATED_TOKEN_FILE", assertion.clone());
    let secret = |secret: &str| ("AZURE_CLIENT_SECRET", secret.to_owned());
    let mut environments = vec![
        (vec![("AZURE_STORAGE_ACCOUNT_KEY", azurite.key())], true),
        (
            vec![("AZURE_STORAGE_SAS_TOKEN", azurite.sas("backups", "rcwdl"))],
            true,
        ),
        (vec![workload], true),
        (vec![secret(&azurite.client_secret())], true),
        (vec![secret("not-the-secret")], false),
    ];
    for (environment, _) in &mut environments[2..] {
        environment.extend(application());
    }
    for (environment, found) in environments {
        let names: Vec<_> = environment.iter().map(|(name, _)| *name).collect();
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_identity_of_the_environment_is_found"])
            .env(CHILD, &ca_file)
            .env("AZURE_STORAGE_ACCOUNT_NAME", azurite.account())
            .env("AZURE_STORAGE_ENDPOINT", azurite.endpoint())
            .envs(environment)
            .output()
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), found, "{names:?}: {told}");
        assert_eq!(told.contains("Denied"), !found, "{names:?}: {told}");
    }
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
async fn an_upload_survives_a_restart_of_the_server() {
    let (mut azurite, config) = azurite().await;
    let store = connect(&config);
    let whole = content(24 * MIB);
    let (mut source, gate) = Gated::new(&whole);
    let uploading = tokio::spawn({
        let store = store.clone();
        async move { store.upload(&key("c/x"), 24 * MIB, &mut source).await }
    });
    gate.reached().await;
    azurite.stop().await.unwrap();
    // The second half begins without a server.
    gate.open();
    azurite.restart().await.unwrap();
    assert_eq!(uploading.await.unwrap().unwrap(), Outcome::Stored);
    let read = store.read_small(&key("c/x"), u64::MAX).await.unwrap();
    assert!(read == whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_on_the_way_changes_no_result() {
    let (azurite, mut config) = azurite().await;
    let proxy = Proxy::start(azurite.address()).await.unwrap();
    config.endpoint = Some(format!("{}/{}", proxy.endpoint(), azurite.account()));
    let store = connect(&config);

    proxy.lose("PUT ");
    store
        .create(&key("c/intent"), Bytes::from_static(b"ours"))
        .await
        .unwrap();
    assert_eq!(proxy.hits(), 1);
    // With other content it is not ours, however the answer came.
    proxy.lose("PUT ");
    let error = store
        .create(&key("c/intent"), Bytes::from_static(b"them"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    assert_eq!(proxy.hits(), 2);

    proxy.lose("PUT ");
    upload(&store, "c/small", &content(1000)).await.unwrap();
    let large = content(5 * MIB);
    for (path, request) in [("c/part", "comp=block&"), ("c/end", "comp=blocklist")] {
        proxy.lose(request);
        upload(&store, path, &large).await.unwrap();
        let read = store.read_small(&key(path), u64::MAX).await.unwrap();
        assert!(read == large, "{path}");
    }
    assert_eq!(proxy.hits(), 5);
    proxy.lose("DELETE ");
    store.delete(&key("c/end")).await.unwrap();
    assert_eq!(proxy.hits(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_changes_on_its_way_is_sent_again() {
    let (azurite, mut config) = azurite().await;
    let proxy = Proxy::start(azurite.address()).await.unwrap();
    config.endpoint = Some(format!("{}/{}", proxy.endpoint(), azurite.account()));
    let store = connect(&config);
    let large = content(3 * MIB);
    for (path, request) in [("c/whole", "PUT "), ("c/parts", "comp=block&")] {
        let content = if path == "c/whole" {
            large.slice(..MIB as usize)
        } else {
            large.clone()
        };
        proxy.next(request, Fault::Spoilt);
        upload(&store, path, &content).await.unwrap();
        let read = store.read_small(&key(path), u64::MAX).await.unwrap();
        assert!(read == content, "{path}");
    }
    assert_eq!(proxy.hits(), 2);
}

/// Content that ends only when something else has been done to the storage.
struct Interrupted<F>(Chunked, Option<F>);

#[async_trait]
impl<F: Future<Output = ()> + Send> Source for Interrupted<F> {
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        let next = self.0.next().await?;
        if next.is_none()
            && let Some(between) = self.1.take()
        {
            between.await;
        }
        Ok(next)
    }

    async fn restart(&mut self) -> std::io::Result<()> {
        self.0.restart().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_blocks_another_one_took_away_is_done_or_worth_trying_again() {
    let (_azurite, config) = azurite().await;
    let store = connect(&config);
    let whole = content(3 * MIB);
    let overtaken = async |path: &str, deleted: bool| {
        let between = async {
            upload(&store, path, &whole).await.unwrap();
            if deleted {
                store.delete(&key(path)).await.unwrap();
            }
        };
        let chunks = Chunked::new(whole.clone(), 1 << 20);
        let mut source = Interrupted(chunks, Some(Box::pin(between)));
        store.upload(&key(path), 3 * MIB, &mut source).await
    };
    let done = overtaken("c/there", false).await.unwrap();
    assert_eq!(done, Outcome::AlreadyThere);
    let error = overtaken("c/gone", true).await.unwrap_err();
    assert!(error.is_temporary(), "{error:?}");
    assert!(
        told(&error).contains("InvalidBlockList"),
        "{}",
        told(&error)
    );
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
