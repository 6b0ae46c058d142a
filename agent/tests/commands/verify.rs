//! `verify`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use agent::verify::{Finding, Problem, RepairOptions, repair};
use serde_json::json;
use store::FileStore;
use uuid::Uuid;

use crate::stage::{Backup, Stage, data_key, hash, node, text};

const RING: [Uuid; 1] = [Uuid::from_u128(1)];
const SHARED: &str = "nb-1-big.00000001.20";
const OWN: &str = "nb-2-big.00000002.20";

fn stage() -> Stage {
    let stage = Stage::new();
    for (name, sstables) in [("b1", &[SHARED][..]), ("b2", &[SHARED, OWN][..])] {
        let backup = Backup {
            name,
            started: "2026-11-01T01:00:00Z",
            series: None,
            ring: &RING,
        };
        stage.commit(&backup, node(1), sstables);
    }
    stage
}

#[test]
fn a_sound_storage_is_sound_at_every_level_and_each_object_is_looked_at_once() {
    let stage = stage();
    for (level, read) in [("exists", 0), ("size", 0), ("content", 40)] {
        let (code, report) = stage.json(&["verify", "--all", "--level", level]);
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["sound"], true);
        assert_eq!(report["manifests"], 2);
        assert_eq!(report["objects"], 2, "{level}: {report}");
        assert_eq!(report["readBytes"], read, "{level}");
    }
}

#[test]
fn what_is_wrong_is_found_at_the_level_that_can_see_it() {
    type Damage = fn(&std::path::Path);
    let damages: [(&str, Damage); 3] = [
        ("Missing", |path| fs::remove_file(path).unwrap()),
        ("Size", |path| fs::write(path, b"short").unwrap()),
        ("Content", |path| {
            fs::write(path, b"nb-2-big.00000002.2X").unwrap()
        }),
    ];
    for (at, (problem, damage)) in damages.into_iter().enumerate() {
        let stage = stage();
        damage(&stage.path(&data_key(node(1), OWN)));
        for (level_at, level) in ["exists", "size", "content"].into_iter().enumerate() {
            let (code, report) = stage.json(&["verify", "--all", "--level", level]);
            if level_at < at {
                assert_eq!(
                    (code, &report["sound"]),
                    (0, &json!(true)),
                    "{problem} {level}"
                );
                continue;
            }
            assert_eq!(code, 13, "{problem} {level}: {report}");
            assert_eq!(report["problems"], 1);
            let finding = &report["findings"][0];
            assert_eq!(finding["problem"], problem);
            assert_eq!(finding["backup"], "b2");
            assert_eq!(finding["key"], data_key(node(1), OWN));
        }
        let (code, _) = stage.json(&["verify", "--backup", "b1", "--level", "content"]);
        assert_eq!(code, 0, "b1 does not need what is {problem}");
    }
}

