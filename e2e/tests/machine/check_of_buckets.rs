//! `check` of buckets: one that keeps what is touched and deleted, for which somebody pays, one that is
//! not there, and identities that lack a right.

use std::net::{IpAddr, Ipv4Addr};

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use e2e::parts::binaries;
use e2e::parts::minio::{Key, Minio, Setup, User};
use serde_json::Value;

/// What an agent needs, but the right to ask for versioning.
const RIGHTS: &[&str] = &["s3:ListBucket", "s3:GetObject", "s3:PutObject"];

/// What `check` said of a bucket.
#[derive(Debug)]
struct Checked {
    code: Option<i32>,
    checks: Vec<Value>,
    complaints: String,
}

impl Checked {
    async fn of(minio: &Minio, key: &Key, bucket: &str) -> Self {
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
        let document = serde_json::from_slice::<Value>(&output.stdout);
        let document = document.unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Self {
            code: output.status.code(),
            checks: document["checks"].as_array().unwrap().clone(),
            complaints: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// State, reason and detail of one thing.
    fn said(&self, what: &str) -> [&str; 3] {
        let found = self.checks.iter().find(|check| check["check"] == what);
        let found = found.unwrap_or_else(|| panic!("{what}: {self:?}"));
        ["state", "reason", "detail"].map(|field| found[field].as_str().unwrap())
    }

    /// The things that fail.
    fn failing(&self) -> Vec<&str> {
        let failing = self.checks.iter().filter(|check| check["state"] == "Fails");
        failing.map(|it| it["check"].as_str().unwrap()).collect()
    }
}

/// State, reason and detail of `versions`, which never makes the command fail.
async fn versions(minio: &Minio, key: &Key, bucket: &str) -> [String; 3] {
    let checked = Checked::of(minio, key, bucket).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    checked.said("versions").map(str::to_owned)
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

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_and_each_right_that_is_missing_are_told_by_name() {
    let minio = Minio::start(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.unwrap();
    let [list, read, write] = RIGHTS else {
        panic!("{RIGHTS:?}");
    };
    let identities = [
        ("everything", vec![*list, *read, *write]),
        ("no-list", vec![*read, *write]),
        ("no-read", vec![*list, *write]),
        ("no-write", vec![*list, *read]),
    ];
    let secret = |name: &str| format!("secret-of-{name}");
    let users = identities.iter().map(|(name, rights)| {
        User::allowed(name, &secret(name), rights, &["backups", "no-such-bucket"])
    });
    let setup = Setup {
        buckets: vec!["backups".into()],
        users: users.collect(),
        ..Setup::default()
    };
    minio.set_up(setup).await.unwrap();
    let checked = async |name: &str, bucket: &str| {
        let key = Key {
            id: name.into(),
            secret: secret(name),
        };
        Checked::of(&minio, &key, bucket).await
    };

    // A node may not delete, and what `check` wrote stays for the next one.
    for _ in 0..2 {
        let works = checked("everything", "backups").await;
        assert_eq!(
            (works.code, works.failing().len()),
            (Some(0), 0),
            "{works:?}"
        );
        let [state, _, detail] = works.said("delete");
        assert!(
            state == "Works" && detail.contains("right for nodes"),
            "{works:?}"
        );
    }

    let missing = checked("everything", "no-such-bucket").await;
    assert_eq!(missing.code, Some(10), "{missing:?}");
    assert_eq!(missing.failing(), ["storage"], "{missing:?}");
    let [_, reason, detail] = missing.said("storage");
    assert_eq!(reason, "StorageNotFound");
    for word in ["s3://no-such-bucket", "create it"] {
        assert!(detail.contains(word), "{detail}");
    }
    assert!(missing.complaints.contains("backups would fail here"));

    for (name, failing, right) in [
        ("no-list", &["storage"][..], list),
        ("no-read", &["read", "touch"], read),
        ("no-write", &["write"], write),
    ] {
        let denied = checked(name, "backups").await;
        assert_eq!(denied.code, Some(12), "{denied:?}");
        assert_eq!(denied.failing(), failing, "{denied:?}");
        for what in failing {
            let [_, reason, detail] = denied.said(what);
            assert_eq!(reason, "StorageDenied");
            for word in ["s3://backups", *right] {
                assert!(detail.contains(word), "{name}, {what}: {detail}");
            }
        }
        assert!(denied.complaints.contains("StorageDenied"), "{denied:?}");
    }

    let stranger = Key {
        id: "everything".into(),
        secret: secret("somebody else"),
    };
    let stranger = Checked::of(&minio, &stranger, "backups").await;
    assert_eq!(stranger.code, Some(12), "{stranger:?}");
    let [_, _, detail] = stranger.said("storage");
    assert!(detail.contains("SignatureDoesNotMatch"), "{detail}");
}
