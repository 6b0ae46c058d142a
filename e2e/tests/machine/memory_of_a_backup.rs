//! The agent as a whole process beside a real Cassandra takes at most 64 MiB, however large a data file
//! is, wherever it goes and from wherever it comes back: it lives in Cassandra's own memory.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::time::Duration;

use e2e::parts::azurite::Azurite;
use e2e::parts::binaries;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::fake_gcs::{FakeGcs, Identity};
use e2e::parts::minio::{Minio, REGION};
use serde_json::Value;
use tokio::time::sleep;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const BUCKET: &str = "backups";
/// What the agent may have at most, in KiB.
const LIMIT: u64 = 64 << 10;
/// Values of one table, which become one data file: 35 parts of 8 MiB, or of what a storage takes.
const VALUES: i64 = 4_500;
const VALUE: usize = 64 << 10;

/// Where a backup goes, and with which environment.
struct Place {
    name: &'static str,
    flags: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Place {
    fn bucket(
        name: &'static str,
        endpoint: &str,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let flags = ["--bucket", BUCKET, "--endpoint", endpoint];
        Self {
            name,
            flags: flags.map(str::to_owned).into(),
            environment,
        }
    }
}

/// Runs a command; the most memory that its process had, in KiB, and what it printed.
async fn peak(cassandra: &HostCassandra, place: &Place, command: &[&str]) -> (u64, String) {
    let state = tempfile::tempdir().unwrap();
    let child = tokio::process::Command::new(binaries::build().await.unwrap().agent)
        .args(command)
        .args(["--cluster", "prod", "--output", "json"])
        .args(["--cql-host", cassandra.address()])
        .args(["--jmx-port", &cassandra.jmx_port().to_string()])
        .arg("--state-dir")
        .arg(state.path())
        .args(["--blob-storage", place.name])
        .args(&place.flags)
        .env("HOME", state.path())
        .envs(place.environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let (mut most, mut ended) = (0, Box::pin(child.wait_with_output()));
    let output = loop {
        // It never becomes less. What it had in its last moment is not seen.
        if let Some(now) = high_water(&status) {
            most = now;
        }
        tokio::select! {
            output = &mut ended => break output.unwrap(),
            () = sleep(Duration::from_millis(10)) => {}
        }
    };
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {complaints}", place.name);
    (most, String::from_utf8(output.stdout).unwrap())
}

fn high_water(status: &str) -> Option<u64> {
    let status = fs::read_to_string(status).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_data_file_goes_to_every_storage_and_back_in_64_mib() {
    let cassandra = HostCassandra::start(Options::default()).await.unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(VALUE);
    let session = cassandra.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..VALUES).await.unwrap();
    cassandra.nodetool(&["flush"]).await.unwrap();
    cassandra
        .nodetool(&["compact", "shop", "orders"])
        .await
        .unwrap();

    let folder = tempfile::tempdir().unwrap();
    let minio = Minio::start(LOOPBACK).await.unwrap();
    minio.bucket(BUCKET).await.unwrap();
    let mut google = FakeGcs::start(LOOPBACK).await.unwrap();
    google.bucket(BUCKET).unwrap();
    let machine = Identity::of_the_machine(&["GET", "POST", "DELETE"]);
    google.admit(&[&machine]).await.unwrap();
    let azurite = Azurite::start(LOOPBACK).await.unwrap();
    azurite.container(BUCKET).await.unwrap();
    let key = minio.root();
    let places = [
        Place {
            name: "file",
            flags: vec![format!("--filebackup-location={}", folder.path().display())],
            environment: Vec::new(),
        },
        Place::bucket(
            "s3",
            &minio.endpoint(),
            vec![
                ("AWS_ACCESS_KEY_ID", key.id.clone()),
                ("AWS_SECRET_ACCESS_KEY", key.secret.clone()),
                ("AWS_REGION", REGION.to_owned()),
            ],
        ),
        Place::bucket(
            "gcp",
            &google.endpoint(),
            vec![("GCE_METADATA_HOST", google.address().to_string())],
        ),
        Place::bucket(
            "azure",
            &azurite.endpoint(),
            vec![
                ("AZURE_STORAGE_ACCOUNT_NAME", azurite.account().to_owned()),
                ("AZURE_STORAGE_ACCOUNT_KEY", azurite.key()),
            ],
        ),
    ];
    for place in &places {
        let backup = ["backup", "--name", place.name];
        let (most, told) = peak(&cassandra, place, &backup).await;
        let result: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        assert_eq!(result["reason"], "Succeeded", "{}: {result}", place.name);
        let bytes = result["progress"]["uploaded"]["bytes"].as_u64().unwrap();
        assert!(bytes > VALUES as u64 * VALUE as u64, "{result}");
        assert!(most < LIMIT, "{}: {most} KiB", place.name);

        let copy = Rows {
            table: format!("orders_{}", place.name),
            ..rows.clone()
        };
        let renamed = format!("shop.orders=shop.{}", copy.table);
        let restore = ["restore", "--mode", "merge", "--backup", place.name];
        let restore = [&restore[..], &["--rename", &renamed]].concat();
        let (back, told) = peak(&cassandra, place, &restore).await;
        let done: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(done["tables"][0]["sstables"], 1, "{done}");
        assert!(back < LIMIT, "{}: {back} KiB", place.name);
        copy.check(&session, 0..VALUES).await.unwrap();
        let drop = format!("DROP TABLE shop.{}", copy.table);
        session.query_unpaged(drop, ()).await.unwrap();
        println!(
            "{}: {} MiB at most for {} MiB, {} MiB on their way back",
            place.name,
            most >> 10,
            bytes >> 20,
            back >> 10
        );
    }
}
