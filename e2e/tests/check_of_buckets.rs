//! `check` tells of a bucket that keeps what is touched and deleted, for which somebody pays.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use e2e::parts::binaries;
use e2e::parts::minio::{Key, Minio, Setup, User};
use serde_json::Value;

/// What an agent needs, but the right to ask for versioning.
const RIGHTS: &[&str] = &["s3:ListBucket", "s3:GetObject", "s3:PutObject"];

/// State, reason and detail of `versions`, which never makes the command fail.
async fn versions(minio: &Minio, key: &Key, bucket: &str) -> [String; 3] {
    let agent = binaries::build().await.unwrap().agent;
    let output = tokio::process::Command::new(agent)
        .args(["check", "--no-cassandra", "--cluster", "prod"])
        .args(["--blob-storage", "s3", "--bucket", bucket, "--path-style"])
        .args(["--endpoint", &minio.endpoint(), "--output", "json"])
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", &key.id)
        .env("AWS_SECRET_ACCESS_KEY", &key.secret)
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = document["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["check"] == "versions");
    let found = found.unwrap_or_else(|| panic!("{document}"));
    ["state", "reason", "detail"].map(|field| found[field].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_versioning_or_object_lock_is_warned_of_and_one_without_is_not() {
    let minio = Minio::start(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.unwrap();
    let agent = User::allowed("agent", "agent-secret", RIGHTS, &["versioned"]);
    let setup = Setup {
        buckets: vec!["plain".into(), "versioned".into()],
        users: vec![agent],
        ..Setup::default()
    };
    minio.set_up(setup).await.unwrap();
    let client = minio.client();
    let versioning = async |status: BucketVersioningStatus| {
        let request = client.put_bucket_versioning().bucket("versioned");
        let status = VersioningConfiguration::builder().status(status).build();
        let done = request.versioning_configuration(status).send().await;
        done.unwrap();
    };
    versioning(BucketVersioningStatus::Enabled).await;
    let locked = client.create_bucket().bucket("locked");
    let locked = locked.object_lock_enabled_for_bucket(true);
    locked.send().await.unwrap();

    let root = minio.root();
    let [state, ..] = versions(&minio, root, "plain").await;
    assert_eq!(state, "Works");
    for bucket in ["versioned", "locked"] {
        let [state, reason, detail] = versions(&minio, root, bucket).await;
        assert_eq!((&*state, &*reason), ("Warning", "StorageUnsuitable"));
        assert!(detail.contains("delete noncurrent versions"), "{detail}");
    }
    // It is so: what `check` touched and deleted is still there.
    let kept = client.list_object_versions().bucket("versioned");
    let kept = kept.send().await.unwrap();
    assert!(kept.versions().len() > 1, "{kept:?}");
    assert!(!kept.delete_markers().is_empty(), "{kept:?}");

    let agent = Key {
        id: "agent".into(),
        secret: "agent-secret".into(),
    };
    let [state, reason, detail] = versions(&minio, &agent, "versioned").await;
    assert_eq!((&*state, &*reason), ("Warning", "StorageDenied"));
    assert!(detail.contains("AccessDenied"), "{detail}");
    // Suspended, it makes no more.
    versioning(BucketVersioningStatus::Suspended).await;
    let [state, ..] = versions(&minio, root, "versioned").await;
    assert_eq!(state, "Works");
}
