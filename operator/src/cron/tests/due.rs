//! What is made when.

use super::*;

#[test]
fn a_slot_is_made_when_its_time_has_come_and_not_before() {
    let cron = cron(|_| ());
    let (first, status) = decided(
        &cron,
        &CronBackupStatus::default(),
        &[],
        "2026-11-25T02:29:00Z",
    );
    assert_eq!((first.create, first.wake), (None, SignedDuration::ZERO));
    let (early, status) = decided(&cron, &status, &[], "2026-11-25T02:29:30Z");
    assert_eq!(early.create, None);
    assert_eq!(early.wake, SignedDuration::from_secs(30));
    assert_eq!(status.next_schedule_time, Some(Time(at(FIRST))));
    assert_eq!(reason(&status), ("True", "Scheduled"));
    let (due, status) = decided(&cron, &status, &[], FIRST);
    assert_eq!(due.create, Some(run(FIRST, 0)));
    assert_eq!(status.last_schedule_time, Some(Time(at(FIRST))));
    assert_eq!(status.decided_until, Some(Time(at(FIRST))));
    assert_eq!(status.next_schedule_time, Some(Time(at(SECOND))));
    assert_eq!(status.active, ["nightly-20261125-0230"]);
    assert_eq!(status.missed, 0);
    // What was just written leads to nothing new.
    let children = [child(run(FIRST, 0), None, None)];
    let (again, same) = decided(&cron, &status, &children, FIRST);
    assert_eq!((again.create, again.delete.len()), (None, 0));
    assert_eq!(same, status);
}

#[test]
fn one_slot_is_made_up_for_and_the_others_are_missed() {
    let cron = cron(|_| ());
    let (decision, status) = decided(&cron, &known(&cron, FIRST), &[], "2026-11-29T12:00:00Z");
    assert_eq!(decision.create, Some(run("2026-11-29T02:30:00Z", 0)));
    assert_eq!(status.missed, 3);
}

#[test]
fn a_slot_past_its_starting_deadline_is_missed() {
    let cron = cron(|spec| spec["startingDeadlineSeconds"] = json!(600));
    let old = known(&cron, "2026-11-25T00:00:00Z");
    let (late, status) = decided(&cron, &old, &[], "2026-11-25T02:40:01Z");
    assert_eq!((late.create, status.missed), (None, 1));
    let (in_time, status) = decided(&cron, &old, &[], "2026-11-25T02:40:00Z");
    assert_eq!((in_time.create, status.missed), (Some(run(FIRST, 0)), 0));
}

#[test]
fn jitter_moves_the_beginning_and_not_the_name() {
    let cron = cron(|spec| spec["jitterSeconds"] = json!(3600));
    let offset = schedule(&cron)
        .unwrap()
        .start(at(FIRST))
        .duration_since(at(FIRST));
    assert!(
        offset > SignedDuration::ZERO,
        "another name should be tested with"
    );
    let old = known(&cron, "2026-11-25T00:00:00Z");
    let before = (at(FIRST) + offset - SignedDuration::from_secs(1)).to_string();
    let (early, status) = decided(&cron, &old, &[], &before);
    assert_eq!(early.create, None);
    assert_eq!(status.next_schedule_time, Some(Time(at(FIRST) + offset)));
    let (due, _) = decided(&cron, &old, &[], &(at(FIRST) + offset).to_string());
    assert_eq!(due.create, Some(run(FIRST, 0)));
}

#[test]
fn an_immediate_backup_is_made_once_and_besides_the_schedule() {
    let cron = cron(|spec| spec["immediate"] = json!(true));
    let (first, status) = decided(
        &cron,
        &CronBackupStatus::default(),
        &[],
        "2026-11-24T12:00:01Z",
    );
    assert_eq!((first.create, first.wake), (None, SignedDuration::ZERO));
    let (second, status) = decided(&cron, &status, &[], "2026-11-24T12:00:01Z");
    let immediate = second.create.unwrap();
    assert_eq!(
        names::child("nightly", immediate),
        "nightly-20261124-120000"
    );
    let children = [child(
        immediate,
        Some(BackupPhase::Succeeded),
        Some("2026-11-24T12:05:00Z"),
    )];
    let (then, status) = decided(&cron, &status, &children, "2026-11-24T13:00:00Z");
    assert_eq!(then.create, None);
    assert_eq!(status.last_result, Some(BackupPhase::Succeeded));
    let (due, _) = decided(&cron, &status, &[], FIRST);
    assert_eq!(due.create, Some(run(FIRST, 0)));
}

