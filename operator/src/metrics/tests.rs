//! What is shown at `/metrics`, read as Prometheus reads it.

mod alerts;

use std::collections::{BTreeMap, BTreeSet};

use crds::{
    BackupStorage, BackupStorageStatus, CassandraBackup, CassandraBackupStatus, CassandraRestore,
    CronBackup, CronBackupStatus, RestoreMode,
};
use jiff::{SignedDuration, Timestamp};
use protocol::{Outcome, Reason};
use serde_json::{Value, json};

use super::*;
use crate::retention::Ended;

fn backup(name: &str, cluster: &str, status: Value) -> (CassandraBackup, CassandraBackupStatus) {
    let backup: CassandraBackup = serde_json::from_value(json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {
            "cluster": cluster, "storage": {"name": "main"},
            "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
        },
        "status": status,
    }))
    .unwrap();
    let status = backup.status.clone().unwrap();
    (backup, status)
}

fn node(pod: &str, phase: &str, reason: &str) -> Value {
    json!({
        "pod": pod, "phase": phase, "reason": reason, "attempt": 1, "runId": "r",
        "total": {"files": 3, "bytes": 30, "size": "30 B"}, "uploaded": {"files": 1, "bytes": 10, "size": "10 B"},
        "reused": {"files": 2, "bytes": 20, "size": "20 B"},
        "snapshot": {"startedAt": "2026-01-01T00:00:10Z", "endedAt": "2026-01-01T00:00:12Z"},
    })
}

fn running(nodes: &[Value]) -> Value {
    json!({"phase": "Uploading", "startTime": "2026-01-01T00:00:00Z", "nodes": nodes})
}

fn ended(phase: &str, completed: &str, nodes: &[Value]) -> Value {
    json!({
        "phase": phase, "startTime": "2026-01-01T00:00:00Z", "completionTime": completed,
        "nodes": nodes,
    })
}

fn observe(
    metrics: &Metrics,
    backup: &CassandraBackup,
    old: Option<&CassandraBackupStatus>,
    new: &CassandraBackupStatus,
) {
    metrics.show(backup, new);
    metrics.observe(backup, old, new);
}

/// Series and their values; the text must be as OpenMetrics wants it.
fn series(metrics: &Metrics) -> BTreeMap<String, f64> {
    let text = metrics.text(1).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut kinds = BTreeMap::new();
    let mut series = BTreeMap::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert!(kinds.insert(name.to_owned(), kind).is_none(), "{line}");
        } else if !line.starts_with("# HELP ") {
            let (series_name, value) = line.rsplit_once(' ').unwrap();
            let name = series_name.split('{').next().unwrap();
            let family = name.trim_end_matches("_total");
            let total = if kinds[family] == "counter" {
                "_total"
            } else {
                ""
            };
            assert_eq!(name, format!("{family}{total}"), "{line}");
            let short = series_name.trim_start_matches("cassandra_backup_");
            let known = series.insert(short.to_owned(), value.parse().unwrap());
            assert!(known.is_none(), "{line}");
        }
    }
    series
}

const PROD: &str = r#"{namespace="shop",cluster="prod"}"#;

fn of(name: &str, more: &str) -> String {
    if more.is_empty() {
        format!("{name}{PROD}")
    } else {
        format!("{name}{{namespace=\"shop\",cluster=\"prod\",{more}}}")
    }
}

#[test]
fn a_backup_at_work_shows_the_stage_of_each_node_and_one_that_ended_none() {
    let metrics = Metrics::default();
    let (backup_, first) = backup(
        "b",
        "prod",
        running(&[
            node("c-0", "Uploading", "Running"),
            node("c-1", "Pending", "Pending"),
        ]),
    );
    observe(&metrics, &backup_, None, &first);
    let stage = |pod: &str, stage: &str| {
        let labels = format!("backup=\"b\",pod=\"{pod}\",stage=\"{stage}\"");
        of("node_stage", &labels)
    };
    let stages = |metrics: &Metrics| -> BTreeSet<String> {
        let all = series(metrics).into_keys();
        all.filter(|name| name.starts_with("node_stage")).collect()
    };
    let expected = [stage("c-0", "Uploading"), stage("c-1", "Pending")];
    assert_eq!(stages(&metrics), expected.into());
    let (_, second) = backup(
        "b",
        "prod",
        running(&[
            node("c-0", "Succeeded", "Succeeded"),
            node("c-1", "Uploading", "Running"),
        ]),
    );
    observe(&metrics, &backup_, Some(&first), &second);
    let expected = [stage("c-0", "Succeeded"), stage("c-1", "Uploading")];
    assert_eq!(stages(&metrics), expected.into());
    let (_, third) = backup(
        "b",
        "prod",
        ended(
            "Failed",
            "2026-01-01T00:01:00Z",
            &[
                node("c-0", "Succeeded", "Succeeded"),
                node("c-1", "Failed", "NoSpace"),
            ],
        ),
    );
    observe(&metrics, &backup_, Some(&second), &third);
    assert_eq!(stages(&metrics), BTreeSet::new());
}

