//! Lists and names.

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{Subject, content};
use crate::Key;

pub(super) async fn by_segments(s: Subject<'_>) {
    let root = s.fresh();
    let names = [
        "a",
        "ab/x",
        "b/x/1",
        "b/x/2",
        "b/x2/1",
        "b.c/1",
        ".purge/1",
        "c/.by_v/nb-1",
    ];
    let mut keys: Vec<_> = names.iter().map(|name| root.join(name).unwrap()).collect();
    for (i, key) in keys.iter().enumerate() {
        s.store.create(key, content(i as u64, 0)).await.unwrap();
    }
    for object in s.list(&root).await {
        let i = keys
            .iter()
            .position(|key| *key == object.key)
            .expect("a key of ours");
        assert_eq!(object.size, i as u64);
        let stat = s.store.stat(&object.key).await.unwrap();
        assert_eq!(stat.key, object.key);
        // A list may tell parts of a second where HEAD does not.
        let apart = object
            .modified
            .duration_since(stat.modified)
            .unwrap_or_default();
        assert!(apart.as_secs() < 1, "{object:?} {stat:?}");
    }
    keys.sort();
    assert_eq!(s.list_keys(&root).await, keys);
    for (prefix, expected) in [
        ("b", &["b/x/1", "b/x/2", "b/x2/1"][..]),
        ("b/x", &["b/x/1", "b/x/2"]),
        ("ab", &["ab/x"]),
        (".purge", &[".purge/1"]),
        ("a", &[]),
        ("b/x/1", &[]),
        ("b/y", &[]),
        ("nowhere/at/all", &[]),
    ] {
        let expected: Vec<_> = expected
            .iter()
            .map(|name| root.join(name).unwrap())
            .collect();
        assert_eq!(
            s.list_keys(&root.join(prefix).unwrap()).await,
            expected,
            "{prefix}"
        );
    }
}

/// More than two pages of S3, which have 1,000 objects each.
const MANY: usize = 2_100;

pub(super) async fn many_pages(s: Subject<'_>) {
    let root = s.fresh();
    let mut keys: Vec<_> = (0..MANY)
        .map(|i| root.join(&format!("{}/nb-{i}-big", i % 7)).unwrap())
        .collect();
    stream::iter(&keys)
        .for_each_concurrent(16, |key| async move {
            s.store.create(key, Bytes::from_static(b"x")).await.unwrap();
        })
        .await;
    keys.sort();
    assert_eq!(s.list_keys(&root).await, keys);
    // A list that is not read to its end hinders nobody.
    let first = s.store.list(&root).next().await.unwrap().unwrap();
    assert!(keys.contains(&first.key));
}

pub(super) async fn folders(s: Subject<'_>) {
    let own = |name: &str| format!("conformance-{name}-{}", uuid::Uuid::new_v4());
    let key = |name: &str| Key::parse(name).unwrap();
    let (plain, odd, object) = (own("a"), own("a b+c%2Fü"), own("o"));
    let keys = [
        key(&object),
        key(&format!("{plain}/x")),
        key(&format!("{plain}/y/z")),
        key(&format!("{odd}/x")),
    ];
    for key in &keys {
        s.store.create(key, content(1, 0)).await.unwrap();
    }
    let folders = s.store.folders(10_000).await.unwrap();
    let of = |name: &String| folders.iter().filter(|folder| *folder == name).count();
    assert_eq!(
        (of(&plain), of(&odd), of(&object)),
        (1, 1, 0),
        "{folders:?}"
    );
    assert_eq!(s.store.folders(1).await.unwrap().len(), 1);
    for key in &keys {
        s.store.delete(key).await.unwrap();
    }
}

pub(super) async fn names(s: Subject<'_>) {
    let root = s.fresh();
    let cassandra: String = ('a'..='z')
        .chain('A'..='Z')
        .chain('0'..='9')
        .chain(['_'])
        .collect();
    // Names of Cassandra have letters, digits and underscores; those of clusters and backups are
    // the user's, and what protocols use for themselves must survive them.
    let names = [
        cassandra,
        "nb-1-big-Data.db".to_owned(),
        "da-3gx0_0b2k_4s1ow2b3hk4gk5lq1s-bti.1a2b3c4d.4711".to_owned(),
        "a blank".to_owned(),
        "a+plus".to_owned(),
        "100%".to_owned(),
        "%2F%20".to_owned(),
        "#hash".to_owned(),
        "what?".to_owned(),
        "a&b=c;d,e".to_owned(),
        "<x>\"'`".to_owned(),
        "~!@$^()[]{}|:*".to_owned(),
        "ünï-日本-🦀".to_owned(),
        "...".to_owned(),
        "x.tmp".to_owned(),
        "x".repeat(200),
    ];
    let mut keys: Vec<Key> = Vec::new();
    for (i, name) in names.iter().enumerate() {
        // Both as a directory and as the last segment.
        let key = root.join(&format!("{name}/{name}")).unwrap();
        let body = Bytes::from(format!("{i}"));
        s.store.create(&key, body.clone()).await.unwrap();
        assert_eq!(s.read(&key).await, body, "{key}");
        s.store.touch(&key, body.len() as u64).await.unwrap();
        assert_eq!(s.read(&key).await, body, "{key}");
        assert_eq!(
            s.list_keys(&root.join(name).unwrap()).await,
            std::slice::from_ref(&key)
        );
        keys.push(key);
    }
    keys.sort();
    assert_eq!(s.list_keys(&root).await, keys);
    for key in &keys {
        s.store.delete(key).await.unwrap();
    }
    assert_eq!(s.list_keys(&root).await, []);
}
