use protocol::Reason;
use rustix::process::Signal;
use uuid::Uuid;

use crate::harness::{Place, copy_program, program};

fn cancel(run: Uuid) -> (i32, String) {
    tell("cancel", run)
}

fn tell(what: &str, run: Uuid) -> (i32, String) {
    let output = program()
        .args([what, "--run", &run.to_string()])
        .output()
        .unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
    )
}

#[test]
fn a_run_is_cancelled_by_its_id() {
    let place = Place::new();
    let mut run = place.start(&place.request(), &["warn=one", &place.awaiting("never")]);
    run.until_warning("one");
    let (code, told) = cancel(place.run);
    assert_eq!(code, 0);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["runId"], place.run.to_string());
    assert_eq!(told["pid"], run.pid());
    let (outcome, code) = run.outcome();
    assert_eq!((outcome.reason, code), (Reason::Cancelled, 130));
}

#[test]
fn a_run_that_holds_goes_on_when_it_is_told_now_or_before() {
    for told_before in [false, true] {
        let place = Place::new();
        let gate = place.awaiting("gate");
        let mut run = place.start(&place.request(), &["warn=one", &gate, "warn=two", "hold"]);
        run.until_warning("one");
        if !told_before {
            place.open("gate");
            run.until_warning("two");
        }
        let (code, told) = tell("proceed", place.run);
        assert_eq!(code, 0);
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["proceeding"], true, "{told}");
        assert_eq!(told["pid"], run.pid());
        place.open("gate");
        assert_eq!(run.outcome().0.reason, Reason::Succeeded);
    }
}

#[test]
fn a_run_that_is_not_there_cannot_be_told_anything() {
    for what in ["cancel", "proceed"] {
        assert_eq!(tell(what, Uuid::new_v4()).0, 10);
    }
}

#[test]
fn another_user_cannot_cancel() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root: it becomes another user"
    );
    let place = Place::new();
    let gate = place.awaiting("gate");
    let mut run = place.start(&place.request(), &["warn=one", &gate]);
    run.until_warning("one");
    let folder = tempfile::tempdir().unwrap();
    let passable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), passable).unwrap();
    let copy = folder.path().join("cassandra-backup");
    copy_program(program().get_program().as_ref(), &copy);
    let mut command = std::process::Command::new(&copy);
    std::os::unix::process::CommandExt::uid(&mut command, 12345);
    let output = command
        .args(["cancel", "--run", &place.run.to_string()])
        .output();
    let output = output.unwrap();
    assert_eq!(
        output.status.code(),
        Some(12),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    place.open("gate");
    assert_eq!(run.outcome().0.reason, Reason::Succeeded);
}

#[test]
fn the_first_signal_cancels() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let mut run = place.start(&place.request(), &["warn=one", &place.awaiting("never")]);
        run.until_warning("one");
        run.signal(signal);
        let (outcome, code) = run.outcome();
        assert_eq!((outcome.reason, code), (Reason::Cancelled, 130));
    }
}

#[test]
fn the_second_signal_ends_at_once_and_the_journal_says_so() {
    let place = Place::new();
    let mut run = place.start(&place.request(), &["warn=one", "stubborn"]);
    run.until_warning("one");
    run.signal(Signal::TERM);
    // Two of one kind at once are one to the kernel.
    run.signal(Signal::INT);
    assert_eq!(run.exit_code(), 130);
    let mut again = place.start(&place.request(), &[]);
    let (outcome, code) = again.outcome();
    assert_eq!(
        (outcome.reason, outcome.attempt, code),
        (Reason::Cancelled, 1, 130)
    );
}

#[test]
fn a_second_run_on_a_node_is_refused_with_the_holder_s_id() {
    let (first, second) = (Place::new(), Place::new());
    let lock = format!("lock={}", Uuid::new_v4());
    let gate = first.awaiting("gate");
    let mut holder = first.start(&first.request(), &[&lock, "warn=held", &gate]);
    holder.until_warning("held");
    let mut refused = second.start(&second.request(), &[&lock]);
    let (outcome, code) = refused.outcome();
    assert_eq!((outcome.reason, code), (Reason::Locked, 11));
    assert!(
        outcome.message.contains(&first.run.to_string()),
        "{}",
        outcome.message
    );

    holder.kill();
    let third = Place::new();
    assert_eq!(
        third.start(&third.request(), &[&lock]).outcome().0.reason,
        Reason::Succeeded
    );
}

#[test]
fn the_same_run_with_another_state_directory_is_not_done_twice() {
    let (first, mut second) = (Place::new(), Place::new());
    second.run = first.run;
    let gate = first.awaiting("gate");
    let mut run = first.start(&first.request(), &["warn=one", &gate]);
    run.until_warning("one");
    let (outcome, _) = second.start(&second.request(), &["warn=two"]).outcome();
    assert_eq!(outcome.reason, Reason::Locked);
}
