//! What a touch leaves as it was: content, storage class, encryption and tags, whichever way it goes.

use aws_sdk_s3::types::{Tag, Tagging};
use e2e::parts::minio::KMS_KEY;
use store::Encryption;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn encryption_and_storage_class_are_asked_for_and_kept_by_a_touch() {
    let minio = Minio::start_with_kms(LOOPBACK).await.unwrap();
    minio.bucket("backups").await.unwrap();
    let mut config = config(&minio.endpoint(), &minio.root().id, &minio.root().secret);
    config.storage_class = Some("REDUCED_REDUNDANCY".into());
    // Copies of the largest object go in parts.
    config.copy_limit = 6 * MIB;
    let kms = Encryption::Kms {
        key_id: Some(KMS_KEY.into()),
    };
    for (encryption, name, key_id) in [
        (Encryption::BucketDefault, None, None),
        (Encryption::S3, Some("AES256"), None),
        (kms, Some("aws:kms"), Some(KMS_KEY)),
    ] {
        let root = format!("c/{}", name.unwrap_or("none").replace(':', "-"));
        config.encryption = encryption;
        let store = connect(&config).await;
        for size in [100, 6 * MIB, 11 * MIB] {
            let path = format!("{root}/{size}");
            let whole = content(size);
            upload(&store, &path, &whole).await.unwrap();
            let kept = async || {
                let head = minio.client().head_object().bucket("backups").key(&path);
                let head = head.send().await.unwrap();
                assert_eq!(
                    head.server_side_encryption().map(|kind| kind.as_str()),
                    name,
                    "{path}"
                );
                let id = head
                    .ssekms_key_id()
                    .and_then(|id| id.rsplit([':', '/']).next());
                assert_eq!(id, key_id, "{path}");
                let class = head.storage_class().map(|class| class.as_str());
                assert_eq!(class, Some("REDUCED_REDUNDANCY"), "{path}");
                head.last_modified().unwrap().secs()
            };
            let before = kept().await;
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                store.touch(&key(&path), size).await.unwrap();
                if kept().await > before {
                    break;
                }
                assert!(Instant::now() < deadline, "{path}");
            }
            let read = store.read_small(&key(&path), u64::MAX).await.unwrap();
            assert!(read == whole, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_too_large_to_be_copied_at_once_is_touched_in_parts() {
    let (_minio, mut config) = minio().await;
    config.copy_limit = 5 * MIB;
    let store = connect(&config).await;
    let whole = content(17 * MIB + 1);
    upload(&store, "c/x", &whole).await.unwrap();
    let after = touch_until_it_shows(&store, "c/x").await;
    assert_eq!(after.size, whole.len() as u64);
    let read = store.read_small(&key("c/x"), u64::MAX).await.unwrap();
    assert!(read == whole);
    let missing = store.touch(&key("c/y"), after.size).await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing:?}");
}

/// Touches an object until its time, which is in whole seconds, has moved.
pub(super) async fn touch_until_it_shows(store: &S3Store, path: &str) -> Object {
    let before = store.stat(&key(path)).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        store.touch(&key(path), before.size).await.unwrap();
        let after = store.stat(&key(path)).await.unwrap();
        if after.modified > before.modified {
            return after;
        }
        assert!(Instant::now() < deadline, "{after:?}");
    }
}

/// The tags of an object, as they were put there by somebody else.
async fn tags(client: &aws_sdk_s3::Client, path: &str) -> Vec<(String, String)> {
    let found = client.get_object_tagging().bucket("backups").key(path);
    let found = found.send().await.unwrap();
    let tags = found.tag_set().iter();
    let mut tags: Vec<_> = tags
        .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
        .collect();
    tags.sort();
    tags
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_kept_by_a_touch_at_once_in_parts_and_by_writing_again() {
    let given = [("cost centre", "a+b=c/d e"), ("team", "db")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let tagging = given.iter().map(|(key, value)| {
        let tag = Tag::builder().key(key).value(value);
        tag.build().unwrap()
    });
    let tagging = Tagging::builder().set_tag_set(Some(tagging.collect()));
    let tagging = tagging.build().unwrap();

    let (minio, mut config) = minio().await;
    config.copy_limit = 5 * MIB;
    let on_minio = connect(&config).await;
    // Its copies of an object onto itself move no time.
    let versitygw = VersityGw::start(LOOPBACK).await.unwrap();
    versitygw.bucket("backups").await.unwrap();
    let root = versitygw.root();
    let on_versitygw = connect(&super::config(
        &versitygw.endpoint(),
        &root.id,
        &root.secret,
    ))
    .await;

    for (client, store) in [
        (minio.client(), on_minio),
        (versitygw.client(), on_versitygw),
    ] {
        for size in [1000, 11 * MIB] {
            let path = format!("c/{size}");
            upload(&store, &path, &content(size)).await.unwrap();
            let tagged = client.put_object_tagging().bucket("backups").key(&path);
            tagged.tagging(tagging.clone()).send().await.unwrap();
            touch_until_it_shows(&store, &path).await;
            assert_eq!(tags(&client, &path).await, given, "{path}");
            let read = store.read_small(&key(&path), u64::MAX).await.unwrap();
            assert!(read == content(size), "{path}");
        }
    }
}
