//! Progress, on a terminal and elsewhere.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use crate::stage::{Backup, LOCAL, Stage, node, text};

/// Goes to the start of the line and empties it.
const CLEARED: &str = "\r\u{1b}[2K";

/// A backup of a hundred tables of one file each.
fn stage() -> Stage {
    let (stage, ring) = (Stage::new(), [node(1)]);
    let backup = Backup {
        name: "b1",
        started: "2026-11-01T01:00:00Z",
        series: None,
        ring: &ring,
    };
    let id = LOCAL.trim_start_matches("local");
    let directories: Vec<String> = (1..100).map(|n| format!("t{n}{id}")).collect();
    let sstable = ["nb-1-big.00000001.20"];
    let mut own = vec![("system", LOCAL, &sstable[..])];
    own.extend(
        directories
            .iter()
            .map(|it| ("shop", it.as_str(), &sstable[..])),
    );
    stage.commit_tables(&backup, node(1), &own);
    stage
}

/// Runs a command on a terminal of its own, and gives all that came to it.
fn on_a_terminal(stage: &Stage, arguments: &[&str]) -> String {
    let root = stage.root().to_str().unwrap();
    let storage = ["--blob-storage=file", "--filebackup-location", root];
    let (state, program) = (
        tempfile::tempdir().unwrap(),
        env!("CARGO_BIN_EXE_cassandra-backup"),
    );
    let state = ["--state-dir", state.path().to_str().unwrap()];
    let line = [
        &[program][..],
        arguments,
        &["--cluster=prod"],
        &storage,
        &state,
    ]
    .concat();
    let script = Command::new("script")
        .args(["--quiet", "--command", &line.join(" "), "/dev/null"])
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .output();
    text(&script.unwrap().stdout)
}

/// What was drawn and cleared again, and what is left.
fn drawn(told: &str) -> (&str, &str) {
    told.rsplit_once(CLEARED)
        .unwrap_or_else(|| panic!("nothing was drawn: {told:?}"))
}

fn assert_is_plain(output: &Output) {
    for stream in [&output.stdout, &output.stderr] {
        let told = text(stream);
        assert!(!told.contains(['\r', '\u{1b}']), "{told:?}");
    }
}

#[test]
fn verify_and_restore_draw_on_a_terminal_how_far_they_are_and_clear_it_at_the_end() {
    let stage = stage();
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    let restore = [
        "restore",
        "--offline",
        "--backup=b1",
        "--data-directory",
        directory,
    ];
    let verify = ["verify", "--all", "--level=content"];
    let cases: [(&[&str], &str, &str); 2] = [
        (&verify, " objects, ", "1 backups, 1 manifests, 100 objects"),
        (&restore, " of 100 files, ", "100 files were fetched"),
    ];
    for (arguments, progress, end) in cases {
        let told = on_a_terminal(&stage, arguments);
        let (before, left) = drawn(&told);
        assert!(before.contains(progress), "{told:?}");
        assert!(left.contains(end) && !left.contains(progress), "{told:?}");
    }
}

#[test]
fn a_backup_draws_its_phase_on_a_terminal_and_clears_it_before_it_says_why_it_failed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let port = format!("--jmx-port={port}");
    let told = on_a_terminal(&stage(), &["backup", &port]);
    let (before, left) = drawn(&told);
    assert!(before.contains(" Preparing "), "{told:?}");
    assert!(left.starts_with("JmxUnreachable: "), "{told:?}");
}

#[test]
fn nothing_is_drawn_where_there_is_no_terminal() {
    let stage = stage();
    let verify = stage.run(&["verify", "--all", "--level=content"]);
    assert!(text(&verify.stdout).contains("all is there"));
    assert_is_plain(&verify);
    assert_is_plain(&stage.run(&["backup", "--jmx-port=1"]));
}
