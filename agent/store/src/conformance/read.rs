//! Reading objects and parts of them.

use bytes::Bytes;
use futures::TryStreamExt;

use super::{Subject, content};
use crate::{Content, Error};

pub(super) async fn ranges(s: Subject<'_>) {
    let size = s.part_size + 5000;
    let key = s.fresh().join("data").unwrap();
    let whole = content(size, 3);
    s.upload(&key, &whole).await.unwrap();
    for (asked, given) in [
        (Some(0..1), 0..1),
        (Some(0..size), 0..size),
        (Some(10..4097), 10..4097),
        (
            Some(s.part_size - 1..s.part_size + 1),
            s.part_size - 1..s.part_size + 1,
        ),
        (Some(size - 1..size), size - 1..size),
        (Some(size - 10..size + 10), size - 10..size),
        (Some(size..size + 1), size..size),
        (Some(size + 5..size + 10), size..size),
        (Some(7..7), 7..7),
        (None, 0..size),
    ] {
        let read = s.store.get(&key, asked.clone()).await.unwrap();
        assert_eq!((read.size, &read.range), (size, &given), "{asked:?}");
        let bytes = collect(read).await;
        let expected = &whole[given.start as usize..given.end as usize];
        assert!(bytes == expected, "{asked:?}: {} bytes", bytes.len());
    }

    let empty = s.fresh().join("empty").unwrap();
    s.store.create(&empty, Bytes::new()).await.unwrap();
    for range in [None, Some(0..0), Some(0..100), Some(5..6)] {
        let read = s.store.get(&empty, range).await.unwrap();
        assert_eq!((read.size, &read.range), (0, &(0..0)));
        assert!(collect(read).await.is_empty());
    }
}

async fn collect(content: Content) -> Vec<u8> {
    let chunks: Vec<Bytes> = content.chunks.try_collect().await.unwrap();
    chunks.concat()
}

pub(super) async fn not_found(s: Subject<'_>) {
    let root = s.fresh();
    s.store
        .create(&root.join("a/b").unwrap(), Bytes::from_static(b"x"))
        .await
        .unwrap();
    for name in ["b", "a", "a/c", "a/b2", "x/y/z"] {
        let key = root.join(name).unwrap();
        let stat = s.store.stat(&key).await.map(|_| ());
        let get = s.store.get(&key, None).await.map(|_| ());
        let ranged = s.store.get(&key, Some(0..10)).await.map(|_| ());
        let empty = s.store.get(&key, Some(0..0)).await.map(|_| ());
        let touch = s.store.touch(&key, 1).await;
        for result in [stat, get, ranged, empty, touch] {
            match result {
                Err(Error::NotFound { at }) => assert_eq!(at.key.as_ref(), Some(&key)),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}

pub(super) async fn small_limit(s: Subject<'_>) {
    let key = s.fresh().join("manifest").unwrap();
    let content = content(100_000, 5);
    s.store.create(&key, content.clone()).await.unwrap();
    assert_eq!(s.store.read_small(&key, 100_000).await.unwrap(), content);
    let refused = s.store.read_small(&key, 99_999).await;
    assert!(
        matches!(
            refused,
            Err(Error::TooLarge {
                size: 100_000,
                limit: 99_999,
                ..
            })
        ),
        "{refused:?}"
    );
}
