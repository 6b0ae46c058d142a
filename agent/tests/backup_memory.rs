//! A backup of fifty thousand files stays within 56 MiB: the first, which stores all, the next,
//! which finds all stored, and one that has no cache of hashes.
//!
//! The only test of its program, so that the peak is its own.

#![allow(clippy::unwrap_used)] // helpers of tests

#[path = "endless/header.rs"]
mod header;
#[path = "endless/peak.rs"]
mod peak;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::lease::SystemTimer;
use agent::order::Order;
use agent::run_context::Run;
use agent::testing::*;
use manifest::NodeLayout;
use protocol::Progress;
use store::FileStore;
use tempfile::TempDir;
use uuid::Uuid;

use header::header;
use peak::peak;

const NODE: Uuid = Uuid::from_u128(1);
const SSTABLES: u64 = 6_250;
const COMPONENTS: [&str; 8] = [
    "CompressionInfo.db",
    "Data.db",
    "Digest.crc32",
    "Filter.db",
    "Index.db",
    "Statistics.db",
    "Summary.db",
    "TOC.txt",
];
const TABLE: &str = "orders-0123456789abcdef0123456789abcdef";

/// Files that are in memory already, which is not this program's.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => TempDir::new_in(memory).unwrap(),
        false => TempDir::new().unwrap(),
    }
}

/// A snapshot `t` of one table below `data`.
fn snapshot(data: &Path) {
    let path = data.join("shop").join(TABLE).join("snapshots/t");
    fs::create_dir_all(&path).unwrap();
    let names = (0..SSTABLES).map(|n| format!("\"nb-{n}-big-Data.db\""));
    let listed = names.collect::<Vec<_>>().join(",");
    fs::write(
        path.join("manifest.json"),
        format!("{{\"files\":[{listed}]}}"),
    )
    .unwrap();
    let crc = crc32fast::hash(b"some");
    for n in 0..SSTABLES {
        for component in COMPONENTS {
            let content = match component {
                "Digest.crc32" => crc.to_string(),
                _ => "some".to_owned(),
            };
            fs::write(path.join(format!("nb-{n}-big-{component}")), content).unwrap();
        }
    }
}

/// One backup, after the snapshot.
async fn back_up(data: &Path, storage: &Path, state: &Path, name: &str, run: u128) -> Progress {
    let store = FileStore::open(storage).unwrap();
    let layout = NodeLayout::new("c".parse().unwrap(), NODE);
    let expected = BTreeSet::from([("shop".to_owned(), "orders".to_owned())]);
    let tables = scan(&[data.to_owned()], "t", &expected).unwrap();
    let hashes = HashCache::load(state.join("hashes"));
    let bandwidth = Arc::new(Bandwidth::new(None));
    let maker = Maker {
        layout: &layout,
        hashes: &hashes,
        bandwidth: bandwidth.clone(),
        partitioner: "org.apache.cassandra.dht.Murmur3Partitioner",
    };
    let mut inventory = maker.make(tables).await.unwrap();
    let run = Run::unheard(Uuid::from_u128(run), state.to_owned());
    let backup = name.parse().unwrap();
    let files = NodeFiles {
        bandwidth,
        hashes: &hashes,
    };
    let exchange = Exchange {
        run: &run,
        node: None,
        store: &store,
        layout: &layout,
        backup: &backup,
        touch_after: Duration::ZERO,
        lifetime: Duration::from_secs(3600),
        transfer: Transfer {
            run: &run,
            store: &store,
            files: &files,
            concurrency: 4,
            allow_corrupt: false,
        },
        timer: &SystemTimer,
        order: Order::RIGHT,
    };
    let closing = async || {
        let header = header(NODE, name, 23);
        let tokens = layout.tokens(&backup);
        Ok(Closing { header, tokens })
    };
    let mut progress = Progress::default();
    exchange
        .carry_out(&mut inventory, None, closing, &mut progress)
        .await
        .unwrap();
    hashes.save().unwrap();
    progress
}

#[tokio::test]
async fn fifty_thousand_files_take_less_than_56_mib() {
    let (node, storage) = (directory(), directory());
    let state = tempfile::tempdir().unwrap();
    snapshot(node.path());
    let before = peak();
    let files = SSTABLES * COMPONENTS.len() as u64;
    // What was written less than two seconds ago is not remembered.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let begun = std::time::Instant::now();
    let told = |what: &str| {
        let (now, took) = (peak() >> 10, begun.elapsed());
        println!(
            "{} MiB before, {now} MiB after {what}, {took:?}",
            before >> 10
        );
    };
    let first = back_up(node.path(), storage.path(), state.path(), "first", 1).await;
    told("the first");
    assert_eq!((first.uploaded.files, first.total.files), (files, files));
    let next = back_up(node.path(), storage.path(), state.path(), "next", 2).await;
    told("the next");
    assert_eq!((next.uploaded.files, next.touched), (0, files));
    // One that has no cache reads the last manifest instead.
    fs::remove_file(state.path().join("hashes")).unwrap();
    let third = back_up(node.path(), storage.path(), state.path(), "third", 3).await;
    told("the third");
    assert_eq!((third.uploaded.files, third.touched), (0, files));
    let after = peak();
    assert!(after < 56 << 10, "{after} KiB");
}
