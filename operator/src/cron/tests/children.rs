//! What children have to do with it: those at work, those that failed, those that are old.

use super::*;
use crate::cron::verify::Proof;

#[test]
fn forbid_lets_a_slot_wait_until_the_other_ends_or_it_is_too_late() {
    let cron = cron(|spec| spec["startingDeadlineSeconds"] = json!(7200));
    let running = [child(run(FIRST, 0), Some(BackupPhase::Uploading), None)];
    let (decision, waiting) = decided(&cron, &known(&cron, FIRST), &running, SECOND);
    assert_eq!((decision.create, decision.cancel.len()), (None, 0));
    assert_eq!(reason(&waiting), ("True", "WaitsForRunning"));
    assert_eq!(waiting.pending_schedule_time, Some(Time(at(SECOND))));
    let ended = [child(
        run(FIRST, 0),
        Some(BackupPhase::Succeeded),
        Some("2026-11-26T03:00:00Z"),
    )];
    let (decision, status) = decided(&cron, &waiting, &ended, "2026-11-26T03:00:01Z");
    assert_eq!(decision.create, Some(run(SECOND, 0)));
    assert_eq!(
        (status.pending_schedule_time.clone(), status.missed),
        (None, 0)
    );
    let (decision, status) = decided(&cron, &waiting, &running, "2026-11-26T04:30:01Z");
    assert_eq!(decision.create, None);
    assert_eq!(
        (status.pending_schedule_time.clone(), status.missed),
        (None, 1)
    );
    assert_eq!(status.decided_until, Some(Time(at(SECOND))));
}

#[test]
fn replace_cancels_the_other_and_makes_the_new_one_when_it_has_ended() {
    let cron = cron(|spec| {
        spec["startingDeadlineSeconds"] = json!(60);
        spec["concurrencyPolicy"] = json!("Replace");
    });
    let mut running = [child(run(FIRST, 0), Some(BackupPhase::Uploading), None)];
    let (decision, waiting) = decided(&cron, &known(&cron, FIRST), &running, SECOND);
    assert_eq!(decision.create, None);
    assert_eq!(decision.cancel, running);
    assert_eq!(reason(&waiting), ("True", "ReplacesRunning"));
    running[0].cancelled = true;
    let (decision, waiting) = decided(&cron, &waiting, &running, "2026-11-26T02:35:00Z");
    assert_eq!((decision.create, decision.cancel.len()), (None, 0));
    // It was cancelled for this one, which is made although the deadline has passed.
    let ended = [child(
        run(FIRST, 0),
        Some(BackupPhase::Cancelled),
        Some("2026-11-26T02:36:00Z"),
    )];
    let (decision, status) = decided(&cron, &waiting, &ended, "2026-11-26T02:36:01Z");
    assert_eq!((decision.create, status.missed), (Some(run(SECOND, 0)), 0));
}

#[test]
fn allow_makes_both() {
    let cron = cron(|spec| spec["concurrencyPolicy"] = json!("Allow"));
    let running = [child(run(FIRST, 0), Some(BackupPhase::Uploading), None)];
    let (decision, status) = decided(&cron, &known(&cron, FIRST), &running, SECOND);
    assert_eq!(decision.create, Some(run(SECOND, 0)));
    assert_eq!(
        status.active,
        ["nightly-20261125-0230", "nightly-20261126-0230"]
    );
}

#[test]
fn a_failed_backup_is_retried_after_a_backoff_that_doubles_and_no_more_than_asked() {
    let cron = cron(|spec| spec["retry"] = json!({"limit": 2, "backoffSeconds": 600}));
    let failed = |retry, ended| {
        child(
            run(FIRST, retry),
            Some(BackupPhase::PartiallyFailed),
            Some(ended),
        )
    };
    let first = [failed(0, "2026-11-25T03:00:00Z")];
    let (early, status) = decided(&cron, &known(&cron, FIRST), &first, "2026-11-25T03:09:59Z");
    assert_eq!(
        (early.create, early.wake),
        (None, SignedDuration::from_secs(1))
    );
    let (decision, status) = decided(&cron, &status, &first, "2026-11-25T03:10:00Z");
    assert_eq!(decision.create, Some(run(FIRST, 1)));
    assert_eq!(status.retries, Some(1));
    // Somebody deleted the retry: it is not made again, the next one is.
    let (decision, _) = decided(&cron, &status, &first, "2026-11-25T03:19:59Z");
    assert_eq!(decision.create, None);
    let both = [
        failed(0, "2026-11-25T03:00:00Z"),
        failed(1, "2026-11-25T03:30:00Z"),
    ];
    let (early, _) = decided(&cron, &status, &both, "2026-11-25T03:49:59Z");
    assert_eq!(early.create, None);
    let (decision, status) = decided(&cron, &status, &both, "2026-11-25T03:50:00Z");
    assert_eq!(decision.create, Some(run(FIRST, 2)));
    let all = [
        failed(0, "2026-11-25T03:00:00Z"),
        failed(1, "2026-11-25T03:30:00Z"),
        failed(2, "2026-11-25T04:00:00Z"),
    ];
    let (decision, _) = decided(&cron, &status, &all, "2026-11-25T20:00:00Z");
    assert_eq!(decision.create, None);
}

