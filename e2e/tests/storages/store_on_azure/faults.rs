//! Servers that end or are overloaded, networks that break, and others who upload the same.

use async_trait::async_trait;
use bytes::Bytes;
use e2e::host::proxy::{Fault, Proxy};
use futures::TryStreamExt as _;
use store::testing::{Chunked, Gated, content, key, refused, told, upload};
use store::{AzureConfig, Error, Object, Outcome, Source, Store};

use super::{Azurite, MIB, azurite, connect};

/// Azurite behind a proxy, and the configuration of someone who has the account's key.
async fn behind_a_proxy() -> (Azurite, Proxy, AzureConfig) {
    let (azurite, mut config) = azurite().await;
    let proxy = Proxy::start(azurite.address()).await.unwrap();
    config.endpoint = Some(format!("{}/{}", proxy.endpoint(), azurite.account()));
    (azurite, proxy, config)
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
    let (_azurite, proxy, config) = behind_a_proxy().await;
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
    let (_azurite, proxy, config) = behind_a_proxy().await;
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
async fn a_storm_of_503_is_waited_out_and_one_without_end_is_told_as_throttled() {
    let (_azurite, proxy, config) = behind_a_proxy().await;
    let store = connect(&config);
    let large = content(3 * MIB);
    for (path, whole) in [
        ("storm/small", content(1000)),
        ("storm/large", large.clone()),
    ] {
        let before = proxy.refused();
        proxy.be_busy(3);
        upload(&store, path, &whole).await.unwrap();
        assert_eq!(proxy.refused() - before, 3, "{path}");
        assert!(store.read_small(&key(path), u64::MAX).await.unwrap() == whole);
    }

    let before = proxy.refused();
    let begins = || proxy.be_busy(usize::MAX);
    for error in refused(&store, &key("storm/small"), &large, begins).await {
        assert!(matches!(error, Error::Throttled { .. }), "{error:?}");
        assert!(error.is_temporary());
        assert!(told(&error).contains("ServerBusy"), "{}", told(&error));
    }
    assert!(
        proxy.refused() - before > 4 * 7,
        "it was asked once more only"
    );
    proxy.be_busy(0);
    let listed: Vec<Object> = store.list(&key("endless")).try_collect().await.unwrap();
    assert_eq!(listed, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_the_middle_of_an_upload_changes_no_result() {
    let (_azurite, proxy, config) = behind_a_proxy().await;
    let store = connect(&config);
    let large = content(3 * MIB);
    for (path, request, whole) in [
        ("c/whole", "PUT ", large.slice(..MIB as usize)),
        ("c/block", "comp=block&", large.clone()),
    ] {
        proxy.next(request, Fault::RequestAfter(600_000));
        let outcome = upload(&store, path, &whole).await;
        assert_eq!(outcome.unwrap(), Outcome::Stored, "{path}");
        assert!(store.read_small(&key(path), u64::MAX).await.unwrap() == whole);
    }
    assert_eq!(proxy.hits(), 2);

    // A network that never holds long enough ends the upload, and leaves nothing.
    proxy.always("comp=block&", Fault::RequestAfter(600_000));
    let error = upload(&store, "c/never", &large).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.is_temporary());
    let listed: Vec<Object> = store.list(&key("c")).try_collect().await.unwrap();
    let keys: Vec<_> = listed.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["c/block", "c/whole"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_the_middle_of_a_read_is_an_error_that_passes() {
    let (_azurite, proxy, config) = behind_a_proxy().await;
    let store = connect(&config);
    let whole = content(5 * MIB + 1);
    upload(&store, "c/x", &whole).await.unwrap();
    for range in [None, Some(1_000..4_000_000)] {
        proxy.next("GET ", Fault::AnswerAfter(2_000_000));
        let read = store.get(&key("c/x"), range.clone()).await.unwrap();
        let (start, end) = (read.range.start as usize, read.range.end as usize);
        let mut chunks = read.chunks;
        let mut came = Vec::new();
        let error = loop {
            match chunks.try_next().await {
                Ok(Some(chunk)) => came.extend_from_slice(&chunk),
                Ok(None) => panic!("{} bytes are taken for all", came.len()),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(came.len() < 2_000_000 && whole[start..].starts_with(&came));

        let again = store.get(&key("c/x"), range.clone()).await.unwrap();
        let chunks: Vec<Bytes> = again.chunks.try_collect().await.unwrap();
        assert!(chunks.concat() == whole[start..end], "{range:?}");
    }
    assert_eq!(proxy.hits(), 2);
}
