//! Creating, uploading and deleting.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;

use super::{Subject, content};
use crate::testing::Chunked;
use crate::{Error, Outcome, Source};

pub(super) async fn create_never_overwrites(s: Subject<'_>) {
    let key = s.fresh().join("a/b/manifest").unwrap();
    s.store
        .create(&key, Bytes::from_static(b"one"))
        .await
        .unwrap();
    for again in [&b"two"[..], b"one", b""] {
        let refused = s.store.create(&key, Bytes::from_static(again)).await;
        assert!(
            matches!(refused, Err(Error::AlreadyExists { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(s.read(&key).await, "one");

    let empty = s.fresh().join("empty").unwrap();
    s.store.create(&empty, Bytes::new()).await.unwrap();
    assert_eq!(s.read(&empty).await, "");
    assert!(
        s.store
            .create(&empty, Bytes::from_static(b"x"))
            .await
            .is_err()
    );
}

pub(super) async fn one_creator_wins(s: Subject<'_>) {
    for _ in 0..5 {
        let key = s.fresh().join("intent").unwrap();
        let bodies: Vec<_> = (0..8)
            .map(|i| Bytes::from(format!("creator {i}")))
            .collect();
        let results = join_all(bodies.iter().map(|body| s.store.create(&key, body.clone()))).await;
        let winners: Vec<_> = results
            .iter()
            .zip(&bodies)
            .filter(|(result, _)| result.is_ok())
            .collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        assert_eq!(s.read(&key).await, winners[0].1);
        for lost in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(matches!(lost, Error::AlreadyExists { .. }), "{lost:?}");
        }
    }
}

pub(super) async fn uploads_read_back(s: Subject<'_>) {
    let root = s.fresh();
    let part = s.part_size;
    for size in [0, 1, 4096, part - 1, part, part + 1, 3 * part + 12_345] {
        for chunk in [1 << 20, 100_003] {
            let key = root.join(&format!("{size}/{chunk}")).unwrap();
            let content = content(size, chunk as u8);
            let mut source = Chunked::new(content.clone(), chunk);
            let outcome = s.store.upload(&key, size, &mut source).await.unwrap();
            assert_eq!(outcome, Outcome::Stored, "{key}");
            s.store.settle().await.unwrap();
            assert_eq!(s.store.stat(&key).await.unwrap().size, size);
            assert!(
                s.read(&key).await == content,
                "{key} reads back with other content"
            );
        }
    }
}

pub(super) async fn uploads_repeat(s: Subject<'_>) {
    for size in [10, s.part_size + 10] {
        let key = s.fresh().join("data").unwrap();
        let first = content(size, 1);
        assert_eq!(s.upload(&key, &first).await.unwrap(), Outcome::Stored);
        let second = content(size, 2);
        assert_eq!(
            s.upload(&key, &second).await.unwrap(),
            Outcome::AlreadyThere
        );
        for other in [size - 1, size + 1] {
            let refused = s.upload(&key, &content(other, 3)).await;
            let told = matches!(
                refused,
                Err(Error::Differs { expected, found, .. }) if expected == other && found == size
            );
            assert!(told, "{refused:?}");
        }
        assert!(s.read(&key).await == first, "{key} was overwritten");
    }
}

pub(super) async fn racing_uploads(s: Subject<'_>) {
    for size in [1000, s.part_size + 1000] {
        let key = s.fresh().join("data").unwrap();
        let content = content(size, 7);
        for outcome in join_all((0..4).map(|_| s.upload(&key, &content))).await {
            outcome.unwrap();
        }
        assert!(s.read(&key).await == content);
        assert_eq!(s.list_keys(&key_parent(&key)).await, [key]);
    }
}

fn key_parent(key: &crate::Key) -> crate::Key {
    crate::Key::parse(key.as_str().rsplit_once('/').unwrap().0).unwrap()
}

pub(super) async fn failed_sources(s: Subject<'_>) {
    for size in [0, 1000, s.part_size, 2 * s.part_size + 1000] {
        let root = s.fresh();
        let whole = content(size, 9);
        let half = whole.slice(..whole.len() / 2);
        let long = content(size + 1, 9);
        let rot = || io::Error::new(io::ErrorKind::InvalidData, "CRC mismatch");
        let mut sources = vec![
            (
                "fails at the end",
                Chunked::failing(whole, 1 << 20, rot()),
                io::ErrorKind::InvalidData,
            ),
            (
                "is too long",
                Chunked::new(long, 1 << 20),
                io::ErrorKind::InvalidData,
            ),
        ];
        if size > 0 {
            let cut = Chunked::new(half.clone(), 1 << 20);
            sources.push(("is too short", cut, io::ErrorKind::UnexpectedEof));
            let broken = Chunked::failing(half, 1 << 20, rot());
            sources.push(("fails in the middle", broken, io::ErrorKind::InvalidData));
        }
        for (how, mut source, kind) in sources {
            let key = root.join(how).unwrap();
            let failed = s.store.upload(&key, size, &mut source).await;
            match failed {
                Err(Error::Source { source, .. }) => assert_eq!(source.kind(), kind, "{how}"),
                other => panic!("{size} bytes from a source that {how}: {other:?}"),
            }
            let there = s.store.stat(&key).await;
            assert!(
                matches!(there, Err(Error::NotFound { .. })),
                "{how}: {there:?}"
            );
        }
        assert_eq!(s.list_keys(&root).await, []);
        // The key is as good as before.
        let key = root.join("fails at the end").unwrap();
        assert_eq!(
            s.upload(&key, &content(size, 9)).await.unwrap(),
            Outcome::Stored
        );
    }
}

/// Delivers its chunks, then never ends.
struct Hanging(Vec<Bytes>);

#[async_trait]
impl Source for Hanging {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self.0.pop() {
            Some(chunk) => Ok(Some(chunk)),
            None => std::future::pending().await,
        }
    }

    async fn restart(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

pub(super) async fn dropped_upload(s: Subject<'_>) {
    for size in [1000, 2 * s.part_size + 1000] {
        let root = s.fresh();
        let key = root.join("data").unwrap();
        let mut source = Hanging(vec![content(size, 4)]);
        let upload = s.store.upload(&key, size, &mut source);
        let dropped = tokio::time::timeout(Duration::from_millis(300), upload).await;
        assert!(dropped.is_err());
        assert_eq!(s.list_keys(&root).await, []);
        assert_eq!(
            s.upload(&key, &content(size, 4)).await.unwrap(),
            Outcome::Stored
        );
    }
}

pub(super) async fn many_uploads(s: Subject<'_>) {
    let root = s.fresh();
    let uploads = (0..12_u8).map(|i| {
        let key = root.join(&i.to_string()).unwrap();
        async move {
            let content = content(2 * s.part_size + u64::from(i), i);
            assert_eq!(s.upload(&key, &content).await.unwrap(), Outcome::Stored);
            assert!(s.read(&key).await == content, "{key}");
        }
    });
    join_all(uploads).await;
}

pub(super) async fn delete(s: Subject<'_>) {
    let root = s.fresh();
    let (key, other) = (root.join("a/x").unwrap(), root.join("a/x2").unwrap());
    for key in [&key, &other] {
        s.store
            .create(key, Bytes::from_static(b"content"))
            .await
            .unwrap();
    }
    s.store.delete(&key).await.unwrap();
    assert!(matches!(
        s.store.stat(&key).await,
        Err(Error::NotFound { .. })
    ));
    assert_eq!(s.list_keys(&root).await, [other]);
    // Asked twice is done once; nor does it matter how much of the path is there.
    s.store.delete(&key).await.unwrap();
    s.store
        .delete(&root.join("never/was/there").unwrap())
        .await
        .unwrap();
    s.store
        .create(&key, Bytes::from_static(b"again"))
        .await
        .unwrap();
    assert_eq!(s.read(&key).await, "again");
}