#[test]
fn what_succeeded_was_cancelled_or_comes_close_to_the_next_slot_is_not_retried() {
    let cron = cron(|spec| spec["retry"] = json!({"limit": 2, "backoffSeconds": 600}));
    for (phase, ended) in [
        (BackupPhase::Succeeded, "2026-11-25T03:00:00Z"),
        (BackupPhase::Cancelled, "2026-11-25T03:00:00Z"),
        (BackupPhase::Failed, "2026-11-26T02:20:00Z"),
    ] {
        let children = [child(run(FIRST, 0), Some(phase), Some(ended))];
        let (decision, _) = decided(
            &cron,
            &known(&cron, FIRST),
            &children,
            "2026-11-26T02:29:59Z",
        );
        assert_eq!(decision.create, None, "{phase:?}");
    }
}

#[test]
fn a_clock_that_was_put_back_retries_nothing_of_times_to_come() {
    let cron = cron(|spec| spec["retry"] = json!({"limit": 2, "backoffSeconds": 600}));
    let failed = Some(BackupPhase::Failed);
    let ahead = [child(run(SECOND, 0), failed, Some("2026-11-25T01:00:00Z"))];
    let old = known(&cron, "2026-11-24T12:00:00Z");
    let (decision, status) = decided(&cron, &old, &ahead, "2026-11-25T02:00:00Z");
    assert_eq!(decision.create, None);
    assert_eq!(status.decided_until, old.decided_until);
    let (decision, _) = decided(&cron, &status, &ahead, FIRST);
    assert_eq!(decision.create, Some(run(FIRST, 0)));
}

#[test]
fn children_beyond_the_limits_are_deleted_and_those_of_the_newest_slot_are_not() {
    let cron = cron(|spec| {
        spec["successfulBackupsHistoryLimit"] = json!(1);
        spec["failedBackupsHistoryLimit"] = json!(0);
    });
    let of = |day: u8, phase| {
        let slot = format!("2026-11-{day}T02:30:00Z");
        child(run(&slot, 0), Some(phase), Some(&slot))
    };
    let mut children = vec![
        of(20, BackupPhase::Succeeded),
        of(21, BackupPhase::Failed),
        of(22, BackupPhase::Succeeded),
        of(23, BackupPhase::Cancelled),
        of(24, BackupPhase::Uploading),
        of(25, BackupPhase::PartiallyFailed),
    ];
    let deleted = |children: &[Child]| {
        let (decision, _) = decided(
            &cron,
            &known(&cron, FIRST),
            children,
            "2026-11-25T12:00:00Z",
        );
        let slots = decision
            .delete
            .iter()
            .map(|child| child.run.slot.to_string()[8..10].to_owned());
        slots.collect::<Vec<_>>()
    };
    assert_eq!(deleted(&children), ["20", "21", "23"]);
    // A snapshot of it may be left on a node.
    children[1].sweeping = true;
    assert_eq!(deleted(&children), ["20", "23"]);
    // It is being rehearsed.
    children[0].proof = Some(Proof {
        verified: None,
        ended: None,
    });
    assert_eq!(deleted(&children), ["23"]);
}

#[test]
fn the_last_result_outlives_its_child() {
    let cron = cron(|_| ());
    let failed = child(
        run(FIRST, 0),
        Some(BackupPhase::Failed),
        Some("2026-11-25T03:00:00Z"),
    );
    let succeeded = child(
        run(SECOND, 0),
        Some(BackupPhase::Succeeded),
        Some("2026-11-26T03:00:00Z"),
    );
    let (_, status) = decided(
        &cron,
        &known(&cron, SECOND),
        &[failed.clone(), succeeded],
        "2026-11-26T03:00:01Z",
    );
    assert_eq!(status.last_result, Some(BackupPhase::Succeeded));
    let (_, status) = decided(&cron, &status, &[failed], "2026-11-26T03:00:02Z");
    assert_eq!(status.last_result, Some(BackupPhase::Succeeded));
    assert_eq!(
        status.last_successful_time,
        Some(Time(at("2026-11-26T03:00:00Z")))
    );
}

