//! Timestamps, the clock, and the probe that looks at both.

use std::time::Duration;

use bytes::Bytes;

use super::{Subject, content};
use crate::{Error, probe};

pub(super) async fn touch(s: Subject<'_>) {
    let root = s.fresh();
    for size in [0, 100, s.part_size + 100] {
        let (key, other) = (
            root.join(&format!("{size}")).unwrap(),
            root.join("other").unwrap(),
        );
        let content = content(size, 6);
        s.upload(&key, &content).await.unwrap();
        s.upload(&other, &content).await.unwrap();
        let untouched = s.store.stat(&other).await.unwrap();
        assert!(
            probe::touch_moves(s.store, &key, size).await.unwrap(),
            "{size} bytes"
        );
        assert_eq!(s.store.stat(&other).await.unwrap(), untouched);
        assert_eq!(s.store.stat(&key).await.unwrap().size, size);
        assert!(s.read(&key).await == content, "{size} bytes");
        s.store.delete(&other).await.unwrap();
    }
    let missing = s.store.touch(&root.join("missing").unwrap(), 10).await;
    assert!(
        matches!(missing, Err(Error::NotFound { .. })),
        "{missing:?}"
    );
}

pub(super) async fn now(s: Subject<'_>) {
    let key = s.fresh().join("clock").unwrap();
    let before = s.store.now().await.unwrap();
    s.store
        .create(&key, Bytes::from_static(b"x"))
        .await
        .unwrap();
    let written = s.store.stat(&key).await.unwrap().modified;
    let after = s.store.now().await.unwrap();
    // Both may be cut to the second.
    let step = Duration::from_secs(1);
    assert!(before <= written + step, "{before:?} {written:?}");
    assert!(written <= after + step, "{written:?} {after:?}");
}

pub(super) async fn probe(s: Subject<'_>) {
    let read_only = s.store.probe(None).await.unwrap();
    assert_eq!(read_only.write, None);
    let key = s.fresh().join("probe").unwrap();
    for _ in 0..2 {
        let report = s.store.probe(Some(&key)).await.unwrap();
        let write = report.write.unwrap();
        assert!(
            write.create_only && write.touch_moves && write.may_delete,
            "{write:?}"
        );
        assert_eq!(
            report.file_system.is_some(),
            read_only.file_system.is_some()
        );
    }
    // A probe that could not delete left its object: the next one takes it as it is.
    s.store
        .create(
            &key,
            Bytes::from_static(b"A probe of this storage; may be deleted.\n"),
        )
        .await
        .unwrap();
    assert!(
        s.store
            .probe(Some(&key))
            .await
            .unwrap()
            .write
            .unwrap()
            .create_only
    );
}
