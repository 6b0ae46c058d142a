//! Servers that end, lose answers, are overloaded or full.

use bytes::Bytes;
use e2e::host::proxy::{Fault, Proxy};
use e2e::parts::filesystem::{Filesystem, Kind};
use e2e::parts::minio::Minio;
use store::testing::{Gated, content, key, upload};
use store::{Error, FileStore, Outcome, Store};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_survives_a_restart_of_the_server() {
    let (mut minio, config) = minio().await;
    let whole = content(24 * MIB);
    for (path, config) in ["c/in-parts", "c/at-once"]
        .into_iter()
        .zip(both_ways(&config))
    {
        let store = connect(&config).await;
        let (mut source, gate) = Gated::new(&whole);
        let uploading = tokio::spawn({
            let store = store.clone();
            async move { store.upload(&key(path), 24 * MIB, &mut source).await }
        });
        gate.reached().await;
        minio.stop().await.unwrap();
        // The second half begins without a server.
        gate.open();
        minio.restart().await.unwrap();
        assert_eq!(uploading.await.unwrap().unwrap(), Outcome::Stored, "{path}");
        let read = store.read_small(&key(path), u64::MAX).await.unwrap();
        assert!(read == whole, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_somebody_ended_half_way_is_begun_anew() {
    let (minio, config) = minio().await;
    let store = connect(&config).await;
    let whole = content(24 * MIB);
    let (mut source, gate) = Gated::new(&whole);
    let uploading = tokio::spawn({
        let store = store.clone();
        async move { store.upload(&key("c/x"), 24 * MIB, &mut source).await }
    });
    gate.reached().await;
    let uploads = minio.client().list_multipart_uploads().bucket("backups");
    let uploads = uploads.prefix("c/x").send().await.unwrap();
    let [ended] = uploads.uploads() else {
        panic!("{uploads:?}");
    };
    let abort = minio.client().abort_multipart_upload().bucket("backups");
    let abort = abort.key("c/x").upload_id(ended.upload_id().unwrap());
    abort.send().await.unwrap();
    gate.open();
    assert_eq!(uploading.await.unwrap().unwrap(), Outcome::Stored);
    let read = store.read_small(&key("c/x"), u64::MAX).await.unwrap();
    assert!(read == whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_on_the_way_changes_no_result() {
    let (minio, mut config) = minio().await;
    let server = minio.endpoint().replace("http://", "").parse().unwrap();
    let proxy = Proxy::start(server).await.unwrap();
    config.endpoint = Some(proxy.endpoint());
    let store = connect(&config).await;

    proxy.lose("PUT ");
    store
        .create(&key("c/intent"), Bytes::from_static(b"ours"))
        .await
        .unwrap();
    assert_eq!(proxy.hits(), 1);
    // With other content it is not ours, however the answer came.
    proxy.lose("PUT ");
    let error = store
        .create(&key("c/intent"), Bytes::from_static(b"theirs"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error:?}");
    assert_eq!(proxy.hits(), 2);

    proxy.lose("PUT ");
    upload(&store, "c/small", &content(1000)).await.unwrap();
    let large = content(11 * MIB);
    for (path, request) in [
        ("c/part", "partNumber="),
        ("c/end", "POST /backups/c/end?uploadId"),
    ] {
        proxy.lose(request);
        upload(&store, path, &large).await.unwrap();
        let read = store.read_small(&key(path), u64::MAX).await.unwrap();
        assert!(read == large, "{path}");
    }
    assert_eq!(proxy.hits(), 5);

    let [_, at_once] = both_ways(&config);
    proxy.lose("PUT /backups/c/at-once");
    upload(&connect(&at_once).await, "c/at-once", &large)
        .await
        .unwrap();
    assert_eq!(proxy.hits(), 6);
    let read = store.read_small(&key("c/at-once"), u64::MAX).await.unwrap();
    assert!(read == large);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_the_middle_of_an_upload_costs_one_more_attempt() {
    let (minio, mut config) = minio().await;
    let proxy = Proxy::start(minio.address()).await.unwrap();
    config.endpoint = Some(proxy.endpoint());
    let [in_parts, at_once] = both_ways(&config);
    // Parts that are larger than what may be in memory are not sent again by themselves.
    let mut streamed_parts = in_parts.clone();
    streamed_parts.max_in_flight = MIB;
    let connection = "PUT /backups/c/";
    for (path, request, config, size) in [
        ("c/small", connection, &in_parts, 600_000),
        ("c/part", "partNumber=2&", &in_parts, 12 * MIB),
        ("c/at-once", connection, &at_once, 12 * MIB),
    ] {
        let whole = content(size);
        proxy.next(request, Fault::RequestAfter(300_000));
        let store = connect(config).await;
        let outcome = upload(&store, path, &whole).await;
        assert_eq!(outcome.unwrap(), Outcome::Stored, "{path}");
        let read = store.read_small(&key(path), u64::MAX).await.unwrap();
        assert!(read == whole, "{path}");
    }
    assert_eq!(proxy.hits(), 3);

    // A network that never holds long enough ends the upload, and leaves nothing.
    proxy.always(connection, Fault::RequestAfter(300_000));
    for config in [&in_parts, &at_once, &streamed_parts] {
        let store = connect(config).await;
        let error = upload(&store, "c/never", &content(12 * MIB)).await;
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        let listed: Vec<Object> = store.list(&key("c")).try_collect().await.unwrap();
        let keys: Vec<_> = listed.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["c/at-once", "c/part", "c/small"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_the_middle_of_a_read_is_an_error_after_what_came_through() {
    let (minio, mut config) = minio().await;
    let whole = content(8 * MIB);
    upload(&connect(&config).await, "c/x", &whole)
        .await
        .unwrap();
    let proxy = Proxy::start(minio.address()).await.unwrap();
    config.endpoint = Some(proxy.endpoint());
    let store = connect(&config).await;
    for (count, range) in (1..).zip([None, Some(1_000_000..7_000_000)]) {
        proxy.next("GET /backups/c/x", Fault::AnswerAfter(3_000_000));
        let mut read = store.get(&key("c/x"), range.clone()).await.unwrap();
        let (start, end) = (read.range.start as usize, read.range.end as usize);
        let mut came = Vec::new();
        let error = loop {
            match read.chunks.try_next().await {
                Ok(Some(chunk)) => came.extend_from_slice(&chunk),
                Ok(None) => panic!("{} of {} bytes are all", came.len(), end - start),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(came.len() > 1_000_000, "{range:?}");
        let middle = start + came.len();
        assert!(came == whole[start..middle], "{range:?}");
        assert_eq!(proxy.hits(), count);

        // Whoever goes on from there has all.
        let rest = store
            .get(&key("c/x"), Some(middle as u64..end as u64))
            .await;
        let rest: Vec<Bytes> = rest.unwrap().chunks.try_collect().await.unwrap();
        assert!(rest.concat() == whole[middle..end], "{range:?}");
    }
    proxy.next("GET /backups/c/x", Fault::AnswerAfter(3_000_000));
    let half = store.read_small(&key("c/x"), u64::MAX).await;
    assert!(matches!(half, Err(Error::Unavailable { .. })), "{half:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_knows_no_checksum_behind_the_content_is_asked_for_it_once() {
    let (minio, config) = minio().await;
    let server = minio.endpoint().replace("http://", "").parse().unwrap();
    let proxy = Proxy::start(server).await.unwrap();
    let [_, mut config] = both_ways(&config);
    config.endpoint = Some(proxy.endpoint());
    let store = connect(&config).await;
    // Nor is each of its chunks signed, which would cost both sides a hash of everything.
    proxy.always("STREAMING-UNSIGNED-PAYLOAD-TRAILER", Fault::Unimplemented);
    let whole = content(11 * MIB);
    for path in ["c/first", "c/second"] {
        assert_eq!(upload(&store, path, &whole).await.unwrap(), Outcome::Stored);
        assert_eq!(proxy.hits(), 1, "{path}");
        let read = store.read_small(&key(path), u64::MAX).await.unwrap();
        assert!(read == whole, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_503_is_waited_out_and_one_without_end_is_told_as_throttled() {
    let (minio, mut config) = minio().await;
    let server = minio.endpoint().replace("http://", "").parse().unwrap();
    let proxy = Proxy::start(server).await.unwrap();
    config.endpoint = Some(proxy.endpoint());
    let [in_parts, at_once] = both_ways(&config);
    for (config, size) in [
        (&in_parts, 1000),
        (&in_parts, 11 * MIB),
        (&at_once, 11 * MIB),
    ] {
        let store = connect(config).await;
        let whole = content(size);
        let waited = format!("storm/{size}/{}", config.single_limit);
        let before = proxy.refused();
        proxy.be_busy(3);
        upload(&store, &waited, &whole).await.unwrap();
        assert_eq!(proxy.refused() - before, 3, "{waited}");
        let read = store.read_small(&key(&waited), u64::MAX).await.unwrap();
        assert!(read == whole, "{waited}");

        let before = proxy.refused();
        proxy.be_busy(usize::MAX);
        let error = upload(&store, "storm/endless", &whole).await.unwrap_err();
        assert!(matches!(error, Error::Throttled { .. }), "{error:?}");
        assert!(error.is_temporary());
        assert!(proxy.refused() - before > 4, "it was asked once more only");
        proxy.be_busy(0);
        let there = store.stat(&key("storm/endless")).await;
        assert!(matches!(there, Err(Error::NotFound { .. })), "{there:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_storage_is_no_space_and_nothing_half_written_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (tmpfs, ext4, small) = (
        Filesystem::mount(folder.path(), "tmpfs", Kind::Tmpfs, 24 * MIB)
            .await
            .unwrap(),
        Filesystem::mount(folder.path(), "ext4", Kind::Ext4, 24 * MIB)
            .await
            .unwrap(),
        Filesystem::mount(folder.path(), "minio", Kind::Ext4, 64 * MIB)
            .await
            .unwrap(),
    );
    let minio = Minio::start_in(LOOPBACK, small.path()).await.unwrap();
    minio.bucket("backups").await.unwrap();
    let config = config(&minio.endpoint(), &minio.root().id, &minio.root().secret);
    let stores: [Box<dyn Store>; 3] = [
        Box::new(FileStore::open(tmpfs.path()).unwrap()),
        Box::new(FileStore::open(ext4.path()).unwrap()),
        Box::new(connect(&config).await),
    ];
    let object = content(6 * MIB);
    for store in stores {
        let mut stored = Vec::new();
        let error = loop {
            let path = format!("c/{}", stored.len());
            match upload(&*store, &path, &object).await {
                Ok(_) => stored.push(key(&path)),
                Err(error) => break error,
            }
            assert!(stored.len() < 12, "{} is never full", store.name());
        };
        assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
        assert!(!error.is_temporary());
        assert!(told(&error).contains(store.name()), "{error}");
        let listed: Vec<Object> = store.list(&key("c")).try_collect().await.unwrap();
        assert_eq!(listed.len(), stored.len());
        for stored in stored {
            let read = store.read_small(&stored, u64::MAX).await.unwrap();
            assert!(read == object, "{stored}");
        }
    }
}