#[test]
fn bytes_are_counted_once_by_what_became_of_them() {
    let metrics = Metrics::default();
    let (backup_, before) = backup("b", "prod", running(&[node("c-0", "Uploading", "Running")]));
    let nodes = [
        node("c-0", "Succeeded", "Succeeded"),
        node("c-1", "Failed", "NoSpace"),
    ];
    let (_, after) = backup(
        "b",
        "prod",
        ended("PartiallyFailed", "2026-01-01T00:01:00Z", &nodes),
    );
    observe(&metrics, &backup_, Some(&before), &after);
    observe(&metrics, &backup_, Some(&after), &after);
    let series = series(&metrics);
    for (name, more, expected) in [
        ("uploaded_bytes_total", "", 10.0),
        ("reused_bytes_total", "", 20.0),
        ("failed_bytes_total", "", 30.0),
        ("nodes_total", "result=\"NoSpace\"", 1.0),
        ("nodes_total", "result=\"Succeeded\"", 1.0),
        ("backups_total", "result=\"PartiallyFailed\"", 1.0),
    ] {
        assert_eq!(series[&of(name, more)], expected, "{name} {more}");
    }
}

#[test]
fn a_cluster_shows_its_last_backup_and_its_recovery_point_also_after_a_restart() {
    let metrics = Metrics::default();
    let node = node("c-0", "Succeeded", "Succeeded");
    let good = ended(
        "Succeeded",
        "2026-01-01T00:01:00Z",
        std::slice::from_ref(&node),
    );
    let (first, status) = backup("first", "prod", good);
    metrics.show(&first, &status);
    let bad = ended("Failed", "2026-01-01T00:05:00Z", &[]);
    let (second, status) = backup("second", "prod", bad);
    metrics.show(&second, &status);
    // Of some tables only, so that it is none to recover the cluster with.
    let good = ended("Succeeded", "2026-01-01T00:04:00Z", &[]);
    let (mut third, status) = backup("third", "prod", good);
    third.spec.tables = vec!["shop.orders".into()];
    metrics.show(&third, &status);
    let at = |time: &str| time.parse::<Timestamp>().unwrap().as_second() as f64;
    let shown = series(&metrics);
    assert_eq!(shown[&of("last_result", "result=\"Failed\"")], 1.0);
    assert_eq!(shown[&of("last_duration_seconds", "")], 300.0);
    assert_eq!(
        shown[&of("last_success_timestamp_seconds", "")],
        at("2026-01-01T00:04:00Z")
    );
    assert_eq!(
        shown[&of("recovery_point_timestamp_seconds", "")],
        at("2026-01-01T00:00:10Z")
    );
    assert!(!shown.contains_key(&of("last_result", "result=\"Succeeded\"")));

    // Retention has deleted the data of the first.
    let gone = ended("Expired", "2026-01-01T00:01:00Z", &[node]);
    let (first, status) = backup("first", "prod", gone);
    metrics.show(&first, &status);
    metrics.forget_backup("shop", "second");
    let shown = series(&metrics);
    assert_eq!(shown[&of("last_result", "result=\"Succeeded\"")], 1.0);
    assert!(!shown.contains_key(&of("recovery_point_timestamp_seconds", "")));
    assert!(!shown.contains_key(&of("last_result", "result=\"Failed\"")));
    metrics.forget_gone(|_, name| name != "third");
    let shown = series(&metrics);
    assert!(
        shown.keys().all(|name| !name.contains("prod")),
        "one that expired says nothing: {shown:?}"
    );
}

