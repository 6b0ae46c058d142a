//! `purge` and `delete`.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Backup, Stage, data_key, node, text};

const RING: [Uuid; 1] = [Uuid::from_u128(1)];
const SHARED: &str = "nb-1-big.00000001.20";

/// Three nightly backups that share an SSTable and have one of their own each, and one by hand.
fn stage() -> Stage {
    let stage = Stage::new();
    for (day, series) in [
        (1, Some("nightly")),
        (2, Some("nightly")),
        (3, Some("nightly")),
        (4, None),
    ] {
        let backup = Backup {
            name: &format!("b{day}"),
            started: &format!("2026-11-0{day}T01:00:00Z"),
            series,
            ring: &RING,
        };
        stage.commit(&backup, node(1), &[SHARED, &own(day)]);
    }
    stage
}

fn own(day: u32) -> String {
    format!("nb-{}-big.0000000{}.20", day + 1, day + 1)
}

fn has(stage: &Stage, sstable: &str) -> bool {
    stage.path(&data_key(node(1), sstable)).exists()
}

fn names(stage: &Stage) -> Vec<String> {
    let (_, listed) = stage.json(&["list"]);
    let backups = listed["backups"].as_array().unwrap().iter();
    backups
        .map(|backup| backup["name"].as_str().unwrap().to_owned())
        .collect()
}

fn reasons(report: &Value, name: &str) -> Value {
    let decisions = report["decisions"].as_array().unwrap();
    let of = decisions.iter().find(|it| it["backup"] == name).unwrap();
    json!([of["verdict"], of["reasons"]])
}

#[test]
fn what_no_rule_keeps_goes_with_the_data_that_only_it_needs() {
    let stage = stage();
    let rules = [
        "purge",
        "--keep-last",
        "2",
        "--grace",
        "0s",
        "--attribute-cache",
        "0s",
    ];
    let (code, planned) = stage.json(&[&rules[..], &["--dry-run"]].concat());
    assert_eq!(code, 0, "{planned}");
    assert_eq!(planned["expired"], json!(["b1"]));
    assert_eq!(
        reasons(&planned, "b1"),
        json!(["expire", ["no rule keeps it"]])
    );
    assert_eq!(reasons(&planned, "b2"), json!(["keep", ["last"]]));
    assert_eq!(
        reasons(&planned, "b4"),
        json!(["keep", ["newest complete", "last"]])
    );
    assert_eq!(
        names(&stage),
        ["b1", "b2", "b3", "b4"],
        "a dry run deletes nothing"
    );
    assert!(has(&stage, &own(1)));

    let (code, done) = stage.json(&rules);
    assert_eq!(code, 0, "{done}");
    assert_eq!(done["deleted"], planned["deleted"]);
    assert_eq!(done["finished"], true);
    assert_eq!(names(&stage), ["b2", "b3", "b4"]);
    assert!(!has(&stage, &own(1)));
    assert!(!stage.path(&format!("tokens/b1/{}.yaml", node(1))).exists());
    assert!(has(&stage, SHARED) && has(&stage, &own(2)));
    let (code, _) = stage.json(&["verify", "--all", "--level", "content"]);
    assert_eq!(code, 0);
    let (_, again) = stage.json(&rules);
    assert_eq!(
        (&again["expired"], &again["deleted"]["objects"]),
        (&json!([]), &json!(0))
    );
}

#[test]
fn without_a_rule_only_data_that_nobody_needs_goes_and_only_past_its_grace() {
    let stage = stage();
    let orphan = "nb-9-big.00000009.20";
    stage.write(&data_key(node(1), orphan), orphan.as_bytes());
    let (_, young) = stage.json(&["purge", "--attribute-cache", "0s"]);
    assert_eq!(young["young"]["objects"], 1, "{young}");
    assert!(has(&stage, orphan));
    let (_, done) = stage.json(&["purge", "--grace", "0s", "--attribute-cache", "0s"]);
    assert_eq!(done["deleted"]["objects"], 1, "{done}");
    assert!(!has(&stage, orphan));
    assert_eq!(names(&stage).len(), 4);
}

