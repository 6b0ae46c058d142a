use protocol::Reason;

use crate::harness::{Place, Running, program};

fn attach(place: &Place, more: &[&str]) -> Running {
    let mut command = program();
    command.arg("attach").arg("--state-dir").arg(place.state());
    command.arg("--run").arg(place.run.to_string()).args(more);
    Running::start(command, "")
}

#[test]
fn the_same_request_attaches_to_the_running_process_and_is_told_everything() {
    let place = Place::new();
    let gate = place.awaiting("gate");
    let mut first = place.start(
        &place.request(),
        &["warn=one", "progress=3", &gate, "warn=two"],
    );
    first.until_warning("one");
    let mut second = place.start(&place.request(), &["warn=never"]);
    second.until_warning("one");
    place.open("gate");
    let told = first.outcome();
    assert_eq!(second.outcome(), told);
    assert_eq!(second.told, first.told);
    assert_eq!(first.numbers(), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn who_attaches_from_a_number_is_told_only_what_follows() {
    let place = Place::new();
    let gate = place.awaiting("gate");
    let mut run = place.start(
        &place.request(),
        &["warn=one", "warn=two", &gate, "warn=three"],
    );
    run.until_warning("two");
    let mut attached = attach(&place, &["--from", "2"]);
    attached.until_warning("two");
    place.open("gate");
    assert_eq!(attached.outcome(), run.outcome());
    assert_eq!(attached.numbers(), [3, 4, 5]);
}

#[test]
fn who_attaches_late_is_told_all_with_the_exit_code() {
    let place = Place::new();
    let mut run = place.start(&place.request(), &["warn=one", "panic"]);
    let told = run.outcome();
    let mut attached = attach(&place, &[]);
    assert_eq!(attached.outcome(), told);
    assert_eq!(attached.told, run.told);
}

#[test]
fn a_waiting_process_takes_over_when_the_run_is_killed() {
    let place = Place::new();
    let gate = place.awaiting("gate");
    let mut first = place.start(&place.request(), &["warn=one", &gate]);
    first.until_warning("one");
    let mut second = place.start(&place.request(), &["warn=two"]);
    second.until_warning("one");
    let mut third = attach(&place, &[]);
    third.until_warning("one");
    first.kill();
    let (outcome, _) = second.outcome();
    assert_eq!((outcome.reason, outcome.attempt), (Reason::Succeeded, 2));
    assert_eq!(second.warnings(), ["one", "two"]);
    assert_eq!(second.numbers(), [1, 2, 3, 4, 5]);
}

#[test]
fn attaching_to_a_killed_run_ends_with_75_and_without_a_result() {
    let place = Place::new();
    let mut run = place.start(&place.request(), &["warn=one", &place.awaiting("gate")]);
    run.until_warning("one");
    run.kill();
    let mut attached = attach(&place, &[]);
    assert_eq!(attached.exit_code(), 75);
    attached.until_warning("one");
    assert_eq!(attached.numbers(), [1, 2]);
}

#[test]
fn a_request_for_the_next_attempt_waits_for_the_running_one() {
    let place = Place::new();
    let gate = place.awaiting("gate");
    let mut first = place.start(&place.request(), &["warn=one", &gate]);
    first.until_warning("one");
    let mut request = place.request();
    request.attempt = 2;
    let mut second = place.start(&request, &["warn=two"]);
    second.until_warning("one");
    place.open("gate");
    assert_eq!(first.outcome().0.attempt, 1);
    assert_eq!(second.outcome_after(1).0.attempt, 2);
}

#[test]
fn an_unknown_run_is_not_found() {
    assert_eq!(attach(&Place::new(), &[]).exit_code(), 10);
}
