use std::io::Write;

use protocol::{EventKind, Reason};

use crate::harness::Place;

#[test]
fn a_killed_run_is_resumed_by_the_same_request_as_the_next_attempt() {
    let place = Place::new();
    let steps = ["warn=begun", &place.awaiting("gate")];
    let mut first = place.start(&place.request(), &steps);
    first.until_warning("begun");
    first.kill();

    place.open("gate");
    let mut second = place.start(&place.request(), &steps);
    let (outcome, code) = second.outcome();
    assert_eq!(
        (outcome.reason, outcome.attempt, code),
        (Reason::Succeeded, 2, 0)
    );
    let attempts: Vec<u32> = second
        .told
        .iter()
        .filter_map(|event| match event.kind {
            EventKind::Started { attempt, .. } => Some(attempt),
            _ => None,
        })
        .collect();
    assert_eq!(attempts, [1, 2]);
    assert_eq!(second.numbers(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_result_is_told_again_and_nothing_is_done_twice() {
    let place = Place::new();
    let mut first = place.start(&place.request(), &["warn=once"]);
    let told = first.outcome();
    let journal = place.journal_text();

    let mut second = place.start(&place.request(), &["warn=twice"]);
    assert_eq!(second.outcome(), told);
    assert_eq!(second.told, first.told);
    assert_eq!(place.journal_text(), journal);
}

#[test]
fn a_result_is_told_again_even_to_who_has_seen_it() {
    let place = Place::new();
    place.start(&place.request(), &["warn=once"]).outcome();
    let mut request = place.request();
    request.from_seq = 3;
    let mut again = place.start(&request, &[]);
    assert_eq!(again.outcome().0.attempt, 1);
    assert_eq!(again.numbers(), [3]);
}

#[test]
fn a_higher_attempt_does_the_work_again_and_an_older_one_gets_the_newest_result() {
    let place = Place::new();
    place.start(&place.request(), &["panic"]).outcome();
    let mut request = place.request();
    request.attempt = 5;
    let mut later = place.start(&request, &[]);
    let (outcome, _) = later.outcome_after(1);
    assert_eq!((outcome.reason, outcome.attempt), (Reason::Succeeded, 5));

    let mut old = place.start(&place.request(), &["panic"]);
    let (outcome, code) = old.outcome_after(1);
    assert_eq!((outcome.attempt, code), (5, 0));
}

#[test]
fn a_journal_that_a_power_loss_cut_is_healed() {
    let place = Place::new();
    let mut first = place.start(&place.request(), &["warn=begun", &place.awaiting("gate")]);
    first.until_warning("begun");
    first.kill();
    let whole = place.journal_text();
    let mut journal = std::fs::OpenOptions::new()
        .append(true)
        .open(place.journal())
        .unwrap();
    journal.write_all(b"{\"runId\":\"cut he").unwrap();

    let mut second = place.start(&place.request(), &[]);
    let (outcome, _) = second.outcome();
    assert_eq!(outcome.attempt, 2);
    assert_eq!(second.numbers(), [1, 2, 3, 4]);
    let healed = place.journal_text();
    assert!(
        healed.starts_with(&whole) && !healed.contains("cut he"),
        "{healed}"
    );
    for line in healed.lines() {
        serde_json::from_str::<protocol::Event>(line).unwrap();
    }
}

#[test]
fn a_panic_is_a_result_that_tells_its_place_and_not_its_data() {
    let place = Place::new();
    let mut run = place.start(&place.request(), &["panic"]);
    let (outcome, code) = run.outcome();
    assert_eq!((outcome.reason, code), (Reason::Failed, 1));
    assert!(
        outcome.message.contains("scripted_run.rs:"),
        "{}",
        outcome.message
    );
    assert!(!place.journal_text().contains("hunter2"));
}
