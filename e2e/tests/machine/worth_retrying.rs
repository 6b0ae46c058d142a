//! A backup on a bare machine that ends with exit code 75: nothing of it is half-written, its message
//! says what to do, and the same command succeeds once what was in its way is gone.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use e2e::backup::{Backup, Storage};
use e2e::host::proxy::Proxy;
use e2e::parts::binaries;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::minio::{Minio, REGION};
use e2e::product::agent::{Agent, Ended};
use jiff::Timestamp;
use manifest::Condemned;
use tokio::process::Command;
use uuid::Uuid;

const BUCKET: &str = "backups";
/// What a message has to say to who reads it.
const ADVICE: &str = "try again";

/// A Cassandra with rows in `shop.orders`.
async fn cassandra(rows: &Rows, count: i64) -> HostCassandra {
    let cassandra = HostCassandra::start(Options::default()).await.unwrap();
    let session = cassandra.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..count).await.unwrap();
    cassandra
}

/// It ended with 75 for this reason, and its message says what to do, and all of `told`.
fn is_worth_retrying(ended: &Ended, reason: &str, told: &[&str]) {
    ended.expect(75, reason).unwrap();
    let result = ended.result().unwrap();
    let message = result["message"].as_str().unwrap();
    for word in told.iter().chain(&[ADVICE]) {
        assert!(message.contains(word), "{word}: {message}");
    }
}

async fn assert_no_snapshot(cassandra: &HostCassandra) {
    let snapshots = cassandra.nodetool(&["listsnapshots"]).await.unwrap();
    assert!(!snapshots.contains("cassandra-backup-"), "{snapshots}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_503_without_end_leaves_nothing_half_written_and_the_same_command_succeeds_after_it()
 {
    let minio = Minio::start(IpAddr::V4(Ipv4Addr::LOCALHOST)).await.unwrap();
    minio.bucket(BUCKET).await.unwrap();
    let storage = Storage::bucket(minio.client(), BUCKET);
    let proxy = Proxy::start(minio.address()).await.unwrap();
    let state = tempfile::tempdir().unwrap();
    // One data file that goes in parts.
    let rows = Rows::new("shop", "orders").with_bytes(100_000);
    let cassandra = cassandra(&rows, 800).await;
    cassandra.nodetool(&["flush", "shop"]).await.unwrap();
    cassandra.nodetool(&["compact", "shop"]).await.unwrap();
    let command = async |output: &str| {
        let mut command = Command::new(binaries::build().await.unwrap().agent);
        command
            .args(["backup", "--cluster", "prod", "--name", "b1"])
            .args(["--keyspaces", "shop", "--output", output])
            .args(["--jmx-port", &cassandra.jmx_port().to_string()])
            .args(["--cql-host", cassandra.address()])
            .args(["--blob-storage", "s3", "--bucket", BUCKET, "--path-style"])
            .args(["--endpoint", &proxy.endpoint(), "--state-dir"])
            .arg(state.path())
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", &minio.root().id)
            .env("AWS_SECRET_ACCESS_KEY", &minio.root().secret);
        command
    };

    proxy.be_busy(usize::MAX);
    let told = command("text").await.output().await.unwrap();
    assert_eq!(told.status.code(), Some(75), "{told:?}");
    let told = String::from_utf8(told.stderr).unwrap();
    for word in ["StorageUnavailable", "s3://backups", "slow down", ADVICE] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(storage.list("").await.unwrap().is_empty());

    // It begins in the middle of the data file, and before the manifest.
    let mut left = BTreeMap::new();
    for first in ["partNumber=3&", ".jsonl?x-id=PutObject"] {
        proxy.be_busy(0);
        proxy.be_busy_from(first);
        let before = proxy.refused();
        let ended = Ended::of(&mut command("json").await).await.unwrap();
        is_worth_retrying(&ended, "StorageUnavailable", &["s3://backups", "slow down"]);
        assert!(proxy.refused() > before, "{first}");
        let there = storage.list("prod").await.unwrap();
        assert!(
            there.keys().all(|key| !key.ends_with(".jsonl")),
            "{there:?}"
        );
        let data = there
            .into_iter()
            .filter(|(key, _)| key.starts_with("prod/data/"));
        left.extend(data.map(|(key, object)| (key, object.bytes)));
    }
    assert!(left.keys().any(|key| key.ends_with("-Data.db")), "{left:?}");

    proxy.be_busy(0);
    let ended = Ended::of(&mut command("json").await).await.unwrap();
    ended.expect(0, "Succeeded").unwrap();
    let backup = Backup::whole(&storage, "prod", "b1").await.unwrap();
    let schema = backup.nodes[0].schema("prod").unwrap();
    let mut objects = backup.objects();
    objects.extend(schema.iter().map(|(key, object)| (key.clone(), object)));
    for (key, bytes) in left {
        let stored = objects.get(&key).map(|object| object.bytes);
        assert_eq!(stored, Some(bytes), "{key} is half-written");
    }
    assert_no_snapshot(&cassandra).await;
}

/// A purge's list of one key, which it deletes until `deadline`.
fn condemn(root: &Path, key: &str, deadline: Timestamp) {
    let folder = root.join("prod/manifests/.purge");
    fs::create_dir_all(&folder).unwrap();
    let list = Condemned {
        format_version: "1.0".into(),
        purge_id: Uuid::from_u128(1),
        deadline,
    };
    let list = list.write(Vec::<u8>::new(), [key.strip_prefix("prod/").unwrap()]);
    let path = folder.join(format!("{}.condemned", Uuid::from_u128(1)));
    fs::write(path, list.unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_without_end_that_wants_what_a_backup_needs_is_waited_for_and_told_and_blocks_nobody_for_ever()
 {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let storage = Storage::File(root.path().to_owned());
    let rows = Rows::new("shop", "orders").with_bytes(2000);
    let cassandra = cassandra(&rows, 100).await;
    let agent = Agent {
        cassandra: &cassandra,
        root: root.path(),
        state: state.path(),
    };
    let backup = async |name: &str| agent.back_up("prod", name, &["--keyspaces=shop"]).await;
    backup("b1").await.unwrap().expect(0, "Succeeded").unwrap();
    let before = storage.list("prod/data").await.unwrap();
    let wanted = before.keys().find(|key| key.ends_with("-Data.db"));
    let wanted = wanted.unwrap().as_str();

    // The same key as before is needed, and there is something new.
    let session = cassandra.session().await.unwrap();
    rows.write(&session, 100..200).await.unwrap();
    let (now, hour) = (Timestamp::now(), Duration::from_secs(3600));
    condemn(root.path(), wanted, now + hour);
    let ended = backup("b2").await.unwrap();
    is_worth_retrying(&ended, "PurgeInProgress", &[wanted, "purge"]);
    // Nothing was uploaded, nothing touched, nothing committed.
    assert_eq!(storage.list("prod/data").await.unwrap(), before);
    let there = storage.list("prod/manifests/b2").await.unwrap();
    assert!(
        there.keys().all(|key| key.ends_with(".intent")),
        "{there:?}"
    );
    assert!(storage.list("prod/tokens/b2").await.unwrap().is_empty());
    assert_no_snapshot(&cassandra).await;

    // It was killed, and its list is past its deadline and the margin for clocks.
    condemn(root.path(), wanted, now - hour);
    backup("b2").await.unwrap().expect(0, "Succeeded").unwrap();
    Backup::whole(&storage, "prod", "b2").await.unwrap();
    assert_no_snapshot(&cassandra).await;
}