/// All that can be shown.
fn full() -> Metrics {
    let metrics = Metrics::default();
    metrics.leads();
    metrics.failed("backup");
    let nodes = [
        node("c-0", "Succeeded", "Succeeded"),
        node("c-1", "Failed", "NoSpace"),
    ];
    for (name, status) in [
        ("good", ended("Succeeded", "2026-01-01T00:01:00Z", &nodes)),
        ("at-work", running(&[node("c-0", "Uploading", "Running")])),
    ] {
        let (backup, status) = backup(name, "prod", status);
        observe(&metrics, &backup, None, &status);
    }
    let restore: CassandraRestore = serde_json::from_value(json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraRestore",
        "metadata": {"name": "back", "namespace": "shop"},
        "spec": {
            "cluster": "prod", "storage": {"name": "main"}, "backup": {"latest": true},
            "mode": "Merge", "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
        },
        "status": {"phase": "Failed", "fetched": {"files": 1, "bytes": 7, "size": "7 B"}},
    }))
    .unwrap();
    let status = restore.status.clone().unwrap();
    metrics.restored(&restore, None, &status);
    // What was told already is not counted twice; a look is none, nor is a rehearsal.
    metrics.restored(&restore, Some(&status), &status);
    let mut look = restore.clone();
    look.spec.dry_run = true;
    metrics.restored(&look, None, &status);
    let mut rehearsal = restore.clone();
    rehearsal.spec.mode = RestoreMode::Rehearse;
    metrics.restored(&rehearsal, None, &status);
    let (of_restore, _) = backup("good", "prod", running(&[]));
    metrics.rehearsed(&of_restore, "Restored");
    let cron: CronBackup = serde_json::from_value(json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
        "metadata": {"name": "nightly", "namespace": "shop"},
        "spec": {
            "schedule": "@daily",
            "template": {"spec": {
                "cluster": "prod", "storage": {"name": "main"},
                "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
            }},
        },
        "status": {
            "missed": 1, "nextScheduleTime": "2026-01-02T00:00:00Z",
            "lastSuccessfulTime": "2026-01-01T00:01:00Z",
            "lastVerifiedTime": "2026-01-01T00:03:00Z",
            "retention": {"lastSuccessfulTime": "2026-01-01T00:02:00Z"},
        },
    }))
    .unwrap();
    let status = cron.status.clone().unwrap();
    metrics.schedule(&cron, &CronBackupStatus::default(), &status);
    metrics.schedule_interval(&cron, Some(SignedDuration::from_hours(24)));
    let done = Outcome {
        purged: Some(Box::default()),
        ..Outcome::ended(Reason::Succeeded, "", 1)
    };
    metrics.purged(&cron, &Ended::of(Timestamp::UNIX_EPOCH, Ok(done)));
    let (storage, status) = storage("True", "Reachable");
    metrics.storage(&storage, &status);
    metrics
}

fn storage(ready: &str, reason: &str) -> (BackupStorage, BackupStorageStatus) {
    let storage: BackupStorage = serde_json::from_value(json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "main", "namespace": "shop"},
        "spec": {"file": {"path": "/backup"}},
        "status": {
            "lastProbeTime": "2026-01-01T00:00:00Z",
            "clusters": [
                {"cluster": "prod", "backups": 1, "complete": 1,
                 "lastRestorable": {"backup": "b", "time": "2026-01-01T00:00:00Z"}},
                {"cluster": "half", "backups": 1, "complete": 0},
            ],
            "conditions": [{
                "type": "Ready", "status": ready, "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        },
    }))
    .unwrap();
    let status = storage.status.clone().unwrap();
    (storage, status)
}

#[test]
fn every_documented_metric_is_shown_with_its_labels_and_no_other() {
    let metrics = full();
    let mut shown = BTreeMap::new();
    for name in series(&metrics).into_keys() {
        let (name, labels) = name.split_once('{').unwrap_or((&name, ""));
        let labels = labels.trim_end_matches('}').split(',');
        let labels: Vec<_> = labels
            .filter_map(|label| Some(label.split_once('=')?.0.to_owned()))
            .collect();
        shown.insert(format!("cassandra_backup_{name}"), labels);
    }
    let documented: BTreeMap<_, _> = metrics
        .book
        .rows
        .iter()
        .map(|row| (row.name.clone(), row.labels.clone()))
        .collect();
    assert_eq!(shown, documented);
}

