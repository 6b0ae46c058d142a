//! Servers that end or are overloaded, and networks that lose answers and break.

use std::time::Duration;

use bytes::Bytes;
use e2e::host::proxy::{Fault, Proxy};
use futures::TryStreamExt as _;
use store::testing::{Gated, content, key, refused, told, upload};
use store::{Error, GcsConfig, Object, Outcome, Store};

use super::{FakeGcs, MIB, connect, read, server};

/// A server behind a proxy, and the configuration of someone.
async fn behind_a_proxy() -> (FakeGcs, Proxy, GcsConfig) {
    let (server, mut config) = server().await;
    let proxy = Proxy::start(server.address()).await.unwrap();
    config.endpoint = Some(proxy.endpoint());
    (server, proxy, config)
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
    let (_server, proxy, config) = behind_a_proxy().await;
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
async fn a_connection_that_breaks_in_the_middle_of_an_upload_is_gone_on_with() {
    let (_server, proxy, config) = behind_a_proxy().await;
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
    let (_server, proxy, config) = behind_a_proxy().await;
    let store = connect(&config).await;
    let whole = content(5 * MIB + 1);
    upload(&store, "c/x", &whole).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_503_is_waited_out_and_one_without_end_is_told_as_unavailable() {
    let (_server, proxy, config) = behind_a_proxy().await;
    let store = connect(&config).await;
    let large = content(3 * MIB);
    for (path, whole) in [
        ("storm/small", content(1000)),
        ("storm/large", large.clone()),
    ] {
        let before = proxy.refused();
        proxy.be_busy(3);
        upload(&store, path, &whole).await.unwrap();
        assert_eq!(proxy.refused() - before, 3, "{path}");
        assert!(read(&store, path).await == whole, "{path}");
    }
    // The part, and twice how much of it has arrived.
    let (mut source, gate) = Gated::new(&large);
    let storm = async {
        gate.reached().await;
        proxy.be_busy(3);
        gate.open();
    };
    let middle = key("storm/middle");
    let (stored, ()) = tokio::join!(store.upload(&middle, 3 * MIB, &mut source), storm);
    assert_eq!(stored.unwrap(), Outcome::Stored);
    assert!(read(&store, "storm/middle").await == large);

    let before = proxy.refused();
    let begins = || proxy.be_busy(usize::MAX);
    for error in refused(&store, &key("storm/small"), &large, begins).await {
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(error.is_temporary());
        assert!(told(&error).contains("HTTP 503"), "{}", told(&error));
        assert!(!format!("{error:?}").contains("upload_id"), "{error:?}");
    }
    // The clock, for which somebody waits, is asked three times, everything else five times.
    assert!(proxy.refused() - before >= 6 * 5 + 3);
    proxy.be_busy(0);
    let listed: Vec<Object> = store.list(&key("endless")).try_collect().await.unwrap();
    assert_eq!(listed, []);
}
