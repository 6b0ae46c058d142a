//! `purge` and `delete` as an operator asks for them: by requests.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Backup, RUN, Stage, data_key, node};

const RING: [Uuid; 1] = [Uuid::from_u128(1)];
const SHARED: &str = "nb-1-big.00000001.20";

fn own(name: &str) -> String {
    format!("nb-2-big.0000000{}.20", &name[1..])
}

/// Four backups that share an SSTable and have one of their own each: three of a schedule, and the
/// oldest of another one.
fn stage() -> Stage {
    let stage = Stage::new();
    for (name, day, series) in [
        ("b0", 1, "weekly"),
        ("b1", 2, "weekly"),
        ("b2", 3, "nightly"),
        ("b3", 4, "nightly"),
        ("b4", 5, "nightly"),
    ] {
        commit(&stage, name, day, series);
    }
    stage
}

fn commit(stage: &Stage, name: &str, day: u32, series: &str) {
    let started = format!("2026-11-{day:02}T01:00:00Z");
    let backup = Backup {
        name,
        started: &started,
        series: Some(series),
        ring: &RING,
    };
    stage.commit(&backup, node(1), &[SHARED, &own(name)]);
}

fn now() -> Value {
    json!({"graceSeconds": 0, "attributeCacheSeconds": 0})
}

fn purge(stage: &Stage, mut with: Value) -> (i32, Value) {
    with["cluster"] = json!("prod");
    if with.get("limits").is_none() {
        with["limits"] = now();
    }
    stage.request("purge", with)
}

fn delete(stage: &Stage, backup: &str, even_newest: bool) -> (i32, Value) {
    let with = json!({
        "cluster": "prod", "backup": backup, "evenNewest": even_newest, "limits": now(),
    });
    stage.request("delete", with)
}

fn delete_made_by(stage: &Stage, backup: &str, run: Uuid, ended: bool) -> (i32, Value) {
    let with = json!({
        "cluster": "prod", "backup": backup, "evenNewest": true, "limits": now(),
        "runs": [{"runId": run, "ended": ended}],
    });
    stage.request("delete", with)
}

fn has(stage: &Stage, sstable: &str) -> bool {
    stage.path(&data_key(node(1), sstable)).exists()
}

