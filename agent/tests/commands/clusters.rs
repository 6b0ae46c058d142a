//! Whose backups are in a storage: `clusters`, and probes that ask for it.

use std::fs;

use serde_json::{Value, json};

use crate::stage::{Backup, Stage, node, text};

const RING: [uuid::Uuid; 2] = [uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2)];
const SSTABLES: [&str; 1] = ["nb-1-big.00000001.17"];

/// Two complete backups between incomplete ones, of which the newer one began before it on its
/// second node.
fn stage() -> Stage {
    let stage = Stage::new();
    let commit = |name, started: [&str; 2]| {
        for (number, started) in (1..).zip(started) {
            let backup = Backup {
                name,
                started,
                series: None,
                ring: &RING,
            };
            if !started.is_empty() {
                stage.commit(&backup, node(number), &SSTABLES);
            }
        }
    };
    commit("half", ["2026-11-01T01:00:00Z", ""]);
    commit("old", ["2026-11-02T01:00:00Z", "2026-11-02T01:00:00Z"]);
    commit("new", ["2026-11-03T01:00:00Z", "2026-11-03T00:30:00Z"]);
    commit("last", ["2026-11-04T01:00:00Z", ""]);
    stage.announce("announced", node(1), "2999-01-01T00:00:00Z");
    stage
}

fn expected() -> Value {
    json!([{
        "cluster": "prod", "backups": 4, "complete": 2,
        "first": {"backup": "old", "time": "2026-11-02T01:00:00Z"},
        "last": {"backup": "new", "time": "2026-11-03T00:30:00Z"},
    }])
}

#[test]
fn each_cluster_is_told_with_the_times_that_it_can_be_brought_back_to() {
    let stage = stage();
    // Not ours, or nothing of ours any more.
    for other in ["lost+found", ".probe", "photos", "gone/manifests"] {
        fs::create_dir_all(stage.root().join(other)).unwrap();
    }
    fs::write(stage.root().join("file"), b"x").unwrap();
    let (code, told) = stage.json_of_all(&["clusters"]);
    assert_eq!((code, &told["clusters"]), (0, &expected()));

    let other = stage.root().join("half-a-cluster/manifests/half");
    fs::create_dir_all(&other).unwrap();
    let manifest = format!("{}.jsonl", node(1));
    fs::copy(
        stage.path(&format!("manifests/half/{manifest}")),
        other.join(&manifest),
    )
    .unwrap();
    let output = stage.run_of_all(&["clusters"]);
    let table = text(&output.stdout);
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["half-a-cluster", "1", "0", "-", "-", "-"]);
    assert_eq!(rows[1].first(), Some(&"prod"));
    assert_eq!(rows[1].last(), Some(&"new"));
}

#[test]
fn a_backup_with_a_damaged_manifest_is_no_time_to_be_brought_back_to() {
    let stage = stage();
    stage.write(
        &format!("manifests/new/{}.jsonl", node(2)),
        b"{\"kind\":\"head",
    );
    let (_, told) = stage.json_of_all(&["clusters"]);
    let prod = &told["clusters"][0];
    assert_eq!(
        (&prod["backups"], &prod["complete"]),
        (&json!(4), &json!(2))
    );
    assert_eq!(prod["first"]["backup"], "old");
    assert_eq!(prod["last"]["backup"], "old");
}

