//! `restore --mode rehearse`: what the backup recorded is there, and what it did not record is missed.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::backup::read::Contents;
use serde_json::Value;

use super::cluster::{Cluster, Storage};

const REHEARSE: [&str; 3] = ["--backup=b1", "--mode=rehearse", "--output=json"];

/// Rehearses backup `b1` into a node without keyspaces, which has them then.
pub async fn shows_what_is_and_what_is_not_there(one: &Cluster, storage: &Storage) {
    let manifests = manifests(storage);
    let roles = [&REHEARSE[..], &["--keyspaces=system_auth"]].concat();
    let said = one.restore(0, storage, &roles).await.expect(2);
    assert!(said.contains("system_auth cannot be rehearsed"), "{said}");
    // One row more than there is, and a key that nobody has.
    let rows = Forged::new(&manifests[0], |content| {
        content["rows"] = more(&content["rows"])
    });
    let said = one.restore(0, storage, &REHEARSE).await.expect(13);
    assert!(said.contains("rows instead of"), "{said}");
    rows.undo();
    let key = Forged::new(&manifests[0], |content| {
        content["keys"] = serde_json::json!(["ffffffffffffffff"]);
    });
    let said = one.restore(0, storage, &REHEARSE).await.expect(13);
    let missed = "does not have the partition with key 0xffffffffffffffff";
    assert!(said.contains(missed), "{said}");
    key.undo();

    // The same command goes on, and all is there.
    let done = one.restore(0, storage, &REHEARSE).await.document();
    assert_eq!(
        (&done["resumed"], &done["fetchedFiles"]),
        (&true.into(), &0.into())
    );
    let found = &done["rehearsed"];
    let recorded: Vec<_> = manifests.iter().flat_map(|path| recorded(path)).collect();
    let of_events: Vec<_> = recorded
        .iter()
        .filter(|(table, _)| table == "events")
        .map(|(_, content)| (content.partitions, content.rows))
        .collect();
    let partitions: u64 = of_events.iter().map(|(partitions, _)| partitions).sum();
    assert_eq!(partitions, 300, "one replica of 300 keys: {of_events:?}");
    assert!(
        of_events
            .iter()
            .all(|(partitions, rows)| partitions == rows)
    );
    let sum = |of: fn(&Contents) -> u64| recorded.iter().map(|(_, it)| of(it)).sum::<u64>();
    assert_eq!(found["tables"], 4, "{found}");
    assert_eq!(found["sstables"], recorded.len(), "{found}");
    assert_eq!(found["partitions"], sum(|it| it.partitions), "{found}");
    assert_eq!(found["rows"], sum(|it| it.rows), "{found}");
    assert_eq!(found["keys"], sum(|it| it.keys.len() as u64), "{found}");
    assert_eq!(found["unrecorded"], 0, "{found}");

    let compaction = ["statusautocompaction", "shop", "orders"];
    let compaction = one.nodes[0].nodetool(&compaction).await.unwrap();
    assert!(compaction.contains("not running"), "{compaction}");

    // Now it is there for something else.
    let said = one.restore(0, storage, &REHEARSE).await.expect(2);
    assert!(said.contains("and keyspaces alone, shop"), "{said}");
}

/// What Cassandra cannot read is found, though it is what was uploaded; the node has no keyspaces.
pub async fn finds_what_cassandra_cannot_read(one: &Cluster, storage: &Storage) {
    let manifest = &manifests(storage)[0];
    let text = fs::read_to_string(manifest).unwrap();
    let mut table = Value::Null;
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let sstable: Value = lines
        .find(|line: &Value| {
            if line["kind"] == "table" {
                table = line.clone();
            }
            line["kind"] == "sstable" && table["table"] == "events"
        })
        .unwrap();
    let node = manifest.file_stem().unwrap().to_str().unwrap();
    let data = "-Data.db";
    let is_data = |it: &&Value| it["name"].as_str().unwrap().ends_with(data);
    let data = sstable["components"]
        .as_array()
        .unwrap()
        .iter()
        .find(is_data);
    let object = storage
        .root()
        .join("prod/data")
        .join(node)
        .join(table["keyspace"].as_str().unwrap())
        .join(table["directory"].as_str().unwrap())
        .join(sstable["sstable"].as_str().unwrap())
        .join(data.unwrap()["object"].as_str().unwrap());
    let whole = fs::read(&object).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&object, &bytes).unwrap();
    let hash = blake3::hash(&bytes).to_hex().to_string();
    let sstable = sstable["sstable"].clone();
    let forged = Forged::line(manifest, |line| {
        if line["sstable"] != sstable {
            return false;
        }
        let components = line["components"].as_array_mut().unwrap();
        let data = components.iter_mut().find(|it| is_data(&&**it));
        data.unwrap()["blake3"] = hash.clone().into();
        true
    });
    let said = one.restore(0, storage, &REHEARSE).await.expect(1);
    assert!(said.contains("Cassandra could not import"), "{said}");
    // Nothing of it was imported, so that the same command goes on.
    fs::write(&object, &whole).unwrap();
    forged.undo();
    let done = one.restore(0, storage, &REHEARSE).await.document();
    assert_eq!(done["resumed"], true, "{done}");
}

fn more(number: &Value) -> Value {
    (number.as_u64().unwrap() + 1).into()
}

fn manifests(storage: &Storage) -> Vec<PathBuf> {
    let folder = storage.root().join("prod/manifests/b1");
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "jsonl"));
    paths.sort();
    paths
}

/// What a manifest says of the SSTables of the users' tables.
fn recorded(manifest: &Path) -> Vec<(String, Contents)> {
    let text = fs::read_to_string(manifest).unwrap();
    let mut table = Value::Null;
    let mut found = Vec::new();
    for line in text.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["kind"] == "table" {
            table = line;
        } else if line["kind"] == "sstable" && is_users(&table) {
            let content = serde_json::from_value(line["content"].take()).unwrap();
            found.push((table["table"].as_str().unwrap().to_owned(), content));
        }
    }
    found
}

fn is_users(table: &Value) -> bool {
    table["keyspace"] == "alone" || table["keyspace"] == "shop"
}

/// A manifest in which something else is recorded of its first SSTable of the users.
struct Forged {
    path: PathBuf,
    before: String,
}

impl Forged {
    fn new(path: &Path, forge: impl Fn(&mut Value)) -> Self {
        let mut of_user = false;
        Self::line(path, |line| {
            if line["kind"] == "table" {
                of_user = is_users(line);
            }
            let first = of_user && line["kind"] == "sstable";
            if first {
                forge(&mut line["content"]);
            }
            first
        })
    }

    /// The first line that `forge` takes is changed by it.
    fn line(path: &Path, forge: impl FnMut(&mut Value) -> bool) -> Self {
        let before = fs::read_to_string(path).unwrap();
        let mut lines: Vec<Value> = before
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(lines.iter_mut().any(forge));
        let mut footer = lines.pop().unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        footer["blake3"] = blake3::hash(text.as_bytes()).to_hex().to_string().into();
        fs::write(path, format!("{text}{footer}\n")).unwrap();
        let path = path.to_owned();
        Self { path, before }
    }

    fn undo(self) {
        fs::write(&self.path, self.before).unwrap();
    }
}
