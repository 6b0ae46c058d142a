//! `CronBackup`.

use crds::CronBackup;
use serde_json::{Value, json};

use crate::backup::backup;
use crate::{assert_refused, messages};

fn cron(change: impl FnOnce(&mut Value)) -> Value {
    let mut typed = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "CronBackup",
        "metadata": {"name": "nightly"},
        "spec": {
            "schedule": "30 2 * * *",
            "template": {"spec": backup(|_| ())["spec"]},
        },
    });
    change(&mut typed);
    let read: CronBackup = serde_json::from_value(typed).unwrap();
    serde_json::to_value(read).unwrap()
}

#[test]
fn usual_schedules_are_taken_and_can_be_changed() {
    let old = cron(|_| ());
    for schedule in [
        "30 2 * * *",
        "*/15 0-6,22 1,L JAN-MAR MON#2",
        "@daily",
        "@midnight",
    ] {
        let new = cron(|cron| {
            cron["spec"]["schedule"] = json!(schedule);
            cron["spec"]["timeZone"] = json!("America/Argentina/Buenos_Aires");
            cron["spec"]["template"]["spec"]["cluster"] = json!("other");
            cron["spec"]["template"]["spec"]["concurrentNodes"] = json!(2);
        });
        assert_eq!(
            messages::<CronBackup>(&new, Some(&old)),
            Vec::<String>::new()
        );
    }
}

#[test]
fn wrong_schedules_are_refused_with_a_message_for_the_person_who_typed_them() {
    type Change = fn(&mut Value);
    let cases: &[(Change, &str)] = &[
        (
            |c| c["metadata"]["name"] = json!("n".repeat(53)),
            "must not be longer than 52",
        ),
        (
            |c| c["spec"]["schedule"] = json!("30 2 * *"),
            "schedule must be five fields",
        ),
        (
            |c| c["spec"]["schedule"] = json!("0 30 2 * * *"),
            "schedule must be five fields",
        ),
        (
            |c| c["spec"]["schedule"] = json!("@reboot"),
            "schedule must be five fields",
        ),
        (
            |c| c["spec"]["schedule"] = json!("TZ=Europe/Berlin 30 2 * * *"),
            "schedule must be five fields",
        ),
        (
            |c| c["spec"]["timeZone"] = json!("Local"),
            "timeZone must be the name",
        ),
        (
            |c| c["spec"]["timeZone"] = json!("+02:00"),
            "timeZone must be the name",
        ),
        (
            |c| c["spec"]["template"]["spec"]["backupName"] = json!("b1"),
            "must not set backupName",
        ),
        (
            |c| c["spec"]["template"]["spec"]["series"] = json!("other"),
            "must not set series",
        ),
        (
            |c| c["spec"]["template"]["spec"]["cancel"] = json!(true),
            "must not set cancel",
        ),
        (
            |c| c["spec"]["template"]["spec"]["deletionPolicy"] = json!("Delete"),
            "children of a CronBackup never delete data; use retention",
        ),
        (
            |c| c["spec"]["retention"] = json!({}),
            "retention needs at least one rule",
        ),
        (
            |c| c["spec"]["retention"] = json!({"keepLast": 0, "minimumComplete": 3}),
            "retention needs at least one rule",
        ),
        (
            |c| c["spec"]["retention"] = json!({"keepWithin": "1y"}),
            "keepWithin must be a number",
        ),
        (
            |c| c["spec"]["retention"] = json!({"keepWithin": "0d", "keepLast": 1}),
            "keepWithin must be a number",
        ),
        (
            |c| c["spec"]["template"]["spec"]["cluster"] = json!("a/b"),
            "cluster becomes part of a path",
        ),
        (
            |c| c["spec"]["template"]["spec"]["bandwidthPerNode"] = json!("100MB"),
            "bandwidthPerNode must be",
        ),
    ];
    for (change, expected) in cases {
        assert_refused(&messages::<CronBackup>(&cron(change), None), expected);
    }
}

#[test]
fn retention_takes_any_rule_and_can_be_changed() {
    let old = cron(|_| ());
    for retention in [
        json!({"keepLast": 1}),
        json!({"keepYearly": 3, "minimumComplete": 2, "graceHours": 0}),
        json!({"keepWithin": "36h"}),
        json!({"keepDaily": 7, "keepWithin": "8w"}),
    ] {
        let new = cron(|cron| cron["spec"]["retention"] = retention);
        assert_eq!(
            messages::<CronBackup>(&new, Some(&old)),
            Vec::<String>::new()
        );
    }
}
