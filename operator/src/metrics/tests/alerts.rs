//! What the chart makes of the metrics: alerts, and a dashboard.

use std::collections::BTreeSet;

use crds::{CronBackup, CronBackupStatus};
use serde_json::{Value, json};

use super::series;
use crate::metrics::{CONTROLLERS, Metrics};

const ALERTS: &str = include_str!("../../../../charts/cassandra-backup/alerts/rules.yaml");
const DASHBOARD: &str =
    include_str!("../../../../charts/cassandra-backup/dashboards/cassandra-backup.json");
const VALUES: &str = include_str!("../../../../charts/cassandra-backup/values.schema.json");

/// The names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics = words.filter(|word| word.starts_with("cassandra_backup_"));
    metrics.map(str::to_owned).collect()
}

/// The names of all alerts.
fn alerts() -> BTreeSet<String> {
    let names = ALERTS.lines();
    let names = names.filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

#[test]
fn alerts_and_the_dashboard_ask_for_what_there_is_and_the_dashboard_shows_all_of_it() {
    let rows = &Metrics::default().book.rows;
    let there: BTreeSet<_> = rows.iter().map(|row| row.name.clone()).collect();
    let asked = named(ALERTS);
    assert!(asked.is_subset(&there), "{:?}", asked.difference(&there));
    assert_eq!(named(DASHBOARD), there);
}

#[test]
fn each_alert_has_a_page_that_says_what_to_do() {
    let names: BTreeSet<_> = alerts().iter().map(|name| format!("{name}.md")).collect();
    let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbooks");
    let pages: BTreeSet<_> = std::fs::read_dir(pages)
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, pages);
}

#[test]
fn each_alert_can_be_left_out_and_no_other() {
    let schema: Value = serde_json::from_str(VALUES).unwrap();
    let disabled = "/properties/metrics/properties/rules/properties/disabled/items/enum";
    let names = schema.pointer(disabled).and_then(Value::as_array).unwrap();
    let names: BTreeSet<_> = names
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, alerts());
}

/// An alert compares with before, and what was not there before has not increased.
#[test]
fn what_alerts_want_to_see_increase_is_there_from_the_beginning() {
    let metrics = Metrics::default();
    metrics.leads();
    let cron: CronBackup = serde_json::from_value(json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
        "metadata": {"name": "nightly", "namespace": "shop"},
        "spec": {
            "schedule": "@daily", "retention": {"keepLast": 1},
            "template": {"spec": {
                "cluster": "prod", "storage": {"name": "main"},
                "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
            }},
        },
    }))
    .unwrap();
    let nothing = CronBackupStatus::default();
    metrics.schedule(&cron, &nothing, &nothing);
    let shown = series(&metrics);
    let of = "{namespace=\"shop\",schedule=\"nightly\"}";
    for name in ["purge_failures_total", "schedule_missed_total"] {
        assert_eq!(shown[&format!("{name}{of}")], 0.0, "{name}");
    }
    for controller in CONTROLLERS {
        let name = format!("reconcile_errors_total{{controller=\"{controller}\"}}");
        assert_eq!(shown[&name], 0.0);
    }
}
