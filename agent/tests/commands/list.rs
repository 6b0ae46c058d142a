//! `list` and `show`.

use crate::stage::{Backup, Stage, node, text};

const RING: [uuid::Uuid; 2] = [uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2)];

fn backup(name: &'static str, started: &'static str) -> Backup<'static> {
    Backup {
        name,
        started,
        series: None,
        ring: &RING,
    }
}

fn stage() -> Stage {
    let stage = Stage::new();
    let mut nightly = backup("nightly-1", "2026-11-01T01:00:00Z");
    nightly.series = Some("nightly");
    stage.commit(&nightly, node(1), &["nb-1-big.00000001.17"]);
    stage.commit(
        &nightly,
        node(2),
        &["nb-1-big.00000001.17", "nb-2-big.00000002.17"],
    );
    let half = backup("half", "2026-11-02T01:00:00Z");
    stage.commit(&half, node(1), &["nb-1-big.00000001.17"]);
    let running = backup("running", "2026-11-03T01:00:00Z");
    stage.commit(&running, node(1), &["nb-1-big.00000001.17"]);
    stage.announce("running", node(2), "2999-01-01T00:00:00Z");
    let ended = backup("ended", "2026-11-04T01:00:00Z");
    stage.commit(&ended, node(1), &["nb-1-big.00000001.17"]);
    stage.announce("ended", node(2), "2020-01-01T00:00:00Z");
    stage.announce("announced", node(1), "2999-01-01T00:00:00Z");
    stage.write(
        &format!("manifests/damaged/{}.jsonl", node(1)),
        b"{\"kind\":\"head",
    );
    // What is not ours is left out.
    stage.write("manifests/nightly-1/notes.txt", b"hands off");
    stage
}

#[test]
fn every_backup_is_listed_with_what_became_of_it() {
    let stage = stage();
    let (code, listed) = stage.json(&["list"]);
    assert_eq!(code, 0);
    let backups = listed["backups"].as_array().unwrap();
    let states: Vec<(&str, &str)> = backups
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states.len(), 6);
    for state in [
        ("nightly-1", "Complete"),
        ("half", "Incomplete"),
        ("running", "Running"),
        ("ended", "Incomplete"),
        ("announced", "Running"),
        ("damaged", "Unreadable"),
    ] {
        assert!(states.contains(&state), "{state:?} is not in {states:?}");
    }
    let half = backups.iter().find(|it| it["name"] == "half").unwrap();
    assert_eq!(half["missingHostIds"], serde_json::json!([node(2)]));
    assert_eq!(
        (&half["committedNodes"], &half["expectedNodes"]),
        (&1.into(), &2.into())
    );

    let (_, nightly) = stage.json(&["list", "--series", "nightly"]);
    assert_eq!(nightly["backups"].as_array().unwrap().len(), 1);
    let (_, others) = stage.json(&["list", "--series", ""]);
    assert_eq!(others["backups"].as_array().unwrap().len(), 5);
}

#[test]
fn a_damaged_header_of_one_node_does_not_hide_what_another_tells() {
    let stage = stage();
    stage.write(&format!("manifests/nightly-1/{}.jsonl", node(1)), b"\n");
    let (_, listed) = stage.json(&["list", "--series", "nightly"]);
    assert_eq!(listed["backups"][0]["state"], "Complete");
    let (_, shown) = stage.json(&["show", "nightly-1"]);
    let nodes = shown["nodes"].as_array().unwrap();
    assert!(
        nodes.iter().any(|it| it["unreadable"].is_string()),
        "{shown}"
    );
    assert!(nodes.iter().any(|it| it["files"] == 2), "{shown}");
}

#[test]
fn a_table_for_people() {
    let stage = stage();
    let output = stage.run(&["list", "--series", "nightly"]);
    assert_eq!(
        text(&output.stdout),
        "NAME        SERIES    STATE      NODES   STARTED                   SCOPE\n\
         nightly-1   nightly   Complete   2/2     2026-11-01 01:00:00 UTC   all\n"
    );
    let output = stage.run(&["show", "half"]);
    let shown = text(&output.stdout);
    for told in [
        "state      Incomplete",
        "total      1 files, 20 B",
        "cassandra-0",
        "shop       orders   1          1       20 B",
        "00000000-0000-0000-0000-000000000002: no manifest; its data is not in this backup",
    ] {
        assert!(shown.contains(told), "{told:?} is not in\n{shown}");
    }
}

#[test]
fn what_a_backup_consists_of_is_added_up() {
    let (code, shown) = stage().json(&["show", "nightly-1"]);
    assert_eq!(code, 0);
    assert_eq!(shown["total"], serde_json::json!({"files": 3, "bytes": 60}));
    assert_eq!(
        shown["tables"],
        serde_json::json!([{
            "keyspace": "shop", "table": "orders", "sstables": 3, "files": 3, "bytes": 60
        }])
    );
}

#[test]
fn what_is_not_there_is_not_found() {
    let stage = stage();
    let output = stage.run(&["show", "nightly-2"]);
    assert_eq!(output.status.code(), Some(10));
    let told = text(&output.stderr);
    assert!(
        told.contains("no backup nightly-2 of cluster prod"),
        "{told}"
    );

    let empty = Stage::new();
    let output = empty.run(&["list"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("no backup of prod"));
    let missing = empty.path("../../nowhere");
    let output = crate::stage::run_at(&missing, &missing, &["list"]);
    assert_eq!(output.status.code(), Some(10), "{}", text(&output.stderr));
}
