//! What is damaged or in an unusual place on the node or in the storage: it is told by name, and
//! nothing is lost and nothing half-believed.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use e2e::backup::{Backup, Storage};
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::filesystem::{Filesystem, Kind};
use e2e::product::agent::{Agent, Ended};

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_told_by_name_and_the_next_backup_is_whole() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mounts = tempfile::tempdir().unwrap();
    let other = Filesystem::mount(mounts.path(), "data", Kind::Ext4, 256 << 20).await;
    let other = other.unwrap();
    let mut cassandra = HostCassandra::start(Options::default()).await.unwrap();
    let second = other.path().join("cassandra");
    let node = cassandra.node_mut();
    node.data_directories.push(second.to_str().unwrap().into());
    cassandra.restart().await.unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(2000);
    let session = cassandra.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..300).await.unwrap();
    let agent = Agent {
        cassandra: &cassandra,
        root: root.path(),
        state: state.path(),
    };
    let storage = Storage::File(root.path().to_owned());
    a_directory_on_another_mount(&agent, &storage).await;
    a_damaged_data_file(&agent, &storage, &second).await;
    an_object_that_became_shorter(&agent, &storage).await;
    drop(session);
    cassandra.kill().await.unwrap();
}

async fn a_directory_on_another_mount(agent: &Agent<'_>, storage: &Storage) {
    let ended = back_up(agent, "prod", "b1", &[]).await;
    ended.expect(0, "Succeeded").unwrap();
    let backup = Backup::whole(storage, "prod", "b1").await.unwrap();
    let tables = backup.nodes[0].tables.iter();
    let mut sstables = tables.flat_map(|table| &table.sstables);
    assert!(sstables.any(|sstable| sstable.data_directory == 1));
}

async fn a_damaged_data_file(agent: &Agent<'_>, storage: &Storage, data: &Path) {
    let path = data_file(data);
    let file = fs::File::options().read(true).write(true).open(&path);
    let file = file.unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1000).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1000).unwrap();

    // Nothing of it is in the storage of this cluster id yet, so everything is read.
    let ended = back_up(agent, "damaged", "b1", &[]).await;
    ended.expect(13, "CorruptSSTable").unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let message = ended.result().unwrap()["message"].to_string();
    assert!(message.contains(name), "{message}");
    let stored = storage.list("damaged").await.unwrap();
    assert!(
        !stored.keys().any(|key| key.ends_with(".jsonl")),
        "{stored:?}"
    );

    let ended = back_up(agent, "damaged", "b2", &["--allow-corrupt"]).await;
    ended.expect(0, "Succeeded").unwrap();
    let warnings = ended.warnings("SSTableLeftOut");
    assert!(
        warnings.len() == 1 && warnings[0].contains(name),
        "{warnings:?}"
    );
    let backup = Backup::whole(storage, "damaged", "b2").await.unwrap();
    let left_out = backup.nodes[0].footer["leftOut"].as_array().unwrap();
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    let left_out = left_out[0].as_str().unwrap();
    assert!(!backup.objects().keys().any(|key| key.contains(left_out)));

    file.write_all_at(&byte, 1000).unwrap();
    let ended = back_up(agent, "damaged", "b3", &[]).await;
    ended.expect(0, "Succeeded").unwrap();
    let backup = Backup::whole(storage, "damaged", "b3").await.unwrap();
    assert!(backup.objects().keys().any(|key| key.contains(left_out)));

    // The storage has the file whole, but nobody remembers its hash: that of the damaged file must
    // not come into a manifest, or a repair would take the good one away.
    file.write_all_at(&[byte[0] ^ 1], 1000).unwrap();
    fs::remove_dir_all(agent.root.join("damaged/manifests")).unwrap();
    let forgetful = tempfile::tempdir().unwrap();
    let agent = &Agent {
        state: forgetful.path(),
        ..*agent
    };
    let ended = back_up(agent, "damaged", "b4", &[]).await;
    ended.expect(13, "CorruptSSTable").unwrap();
    let ended = back_up(agent, "damaged", "b5", &["--allow-corrupt"]).await;
    ended.expect(0, "Succeeded").unwrap();
    assert_eq!(ended.warnings("SSTableLeftOut").len(), 1);
    file.write_all_at(&byte, 1000).unwrap();
}

async fn an_object_that_became_shorter(agent: &Agent<'_>, storage: &Storage) {
    let backup = Backup::whole(storage, "prod", "b1").await.unwrap();
    let data = backup.objects().into_keys();
    let mut data = data.filter(|key| key.contains("/shop/") && key.ends_with("-Data.db"));
    let key = data.next().unwrap();
    let object = fs::File::options().write(true).open(agent.root.join(&key));
    object.unwrap().set_len(10).unwrap();
    let ended = back_up(agent, "prod", "b2", &[]).await;
    ended.expect(13, "ContentMismatch").unwrap();
    let message = ended.result().unwrap()["message"].as_str().unwrap();
    assert!(
        message.contains(&key) && message.contains("10 bytes"),
        "{message}"
    );
    assert!(message.contains("verify --repair"), "{message}");
    assert!(Backup::read(storage, "prod", "b2").await.is_err());
    let told = backup.verify(storage).await.unwrap_err().to_string();
    assert!(told.contains(&key), "{told}");

    // What the failed attempt announced is honoured until its deadline.
    let repair = ["verify", "--all", "--repair", "--attribute-cache", "0s"];
    let (code, report) = agent.ask("prod", &repair).await.unwrap();
    assert_eq!(code, Some(13), "{report}");
    assert_eq!(report["findings"][0]["problem"], "Size", "{report}");
    let name = report["repaired"]["inUse"][0].as_str().unwrap();
    assert!(key.ends_with(name), "{report}");
    for (intent, _) in storage.list("prod/manifests").await.unwrap() {
        if intent.ends_with(".intent") {
            fs::remove_file(agent.root.join(intent)).unwrap();
        }
    }
    let (_, report) = agent.ask("prod", &repair).await.unwrap();
    assert_eq!(report["repaired"]["removed"][0], name, "{report}");
    let ended = back_up(agent, "prod", "b3", &[]).await;
    ended.expect(0, "Succeeded").unwrap();
    Backup::whole(storage, "prod", "b3").await.unwrap();
    // The same key is the same content, so the older backup is whole again too.
    Backup::whole(storage, "prod", "b1").await.unwrap();
    let (code, report) = agent
        .ask("prod", &["verify", "--all", "--level", "content"])
        .await
        .unwrap();
    assert_eq!(code, Some(0), "{report}");
}

/// Of the one keyspace.
async fn back_up(agent: &Agent<'_>, cluster: &str, name: &str, more: &[&str]) -> Ended {
    let flags = [&["--keyspaces=shop"][..], more].concat();
    agent.back_up(cluster, name, &flags).await.unwrap()
}

/// The data file of the table's only SSTable in a data directory.
fn data_file(data: &Path) -> PathBuf {
    let tables = fs::read_dir(data.join("shop")).unwrap();
    let files = tables.flat_map(|table| fs::read_dir(table.unwrap().path()).unwrap());
    let mut files = files.map(|file| file.unwrap().path());
    files
        .find(|path| path.to_str().unwrap().ends_with("-Data.db"))
        .unwrap()
}