#[test]
fn a_manifest_that_was_cut_or_changed_is_never_half_believed() {
    let stage = stage();
    let path = stage.path(&format!("manifests/b2/{}.jsonl", node(1)));
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let (code, report) = stage.json(&["verify", "--all"]);
    assert_eq!(code, 13);
    assert_eq!(report["unreadableManifests"][0]["backup"], "b2");
    assert_eq!(report["manifests"], 1);

    // What it names was not looked at for those who need it too.
    let first = stage.path(&format!("manifests/b1/{}.jsonl", node(1)));
    let sound = fs::read(&first).unwrap();
    fs::write(&first, &sound[..sound.len() - 20]).unwrap();
    fs::write(&path, &whole).unwrap();
    fs::remove_file(stage.path(&data_key(node(1), SHARED))).unwrap();
    let (_, report) = stage.json(&["verify", "--all"]);
    assert_eq!(report["findings"][0]["backup"], "b2", "{report}");
    fs::write(&first, sound).unwrap();

    let newer = text(&whole).replacen("\"1.0\"", "\"2.0\"", 1);
    fs::write(&path, newer).unwrap();
    let output = stage.run(&["verify", "--backup", "b2"]);
    assert_eq!(output.status.code(), Some(13));
    assert!(
        text(&output.stdout).contains("update it"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn a_tokens_file_and_a_node_that_are_missing_are_told() {
    let stage = stage();
    fs::remove_file(stage.path(&format!("tokens/b1/{}.yaml", node(1)))).unwrap();
    let (code, report) = stage.json(&["verify", "--backup", "b1"]);
    assert_eq!(code, 13);
    assert_eq!(
        report["findings"][0]["key"],
        format!("tokens/b1/{}.yaml", node(1))
    );

    let two = [node(1), node(2)];
    let backup = Backup {
        name: "b3",
        started: "2026-11-01T01:00:00Z",
        series: None,
        ring: &two,
    };
    stage.commit(&backup, node(1), &[SHARED]);
    let (code, report) = stage.json(&["verify", "--backup", "b3"]);
    assert_eq!(code, 13);
    assert_eq!(
        report["missingNodes"],
        json!([{"backup": "b3", "hostIds": [node(2)]}])
    );
}

#[test]
fn a_repair_removes_what_is_wrong_unless_a_running_backup_relies_on_it() {
    let stage = stage();
    let wrong = stage.path(&data_key(node(1), OWN));
    fs::write(&wrong, b"nb-2-big.00000002.2X").unwrap();
    stage.announce_keys(
        "b3",
        node(1),
        "2999-01-01T00:00:00Z",
        &[&data_key(node(1), OWN)],
    );
    let repair = [
        "verify",
        "--all",
        "--level",
        "content",
        "--repair",
        "--attribute-cache",
        "0s",
    ];
    let (code, report) = stage.json(&repair);
    assert_eq!(code, 13);
    assert_eq!(report["repaired"]["inUse"], json!([data_key(node(1), OWN)]));
    assert!(wrong.exists());

    // The other run commits, and a second one announces something else.
    let backup = Backup {
        name: "b3",
        started: "2026-11-01T01:00:00Z",
        series: None,
        ring: &RING,
    };
    stage.commit(&backup, node(1), &[SHARED]);
    stage.announce_keys("b4", node(1), "2999-01-01T00:00:00Z", &["data/x"]);
    let (code, report) = stage.json(&repair);
    assert_eq!(code, 13);
    assert_eq!(
        report["repaired"]["removed"],
        json!([data_key(node(1), OWN)])
    );
    assert!(!wrong.exists());
    assert!(stage.path(&data_key(node(1), SHARED)).exists());
    assert!(!stage.path("manifests/.purge").exists());

    let (_, report) = stage.json(&["verify", "--all"]);
    assert_eq!(report["findings"][0]["problem"], "Missing");
}

#[test]
fn a_manifest_cannot_lead_out_of_its_storage() {
    let stage = stage();
    stage.forge("b1", node(1), |lines| {
        lines.replace(SHARED, "../../../../../../etc")
    });
    let (code, report) = stage.json(&["verify", "--all", "--level", "content"]);
    assert_eq!(code, 13);
    let [unreadable] = report["unreadableManifests"].as_array().unwrap().as_slice() else {
        panic!("{report}")
    };
    assert_eq!(unreadable["backup"], "b1");
    let why = unreadable["why"].as_str().unwrap();
    assert!(why.contains("could lead out of the storage"), "{why}");
    assert_eq!(report["manifests"], 1, "b2 is looked at all the same");
}

/// Writes a manifest of `b3` that is like `b1`'s, with another hash of the object.
fn commit_with_another_hash(stage: &Stage) {
    let backup = Backup {
        name: "b3",
        started: "2026-11-03T01:00:00Z",
        series: None,
        ring: &RING,
    };
    stage.commit(&backup, node(1), &[SHARED]);
    stage.forge("b3", node(1), |lines| {
        lines.replace(&hash(SHARED.as_bytes()), &hash(b"nb-1-big.00000001.2X"))
    });
}

#[test]
fn of_two_manifests_that_differ_over_an_object_the_wrong_one_is_told_and_nothing_is_removed() {
    let stage = stage();
    commit_with_another_hash(&stage);
    let (code, report) = stage.json(&["verify", "--all", "--level", "content"]);
    assert_eq!(code, 13, "{report}");
    assert_eq!(report["problems"], 1, "{report}");
    assert_eq!(report["findings"][0]["backup"], "b3");

    let key = data_key(node(1), SHARED);
    for which in [&["--all"][..], &["--backup", "b3"]] {
        let repair = ["verify", "--level", "content", "--repair"];
        let wait = ["--attribute-cache", "0s"];
        let (code, report) = stage.json(&[&repair, which, &wait].concat());
        assert_eq!(code, 13, "{report}");
        assert_eq!(report["repaired"]["disputed"], json!([key]), "{report}");
        assert!(stage.path(&key).exists());
    }

    // Where it is as neither says, nobody needs it as it is.
    fs::write(stage.path(&key), b"nb-1-big.00000001.2Y").unwrap();
    let repair = ["verify", "--all", "--level", "content", "--repair"];
    let (_, report) = stage.json(&[&repair[..], &["--attribute-cache", "0s"]].concat());
    assert_eq!(report["problems"], 2, "{report}");
    assert_eq!(report["repaired"]["removed"], json!([key]), "{report}");
}

/// Between a look and its repair somebody puts the object right as another backup has it, or it decays further.
#[tokio::test]
async fn a_repair_removes_only_what_is_as_wrong_as_it_was_found() {
    let stage = stage();
    let key = data_key(node(1), OWN);
    let store = FileStore::open(stage.root()).unwrap();
    let repair = async |found: &[u8]| {
        let finding = Finding {
            key: key.clone(),
            bytes: OWN.len() as u64,
            blake3: hash(b"nb-2-big.00000002.2X"),
            problem: Problem::Content { found: hash(found) },
            backup: "b2".parse().unwrap(),
        };
        let options = RepairOptions::new(Duration::ZERO);
        let cluster = "prod".parse().unwrap();
        repair(&store, &cluster, &[finding], options).await.unwrap()
    };
    let left = repair(b"nb-2-big.00000002.2Y").await;
    assert_eq!(left.left, BTreeSet::from([key.clone()]), "{left:?}");
    assert!(stage.path(&key).exists());
    fs::write(stage.path(&key), b"nb-2-big.00000002.2Y").unwrap();
    let gone = repair(b"nb-2-big.00000002.2Y").await;
    assert_eq!(gone.removed, BTreeSet::from([key.clone()]), "{gone:?}");
    assert!(!stage.path(&key).exists());
}

#[test]
fn an_attempt_that_ended_before_its_first_manifest_leaves_the_others_sound() {
    let stage = stage();
    stage.announce("failed", node(1), "2020-01-01T00:00:00Z");
    let output = stage.run(&["verify", "--all"]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("failed has no manifest"), "{told}");
}

#[test]
fn where_nothing_was_looked_at_nothing_is_said_to_be_sound() {
    let stage = stage();
    stage.announce("failed", node(1), "2020-01-01T00:00:00Z");
    let (code, report) = stage.json(&["verify", "--backup", "failed"]);
    assert_eq!((code, &report["sound"]), (13, &json!(false)), "{report}");
    assert_eq!(report["withoutManifest"], json!(["failed"]));
    let output = Stage::new().run(&["verify", "--all"]);
    assert_eq!(output.status.code(), Some(10), "{}", text(&output.stderr));
    let output = stage.run(&["verify", "--all", "--repair", "--level", "exists"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn a_backup_that_is_still_being_made_is_no_problem() {
    let stage = stage();
    let backup = Backup {
        name: "b3",
        started: "2026-11-02T01:00:00Z",
        series: None,
        ring: &[node(1), node(2)],
    };
    stage.commit(&backup, node(1), &[SHARED]);
    stage.announce("b3", node(2), "2999-01-01T00:00:00Z");
    let (code, report) = stage.json(&["verify", "--all"]);
    assert_eq!((code, &report["backups"]), (0, &json!(2)), "{report}");
}

#[test]
fn which_backups_must_be_said() {
    let output = stage().run(&["verify"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--all"));
}
