//! A Cassandra on the host: it starts, answers CQL and nodetool, and is gone afterwards.

use std::fs;
use std::path::Path;

use e2e::host::process::Identity;
use e2e::parts::cassandra::Version;
use e2e::parts::cassandra::config::{Credentials, Format, Jmx};
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_keeps_rows_over_a_restart_and_nodetool_takes_a_snapshot() {
    let mut cassandra = HostCassandra::start(Options::default()).await.unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(1000);
    let session = cassandra.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..500).await.unwrap();
    rows.check(&session, 0..500).await.unwrap();
    let lost = rows.check(&session, 0..501).await.unwrap_err().to_string();
    assert!(lost.contains("1 rows missing [500]"), "{lost}");
    let other = rows
        .clone()
        .with_seed(2)
        .check(&session, 0..500)
        .await
        .unwrap_err()
        .to_string();
    assert!(other.contains("500 with another value"), "{other}");

    cassandra
        .nodetool(&["snapshot", "-t", "s1", "shop"])
        .await
        .unwrap();
    let files = snapshot_files(&cassandra.data().join("shop"), "s1");
    assert!(
        files.iter().any(|file| file.ends_with("-big-Data.db")),
        "{files:?}"
    );
    assert!(
        files.iter().any(|file| file == "manifest.json"),
        "{files:?}"
    );

    let ring = cassandra.nodetool(&["ring"]).await.unwrap();
    let tokens = ring
        .lines()
        .filter(|line| line.starts_with(cassandra.address()))
        .count();
    assert_eq!(tokens, 4, "{ring}");

    drop(session);
    cassandra.restart().await.unwrap();
    rows.check(&cassandra.session().await.unwrap(), 0..500)
        .await
        .unwrap();

    let (pid, home) = (cassandra.pid().unwrap(), cassandra.home().to_owned());
    drop(cassandra);
    assert!(Identity::of(pid).is_none() && !home.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_asked_for_over_jmx_and_cql_where_wanted() {
    let cassandra = HostCassandra::start(Options {
        jmx: Jmx::Password(Credentials::new("operator", "over-jmx")),
        cql: Some(Credentials::new("owner", "it's over cql")),
        data_directories: 2,
        format: Format::Da,
        uuid_ids: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let session = cassandra.session().await.unwrap();
    let rows = Rows::new("shop", "orders");
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..50).await.unwrap();
    // nodetool logs in with the password, which stands in no argument.
    cassandra.nodetool(&["flush", "shop"]).await.unwrap();
    let names: Vec<_> = cassandra
        .data_directories()
        .iter()
        .flat_map(|data| files(&data.join("shop")))
        .filter(|name| name.ends_with("-Data.db"))
        .collect();
    assert!(!names.is_empty());
    assert!(
        names
            .iter()
            .all(|n| n.starts_with("da-") && n.ends_with("-bti-Data.db")),
        "{names:?}"
    );

    let port = cassandra.jmx_port().to_string();
    let pid = cassandra.pid().unwrap();
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command.contains(&port) && !command.contains("over-jmx"));
}

#[tokio::test(flavor = "multi_thread")]
async fn four_dot_one_runs_on_java_11() {
    let options = Options {
        version: Version::V4_1,
        uuid_ids: true,
        ..Options::default()
    };
    let cassandra = HostCassandra::start(options).await.unwrap();
    let rows = Rows::new("shop", "orders");
    let session = cassandra.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..50).await.unwrap();
    rows.check(&session, 0..50).await.unwrap();
    let version = cassandra.nodetool(&["version"]).await.unwrap();
    assert_eq!(version.trim(), "ReleaseVersion: 4.1.10");
}

/// The names of the files of a snapshot, whichever table they belong to.
fn snapshot_files(keyspace: &Path, tag: &str) -> Vec<String> {
    let tables = fs::read_dir(keyspace)
        .unwrap()
        .map(|table| table.unwrap().path());
    tables
        .flat_map(|table| names(&table.join("snapshots").join(tag)))
        .collect()
}

/// The names of the live files of all tables.
fn files(keyspace: &Path) -> Vec<String> {
    let Ok(tables) = fs::read_dir(keyspace) else {
        return Vec::new();
    };
    tables
        .flat_map(|table| names(&table.unwrap().path()))
        .collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