#[test]
fn a_storage_without_a_backup_says_so() {
    let stage = Stage::new();
    let output = stage.run_of_all(&["clusters"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("no backup of any cluster in "));
}

#[test]
fn a_storage_that_is_crowded_is_not_searched() {
    let stage = stage();
    for folder in 0..1000 {
        fs::create_dir(stage.root().join(format!("f{folder}"))).unwrap();
    }
    let output = stage.run_of_all(&["clusters"]);
    assert_ne!(output.status.code(), Some(0));
    let why = text(&output.stderr);
    assert!(why.contains("a prefix of their own"), "{why}");
    let survey = &surveyed(&stage)["survey"];
    assert_eq!(survey["seen"]["verdict"], "unknown");
    assert_eq!(survey["seen"]["reason"], "StorageUnsuitable");
}

fn surveyed(stage: &Stage) -> Value {
    let (code, result) = stage.request("probe", json!({"survey": true}));
    assert_eq!(code, 0, "{result}");
    result["probe"].clone()
}

#[test]
fn a_probe_tells_the_clusters_where_it_is_asked_to() {
    let stage = stage();
    let probe = surveyed(&stage);
    assert_eq!(probe["survey"]["clusters"], expected());
    assert_eq!(probe["survey"]["seen"]["verdict"], "yes");
    let message = &probe["survey"]["seen"]["message"];
    assert_eq!(message, "1 cluster has backups here");
    let (_, result) = stage.request("probe", json!({}));
    assert_eq!(result["probe"].get("survey"), None);
}

#[test]
fn a_catalogue_tells_what_the_caller_does_not_know_but_for_what_is_at_work() {
    let stage = stage();
    let running = Backup {
        name: "running",
        started: "2026-11-05T01:00:00Z",
        series: Some("nightly"),
        ring: &RING,
    };
    stage.commit(&running, node(1), &SSTABLES);
    stage.announce("running", node(2), "2999-01-01T00:00:00Z");
    stage.write(
        &format!("manifests/damaged/{}.jsonl", node(1)),
        b"{\"kind\":\"head",
    );
    let ask = |known: &[&str]| {
        let with = json!({"cluster": "prod", "known": known});
        let (code, result) = stage.request("catalogue", with);
        assert_eq!(code, 0, "{result}");
        result["catalogue"].clone()
    };
    let names = |found: &Value| -> Vec<String> {
        let found = found.as_array().unwrap().iter();
        found
            .map(|it| it["backup"].as_str().unwrap().to_owned())
            .collect()
    };
    let catalogue = ask(&["half"]);
    let mut there: Vec<&str> = catalogue["names"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    there.sort_unstable();
    assert_eq!(there, ["damaged", "half", "last", "new", "old", "running"]);
    assert_eq!(catalogue["unreadable"], json!(["damaged"]));
    let mut found = names(&catalogue["found"]);
    found.sort_unstable();
    assert_eq!(found, ["last", "new", "old"]);
    assert_eq!(catalogue["leftOut"], 0);

    let of = |name: &str| {
        let found = catalogue["found"].as_array().unwrap().iter();
        found.clone().find(|it| it["backup"] == name).unwrap()
    };
    let new = of("new");
    assert_eq!(new.get("missing"), None);
    let nodes = new["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    let second = nodes
        .iter()
        .find(|it| it["node"]["hostId"] == json!(node(2)))
        .unwrap();
    assert_eq!(second["snapshot"]["startedAt"], "2026-11-03T00:30:00Z");
    assert_eq!(second["runId"], json!(crate::stage::RUN));
    assert_eq!(second["pod"], "cassandra-0");
    let manifest = format!("prod/manifests/new/{}.jsonl", node(2));
    assert_eq!(second["manifest"], manifest);
    assert_eq!(of("last")["missing"], json!([node(2)]));

    assert_eq!(
        names(&ask(&["half", "last", "new", "old"])["found"]),
        [""; 0]
    );
}

#[test]
fn a_catalogue_holds_no_more_than_a_hundred_backups_the_newest_ones() {
    let stage = Stage::new();
    for number in 0..103 {
        let name = format!("b-{number:03}");
        let backup = Backup {
            name: &name,
            started: "2026-11-01T01:00:00Z",
            series: None,
            ring: &RING[..1],
        };
        stage.commit(&backup, node(1), &SSTABLES);
        let manifest = stage.path(&format!("manifests/{name}/{}.jsonl", node(1)));
        let written =
            std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000 + number);
        let file = fs::File::options().write(true).open(manifest).unwrap();
        file.set_modified(written).unwrap();
    }
    let (_, result) = stage.request("catalogue", json!({"cluster": "prod"}));
    let catalogue = &result["catalogue"];
    assert_eq!(catalogue["names"].as_array().unwrap().len(), 103);
    assert_eq!(catalogue["leftOut"], 3);
    let found = catalogue["found"].as_array().unwrap();
    let oldest = found.iter().map(|it| it["backup"].as_str().unwrap()).min();
    assert_eq!((found.len(), oldest), (100, Some("b-003")));
}

#[test]
fn a_catalogue_of_a_storage_that_is_not_there_says_why() {
    let stage = stage();
    fs::remove_dir_all(stage.root()).unwrap();
    let (code, result) = stage.request("catalogue", json!({"cluster": "prod"}));
    assert_eq!((code, &result["reason"]), (10, &json!("StorageNotFound")));
    assert_eq!(result.get("catalogue"), None);
    fs::create_dir(stage.root()).unwrap();
    let (code, result) = stage.request("catalogue", json!({"cluster": "../x"}));
    assert_eq!((code, &result["reason"]), (2, &json!("InvalidRequest")));
}
