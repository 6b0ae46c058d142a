//! What looks at backups of a million objects stays within 128 MiB as a whole process, over a
//! storage that is a directory with all of these objects.
//!
//! The only test of its program, so that every child is one of its commands.

#![allow(clippy::unwrap_used)] // helpers of tests

#[path = "endless/header.rs"]
mod header;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use manifest::*;
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use uuid::Uuid;

use header::header;

/// Components that manifests name, of which the older backup alone has every second.
const COMPONENTS: u64 = 1_000_000;
const PER_SSTABLE: u64 = 50;
const SSTABLES: u64 = COMPONENTS / PER_SSTABLE;
const NODE: Uuid = Uuid::from_u128(1);
const TABLE: &str = "orders-0123456789abcdef0123456789abcdef";

/// In KiB.
const LIMIT: i64 = 128 << 10;

fn sstable(n: u64) -> String {
    format!("nb-{n}-big.1a2b3c4d.4711")
}

fn component(sstable: u64, n: u64) -> String {
    format!("nb-{sstable}-big-Component{n}.db.0011223344556677")
}

/// The objects, old enough to be deleted. All of one SSTable are one file: what takes time and
/// room is what a list shows, their names.
fn write_objects(cluster: &Path) {
    let table = cluster.join(format!("data/{NODE}/shop/{TABLE}"));
    let long_ago = SystemTime::now() - Duration::from_secs(100 * 3600);
    for n in 0..SSTABLES {
        let directory = table.join(sstable(n));
        fs::create_dir_all(&directory).unwrap();
        let first = directory.join(component(n, 0));
        fs::write(&first, "x").unwrap();
        let file = fs::File::options().append(true).open(&first).unwrap();
        file.set_modified(long_ago).unwrap();
        for other in 1..PER_SSTABLE {
            fs::hard_link(&first, directory.join(component(n, other))).unwrap();
        }
    }
}

/// A manifest of every `step`th SSTable.
fn write_backup(cluster: &Path, backup: &str, day: u32, step: usize) {
    let tokens = format!("tokens/{backup}/{NODE}.yaml");
    for key in [&tokens, &format!("manifests/{backup}/{NODE}.jsonl")] {
        fs::create_dir_all(cluster.join(key).parent().unwrap()).unwrap();
    }
    fs::write(cluster.join(&tokens), "tokens: []\n").unwrap();
    let manifest = cluster.join(format!("manifests/{backup}/{NODE}.jsonl"));
    let file = std::io::BufWriter::new(fs::File::create(manifest).unwrap());
    let mut writer = ManifestWriter::new(file, header(NODE, backup, day)).unwrap();
    writer
        .table(Table {
            keyspace: "shop".into(),
            table: "orders".into(),
            id: "0123456789abcdef0123456789abcdef".into(),
            directory: TABLE.into(),
            schema: None,
        })
        .unwrap();
    for n in (0..SSTABLES).step_by(step) {
        let components = (0..PER_SSTABLE).map(|c| Component {
            name: format!("nb-{n}-big-Component{c}.db"),
            object: component(n, c),
            bytes: 1,
            blake3: "0".repeat(64),
        });
        let line = SsTable {
            sstable: sstable(n),
            index: None,
            data_directory: 0,
            first_token: None,
            last_token: None,
            content: Some(Contents {
                partitions: n,
                rows: 10 * n,
                keys: vec![format!("{n:032x}"), format!("{:032x}", n + 1)],
            }),
            components: components.collect(),
        };
        writer.sstable(line).unwrap();
    }
    let footer = Footer {
        tokens,
        ..Footer::default()
    };
    writer.finish(footer).unwrap();
}

#[test]
fn commands_over_a_million_components_take_less_than_128_mib_as_whole_processes() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cluster = root.path().join("c");
    write_objects(&cluster);
    write_backup(&cluster, "old", 22, 1);
    write_backup(&cluster, "new", 23, 2);

    // The peak is that of the largest so far, and no less than this program's own.
    let run = |arguments: &[&str]| -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_cassandra-backup"))
            .args(arguments)
            .args(["--cluster", "c", "--output", "json"])
            .args(["--blob-storage", "file", "--filebackup-location"])
            .arg(root.path())
            .arg("--state-dir")
            .arg(state.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}");
        let peak = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
        println!("{arguments:?}: {} MiB", peak >> 10);
        assert!(peak < LIMIT, "{arguments:?}: {peak} KiB");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let listed = run(&["list"]);
    assert_eq!(
        listed["backups"].as_array().map(Vec::len),
        Some(2),
        "{listed}"
    );
    let shown = run(&["show", "old"]);
    assert!(
        shown.to_string().contains(&COMPONENTS.to_string()),
        "{shown}"
    );
    for level in ["exists", "size"] {
        let report = run(&["verify", "--all", "--level", level]);
        assert_eq!(report["sound"], true);
        assert_eq!(report["objects"], COMPONENTS);
    }
    let purged = run(&["purge", "--dry-run", "--keep-last", "1"]);
    // And its tokens.
    assert_eq!(purged["deleted"]["objects"], COMPONENTS / 2 + 1, "{purged}");
}