#[test]
fn immediate_that_is_set_later_makes_nothing() {
    let usual = cron(|_| ());
    let (_, status) = decided(
        &usual,
        &CronBackupStatus::default(),
        &[],
        "2026-11-24T12:00:01Z",
    );
    let changed = cron(|spec| spec["immediate"] = json!(true));
    let (decision, _) = decided(&changed, &status, &[], "2026-11-24T13:00:00Z");
    assert_eq!(decision.create, None);
}

#[test]
fn what_passes_while_suspended_is_neither_made_up_for_nor_missed() {
    let suspended = cron(|spec| spec["suspend"] = json!(true));
    let old = known(&suspended, "2026-11-24T12:00:00Z");
    let (decision, status) = decided(&suspended, &old, &[], "2026-11-27T12:00:00Z");
    assert_eq!(decision.create, None);
    assert_eq!(reason(&status), ("True", "Suspended"));
    assert_eq!(status.next_schedule_time, None);
    let (resumed, status) = decided(&cron(|_| ()), &status, &[], "2026-11-27T12:00:01Z");
    assert_eq!((resumed.create, status.missed), (None, 0));
    assert_eq!(
        status.next_schedule_time,
        Some(Time(at("2026-11-28T02:30:00Z")))
    );
}

#[test]
fn what_another_schedule_would_have_made_is_not_made_up_for() {
    let old = known(&cron(|_| ()), FIRST);
    let earlier = cron(|spec| spec["schedule"] = json!("0 1 * * *"));
    let (decision, status) = decided(&earlier, &old, &[], "2026-11-26T02:00:00Z");
    assert_eq!((decision.create, status.missed), (None, 0));
    assert_eq!(
        status.next_schedule_time,
        Some(Time(at("2026-11-27T01:00:00Z")))
    );
}

#[test]
fn a_schedule_or_time_zone_that_is_none_is_told_and_nothing_is_made() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 3] = [
        (
            |spec| spec["schedule"] = json!("61 * * * *"),
            "InvalidSchedule",
        ),
        (
            |spec| spec["schedule"] = json!("0 0 30 2 *"),
            "InvalidSchedule",
        ),
        (
            |spec| spec["timeZone"] = json!("Europe/Bielefeld"),
            "InvalidTimeZone",
        ),
    ];
    for (change, expected) in cases {
        let wrong = cron(change);
        let (decision, status) = decided(
            &wrong,
            &CronBackupStatus::default(),
            &[],
            "2026-11-30T00:00:00Z",
        );
        assert_eq!(decision.create, None);
        assert_eq!(reason(&status), ("False", expected));
        // Once it is right, only what comes then is made; also if it was right before.
        let (_, broken) = decided(&wrong, &known(&cron(|_| ()), FIRST), &[], SECOND);
        let (decision, again) = decided(&cron(|_| ()), &broken, &[], "2026-11-30T12:00:00Z");
        assert_eq!((decision.create, again.missed), (None, 0));
        let (decision, status) = decided(&cron(|_| ()), &status, &[], "2026-11-30T12:00:00Z");
        assert_eq!((decision.create, status.missed), (None, 0));
        assert_eq!(reason(&status), ("True", "Scheduled"));
    }
}

#[test]
fn a_refused_backup_is_tried_again_and_nothing_is_written_meanwhile() {
    let cron = cron(|_| ());
    let refused = Outcome::Refused("quota".into());
    let (_, status) = with_outcome(
        &cron,
        &known(&cron, "2026-11-25T00:00:00Z"),
        &[],
        FIRST,
        &refused,
    );
    assert_eq!(reason(&status), ("False", "CreateRefused"));
    assert_eq!(
        (status.missed, status.last_schedule_time.clone()),
        (0, None)
    );
    let later = "2026-11-25T02:30:30Z";
    let (decision, same) = with_outcome(&cron, &status, &[], later, &refused);
    assert_eq!(decision.create, Some(run(FIRST, 0)));
    assert_eq!(same, status);
}

#[test]
fn a_clock_put_back_makes_nothing_twice_and_is_told() {
    let cron = cron(|_| ());
    let (decision, status) = decided(&cron, &known(&cron, SECOND), &[], "2026-11-25T02:30:00Z");
    assert_eq!(decision.create, None);
    assert_eq!(reason(&status), ("False", "ClockBehind"));
    assert_eq!(Reason::ClockBehind.as_str(), "ClockBehind");
}

#[test]
fn a_lost_status_makes_nothing_twice() {
    let cron = cron(|_| ());
    let children = [child(
        run(FIRST, 0),
        Some(BackupPhase::Succeeded),
        Some(FIRST),
    )];
    let (decision, status) = decided(
        &cron,
        &CronBackupStatus::default(),
        &children,
        "2026-11-25T12:00:00Z",
    );
    assert_eq!((decision.create, status.missed), (None, 0));
    assert_eq!(status.decided_until, Some(Time(at(FIRST))));
}
