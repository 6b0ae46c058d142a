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
    assert_eq!(found["tables"], 3, "{found}");
    assert_eq!(found["sstables"], recorded.len(), "{found}");
    assert_eq!(found["partitions"], sum(|it| it.partitions), "{found}");
    assert_eq!(found["rows"], sum(|it| it.rows), "{found}");
    assert_eq!(found["keys"], sum(|it| it.keys.len() as u64), "{found}");
    assert_eq!(found["unrecorded"], 0, "{found}");

    // Now it is there for something else.
    let said = one.restore(0, storage, &REHEARSE).await.expect(2);
    assert!(said.contains("and keyspaces alone, shop"), "{said}");
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
        let before = fs::read_to_string(path).unwrap();
        let mut lines: Vec<Value> = before
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let mut of_user = false;
        let first = lines.iter_mut().find(|line| {
            if line["kind"] == "table" {
                of_user = is_users(line);
            }
            of_user && line["kind"] == "sstable"
        });
        forge(&mut first.unwrap()["content"]);
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
