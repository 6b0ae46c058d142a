use std::io::Write;
use std::process::Stdio;

use protocol::{EventKind, MAX_REQUEST_BYTES, Reason};
use rustix::process::Signal;

use crate::harness::{LIMIT, Place, Running, eventually, journal_has};

#[test]
fn a_run_goes_on_when_its_streams_end_and_its_terminal_hangs_up() {
    let place = Place::new();
    let steps = ["warn=one", &place.awaiting("gate"), "warn=two"];
    let mut child = place
        .command(&steps)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let line = place.request().to_line().unwrap() + "\n";
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(line.as_bytes())
        .unwrap();
    eventually("the run begins", || {
        journal_has(&place.journal(), "\"one\"")
    });
    drop((child.stdin.take(), child.stdout.take(), child.stderr.take()));
    let mut run = Running::without_streams(child);
    run.signal(Signal::HUP);
    run.signal(Signal::PIPE);
    place.open("gate");
    assert_eq!(run.exit_code(), 0);
    assert!(journal_has(&place.journal(), "\"two\""));
    assert!(journal_has(&place.journal(), "\"Succeeded\""));
}

#[test]
fn a_reader_that_stands_still_does_not_stall_the_run() {
    let place = Place::new();
    // Far more than a pipe holds.
    let mut child = place
        .command(&["progress=20000", "warn=through"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let line = place.request().to_line().unwrap() + "\n";
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(line.as_bytes())
        .unwrap();
    eventually("the run ends although nobody reads", || {
        journal_has(&place.journal(), "\"Succeeded\"")
    });
    // The run is over for others while its process still waits for its reader.
    let mut again = place.start(&place.request(), &[]);
    assert_eq!(again.outcome().0.reason, Reason::Succeeded);
    assert_eq!(again.numbers(), (1..=20_003).collect::<Vec<_>>());
    // What its own reader reads at last is whole, too.
    let mut late = Running::reading(child);
    late.outcome();
    assert_eq!(late.told, again.told);
}

#[test]
fn a_wrong_request_is_refused_without_a_journal() {
    let place = Place::new();
    let too_long = "x".repeat(MAX_REQUEST_BYTES + 10);
    for input in [
        "{\"secret\":\"hunter2\"}\n",
        "not json\n",
        too_long.as_str(),
    ] {
        let mut run = Running::start(place.command(&[]), input);
        let (outcome, code) = run.outcome();
        assert_eq!((outcome.reason, code), (Reason::InvalidRequest, 2));
        assert!(!outcome.message.contains("hunter2"));
        assert_eq!(run.told[0].seq, 0);
        assert!(!place.journal().exists());
    }
}

#[test]
fn a_state_directory_that_cannot_be_used_is_told() {
    let place = Place::new();
    let file = place.gate("file");
    std::fs::write(&file, "").unwrap();
    let mut request = place.request();
    request.state_directory = Some(file.to_str().unwrap().into());
    let mut run = place.start(&request, &[]);
    let (outcome, code) = run.outcome();
    assert_eq!((outcome.reason, code), (Reason::Failed, 1));
    assert!(
        outcome.message.contains("--state-dir"),
        "{}",
        outcome.message
    );
}

#[test]
fn a_journal_on_a_full_disk_does_not_lose_the_result() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root: it mounts a small file system"
    );
    let place = Place::new();
    let disk = Tmpfs::mount(place.gate("disk"));
    let filler = disk.0.join("filler");
    let gate = place.awaiting("gate");
    let mut request = place.request();
    request.state_directory = Some(disk.0.join("state").to_str().unwrap().into());
    let mut run = place.start(&request, &["warn=one", &gate, "progress=2000", "warn=two"]);
    run.until_warning("one");
    let full = std::fs::File::create(&filler).and_then(|mut file| {
        loop {
            file.write_all(&[0; 4096])?;
        }
    });
    let full: Result<(), _> = full;
    assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    place.open("gate");
    let (outcome, code) = run.outcome();
    assert_eq!((outcome.reason, code), (Reason::Succeeded, 0));
    assert_eq!(run.warnings(), ["one", "two"]);
    // Nothing was told that the next attempt does not know the number of, but the last words.
    let progress = run
        .told
        .iter()
        .filter(|e| matches!(e.kind, EventKind::Progress(_)))
        .count();
    assert!(progress < 2000, "the disk was not full");
}

/// A file system that is soon full.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn mount(path: std::path::PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(done.success(), "mount a tmpfs within {LIMIT:?}");
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}
