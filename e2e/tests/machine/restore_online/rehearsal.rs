//! `restore --mode rehearse`: what the backup recorded is there, and what it did not record is missed.

use std::fs;
use std::path::Path;

use e2e::backup::read::Contents;
use serde_json::Value;

use super::cluster::{Cluster, Storage};
use super::forged::{Forged, Unreadable, manifests};

const REHEARSE: [&str; 3] = ["--backup=b1", "--mode=rehearse", "--output=json"];

/// Rehearses backup `b1` into a node without keyspaces, which has them then.
pub async fn shows_what_is_and_what_is_not_there(one: &Cluster, storage: &Storage) {
    let manifests = manifests(storage);
    let roles = [&REHEARSE[..], &["--keyspaces=system_auth"]].concat();
    let said = one.restore(0, storage, &roles).await.expect(2);
    assert!(said.contains("system_auth cannot be rehearsed"), "{said}");
    // One row more than there is, and a key that nobody has.
    let rows = forged(&manifests[0], |content| {
        content["rows"] = more(&content["rows"])
    });
    let said = one.restore(0, storage, &REHEARSE).await.expect(13);
    assert!(said.contains("rows instead of"), "{said}");
    rows.undo();
    let key = forged(&manifests[0], |content| {
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
    let unreadable = Unreadable::of(storage, "events", "-Data.db");
    let said = one.restore(0, storage, &REHEARSE).await.expect(1);
    assert!(said.contains("Cassandra could not import"), "{said}");
    // Nothing of it was imported, so that the same command goes on.
    unreadable.undo();
    let done = one.restore(0, storage, &REHEARSE).await.document();
    assert_eq!(done["resumed"], true, "{done}");
}

fn more(number: &Value) -> Value {
    (number.as_u64().unwrap() + 1).into()
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
fn forged(path: &Path, forge: impl Fn(&mut Value)) -> Forged {
    let mut of_user = false;
    Forged::line(path, |line| {
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
