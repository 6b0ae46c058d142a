//! What is wrong with a node or a storage is told with the file, the cause and what to do; nothing
//! is lost, and nothing half-believed.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use e2e::backup::{Backup, Storage};
use e2e::host::run::Run;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::product::Bare;

/// Files below `root` whose name ends so.
fn files(root: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path, suffix));
        } else if path.to_str().unwrap().ends_with(suffix) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Changes one byte in place, in the snapshot's link as in the live file.
fn flip(path: &Path, at: u64) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

async fn verify(storage: &Storage, names: &[&str]) {
    for name in names {
        let backup = Backup::read(storage, "prod", name).await.unwrap();
        backup.verify(storage).await.unwrap();
    }
}

struct Ground {
    cassandra: HostCassandra,
    root: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Ground {
    /// A node with 300 rows of 2 kB in one SSTable.
    async fn start() -> Self {
        let cassandra = HostCassandra::start(Options::default()).await.unwrap();
        let rows = Rows::new("shop", "orders").with_bytes(2000);
        let session = cassandra.session().await.unwrap();
        rows.create(&session, "dc1", 1).await.unwrap();
        rows.write(&session, 0..300).await.unwrap();
        cassandra.nodetool(&["flush", "shop"]).await.unwrap();
        Self {
            cassandra,
            root: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
        }
    }

    async fn agent(&self, root: &Path) -> Bare {
        Bare::file(&self.cassandra, root, self.state.path())
            .await
            .unwrap()
    }

    /// The one data file of the table.
    fn data_file(&self) -> PathBuf {
        let table = files(&self.cassandra.data().join("shop"), "-Data.db");
        assert_eq!(table.len(), 1, "{table:?}");
        table.into_iter().next().unwrap()
    }
}

const SHOP: [&str; 2] = ["--keyspaces", "shop"];

#[tokio::test(flavor = "multi_thread")]
async fn damage_on_the_node_and_in_the_storage_is_told_and_never_stored_or_believed() {
    let ground = Ground::start().await;
    let agent = ground.agent(ground.root.path()).await;
    let storage = Storage::File(ground.root.path().to_owned());

    rot_on_the_node(&ground, &agent, &storage).await;
    an_object_that_changed(&ground, &agent, &storage).await;
    data_on_another_mount(&ground, &agent).await;
    verify(&storage, &["whole", "healed"]).await;
}

/// A data file whose CRC is wrong ends the run with its name, unless it may be left out.
async fn rot_on_the_node(ground: &Ground, agent: &Bare, storage: &Storage) {
    let data = ground.data_file();
    flip(&data, 1000);
    let ended = agent.backup("rotten", &SHOP).await.unwrap();
    assert_eq!(ended.code, Some(13), "{ended:?}");
    assert_eq!(ended.reason(), "CorruptSSTable");
    let name = data.file_name().unwrap().to_str().unwrap();
    assert!(ended.message().contains(name), "{}", ended.message());
    let keys = storage.list("prod").await.unwrap();
    assert!(
        !keys.keys().any(|key| key.ends_with("-Data.db")),
        "{keys:?}"
    );
    assert!(!keys.keys().any(|key| key.ends_with(".jsonl")), "{keys:?}");

    let allowed = [&SHOP[..], &["--allow-corrupt"]].concat();
    let ended = agent.backup("without", &allowed).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.warnings().contains(&"SSTableLeftOut"), "{ended:?}");
    let shown = agent.ask("show", &["without"]).await.unwrap();
    let left_out = shown.last()["nodes"][0]["leftOut"].as_array().unwrap();
    assert_eq!(left_out.len(), 1, "{shown:?}");

    flip(&data, 1000);
    let ended = agent.backup("whole", &SHOP).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// An object of another size under a key of ours is no backup, and nothing overwrites it.
async fn an_object_that_changed(ground: &Ground, agent: &Bare, storage: &Storage) {
    let object = files(&ground.root.path().join("prod/data"), "-Data.db").remove(0);
    let content = fs::read(&object).unwrap();
    fs::write(&object, &content[1..]).unwrap();
    let ended = agent.backup("changed", &SHOP).await.unwrap();
    assert_eq!(ended.code, Some(13), "{ended:?}");
    assert!(
        ended.message().contains("verify --repair"),
        "{}",
        ended.message()
    );
    assert_eq!(fs::read(&object).unwrap().len(), content.len() - 1);
    let looked = agent.ask("verify", &["--backup", "whole"]).await.unwrap();
    assert_eq!(looked.code, Some(13), "{looked:?}");
    assert_eq!(looked.last()["findings"][0]["problem"], "Size");
    let missing = Backup::read(storage, "prod", "changed").await;
    assert!(missing.is_err(), "{missing:?}");

    fs::write(&object, &content).unwrap();
    let ended = agent.backup("healed", &SHOP).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// Where the agent sees other directories than Cassandra, it says so instead of backing up nothing.
async fn data_on_another_mount(ground: &Ground, agent: &Bare) {
    let data = ground.cassandra.data();
    let mut arguments = agent.backup_arguments("elsewhere", &SHOP);
    let script = "mount -t tmpfs none \"$0\" && exec \"$@\"";
    let program = agent.program().display().to_string();
    let hidden = [data.display().to_string(), program];
    arguments.splice(0..0, hidden);
    let mut command = tokio::process::Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .args(arguments);
    let ended = agent.run(&mut command).await.unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.reason(), "SnapshotIncomplete", "{ended:?}");
    assert!(ended.message().contains("orders"), "{}", ended.message());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_is_full_in_the_middle_is_told_and_the_next_run_is_whole() {
    let ground = Ground::start().await;
    let disk = tempfile::tempdir().unwrap();
    let _mounted = Mounted::tmpfs(disk.path(), "200k").await;
    let agent = ground.agent(disk.path()).await;
    let storage = Storage::File(disk.path().to_owned());
    let ended = agent.backup("full", &SHOP).await.unwrap();
    assert_eq!(ended.code, Some(14), "{ended:?}");
    assert_eq!(ended.reason(), "NoSpace");
    assert!(ended.message().contains("no space"), "{}", ended.message());
    let keys = storage.list("prod/manifests").await.unwrap();
    assert!(!keys.keys().any(|key| key.ends_with(".jsonl")), "{keys:?}");

    remount(disk.path(), "64m").await;
    let ended = agent.backup("whole", &SHOP).await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    verify(&storage, &["whole"]).await;
}

/// A file system that goes when it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    async fn tmpfs(at: &Path, size: &str) -> Self {
        let options = format!("size={size}");
        Run::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(at)
            .ok()
            .await
            .unwrap();
        Self(at.to_owned())
    }
}

async fn remount(at: &Path, size: &str) {
    let options = format!("remount,size={size}");
    let run = Run::new("mount").args(["-o", &options]).arg(at);
    run.ok().await.unwrap();
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}
