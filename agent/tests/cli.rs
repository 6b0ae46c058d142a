//! What people type, and what they are told.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use protocol::{Event, EventKind, Reason};

/// Runs the program with a state directory of its own.
fn run(arguments: &[&str]) -> Output {
    let state = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_cassandra-backup"))
        .args(arguments)
        .env("XDG_STATE_HOME", state.path())
        .env_remove("AZURE_STORAGE_ACCOUNT_NAME")
        .arg("--state-dir")
        .arg(state.path())
        .output()
        .unwrap()
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cassandra-backup"))
        .args(arguments)
        .env_remove("COLUMNS")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    String::from_utf8(output.stdout).unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The commands that the first page names.
fn commands() -> Vec<String> {
    let page = help(&["--help"]);
    let (_, below) = page.split_once("\nCommands:\n").unwrap();
    let (commands, _) = below.split_once("\n\n").unwrap();
    let first_word = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    commands.lines().map(first_word).collect()
}

#[test]
fn the_help_of_every_command_is_what_was_reviewed() {
    insta::assert_snapshot!("help", help(&["--help"]));
    let commands = commands();
    let last_is_help = commands.last().is_some_and(|command| command == "help");
    assert!(last_is_help, "{commands:?}");
    let mut pages = BTreeSet::from(["cli__help.snap".to_owned()]);
    for command in commands.iter().filter(|command| *command != "help") {
        let name = format!("{}_help", command.replace('-', "_"));
        pages.insert(format!("cli__{name}.snap"));
        insta::assert_snapshot!(name, help(&[command, "--help"]));
    }
    let snapshots = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let files = std::fs::read_dir(snapshots).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name.ends_with(".snap")).collect();
    assert_eq!(files, pages, "a page of a command that is no more");
}

#[test]
fn the_version_and_the_hash_of_the_program_are_told() {
    let version = help(&["--version"]);
    assert_eq!(
        version,
        format!("cassandra-backup {}\n", env!("CARGO_PKG_VERSION"))
    );
    let program = std::fs::read(env!("CARGO_BIN_EXE_cassandra-backup")).unwrap();
    assert_eq!(
        help(&["self-check"]),
        format!("{}\n", blake3::hash(&program).to_hex())
    );
}

#[test]
fn shells_complete_commands_and_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let script = help(&["completions", shell]);
        for word in ["verify", "touch-after"] {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_do() {
    let backup = ["backup", "--cluster", "prod", "--blob-storage"];
    let cases: [(&[&str], &str); 13] = [
        (&["frobnicate"], "--help"),
        (&["backup"], "--cluster"),
        (&[&backup[..], &["tape"]].concat(), "file, s3"),
        (
            &[&backup[..], &["gcp", "--bucket", "b", "--region", "r"]].concat(),
            "--region is not for --blob-storage gcp",
        ),
        (&[&backup[..], &["gcp"]].concat(), "gcp needs --bucket"),
        (&[&backup[..], &["azure"]].concat(), "azure needs --bucket"),
        (
            &[&backup[..], &["azure", "--bucket", "b"]].concat(),
            "AZURE_STORAGE_ACCOUNT_NAME",
        ),
        (
            &[&backup[..], &["azure", "--bucket", "b", "--region", "r"]].concat(),
            "--region is not for --blob-storage azure",
        ),
        (
            &[&backup[..], &["s3", "--bucket", "b", "--account", "a"]].concat(),
            "--account is not for --blob-storage s3",
        ),
        (
            &[
                &backup[..],
                &["s3", "--bucket", "b", "--sse-kms-key-id", "k"],
            ]
            .concat(),
            "--sse aws:kms",
        ),
        (
            &[&backup[..], &["file"]].concat(),
            "--filebackup-location DIR",
        ),
        (
            &[
                &backup[..],
                &["file", "--filebackup-location", "/b", "--bandwidth", "fast"],
            ]
            .concat(),
            "100MiB",
        ),
        (
            &[
                &backup[..],
                &[
                    "s3",
                    "--bucket",
                    "b",
                    "--jmx-user",
                    "u",
                    "--jmx-password-file",
                    "/none",
                ],
            ]
            .concat(),
            "/none",
        ),
    ];
    for (arguments, told) in cases {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            error(&output).contains(told),
            "{arguments:?}: {}",
            error(&output)
        );
    }
}

/// A port of this machine on which nobody listens.
fn silent_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn backup_without_cassandra(more: &[&str]) -> Output {
    let storage = tempfile::tempdir().unwrap();
    let (port, location) = (silent_port(), storage.path().to_str().unwrap());
    let flags = ["--filebackup-location", location, "--jmx-port", &port];
    let backup = ["backup", "--blob-storage", "file", "--cluster", "prod"];
    run(&[&backup[..], &flags, more].concat())
}

#[test]
fn a_backup_without_cassandra_says_so_to_people() {
    let output = backup_without_cassandra(&[]);
    assert_eq!(output.status.code(), Some(75), "{}", error(&output));
    assert!(
        error(&output).contains("JmxUnreachable"),
        "{}",
        error(&output)
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_backup_without_cassandra_says_so_to_programs() {
    let output = backup_without_cassandra(&["--output", "json"]);
    let events: Vec<Event> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(matches!(
        events[0].kind,
        EventKind::Started { attempt: 1, .. }
    ));
    let EventKind::Result(outcome) = &events[events.len() - 1].kind else {
        panic!("no result")
    };
    assert_eq!(
        (outcome.reason, outcome.exit_code),
        (Reason::JmxUnreachable, 75)
    );
}
