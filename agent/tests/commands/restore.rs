//! `restore --offline`: a node's files into empty directories.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stage::{Backup, LOCAL, Stage, TABLE, node, text};

const RING: [uuid::Uuid; 2] = [uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2)];
const PEERS: &str = "peers-0123456789abcdef0123456789abcdef";
const SCHEMA: &str = "tables-0123456789abcdef0123456789abcdef";
const ROWS: &str = "nb-1-big.00000001.17";
const MINE: &str = "nb-1-big.00000002.17";

/// A machine whose node lost its disk.
struct Machine {
    home: TempDir,
    stage: Stage,
}

impl Machine {
    fn new() -> Self {
        let stage = Stage::new();
        let commit = |name, started, host: u128| {
            let backup = Backup {
                name,
                started,
                series: None,
                ring: &RING,
            };
            let tables: [(&str, &str, &[&str]); 4] = [
                ("system", LOCAL, &[MINE]),
                ("system", PEERS, &[MINE]),
                ("system_schema", SCHEMA, &[MINE]),
                ("shop", TABLE, &[ROWS]),
            ];
            stage.commit_tables(&backup, node(host), &tables);
        };
        commit("old", "2026-11-01T01:00:00Z", 1);
        commit("old", "2026-11-01T01:00:00Z", 2);
        commit("new", "2026-11-02T01:00:00Z", 2);
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("data")).unwrap();
        Self { home, stage }
    }

    /// A backup of these tables of the first node.
    fn commit(&self, name: &str, ring: &[uuid::Uuid], tables: &[(&str, &str, &[&str])]) {
        let backup = Backup {
            name,
            started: "2026-10-01T01:00:00Z",
            series: None,
            ring,
        };
        self.stage.commit_tables(&backup, node(1), tables);
    }

    /// A backup of the first node, which is the only one.
    fn commit_alone(&self) {
        let own = [("system", LOCAL, &[MINE][..]), ("shop", TABLE, &[ROWS])];
        self.commit("alone", &RING[..1], &own);
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn restore(&self, more: &[&str]) -> Output {
        self.restore_to(self.data().to_str().unwrap(), more)
    }

    /// The first node's share of the old backup.
    fn restore_into(&self, directories: &str) -> Output {
        self.restore_to(directories, &["--backup", "old", "--host-id", FIRST])
    }

    fn restore_to(&self, directories: &str, more: &[&str]) -> Output {
        let usual = ["restore", "--offline", "--output", "json"];
        let all = [&usual[..], &["--data-directory", directories], more].concat();
        self.stage.run(&all)
    }

    /// Restores, and gives the document.
    fn restored(&self, more: &[&str]) -> Value {
        let output = self.restore(more);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Restores, and gives what was said meanwhile.
    fn told(&self, more: &[&str]) -> String {
        let output = self.restore(more);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{told}");
        told
    }

    /// Fails to, with this exit code; gives what was said.
    fn refused(&self, code: i32, more: &[&str]) -> String {
        let output = self.restore(more);
        let why = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{why}");
        why
    }

    /// What is in the data directory, by path.
    fn files(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        walk(&self.data(), &self.data(), &mut found);
        found
    }
}

fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

fn whole() -> BTreeMap<String, String> {
    let file = |directory: String, content: &str| {
        (format!("{directory}/nb-1-big-Data.db"), content.to_owned())
    };
    BTreeMap::from([
        file(format!("system/{LOCAL}"), MINE),
        file(format!("system_schema/{SCHEMA}"), MINE),
        file(format!("shop/{TABLE}"), ROWS),
    ])
}

const FIRST: &str = "00000000-0000-0000-0000-000000000001";

#[test]
fn a_nodes_files_come_back_under_their_names_but_for_what_it_knew_of_others() {
    let machine = Machine::new();
    let told = machine.restored(&["--backup", "old", "--host-id", FIRST]);
    assert_eq!(machine.files(), whole());
    assert_eq!(
        (&told["fetchedFiles"], &told["keptFiles"], &told["files"]),
        (&3.into(), &0.into(), &3.into())
    );
    assert_eq!(
        (&told["backup"], &told["hostId"]),
        (&"old".into(), &FIRST.into())
    );
    // A second node on the same disk would be two nodes in one place.
    let why = machine.refused(2, &["--backup", "old", "--host-id", FIRST]);
    assert!(why.contains("is not empty"), "{why}");
    assert_eq!(machine.files(), whole());
}

#[test]
fn the_newest_backup_is_the_newest_that_has_the_node() {
    let machine = Machine::new();
    let of = |more: &[&str]| {
        let told = machine.restored(&[more, &["--dry-run"]].concat());
        (
            told["backup"].as_str().unwrap().to_owned(),
            told["hostId"].as_str().unwrap().to_owned(),
        )
    };
    let second = node(2).to_string();
    assert_eq!(of(&["--backup", "latest", "--host-id", FIRST]).0, "old");
    assert_eq!(of(&["--backup", "latest", "--host-id", &second]).0, "new");
    let before = "before=2026-11-02T01:00:00Z";
    assert_eq!(of(&["--backup", before, "--host-id", &second]).0, "old");
    assert!(machine.files().is_empty());
    // The other node of it has no manifest: it is not said which of the two this machine is.
    machine.refused(2, &["--backup", "new"]);
    machine.commit_alone();
    assert_eq!(of(&["--backup", "alone"]), ("alone".into(), FIRST.into()));

    let why = machine.refused(2, &["--backup", "old"]);
    assert!(why.contains("--host-id") && why.contains(FIRST), "{why}");
    let why = machine.refused(2, &["--backup", "old", "--pod", "cassandra-0"]);
    assert!(why.contains("--host-id"), "{why}");
    let nobody = node(3).to_string();
    machine.refused(10, &["--backup", "latest", "--host-id", &nobody]);
    machine.refused(10, &["--backup", "nowhere", "--host-id", FIRST]);
    machine.refused(
        10,
        &[
            "--backup",
            "before=2020-01-01T00:00:00Z",
            "--host-id",
            FIRST,
        ],
    );
}

#[test]
fn a_manifest_of_a_newer_format_is_told_as_such_and_not_as_missing() {
    let machine = Machine::new();
    machine.commit_alone();
    let path = machine
        .stage
        .path(&format!("manifests/alone/{FIRST}.jsonl"));
    let newer = fs::read_to_string(&path).unwrap();
    fs::write(&path, newer.replacen("\"1.0\"", "\"2.0\"", 1)).unwrap();
    for which in [
        &["--backup", "alone"][..],
        &["--backup", "alone", "--host-id", FIRST],
    ] {
        let why = machine.refused(13, which);
        assert!(why.contains("update it"), "{why}");
        assert!(why.contains(FIRST) && why.contains("alone"), "{why}");
    }
    // An older backup that can be read is taken, and where there is none it is not called missing.
    let latest = ["--backup", "latest", "--host-id", FIRST, "--dry-run"];
    assert_eq!(machine.restored(&latest)["backup"], "old");
    assert!(
        machine
            .told(&latest)
            .contains("passed over: the manifest of node")
    );
    let new = machine
        .stage
        .path(&format!("manifests/new/{}.jsonl", node(2)));
    let sound = fs::read(&new).unwrap();
    fs::write(&new, &sound[..40]).unwrap();
    let second = node(2).to_string();
    let told = machine.told(&["--backup", "latest", "--host-id", &second, "--dry-run"]);
    let what = format!("passed over: the manifest of node {second} in backup new");
    assert!(told.contains(&what), "{told}");
    fs::remove_dir_all(machine.stage.path("manifests/old")).unwrap();
    let why = machine.refused(13, &latest[..4]);
    assert!(why.contains("update it"), "{why}");
}

#[test]
fn what_is_there_is_never_written_over() {
    for (place, content) in [
        ("data/shop/x", "mine"),
        ("commitlog/x", "mine"),
        ("hints/x", "mine"),
    ] {
        let machine = Machine::new();
        let path = machine.home.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let why = machine.refused(2, &["--backup", "old", "--host-id", FIRST]);
        assert!(why.contains("is not empty"), "{why}");
        assert_eq!(fs::read_to_string(path).unwrap(), content);
    }
    let machine = Machine::new();
    fs::remove_dir(machine.data()).unwrap();
    let why = machine.refused(1, &["--backup", "old", "--host-id", FIRST]);
    assert!(why.contains("data: No such file"), "{why}");
}

#[test]
fn an_object_that_is_wrong_or_missing_ends_it_before_the_node_knows_who_it_is() {
    let object = |directory: &str, sstable: &str| {
        format!("data/{FIRST}/{directory}/{sstable}/nb-1-big-Data.db")
    };
    type Harm = fn(&Path);
    let harms: [(Harm, i32); 3] = [
        (|path| fs::write(path, "nb-1-big.0000000x.17").unwrap(), 13),
        (|path| fs::write(path, "short").unwrap(), 13),
        (|path| fs::remove_file(path).unwrap(), 13),
    ];
    for (harm, code) in harms {
        let machine = Machine::new();
        let rows = machine.stage.path(&object(&format!("shop/{TABLE}"), ROWS));
        harm(&rows);
        let why = machine.refused(code, &["--backup", "old", "--host-id", FIRST]);
        assert!(why.contains(TABLE), "{why}");
        let files = machine.files();
        assert!(files.keys().all(|it| !it.contains(LOCAL)), "{files:?}");
        let rows_there = files
            .keys()
            .any(|it| it.ends_with("Data.db") && it.contains(TABLE));
        assert!(!rows_there, "{files:?}");

        // It is mended, and the restore goes on; what is there is compared.
        fs::create_dir_all(rows.parent().unwrap()).unwrap();
        fs::write(&rows, ROWS).unwrap();
        let schema = machine
            .data()
            .join(format!("system_schema/{SCHEMA}/nb-1-big-Data.db"));
        fs::write(&schema, "torn by a loss of power").unwrap();
        let told = machine.restored(&["--backup", "old", "--host-id", FIRST]);
        assert_eq!(told["resumed"], true);
        assert_eq!(machine.files(), whole());
    }
}

#[test]
fn a_backup_that_is_being_restored_outlives_a_purge() {
    let rules = ["purge", "--keep-last", "1", "--grace", "0s"];
    let purge = [&rules[..], &["--attribute-cache", "0s"]].concat();
    for restored in [true, false] {
        let machine = Machine::new();
        let newest = Backup {
            name: "newest",
            started: "2026-11-03T01:00:00Z",
            series: None,
            ring: &RING,
        };
        for host in [1, 2] {
            machine.stage.commit(&newest, node(host), &[ROWS]);
        }
        let rows = format!("data/{FIRST}/shop/{TABLE}/{ROWS}/nb-1-big-Data.db");
        if restored {
            // It is cut off by an object that is missing, and is to be gone on with.
            fs::remove_file(machine.stage.path(&rows)).unwrap();
            machine.refused(13, &["--backup", "old", "--host-id", FIRST]);
        }
        let (code, done) = machine.stage.json(&purge);
        assert_eq!(code, 0, "{done}");
        let has = |what: &str| done[what].as_array().unwrap().contains(&json!("old"));
        assert_eq!((has("held"), has("expired")), (restored, !restored));
        let own = format!("data/{FIRST}/system/{LOCAL}/{MINE}/nb-1-big-Data.db");
        assert_eq!(machine.stage.path(&own).exists(), restored);
    }
}

#[test]
fn a_restore_that_was_cut_off_keeps_what_it_has_and_is_gone_on_with_by_nobody_else() {
    let machine = Machine::new();
    let rows = format!("data/{FIRST}/shop/{TABLE}/{ROWS}/nb-1-big-Data.db");
    let rows = machine.stage.path(&rows);
    fs::remove_file(&rows).unwrap();
    // One after the other, in the manifest's order, so that something is there before it fails.
    let in_turn = ["--backup", "old", "--host-id", FIRST, "--concurrency", "1"];
    machine.refused(13, &in_turn);
    let second = node(2).to_string();
    let why = machine.refused(2, &["--backup", "old", "--host-id", &second]);
    assert!(
        why.contains(&format!("node {FIRST} from backup old")),
        "{why}"
    );
    fs::write(&rows, ROWS).unwrap();
    let told = machine.restored(&["--backup", "old", "--host-id", FIRST]);
    assert_eq!(machine.files(), whole());
    let figures = (&told["fetchedFiles"], &told["keptFiles"]);
    assert_eq!(figures, (&2.into(), &1.into()));
}

#[test]
fn a_backup_without_the_nodes_own_tables_is_no_node() {
    let machine = Machine::new();
    machine.commit("some", &RING, &[("shop", TABLE, &[ROWS])]);
    let why = machine.refused(2, &["--backup", "some", "--host-id", FIRST]);
    assert!(why.contains("system.local"), "{why}");
    assert!(machine.files().is_empty());
}

#[test]
fn a_manifest_that_leads_out_of_the_directory_is_refused_whole() {
    let machine = Machine::new();
    let tables = [
        ("system", LOCAL, &[MINE][..]),
        ("..", "escape-0af", &[ROWS]),
    ];
    machine.commit("evil", &RING, &tables);
    let why = machine.refused(13, &["--backup", "evil", "--host-id", FIRST]);
    assert!(why.contains("\"..\""), "{why}");
    assert!(machine.files().is_empty());
    assert!(!machine.home.path().join("escape-0af").exists());
}

#[test]
fn each_of_several_directories_is_empty_or_this_restores() {
    let machine = Machine::new();
    let rows = format!("data/{FIRST}/shop/{TABLE}/{ROWS}/nb-1-big-Data.db");
    let rows = machine.stage.path(&rows);
    fs::remove_file(&rows).unwrap();
    machine.refused(13, &["--backup", "old", "--host-id", FIRST]);
    fs::write(&rows, ROWS).unwrap();
    // The second one is another node's.
    let other = machine.home.path().join("data2");
    fs::create_dir_all(other.join("shop")).unwrap();
    let two = format!("{},{}", machine.data().display(), other.display());
    let refused = machine.restore_into(&two);
    let why = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(why.contains("data2/shop is not empty"), "{why}");
    fs::remove_dir(other.join("shop")).unwrap();
    assert_eq!(machine.restore_into(&two).status.code(), Some(0));
    assert_eq!(machine.files(), whole());
    assert_eq!(fs::read_dir(other).unwrap().count(), 0);
}

#[test]
fn two_processes_do_not_restore_one_directory() {
    let machine = Machine::new();
    let mark = fs::File::create(machine.data().join(".cassandra-backup-restore")).unwrap();
    mark.lock().unwrap();
    let why = machine.refused(11, &["--backup", "old", "--host-id", FIRST]);
    assert!(why.contains("another process"), "{why}");
    drop(mark);
    machine.restored(&["--backup", "old", "--host-id", FIRST]);
    assert_eq!(machine.files(), whole());
}

#[test]
fn a_backup_of_some_keyspaces_is_no_whole_node_even_with_its_own_tables() {
    let machine = Machine::new();
    let manifest = machine.stage.path(&format!("manifests/old/{FIRST}.jsonl"));
    let all = fs::read_to_string(&manifest).unwrap();
    let some = all.replacen("\"keyspaces\":[]", "\"keyspaces\":[\"system\"]", 1);
    assert_ne!(all, some);
    fs::write(&manifest, some).unwrap();
    let why = machine.refused(2, &["--backup", "old", "--host-id", FIRST]);
    assert!(why.contains("some keyspaces"), "{why}");
    // It is passed over where another one will do.
    machine.commit_alone();
    let told = machine.restored(&["--backup", "latest", "--host-id", FIRST]);
    assert_eq!(told["backup"], "alone");
}

#[test]
fn a_restore_that_was_cut_off_at_its_very_end_is_ended() {
    let machine = Machine::new();
    let other = machine.home.path().join("data2");
    fs::create_dir(&other).unwrap();
    let two = format!("{},{}", machine.data().display(), other.display());
    let code = || machine.restore_into(&two).status.code();
    assert_eq!(code(), Some(0));
    // The mark of the first directory is gone, that of the second is not.
    let mark = serde_json::json!({"backup": "old", "hostId": FIRST});
    let left = other.join(".cassandra-backup-restored");
    fs::write(&left, mark.to_string()).unwrap();
    assert_eq!(code(), Some(0));
    assert_eq!(machine.files(), whole());
    assert!(!left.exists());
    assert_eq!(code(), Some(2));
}