#[test]
fn restores_are_counted_when_they_end_and_rehearsals_apart() {
    let shown = series(&full());
    let of = |name: &str| format!("{name}{{namespace=\"shop\",cluster=\"prod\"");
    let value = |name: &str, label: &str| shown[&format!("{}{label}}}", of(name))];
    assert_eq!(value("restores_total", ",result=\"Failed\""), 1.0);
    assert_eq!(value("restored_bytes_total", ""), 7.0);
    assert_eq!(value("rehearsals_total", ",result=\"Restored\""), 1.0);
}

#[test]
fn what_is_gone_is_shown_no_more() {
    let metrics = full();
    metrics.forget_backup("shop", "good");
    metrics.forget_backup("shop", "at-work");
    metrics.forget_schedule("shop", "nightly");
    metrics.forget_storage("shop", "main");
    let mut left: Vec<_> = series(&metrics).into_keys().collect();
    left.retain(|name| !name.starts_with("reconcile_errors_total"));
    assert_eq!(left, ["active", "leader"]);
}

#[test]
fn a_resource_made_anew_for_another_cluster_leaves_nothing_of_the_old_one() {
    let metrics = Metrics::default();
    let old = running(&[node("c-0", "Uploading", "Running")]);
    let (first, status) = backup("b", "prod", old.clone());
    observe(&metrics, &first, None, &status);
    let (second, status) = backup("b", "other", old);
    observe(&metrics, &second, None, &status);
    let left: Vec<_> = series(&metrics).into_keys().collect();
    assert!(left.iter().all(|name| !name.contains("prod")), "{left:?}");
    assert!(left.iter().any(|name| name.contains("other")), "{left:?}");
}

#[test]
fn a_backup_that_was_found_is_a_recovery_point_and_no_result() {
    let metrics = Metrics::default();
    let found = |name, phase: &str, nodes: &[Value]| {
        let status = ended(phase, "2026-02-01T00:00:00Z", nodes);
        let (mut backup, status) = backup(name, "prod", status);
        backup.spec.imported = true;
        metrics.show(&backup, &status);
    };
    found(
        "whole",
        "Succeeded",
        &[node("c-0", "Succeeded", "Succeeded")],
    );
    found(
        "part",
        "PartiallyFailed",
        &[node("c-0", "Succeeded", "Succeeded")],
    );
    let shown = series(&metrics);
    assert!(shown.contains_key(&of("recovery_point_timestamp_seconds", "")));
    assert!(shown.contains_key(&of("last_success_timestamp_seconds", "")));
    assert!(shown.keys().all(|name| !name.starts_with("last_result")));
    assert!(shown.keys().all(|name| !name.starts_with("last_duration")));

    let (made, status) = backup(
        "made",
        "prod",
        ended("Succeeded", "2026-01-01T00:01:00Z", &[]),
    );
    metrics.show(&made, &status);
    let result = of("last_result", "result=\"Succeeded\"");
    assert_eq!(series(&metrics).get(&result), Some(&1.0));
}

#[test]
fn a_storage_shows_the_recovery_points_of_the_clusters_that_it_has_and_no_others() {
    let metrics = Metrics::default();
    let (storage, mut status) = storage("True", "Reachable");
    let shown = |metrics: &Metrics| -> Vec<String> {
        let all = series(metrics).into_keys();
        all.filter(|name| name.starts_with("storage_recovery_point"))
            .collect()
    };
    let of = |cluster: &str| {
        format!(
            "storage_recovery_point_timestamp_seconds\
             {{namespace=\"shop\",storage=\"main\",cluster=\"{cluster}\"}}"
        )
    };
    metrics.storage(&storage, &status);
    assert_eq!(shown(&metrics), [of("prod")]);
    status.clusters[0].cluster = "other".into();
    metrics.storage(&storage, &status);
    assert_eq!(shown(&metrics), [of("other")]);
    status.clusters.clear();
    metrics.storage(&storage, &status);
    assert!(shown(&metrics).is_empty());
}

#[test]
fn of_a_storage_that_nobody_probed_nothing_is_known() {
    let metrics = Metrics::default();
    let up = r#"storage_up{namespace="shop",storage="main"}"#;
    for (ready, reason, expected) in [
        ("True", "Reachable", Some(1.0)),
        ("False", "StorageDenied", Some(0.0)),
        ("True", "NotProbed", None),
        ("Unknown", "Pending", None),
    ] {
        let (storage, status) = storage(ready, reason);
        metrics.storage(&storage, &status);
        let shown = series(&metrics);
        assert_eq!(shown.get(up).copied(), expected, "{reason}");
    }
}