fn there(stage: &Stage) -> Vec<String> {
    let (_, listed) = stage.json(&["list"]);
    let backups = listed["backups"].as_array().unwrap().iter();
    backups
        .map(|backup| backup["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_outcome_of_a_purge_names_what_went_why_and_how_much() {
    let stage = stage();
    let policy = json!({"keepLast": 1});
    let (code, planned) = purge(&stage, json!({"policy": policy, "dryRun": true}));
    assert_eq!((code, &planned["reason"]), (0, &json!("Succeeded")));
    assert_eq!(planned["purged"]["dryRun"], true);
    assert_eq!(there(&stage).len(), 5, "a dry run deletes nothing");

    let known = ["b0", "b4", "never-was"];
    let (code, done) = purge(&stage, json!({"policy": policy, "known": known}));
    assert_eq!((code, &done["reason"]), (0, &json!("Succeeded")), "{done}");
    let purged = &done["purged"];
    let why = "no rule keeps it";
    assert_eq!(
        purged["expired"],
        json!([
            {"backup": "b0", "reason": why},
            {"backup": "b2", "reason": why},
            {"backup": "b3", "reason": why},
        ])
    );
    assert_eq!(purged["expired"], planned["purged"]["expired"]);
    assert_eq!(purged["deleted"], planned["purged"]["deleted"]);
    assert_eq!(purged["kept"], 2);
    assert_eq!(purged["gone"], json!(["b0", "never-was"]));
    assert_eq!(purged["finished"], true);
    // A data file of 20 bytes and a tokens file of 11 for each of the three.
    assert_eq!(purged["deleted"], json!({"files": 6, "bytes": 93}));
    assert_eq!(there(&stage), ["b1", "b4"]);
    assert!(has(&stage, SHARED) && !has(&stage, &own("b0")) && has(&stage, &own("b1")));
}

#[test]
fn a_purge_of_one_series_leaves_the_others_alone() {
    let stage = stage();
    let (code, done) = purge(
        &stage,
        json!({"policy": {"keepLast": 1}, "series": "nightly"}),
    );
    assert_eq!((code, &done["purged"]["kept"]), (0, &json!(1)), "{done}");
    assert_eq!(there(&stage), ["b0", "b1", "b4"]);
    assert!(has(&stage, &own("b0")));
    let (code, told) = stage.json(&[
        "purge",
        "--series",
        "weekly",
        "--keep-last",
        "1",
        "--attribute-cache",
        "0s",
    ]);
    assert_eq!((code, &told["expired"]), (0, &json!(["b0"])), "{told}");
}

#[test]
fn many_expired_backups_are_counted_and_not_all_named() {
    let stage = Stage::new();
    let count = protocol::NAMED_BACKUPS + 3;
    for number in 0..=count {
        let started = format!("2026-11-01T{:02}:{:02}:00Z", number / 60, number % 60);
        let backup = Backup {
            name: &format!("b{number}"),
            started: &started,
            series: None,
            ring: &RING,
        };
        stage.commit(&backup, node(1), &[SHARED]);
    }
    let (code, done) = purge(&stage, json!({"policy": {"keepLast": 1}, "dryRun": true}));
    let purged = &done["purged"];
    assert_eq!(code, 0);
    assert_eq!(
        purged["expired"].as_array().unwrap().len(),
        protocol::NAMED_BACKUPS
    );
    assert_eq!(purged["expiredUnnamed"], 3);
    assert!(done.to_string().len() < 64 << 10);
}

#[test]
fn what_stops_a_purge_is_its_reason() {
    let stage = stage();
    let wrong = json!({"policy": {"keepLast": 1, "timeZone": "Mars/Olympus"}});
    let (code, refused) = purge(&stage, wrong);
    assert_eq!((code, &refused["reason"]), (2, &json!("InvalidRequest")));
    let path = stage.path(&format!("manifests/b2/{}.jsonl", node(1)));
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let (code, stopped) = purge(&stage, json!({"policy": {"keepLast": 1}}));
    assert_eq!((code, &stopped["reason"]), (13, &json!("ContentMismatch")));
    assert_eq!(stopped["purged"], Value::Null);
    assert_eq!(there(&stage).len(), 5);
}

#[test]
fn a_purge_whose_time_is_over_says_that_some_is_left() {
    let stage = stage();
    let limits = json!({"graceSeconds": 0, "attributeCacheSeconds": 0, "deadlineSeconds": 0});
    let (code, late) = purge(&stage, json!({"policy": {"keepLast": 1}, "limits": limits}));
    assert_eq!((code, &late["reason"]), (15, &json!("DeadlineExceeded")));
    assert_eq!(late["purged"]["finished"], false);
    assert_eq!(late["purged"]["expired"], json!([]));
    assert_eq!(there(&stage).len(), 5);
}

#[test]
fn a_backup_is_deleted_by_a_request() {
    let stage = stage();
    let (code, done) = delete(&stage, "b2", false);
    assert_eq!(code, 0, "{done}");
    let why = "asked for by name";
    assert_eq!(
        done["purged"]["expired"],
        json!([{"backup": "b2", "reason": why}])
    );
    assert!(!has(&stage, &own("b2")) && has(&stage, SHARED));
    let (code, again) = delete(&stage, "b2", false);
    assert_eq!((code, &again["reason"]), (10, &json!("BackupNotFound")));
    let (code, newest) = delete(&stage, "b4", false);
    assert_eq!((code, &newest["reason"]), (2, &json!("InvalidRequest")));
    let (code, outside) = delete(&stage, "../b4", true);
    assert_eq!((code, &outside["reason"]), (2, &json!("InvalidRequest")));
    assert_eq!(there(&stage), ["b0", "b1", "b3", "b4"]);
    assert_eq!(delete(&stage, "b4", true).0, 0);
    assert_eq!(there(&stage), ["b0", "b1", "b3"]);
}

#[test]
fn a_backup_that_a_run_relies_on_is_not_deleted() {
    let stage = stage();
    let manifest = format!("manifests/b2/{}.jsonl", node(1));
    // As a restore does it.
    stage.announce_keys("b2", node(1), "2999-01-01T00:00:00Z", &[&manifest]);
    let (code, held) = delete(&stage, "b2", true);
    assert_eq!((code, &held["reason"]), (11, &json!("Locked")), "{held}");
    assert_eq!(held["purged"]["held"], 1);
    assert!(stage.path(&manifest).exists() && has(&stage, &own("b2")));
}

#[test]
fn a_backup_that_another_run_made_under_the_same_name_is_not_deleted() {
    let stage = stage();
    let (code, other) = delete_made_by(&stage, "b2", Uuid::from_u128(8), false);
    let exists = protocol::Reason::BackupExists;
    assert_eq!(
        (code, &other["reason"]),
        (exists.exit_code() as i32, &json!(exists))
    );
    assert_eq!(there(&stage).len(), 5);
    assert!(has(&stage, &own("b2")));
    let (code, ours) = delete_made_by(&stage, "b2", RUN, false);
    assert_eq!((code, there(&stage).len()), (0, 4), "{ours}");
}

#[test]
fn what_a_run_announced_goes_with_its_backup_once_it_is_known_to_have_ended() {
    let stage = stage();
    let data = ["b2", "b3"].map(|name| data_key(node(1), &own(name)));
    let intents = ["b2", "b3"].map(|name| format!("manifests/{name}/{}.{RUN}.1.intent", node(1)));
    for (name, data) in ["b2", "b3"].iter().zip(&data) {
        stage.announce_run(name, node(1), RUN, "2999-01-01T00:00:00Z", &[data]);
    }
    // A request of a run that committed just now may still be on its way.
    let (code, young) = delete_made_by(&stage, "b2", RUN, true);
    assert_eq!((code, &young["reason"]), (11, &json!("Locked")), "{young}");
    assert_eq!(there(&stage).len(), 5);

    let older = std::time::SystemTime::now() - std::time::Duration::from_secs(601);
    for name in ["b2", "b3"] {
        let manifest = stage.path(&format!("manifests/{name}/{}.jsonl", node(1)));
        let file = std::fs::File::options().write(true).open(manifest).unwrap();
        file.set_modified(older).unwrap();
    }
    // Whoever does not know leaves what was announced alone, and another one can go on with it.
    assert_eq!(delete_made_by(&stage, "b3", RUN, false).0, 0);
    assert!(has(&stage, &own("b3")) && stage.path(&intents[1]).exists());
    let (code, gone) = delete_made_by(&stage, "b3", RUN, true);
    assert_eq!((code, &gone["reason"]), (10, &json!("BackupNotFound")));
    assert!(!has(&stage, &own("b3")) && !stage.path(&intents[1]).exists());
    assert!(has(&stage, &own("b2")) && has(&stage, SHARED));
    let (code, whole) = delete_made_by(&stage, "b2", RUN, true);
    assert_eq!(code, 0, "{whole}");
    assert!(!has(&stage, &own("b2")) && has(&stage, SHARED));
    assert_eq!(there(&stage), ["b0", "b1", "b4"]);
}

#[test]
fn a_backup_whose_manifests_are_all_damaged_is_there_and_stays() {
    let stage = stage();
    stage.write(&format!("manifests/b2/{}.jsonl", node(1)), b"{}\n");
    let (code, damaged) = delete(&stage, "b2", true);
    assert_eq!(
        (code, &damaged["reason"]),
        (13, &json!("ContentMismatch")),
        "{damaged}"
    );
    assert!(
        damaged["message"].as_str().unwrap().contains("b2"),
        "{damaged}"
    );
    assert!(has(&stage, &own("b2")));
}

#[test]
fn an_empty_directory_on_the_root_file_system_does_not_pass_for_a_storage_without_backups() {
    use std::os::unix::fs::MetadataExt;
    let stage = stage();
    let device = |path: &std::path::Path| std::fs::metadata(path).unwrap().dev();
    let shared = device(&stage.path("")) == device("/".as_ref());
    let limits = json!({
        "graceSeconds": 0, "attributeCacheSeconds": 0, "requireOwnDevice": true,
    });
    let (code, told) = purge(&stage, json!({"policy": {"keepLast": 1}, "limits": limits}));
    let reason = if shared {
        "StorageUnsuitable"
    } else {
        "Succeeded"
    };
    assert_eq!(told["reason"], reason, "{told}");
    assert_eq!(code == 0, !shared);
    assert_eq!(there(&stage).len(), if shared { 5 } else { 2 });
}