#[test]
fn a_taken_name_is_told_until_another_backup_is_made() {
    let cron = cron(|_| ());
    let (decision, status) = with_outcome(
        &cron,
        &known(&cron, "2026-11-25T00:00:00Z"),
        &[],
        FIRST,
        &Outcome::Foreign,
    );
    assert_eq!(decision.create, Some(run(FIRST, 0)));
    assert_eq!(reason(&status), ("False", "NameTaken"));
    assert_eq!(
        (status.missed, status.last_schedule_time.clone()),
        (1, None)
    );
    let (decision, status) = decided(&cron, &status, &[], "2026-11-25T12:00:00Z");
    assert_eq!(
        (decision.create, reason(&status)),
        (None, ("False", "NameTaken"))
    );
    let (_, status) = decided(&cron, &status, &[], SECOND);
    assert_eq!(reason(&status), ("True", "Scheduled"));
}

#[test]
fn a_child_is_of_its_cron_backup_and_of_no_gitops_tool() {
    let cron = cron(|spec| {
        spec["timeZone"] = json!("Europe/Berlin");
        // The schema refuses it.
        spec["template"]["spec"]["deletionPolicy"] = json!("Delete");
    });
    let schedule = schedule(&cron).unwrap();
    let backup = build(&cron, run(FIRST, 0), &schedule.shown(at(FIRST)));
    let made = serde_json::to_value(&backup).unwrap();
    assert_eq!(
        made["metadata"],
        json!({
            "name": "nightly-20261125-0230",
            "namespace": "shop",
            "labels": {"team": "shop", "cassandrabackup.io/cron-backup": "nightly"},
            "annotations": {"note": "x", "cassandrabackup.io/scheduled-at": "2026-11-25T03:30:00+01:00"},
            "ownerReferences": [{
                "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup", "name": "nightly",
                "uid": "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "controller": true,
            }],
        })
    );
    assert_eq!(made["spec"]["series"], "nightly");
    assert_eq!(made["spec"]["cluster"], "prod");
    assert_eq!(made["spec"]["deletionPolicy"], "Retain");
}

#[test]
fn a_child_is_rehearsed_when_it_is_whole_or_when_its_time_comes() {
    let made = |verify_schedule: Value| {
        let cron = cron(|spec| {
            spec["template"]["spec"]["verify"] = json!({"podTemplate": "small"});
            spec["verifySchedule"] = verify_schedule;
        });
        let schedule = schedule(&cron).unwrap();
        build(&cron, run(FIRST, 0), &schedule.shown(at(FIRST)))
    };
    assert!(made(Value::Null).spec.verify.is_some());
    assert!(made("@weekly".into()).spec.verify.is_none());
}

#[test]
fn a_backup_that_expires_ended_as_it_ended() {
    let cron = cron(|_| ());
    let completed = "2026-11-25T03:00:00Z";
    let mut children = [child(
        run(FIRST, 0),
        Some(BackupPhase::PartiallyFailed),
        Some(completed),
    )];
    let now = "2026-11-25T04:00:00Z";
    let (_, before) = decided(&cron, &known(&cron, FIRST), &children, now);
    assert_eq!(before.last_result, Some(BackupPhase::PartiallyFailed));
    children[0].phase = Some(BackupPhase::Expired);
    children[0].whole = false;
    let (_, status) = decided(&cron, &before, &children, now);
    assert_eq!(status.last_result, Some(BackupPhase::PartiallyFailed));
    assert_eq!(status.last_successful_time, None);
    children[0].whole = true;
    let (_, status) = decided(&cron, &before, &children, now);
    assert_eq!(status.last_successful_time, Some(Time(at(completed))));
}

#[test]
fn whether_an_expired_backup_was_whole_is_read_from_its_nodes() {
    let cron = cron(|_| ());
    let mut backup = build(
        &cron,
        run(FIRST, 0),
        &at(FIRST).to_zoned(jiff::tz::TimeZone::UTC),
    );
    backup.metadata.uid = Some("u".into());
    let node = |phase: &str| json!({"pod": "c", "phase": phase, "attempt": 1, "runId": "r"});
    let mut whole = |phase: &str, nodes: Value, without_pod: Value| {
        let status = json!({
            "phase": phase, "nodes": nodes, "ring": {"members": 2, "withoutPod": without_pod},
        });
        backup.status = Some(serde_json::from_value(status).unwrap());
        Child::of(&cron, &backup).unwrap().has_succeeded()
    };
    let missing = json!([{"hostId": "h", "address": "a", "datacenter": "d", "rack": "r"}]);
    let both = json!([node("Succeeded"), node("Succeeded")]);
    let one = json!([node("Succeeded"), node("Failed")]);
    assert!(whole("Expired", both.clone(), json!([])));
    assert!(!whole("Expired", one, json!([])));
    assert!(!whole("Expired", both.clone(), missing));
    assert!(whole("Succeeded", both.clone(), json!([])));
    assert!(!whole("PartiallyFailed", both, json!([])));
}
