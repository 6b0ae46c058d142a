//! A run beside a real Cassandra leaves its page cache as it was, and keeps to its bandwidth.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e::host::run::Run;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::product::agent::{Agent, Ended};
use rustix::fs::{Advice, fadvise};

const MIB: u64 = 1 << 20;
/// What the kernel may take back by itself on a busy machine: 7 of 4,105 pages were seen to go.
const BUSY: u64 = MIB / 2;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_leaves_the_page_cache_as_it_was_and_keeps_to_its_bandwidth() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cassandra = HostCassandra::start(Options::default()).await.unwrap();
    let session = cassandra.session().await.unwrap();
    // Two tables of 16 MiB each.
    for table in ["warm", "cold"] {
        let rows = Rows::new("shop", table).with_bytes(16 << 10);
        rows.create(&session, "dc1", 1).await.unwrap();
        rows.write(&session, 0..1024).await.unwrap();
    }
    let agent = Agent {
        cassandra: &cassandra,
        root: root.path(),
        state: state.path(),
    };
    // Its snapshot brings everything to the disk.
    back_up(&agent, "first", "--concurrency=4").await;

    let files = data_files(&cassandra.data().join("shop"));
    for path in &files {
        let file = fs::File::open(path).unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        if path.to_str().unwrap().contains("/warm-") {
            fs::read(path).unwrap();
        }
    }
    let before = resident(&files).await;
    let of = |resident: &BTreeMap<PathBuf, u64>, table: &str| -> u64 {
        let of_table = |path: &&PathBuf| path.to_str().unwrap().contains(table);
        resident
            .keys()
            .filter(of_table)
            .map(|path| resident[path])
            .sum()
    };
    assert!(of(&before, "/warm-") > 15 * MIB, "{before:?}");
    assert!(of(&before, "/cold-") < MIB, "{before:?}");

    let began = Instant::now();
    let ended = back_up(&agent, "second", "--bandwidth=8MiB").await;
    let took = began.elapsed();
    let result = ended.result().unwrap();
    let bytes = result["progress"]["uploaded"]["bytes"].as_u64().unwrap();
    assert!(bytes > 32 * MIB, "{result}");
    // A tenth of a second may be run ahead of.
    let least =
        Duration::from_secs_f64(bytes as f64 / (8 * MIB) as f64) - Duration::from_millis(200);
    assert!(took >= least, "{bytes} bytes in {took:?}");

    let after = resident(&files).await;
    for table in ["/warm-", "/cold-"] {
        let difference = of(&after, table).abs_diff(of(&before, table));
        assert!(difference <= BUSY, "{table}: {before:?} {after:?}");
    }
    let stored = resident(&data_files(root.path())).await;
    let stored: u64 = stored.values().sum();
    assert!(stored < MIB, "{stored} bytes of the storage stay in memory");
}

async fn back_up(agent: &Agent<'_>, cluster: &str, limit: &str) -> Ended {
    let port = format!("--jmx-port={}", agent.cassandra.jmx_port());
    let flags = [port, "--keyspaces=shop".into(), limit.into()];
    let ended = agent.backup(cluster, "b1", &flags).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended
}

/// Every file of an SSTable below a directory, snapshots left out.
fn data_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "snapshots" {
            found.extend(data_files(&path));
        } else if name.starts_with("nb-") && path.is_file() {
            found.push(path);
        }
    }
    found
}

/// Bytes of each file in the page cache.
async fn resident(files: &[PathBuf]) -> BTreeMap<PathBuf, u64> {
    let run = Run::new("fincore").args(["--bytes", "--noheadings", "--raw"]);
    let text = run
        .args(["--output", "RES,FILE"])
        .args(files)
        .output()
        .await;
    let line = |line: &str| {
        let (bytes, path) = line.split_once(' ').unwrap();
        (PathBuf::from(path), bytes.parse().unwrap())
    };
    text.unwrap().lines().map(line).collect()
}
