//! One dead node, offline: `restore --offline` on real Cassandra. It starts with its host id, its tokens
//! and its rows, and streams nothing.

use std::fs;
use std::path::Path;
use std::process::Output;

use e2e::parts::binaries;
use e2e::parts::cassandra::Version;
use e2e::parts::cassandra::cql;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::product::agent::Agent;
use futures::future::try_join_all;

/// What a node has besides its data directories, below its own directory.
const BESIDE: [&str; 4] = ["commitlog", "hints", "saved_caches", "cdc_raw"];

struct Dead<'a> {
    node: &'a HostCassandra,
    host_id: String,
    root: &'a Path,
    state: &'a Path,
}

impl Dead<'_> {
    async fn restore(&self, more: &[&str]) -> Output {
        let agent = binaries::build().await.unwrap().agent;
        let mut command = tokio::process::Command::new(agent);
        command
            .args([
                "restore",
                "--offline",
                "--backup",
                "latest",
                "--cluster",
                "prod",
            ])
            .args(["--host-id", &self.host_id])
            .args(["--blob-storage", "file", "--filebackup-location"])
            .arg(self.root)
            .arg("--state-dir")
            .arg(self.state)
            .args(more);
        command.output().await.unwrap()
    }

    async fn restored(&self) {
        let output = self.restore(&[]).await;
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("nodetool repair --full"), "{said}");
    }
}

async fn info(node: &HostCassandra, name: &str) -> Vec<String> {
    let info = node.nodetool(&["info", "-T"]).await.unwrap();
    let lines = info.lines().filter_map(|line| line.split_once(':'));
    let values = lines.filter(|(key, _)| key.trim() == name);
    let mut values: Vec<_> = values.map(|(_, value)| value.trim().to_owned()).collect();
    values.sort();
    values
}

/// The disk of a node is lost, and the directories on the new one are made.
fn lose_the_disk(node: &HostCassandra) {
    let beside = BESIDE.map(|name| node.home().join(name));
    for directory in node.data_directories().into_iter().chain(beside) {
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
            fs::create_dir(&directory).unwrap();
        }
    }
}

/// What the node has logged since it had logged so much.
fn since(node: &HostCassandra, before: usize) -> String {
    let log = fs::read(node.log()).unwrap();
    String::from_utf8_lossy(&log[before..]).into_owned()
}

async fn backed_up(node: &HostCassandra, root: &Path, state: &Path) {
    let agent = Agent {
        cassandra: node,
        root,
        state,
    };
    let port = node.jmx_port().to_string();
    let flags = ["--jmx-port".to_owned(), port];
    let ended = agent.backup("prod", "nightly", &flags).await.unwrap();
    let result = ended.result().unwrap();
    assert_eq!(ended.code, Some(0), "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lost_its_disk_starts_as_it_was_and_streams_nothing() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let two_disks = Options {
        data_directories: 2,
        ..Options::default()
    };
    let first = HostCassandra::start(two_disks.clone()).await.unwrap();
    let seed = Some(first.address().to_owned());
    let join = || {
        HostCassandra::start(Options {
            seed: seed.clone(),
            ..two_disks.clone()
        })
    };
    let second = join().await.unwrap();
    let third = join().await.unwrap();
    let mut nodes = [first, second, third];
    let addresses = |nodes: &[HostCassandra; 3]| -> Vec<String> {
        nodes.iter().map(|node| node.address().to_owned()).collect()
    };
    let names = addresses(&nodes);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    cql::agree(&names, None).await.unwrap();
    let session = cql::connect(&names, None).await.unwrap();
    let once = Rows::new("alone", "events").with_bytes(500);
    let everywhere = Rows::new("shop", "orders").with_bytes(500);
    once.create(&session, "dc1", 1).await.unwrap();
    everywhere.create(&session, "dc1", 3).await.unwrap();
    let index = "CREATE INDEX by_value ON shop.orders (value)";
    session.query_unpaged(index, ()).await.unwrap();
    for rows in [&once, &everywhere] {
        rows.write(&session, 0..300).await.unwrap();
    }
    try_join_all(nodes.iter().map(|node| async {
        backed_up(node, root.path(), state.path()).await;
        anyhow::Ok(())
    }))
    .await
    .unwrap();
    everywhere.write(&session, 300..350).await.unwrap();

    let host_id = info(&nodes[2], "ID").await.remove(0);
    let tokens = info(&nodes[2], "Token").await;
    assert_eq!(tokens.len(), 4);
    nodes[2].kill().await.unwrap();
    let dead = Dead {
        node: &nodes[2],
        host_id: host_id.clone(),
        root: root.path(),
        state: state.path(),
    };
    // Not before the disk is empty.
    let refused = dead.restore(&[]).await;
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(why.contains("is not empty"), "{why}");
    lose_the_disk(dead.node);
    let dry = dead.restore(&["--dry-run"]).await;
    assert!(dry.status.success(), "{dry:?}");
    let empty = |directory: &Path| fs::read_dir(directory).unwrap().next().is_none();
    assert!(dead.node.data_directories().iter().all(|it| empty(it)));
    dead.restored().await;

    let lengths = nodes
        .each_ref()
        .map(|node| fs::read(node.log()).unwrap().len());
    let streams = |nodes: &[HostCassandra; 3]| {
        let since = nodes
            .iter()
            .zip(lengths)
            .map(|(node, length)| since(node, length));
        since.filter(|log| log.contains("[Stream #")).count()
    };
    nodes[2].restart().await.unwrap();
    cql::agree(&names, None).await.unwrap();
    assert_eq!(info(&nodes[2], "ID").await, [host_id]);
    assert_eq!(info(&nodes[2], "Token").await, tokens);
    let log = since(&nodes[2], lengths[2]);
    assert!(log.contains("Using saved tokens"), "{log}");
    assert!(!log.contains("Starting to bootstrap"), "{log}");
    let session = cql::connect(&names, None).await.unwrap();
    // At ALL: the node answers for its rows, with nobody to have them from.
    once.check(&session, 0..300).await.unwrap();
    assert_eq!(streams(&nodes), 0, "{log}");

    // What was written since comes from the others.
    nodes[2]
        .nodetool(&["repair", "--full", "shop"])
        .await
        .unwrap();
    everywhere.check(&session, 0..350).await.unwrap();
    assert_ne!(streams(&nodes), 0, "a repair streams");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_with_the_older_releases() {
    for version in [Version::V4_0, Version::V4_1] {
        let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let options = Options {
            version,
            ..Options::default()
        };
        let mut node = HostCassandra::start(options).await.unwrap();
        let rows = Rows::new("shop", "orders").with_bytes(500);
        let session = node.session().await.unwrap();
        rows.create(&session, "dc1", 1).await.unwrap();
        rows.write(&session, 0..200).await.unwrap();
        backed_up(&node, root.path(), state.path()).await;
        let host_id = info(&node, "ID").await.remove(0);
        let tokens = info(&node, "Token").await;
        node.kill().await.unwrap();
        lose_the_disk(&node);
        let dead = Dead {
            node: &node,
            host_id: host_id.clone(),
            root: root.path(),
            state: state.path(),
        };
        dead.restored().await;
        node.restart().await.unwrap();
        assert_eq!(info(&node, "ID").await, [host_id]);
        assert_eq!(info(&node, "Token").await, tokens);
        let session = node.session().await.unwrap();
        rows.check(&session, 0..200).await.unwrap();
    }
}
