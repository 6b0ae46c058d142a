//! What a purge does not understand stops it, with nothing deleted.

use agent::purge::PurgeError;
use store::Error;

use crate::ground::{Ground, HOUR, data, manifest_of, node};

/// A storage in which there is something to delete.
fn ground() -> Ground {
    let ground = Ground::new();
    ground.backup("old", node(1), &["1"], 48 * HOUR);
    ground.backup("new", node(1), &["2"], 47 * HOUR);
    ground.write(&data(node(1), "3"), b"nobody's", 48 * HOUR);
    ground
}

async fn refused(ground: &Ground) -> PurgeError {
    let before = ground.files();
    let error = ground.purge(&["old"]).await.unwrap_err();
    assert_eq!(ground.files(), before, "{error}");
    error
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_stops_the_purge() {
    // Of an expired backup, of one that stays, and of a node whose data is not there.
    for (backup, host) in [("old", node(1)), ("new", node(1)), ("new", node(7))] {
        let whole = manifest_of(backup, host, &["2", "4"], 47 * HOUR);
        let end = whole.len();
        let text = String::from_utf8(whole.clone()).unwrap();
        let newer = text.replacen("\"formatVersion\":\"1.0\"", "\"formatVersion\":\"2.0\"", 1);
        let changed = text.replacen("nb-4-big", "nb-5-big", 1);
        for (what, content) in [
            ("empty", &b""[..]),
            ("cut in the header", &whole[..100]),
            ("cut in a line", &whole[..end - 300]),
            ("cut before its last byte", &whole[..end - 1]),
            ("newer", newer.as_bytes()),
            ("changed", changed.as_bytes()),
        ] {
            let ground = ground();
            let key = format!("manifests/{backup}/{host}.jsonl");
            ground.write(&key, content, 47 * HOUR);
            let error = refused(&ground).await;
            assert!(
                matches!(error, PurgeError::Unreadable(_)),
                "{what}: {error:?}"
            );
            assert!(error.to_string().contains(&key), "{what}: {error}");
        }
    }
}

#[tokio::test]
async fn an_intent_or_a_condemned_list_that_cannot_be_read_stops_the_purge() {
    let intent = format!("manifests/next/{}.{}.1.intent", node(1), node(2));
    let list = format!("manifests/.purge/{}.condemned", node(3));
    for key in [&intent, &list] {
        for content in [
            "",
            "{\"formatVersion\":\"2.0\"}\n",
            "{\"formatVersion\":\"1.0\"}\n",
            "x",
        ] {
            let ground = ground();
            ground.write(key, content.as_bytes(), HOUR);
            let error = refused(&ground).await;
            assert!(matches!(error, PurgeError::Unreadable(_)), "{error:?}");
            assert!(error.to_string().contains(key.as_str()), "{error}");
        }
    }
}

#[tokio::test]
async fn files_of_another_kind_or_in_the_wrong_place_stop_the_purge() {
    let content = manifest_of("new", node(1), &["2"], HOUR);
    for (key, content) in [
        ("manifests/new/node-1.jsonl".to_owned(), &content[..]),
        ("manifests/new/x.intent".to_owned(), b"{}\n"),
        // What is read of it would be taken for what the other one names.
        (format!("manifests/copy/new/{}.jsonl", node(1)), &content),
        (
            format!("manifests/new/{}.jsonl", node(1).simple()),
            &content,
        ),
    ] {
        let ground = ground();
        ground.write(&key, content, HOUR);
        let error = refused(&ground).await;
        assert!(matches!(error, PurgeError::Unknown(_)), "{error:?}");
    }
    for key in [
        format!("manifests/other/{}.jsonl", node(1)),
        format!("manifests/new/{}.jsonl", node(2)),
    ] {
        let ground = ground();
        ground.write(&key, &content, HOUR);
        let error = refused(&ground).await;
        assert!(matches!(error, PurgeError::Misplaced { .. }), "{error:?}");
    }
}

/// What the manifest behind it names would be deleted.
#[tokio::test]
async fn a_symbolic_link_among_the_manifests_stops_the_purge() {
    let ground = ground();
    let (elsewhere, manifests) = (
        ground.root.path().join("moved"),
        ground.root.path().join("prod/manifests/new"),
    );
    std::fs::rename(&manifests, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &manifests).unwrap();
    let error = refused(&ground).await;
    assert!(
        matches!(error, PurgeError::Store(Error::Invalid { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("manifests/new"), "{error}");
}

#[tokio::test]
async fn a_list_that_cannot_be_written_stops_the_purge() {
    let ground = ground();
    let mut options = ground.options();
    options.purge_id = node(3);
    let before = {
        let key = format!("manifests/.purge/{}.condemned", node(3));
        let head = format!(
            "{{\"formatVersion\":\"1.0\",\"purgeId\":\"{}\",\"deadline\":\"2999-01-01T00:00:00Z\"}}\n",
            node(3)
        );
        ground.write(&key, head.as_bytes(), HOUR);
        ground.files()
    };
    let error = ground
        .purge_with(options, |_| Vec::new())
        .await
        .unwrap_err();
    assert!(
        matches!(error, PurgeError::IdTaken(id) if id == node(3)),
        "{error:?}"
    );
    assert_eq!(ground.files(), before);

    let missing = Ground::new();
    std::fs::remove_dir(missing.root.path()).unwrap();
    let error = missing.purge(&[]).await.unwrap_err();
    assert!(
        matches!(error, PurgeError::Store(Error::NotFound { .. })),
        "{error:?}"
    );
}
