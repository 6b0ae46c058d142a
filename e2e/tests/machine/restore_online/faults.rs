//! What happens in the middle of a restore: the disk is full, Cassandra is gone.

use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e::bed::wait::until;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::filesystem::{Filesystem, Kind};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::cluster::{Cluster, Restored, Storage, files, rows};

const KEYS: std::ops::Range<i64> = 0..2000;
const MERGE: [&str; 2] = ["--backup=b1", "--mode=merge"];
const REPLACE: [&str; 2] = ["--backup=b1", "--mode=replace"];

/// So that it takes eight seconds.
const SLOWLY: &str = "--bandwidth=4MiB";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_and_a_lost_cassandra_are_told_and_the_same_command_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Filesystem::mount(folder.path(), "disk", Kind::Ext4, 512 << 20)
        .await
        .unwrap();
    let options = Options {
        data_below: Some(disk.path().to_owned()),
        ..Options::default()
    };
    let node = HostCassandra::start(options).await.unwrap();
    let data = node.data();
    let mut cluster = Cluster { nodes: vec![node] };
    let storage = Storage::new();
    let orders = Rows::new("shop", "orders").with_bytes(16_000);
    // Fetched and imported before the others are fetched.
    let first = Rows::new("shop", "a_few");
    let session = cluster.session().await;
    for table in [&first, &orders] {
        table.create(&session, "dc1", 1).await.unwrap();
    }
    first.write(&session, 0..100).await.unwrap();
    orders.write(&session, KEYS).await.unwrap();
    cluster.back_up(&storage, "b1").await;
    cluster
        .run(&["TRUNCATE shop.a_few", "TRUNCATE shop.orders"])
        .await;
    let clear = ["clearsnapshot", "--all"];
    cluster.nodes[0].nodetool(&clear).await.unwrap();
    let is_empty = async || {
        let count = rows(&session, "SELECT JSON count(*) FROM shop.orders").await;
        assert_eq!(count, [r#"{"count": 0}"#]);
    };

    // Seen before anything is done.
    disk.fill(8 << 20).unwrap();
    let said = cluster.restore(0, &storage, &MERGE).await.expect(14);
    assert!(said.contains("bytes free, and the restore needs"), "{said}");
    assert_eq!(staged(&data), 0);
    disk.relieve().unwrap();

    // Not to be foreseen: somebody else fills it meanwhile.
    let slowly = [&MERGE[..], &[SLOWLY]].concat();
    let at_work = cluster.restoring(0, &storage, &slowly).await;
    let imported = async || anyhow::Ok(first.check(&session, 0..100).await.ok());
    let minute = Duration::from_secs(60);
    until("the small table is there", minute, imported)
        .await
        .unwrap();
    has_staged(&data, 0).await;
    signal(&at_work, Signal::STOP);
    // It takes all that there is, and fails at what it needs itself to keep account of that.
    let _ = disk.fill(0);
    assert!(disk.free().unwrap() < 1 << 20);
    signal(&at_work, Signal::CONT);
    let said = Restored::of(at_work).await.expect(14);
    assert!(said.contains("No space left on device"), "{said}");
    is_empty().await;
    first.check(&session, 0..100).await.unwrap();
    disk.relieve().unwrap();
    goes_on(&cluster, &storage, &MERGE).await;
    orders.check(&session, KEYS).await.unwrap();

    // Cassandra goes while its table is empty, and nothing of it is in its place.
    let slowly = [&REPLACE[..], &[SLOWLY]].concat();
    let at_work = cluster.restoring(0, &storage, &slowly).await;
    has_staged(&data, 0).await;
    cluster.nodes[0].kill().await.unwrap();
    let said = Restored::of(at_work).await.expect(75);
    assert!(said.contains("JMX"), "{said}");
    let said = cluster.restore(0, &storage, &REPLACE).await.expect(75);
    assert!(said.contains("JMX"), "{said}");
    cluster.nodes[0].restart().await.unwrap();
    goes_on(&cluster, &storage, &REPLACE).await;
    let session = cluster.session().await;
    orders.check(&session, KEYS).await.unwrap();

    // There is room only where nothing is left of one that is given up.
    let mut at_work = cluster.restoring(0, &storage, &slowly).await;
    has_staged(&data, 16 << 20).await;
    at_work.kill().await.unwrap();
    cluster.nodes[0].nodetool(&clear).await.unwrap();
    disk.fill(26 << 20).unwrap();
    let other = [
        "--backup=b1",
        "--mode=merge",
        "--tables=shop.orders",
        "--anew",
    ];
    cluster.restore(0, &storage, &other).await.expect(0);
    orders.check(&session, KEYS).await.unwrap();
}

async fn goes_on(cluster: &Cluster, storage: &Storage, flags: &[&str]) {
    let flags = [flags, &["--output=json"]].concat();
    let done = cluster.restore(0, storage, &flags).await.document();
    assert_eq!(done["resumed"], true, "{done}");
}

/// Waits until so many bytes of a table are staged.
async fn has_staged(data: &Path, bytes: u64) {
    let some = async || anyhow::Ok((staged(data) > bytes).then_some(()));
    let minute = Duration::from_secs(60);
    until("something is staged", minute, some).await.unwrap();
}

/// Bytes of data files that stand beside the data.
fn staged(data: &Path) -> u64 {
    let staged = files(&data.join(".cassandra-backup-restore.d"));
    let data = staged
        .iter()
        .filter(|path| path.to_string_lossy().contains("-Data.db"));
    data.filter_map(|path| Some(fs::metadata(path).ok()?.len()))
        .sum()
}

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    kill_process(pid.unwrap(), signal).unwrap();
}
