//! When a purge is due, what of it is told, and whom it concerns.

use crds::{CassandraBackup, PurgeResult, Retention, RetentionStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use protocol::{ExpiredBackup, Outcome, Purged, Reason, Tally};
use serde_json::{Value, json};

use super::due::{Facts, Next, next};
use super::expired::name_if_there;
use super::purge::policy;
use super::report::{Ended, news, told};
use crate::access::AccessError;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn keep_last() -> Retention {
    serde_json::from_value(json!({"keepLast": 3})).unwrap()
}

/// Last run, failures, last success of a backup, active, now; and what follows.
type Row = (
    Option<&'static str>,
    i32,
    Option<&'static str>,
    bool,
    &'static str,
    Next,
);

#[test]
fn a_purge_is_due_after_a_backup_that_succeeded_and_at_the_latest_daily() {
    let due = |text: &str| Next::Now { due: at(text) };
    let not_before = |text: &str| Next::At { due: at(text) };
    let waits = |due: &str, latest: &str| Next::AfterBackup {
        due: at(due),
        latest: at(latest),
    };
    let (noon, one, two, three) = (
        "2026-11-24T12:00:00Z",
        "2026-11-25T01:00:00Z",
        "2026-11-25T02:00:00Z",
        "2026-11-25T03:00:00Z",
    );
    let next_day = "2026-11-26T02:00:00Z";
    let table: &[Row] = &[
        // Never purged: a day after the resource was made at noon, or after the first backup.
        (
            None,
            0,
            None,
            false,
            one,
            not_before("2026-11-25T12:00:00Z"),
        ),
        (None, 0, None, false, next_day, due("2026-11-25T12:00:00Z")),
        (None, 0, Some(one), false, two, due(one)),
        // A backup has succeeded since, or not.
        (Some(two), 0, Some(three), false, three, due(three)),
        (Some(two), 0, Some(one), false, three, not_before(next_day)),
        // In the same second, so perhaps after it: once more in the next one.
        (
            Some(two),
            0,
            Some(two),
            false,
            three,
            due("2026-11-25T02:00:01Z"),
        ),
        (
            Some(two),
            0,
            Some(two),
            false,
            two,
            not_before("2026-11-25T02:00:01Z"),
        ),
        (Some(two), 0, None, false, next_day, due(next_day)),
        // Not while a backup is at work, but not for ever.
        (Some(one), 0, Some(two), true, three, waits(two, next_day)),
        (
            Some(one),
            0,
            Some(two),
            true,
            "2026-11-26T01:59:59Z",
            waits(two, next_day),
        ),
        (Some(one), 0, Some(two), true, next_day, due(two)),
        (Some(two), 0, Some(one), true, three, not_before(next_day)),
        // After failures not at once, whatever succeeds meanwhile.
        (
            Some(two),
            1,
            Some(three),
            false,
            two,
            not_before("2026-11-25T02:05:00Z"),
        ),
        (
            Some(two),
            1,
            Some(three),
            false,
            three,
            due("2026-11-25T02:05:00Z"),
        ),
        (
            Some(two),
            4,
            None,
            false,
            two,
            not_before("2026-11-25T02:40:00Z"),
        ),
        (
            Some(two),
            99,
            None,
            false,
            two,
            not_before("2026-11-25T08:00:00Z"),
        ),
        // The clock was put back.
        (Some(three), 3, None, false, two, due(two)),
    ];
    let spec = keep_last();
    for (row, (last, failures, succeeded, active, now, expected)) in table.iter().enumerate() {
        let status = RetentionStatus {
            last_run_time: last.map(|last| Time(at(last))),
            failures: Some(*failures),
            ..RetentionStatus::default()
        };
        let mut facts = Facts {
            spec: Some(&spec),
            status: Some(&status),
            created: at(noon),
            succeeded: succeeded.map(at),
            active: *active,
            running: false,
        };
        assert_eq!(next(&facts, at(now)), *expected, "row {row}");
        facts.running = true;
        assert_eq!(next(&facts, at(now)), Next::Running, "row {row}");
        facts.spec = None;
        assert_eq!(next(&facts, at(now)), Next::Never, "row {row}");
    }
}

fn purged(names: usize, unnamed: u64) -> Purged {
    Purged {
        expired: (0..names)
            .map(|number| ExpiredBackup {
                backup: format!("nightly-{number}"),
                reason: "no rule keeps it".into(),
            })
            .collect(),
        expired_unnamed: unnamed,
        kept: 7,
        deleted: Tally {
            files: 40,
            bytes: 2048,
        },
        finished: true,
        ..Purged::default()
    }
}

fn ended(reason: Reason, purged: Option<Purged>) -> Ended {
    let outcome = Outcome {
        purged: purged.map(Box::new),
        ..Outcome::ended(reason, "the agent's words", 1)
    };
    Ended::of(at("2026-11-25T02:00:00Z"), Ok(outcome))
}

#[test]
fn the_status_tells_what_went_and_stays_small() {
    let many = told(None, &ended(Reason::Succeeded, Some(purged(500, 11))));
    assert_eq!(many.last_result, Some(PurgeResult::Succeeded));
    assert_eq!(
        (many.deleted_backups, many.freed_bytes, many.kept_backups),
        (Some(511), Some(2048), Some(7))
    );
    let message = many.message.unwrap();
    assert!(
        message.starts_with(
            "511 backups and 2.00 KiB deleted, 7 kept: nightly-0 (no rule keeps it); nightly-1"
        ),
        "{message}"
    );
    assert!(message.ends_with("; and 506 more"), "{message}");
    let none = told(None, &ended(Reason::Succeeded, Some(Purged::default())));
    assert_eq!(none.message.unwrap(), "0 backups and 0 B deleted, 0 kept");
}

#[test]
fn failures_count_and_keep_what_was_known() {
    let good = told(None, &ended(Reason::Succeeded, Some(purged(1, 0))));
    let bad = told(Some(&good), &ended(Reason::StorageUnavailable, None));
    assert_eq!(bad.last_result, Some(PurgeResult::Failed));
    assert_eq!(bad.reason.as_deref(), Some("StorageUnavailable"));
    assert_eq!((bad.failures, bad.deleted_backups), (Some(1), Some(1)));
    assert_eq!(bad.last_successful_time, good.last_successful_time);
    let worse = told(
        Some(&bad),
        &ended(Reason::DeadlineExceeded, Some(purged(2, 0))),
    );
    assert_eq!((worse.failures, worse.deleted_backups), (Some(2), Some(2)));
    let again = told(Some(&worse), &ended(Reason::Succeeded, Some(purged(0, 0))));
    assert_eq!(again.failures, None);
    // It says that it is done, and not what.
    let strange = told(None, &ended(Reason::Succeeded, None));
    assert_eq!(strange.last_result, Some(PurgeResult::Failed));
}

#[test]
fn a_purge_that_stopped_half_way_tells_what_it_deleted_and_then_why() {
    let half = |purged| ended(Reason::StorageUnavailable, Some(purged));
    let both = half(Purged {
        manifests: 6,
        finished: false,
        ..purged(2, 0)
    });
    let message = "2 backups (6 manifests) and 40 objects with 2.00 KiB were deleted before it stopped: the agent's words";
    let status = told(None, &both);
    assert_eq!(status.message.as_deref(), Some(message));
    assert_eq!(
        (status.last_result, status.failures),
        (Some(PurgeResult::Failed), Some(1))
    );
    assert_eq!(
        (status.deleted_backups, status.freed_bytes),
        (Some(2), Some(2048))
    );
    let event = news(None, &both).unwrap();
    assert_eq!(event.reason, "PurgeFailed");
    assert_eq!(
        event.note.unwrap(),
        format!("StorageUnavailable: {message}")
    );
    // It came no further than some nodes of a backup.
    let some = half(Purged {
        manifests: 1,
        ..Purged::default()
    });
    let begin = "0 backups (1 manifests) and 0 objects with 0 B were deleted before it stopped: ";
    assert!(some.message.starts_with(begin), "{}", some.message);
    for nothing in [None, Some(Purged::default())] {
        let nothing = ended(Reason::StorageUnavailable, nothing);
        assert_eq!(nothing.message, "the agent's words");
    }
}

#[test]
fn an_event_tells_what_was_done_and_what_was_not() {
    let reason = |before: Option<&RetentionStatus>, ended: &Ended| {
        news(before, ended).map(|event| event.reason)
    };
    let good = ended(Reason::Succeeded, Some(purged(1, 0)));
    assert_eq!(reason(None, &good).as_deref(), Some("BackupsPurged"));
    let nothing = ended(Reason::Succeeded, Some(Purged::default()));
    assert_eq!(reason(None, &nothing), None);
    let bad = ended(Reason::StorageDenied, None);
    assert_eq!(reason(None, &bad).as_deref(), Some("PurgeFailed"));
    let error = AccessError::NoMaintenanceIdentity { kind: "s3" }.into();
    let not_run = Ended::of(at("2026-11-25T02:00:00Z"), Err(error));
    assert_eq!(
        (not_run.result, not_run.reason),
        (PurgeResult::NotRun, Reason::MaintenanceCredentialsMissing)
    );
    assert!(not_run.message.contains("maintenanceCredentials"));
    let word = reason(None, &not_run);
    assert_eq!(word.as_deref(), Some("MaintenanceCredentialsMissing"));
    let before = told(None, &not_run);
    assert_eq!(reason(Some(&before), &not_run), None);
}

#[test]
fn the_policy_is_what_the_resource_says() {
    let retention: Retention = serde_json::from_value(json!({
        "keepLast": 1, "keepHourly": 2, "keepDaily": 3, "keepWeekly": 4, "keepMonthly": 5,
        "keepYearly": 6, "keepWithin": "2d", "minimumComplete": 7,
    }))
    .unwrap();
    let policy = serde_json::to_value(policy(Some(&retention), "Europe/Berlin")).unwrap();
    assert_eq!(
        policy,
        json!({
            "keepLast": 1, "keepHourly": 2, "keepDaily": 3, "keepWeekly": 4, "keepMonthly": 5,
            "keepYearly": 6, "keepWithinSeconds": 172_800, "minimumComplete": 7,
            "timeZone": "Europe/Berlin",
        })
    );
}

fn backup(change: impl FnOnce(&mut Value)) -> CassandraBackup {
    let mut object = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
        "metadata": {"name": "b", "namespace": "shop"},
        "spec": {
            "cluster": "prod", "storage": {"name": "main"},
            "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
        },
        "status": {
            "phase": "PartiallyFailed", "backupName": "b-1",
            "nodes": [
                {"pod": "c-0", "phase": "Succeeded", "attempt": 1, "runId": "r"},
                {"pod": "c-1", "phase": "Failed", "attempt": 1, "runId": "s"},
            ],
        },
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

#[test]
fn only_what_ended_and_left_something_there_can_expire() {
    let of = backup(|_| ()).spec;
    let name = |change: fn(&mut Value)| name_if_there(&backup(change), &of);
    assert_eq!(name(|_| ()).as_deref(), Some("b-1"));
    let others: [fn(&mut Value); 6] = [
        |it| it["spec"]["cluster"] = json!("other"),
        |it| it["spec"]["storage"]["name"] = json!("other"),
        |it| it["status"]["phase"] = json!("Uploading"),
        |it| it["status"]["phase"] = json!("Expired"),
        |it| it["status"]["nodes"][0]["phase"] = json!("Failed"),
        |it| it["status"]["nodes"][1]["sweepPending"] = json!(true),
    ];
    for (number, change) in others.into_iter().enumerate() {
        assert_eq!(name(change), None, "{number}");
    }
}

#[test]
fn metrics_count_what_purges_did() {
    let metrics = crate::metrics::Metrics::default();
    let cron: crds::CronBackup = serde_json::from_value(json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
        "metadata": {"name": "nightly", "namespace": "shop"},
        "spec": {"schedule": "@daily", "template": {"spec": backup(|_| ()).spec}},
    }))
    .unwrap();
    let good = ended(Reason::Succeeded, Some(purged(2, 3)));
    metrics.purged(&cron, &good);
    metrics.purged(&cron, &ended(Reason::StorageUnavailable, None));
    let status = crds::CronBackupStatus {
        retention: Some(told(None, &good)),
        ..Default::default()
    };
    metrics.schedule(&cron, &Default::default(), &status);
    let value = |name: &str| {
        let text = metrics.text(0).unwrap();
        let wanted =
            format!("cassandra_backup_purge_{name}{{namespace=\"shop\",schedule=\"nightly\"}} ");
        let found = text.lines().find_map(|line| line.strip_prefix(&wanted));
        found.map(|value| value.parse::<f64>().unwrap())
    };
    assert_eq!(value("deleted_backups_total"), Some(5.0));
    assert_eq!(value("freed_bytes_total"), Some(2048.0));
    assert_eq!(value("failures_total"), Some(1.0));
    assert_eq!(
        value("last_success_timestamp_seconds"),
        Some(at("2026-11-25T02:00:00Z").as_second() as f64)
    );
    metrics.forget_schedule("shop", "nightly");
    assert_eq!(value("deleted_backups_total"), None);
    assert_eq!(value("last_success_timestamp_seconds"), None);
}