#[test]
fn a_backup_goes_by_its_name_but_the_newest_complete_one_only_when_that_is_said() {
    let stage = stage();
    let (code, done) = stage.json(&["delete", "b1", "--grace", "0s", "--attribute-cache", "0s"]);
    assert_eq!(code, 0, "{done}");
    assert_eq!(names(&stage), ["b2", "b3", "b4"]);
    assert!(!has(&stage, &own(1)) && has(&stage, SHARED));

    for (given, code, told) in [
        (
            &["delete", "b2", "b3"][..],
            2,
            "b3 is the newest complete backup",
        ),
        (&["delete", "b9"], 10, "no backup b9"),
        (&["delete", "../b2"], 2, "not allowed"),
    ] {
        let output = stage.run(given);
        assert_eq!(output.status.code(), Some(code), "{given:?}");
        assert!(
            text(&output.stderr).contains(told),
            "{}",
            text(&output.stderr)
        );
        assert_eq!(
            names(&stage),
            ["b2", "b3", "b4"],
            "{given:?} deleted something"
        );
    }
    stage.json(&[
        "delete",
        "b2",
        "b3",
        "--even-newest",
        "--grace",
        "0s",
        "--attribute-cache",
        "0s",
    ]);
    assert_eq!(names(&stage), ["b4"]);
    assert!(has(&stage, SHARED));
}

#[test]
fn a_backup_that_failed_for_a_node_goes_by_name_once_no_node_is_at_work() {
    let stage = stage();
    let backup = Backup {
        name: "half",
        started: "2026-11-05T01:00:00Z",
        series: None,
        ring: &[node(1), node(2)],
    };
    stage.commit(&backup, node(1), &[SHARED]);
    // The node that committed has an intent that is still honoured; it is done.
    stage.announce("half", node(1), "2999-01-01T00:00:00Z");
    stage.announce("half", node(2), "2999-01-01T00:00:00Z");
    let delete = ["delete", "half", "--grace", "0s", "--attribute-cache", "0s"];
    let output = stage.run(&delete);
    assert_eq!(output.status.code(), Some(11), "{}", text(&output.stderr));
    assert!(names(&stage).contains(&"half".to_owned()));
    let intents = stage.path("manifests/half");
    for entry in std::fs::read_dir(intents).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with(&node(2).to_string()) {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let (code, done) = stage.json(&delete);
    assert_eq!((code, &done["expired"]), (0, &json!(["half"])), "{done}");
    assert!(
        !stage
            .path(&format!("manifests/half/{}.jsonl", node(1)))
            .exists()
    );
}

#[test]
fn a_manifest_that_cannot_be_read_stops_the_purge_with_nothing_deleted() {
    let stage = stage();
    let path = stage.path(&format!("manifests/b2/{}.jsonl", node(1)));
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let output = stage.run(&[
        "purge",
        "--keep-last",
        "1",
        "--grace",
        "0s",
        "--attribute-cache",
        "0s",
    ]);
    assert_eq!(output.status.code(), Some(13), "{}", text(&output.stderr));
    let told = text(&output.stderr);
    assert!(
        told.contains("b2") && told.contains("cut or changed"),
        "{told}"
    );
    assert_eq!(names(&stage).len(), 4);
    assert!((1..=4).all(|day| has(&stage, &own(day))));
}

#[test]
fn people_are_told_what_goes_and_why() {
    let output = stage().run(&[
        "purge",
        "--dry-run",
        "--keep-last",
        "2",
        "--grace",
        "0s",
        "--attribute-cache",
        "0s",
    ]);
    let told = text(&output.stdout);
    assert_eq!(
        told,
        "NAME   SERIES    STATE      STARTED                   VERDICT   BECAUSE\n\
         b1     nightly   Complete   2026-11-01 01:00:00 UTC   expire    no rule keeps it\n\
         b2     nightly   Complete   2026-11-02 01:00:00 UTC   keep      last\n\
         b3     nightly   Complete   2026-11-03 01:00:00 UTC   keep      newest complete, last\n\
         b4     -         Complete   2026-11-04 01:00:00 UTC   keep      newest complete, last\n\
         \n\
         would go   1 backups, 2 objects, 31 B\n"
    );
}
