//! The definitions in a real API server: what is wrong is refused with a message for the person who
//! typed it, and what is right can be applied again and again.

mod documented;

use e2e::bed::{Bed, Namespace};
use e2e::product::Operator;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

/// A field that is set to a value, and what the API server says to it.
type Case = (&'static str, Value, &'static str);

fn api(bed: &Bed, namespace: &Namespace, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("cassandrabackup.io", "v1alpha1", kind);
    let resource = ApiResource::from_gvk(&kind);
    Api::namespaced_with(bed.client(), namespace.name(), &resource)
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    })
}

fn backup() -> Value {
    json!({
        "cluster": "prod",
        "storage": {"name": "main"},
        "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
    })
}

fn cron() -> Value {
    json!({"schedule": "30 2 * * *", "template": {"spec": backup()}})
}

fn restore() -> Value {
    json!({
        "cluster": "prod",
        "storage": {"name": "main"},
        "backup": {"latest": true},
        "mode": "Merge",
        "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
    })
}

fn s3() -> Value {
    json!({"s3": {"bucket": "backups"}})
}

fn gcs() -> Value {
    json!({"gcs": {"bucket": "backups"}})
}

fn azure() -> Value {
    json!({"azure": {"account": "acme", "container": "backups"}})
}

fn file() -> Value {
    json!({"file": {"path": "/backup"}})
}

/// Sets the field at `path`, as `a.b.c`; null takes it away.
fn set(spec: &mut Value, path: &str, value: Value) {
    match path.split_once('.') {
        Some((first, rest)) => set(&mut spec[first], rest, value),
        None if value.is_null() => {
            spec.as_object_mut().unwrap().remove(path);
        }
        None => spec[path] = value,
    }
}

fn wrong_backups() -> Vec<Case> {
    vec![
        ("cluster", json!("a/b"), "cluster becomes part of a path"),
        ("cluster", json!(".."), "cluster becomes part of a path"),
        ("cluster", json!(null), "spec.cluster: Required value"),
        (
            "backupName",
            json!("a b"),
            "backupName becomes part of a path",
        ),
        ("series", json!("a/b"), "series must be letters"),
        ("storage", json!(null), "spec.storage: Required value"),
        ("storage.name", json!(""), "spec.storage.name"),
        (
            "cassandra.podSelector",
            json!({}),
            "podSelector must name labels",
        ),
        (
            "cassandra.jmx",
            json!({"port": 0}),
            "spec.cassandra.jmx.port",
        ),
        (
            "cassandra.cql",
            json!({"port": 70000}),
            "spec.cassandra.cql.port",
        ),
        (
            "cassandra.jmx",
            json!({"tls": {"caCertificate": {}}}),
            "exactly one of secretName",
        ),
        ("imported", json!(true), "set backupName to the name"),
        ("verify", json!({}), "spec.verify.podTemplate"),
        (
            "verify",
            json!({"podTemplate": "p", "activeDeadlineSeconds": 1}),
            "spec.verify.activeDeadlineSeconds",
        ),
        (
            "verify",
            json!({"podTemplate": "p", "tables": ["orders"]}),
            "keyspace.table",
        ),
        ("keyspaces", json!(["shop.orders"]), "names of keyspaces"),
        ("tables", json!(["orders"]), "keyspace.table"),
        (
            "bandwidthPerNode",
            json!("100MB"),
            "bandwidthPerNode must be",
        ),
        ("bandwidthPerNode", json!("0"), "bandwidthPerNode must be"),
        ("concurrentNodes", json!(0), "spec.concurrentNodes"),
        (
            "activeDeadlineSeconds",
            json!(0),
            "spec.activeDeadlineSeconds",
        ),
        ("retry", json!({"limit": -1}), "spec.retry.limit"),
        (
            "agent",
            json!({"mode": "Container"}),
            "container names the container",
        ),
        (
            "agent",
            json!({"container": "x"}),
            "container names the container",
        ),
        (
            "agent",
            json!({"mode": "Sidecar"}),
            "Unsupported value: \"Sidecar\"",
        ),
        (
            "agent",
            json!({"directories": ["tmp"]}),
            "directories must be absolute",
        ),
        ("agent", json!({"path": "x"}), "path must be absolute"),
        (
            "deletionPolicy",
            json!("Maybe"),
            "Unsupported value: \"Maybe\"",
        ),
    ]
}

fn wrong_schedules() -> Vec<Case> {
    vec![
        (
            "schedule",
            json!("every night"),
            "schedule must be five fields",
        ),
        (
            "schedule",
            json!("0 0 30 2 * *"),
            "schedule must be five fields",
        ),
        (
            "timeZone",
            json!("Berlin time"),
            "timeZone must be the name of a time zone",
        ),
        (
            "concurrencyPolicy",
            json!("Queue"),
            "Unsupported value: \"Queue\"",
        ),
        (
            "startingDeadlineSeconds",
            json!(1),
            "spec.startingDeadlineSeconds",
        ),
        ("jitterSeconds", json!(-1), "spec.jitterSeconds"),
        (
            "verifySchedule",
            json!("@weekly"),
            "set template.spec.verify",
        ),
        (
            "verifySchedule",
            json!("every week"),
            "verifySchedule must be five fields",
        ),
        ("retry", json!({"limit": 11}), "spec.retry.limit"),
        (
            "successfulBackupsHistoryLimit",
            json!(-1),
            "spec.successfulBackupsHistoryLimit",
        ),
        ("retention", json!({}), "retention needs at least one rule"),
        (
            "retention",
            json!({"keepWithin": "2 months"}),
            "keepWithin must be a number",
        ),
        (
            "retention",
            json!({"keepLast": -1}),
            "spec.retention.keepLast",
        ),
        (
            "template.spec.backupName",
            json!("b"),
            "must not set backupName",
        ),
        ("template.spec.series", json!("s"), "must not set series"),
        ("template.spec.cancel", json!(true), "must not set cancel"),
        (
            "template.spec.imported",
            json!(true),
            "must not set imported",
        ),
        (
            "template.spec.deletionPolicy",
            json!("Delete"),
            "must not set deletionPolicy Delete",
        ),
        (
            "template.spec.cluster",
            json!("a/b"),
            "cluster becomes part of a path",
        ),
    ]
}

fn wrong_restores() -> Vec<Case> {
    let rename = |from, to| json!([{"from": from, "to": to}]);
    vec![
        ("mode", json!(null), "spec.mode: Required value"),
        ("mode", json!("Over"), "Unsupported value: \"Over\""),
        ("backup", json!(null), "spec.backup: Required value"),
        ("backup", json!({}), "by one of resource, name"),
        (
            "backup",
            json!({"name": "b1", "latest": true}),
            "by one of resource, name",
        ),
        ("backup", json!({"latest": false}), "latest must be true"),
        (
            "backup",
            json!({"name": "../b1"}),
            "name becomes part of a path",
        ),
        (
            "backup",
            json!({"before": "yesterday"}),
            "spec.backup.before",
        ),
        ("cluster", json!("a/b"), "cluster becomes part of a path"),
        (
            "cassandra.podSelector",
            json!({}),
            "podSelector must name labels",
        ),
        ("tables", json!(["orders"]), "keyspace.table"),
        ("keyspaces", json!(["a.b"]), "names of keyspaces"),
        (
            "renames",
            rename("orders", "a.b"),
            "from must be written as",
        ),
        ("renames", rename("a.b", "orders"), "to must be written as"),
        ("bandwidthPerNode", json!("-1"), "bandwidthPerNode must be"),
        (
            "activeDeadlineSeconds",
            json!(0),
            "spec.activeDeadlineSeconds",
        ),
    ]
}

fn wrong_storages() -> Vec<(Value, Case)> {
    vec![
        (s3(), ("s3", json!(null), "exactly one kind of storage")),
        (
            s3(),
            (
                "gcs",
                json!({"bucket": "b2x"}),
                "exactly one kind of storage",
            ),
        ),
        (
            s3(),
            ("s3.bucket", json!("s3://backups"), "name of a bucket"),
        ),
        (s3(), ("s3.prefix", json!("/x"), "prefix must not")),
        (
            s3(),
            ("s3.endpoint", json!("minio:9000"), "endpoint must be a URL"),
        ),
        (
            s3(),
            ("s3.caCertificate", json!({}), "exactly one of secretName"),
        ),
        (
            s3(),
            (
                "s3.encryption",
                json!({"type": "SSE-S3", "keyId": "k"}),
                "keyId is the key",
            ),
        ),
        (
            s3(),
            (
                "s3.encryption",
                json!({"type": "AES"}),
                "Unsupported value: \"AES\"",
            ),
        ),
        (
            s3(),
            (
                "probeIntervalSeconds",
                json!(1),
                "spec.probeIntervalSeconds",
            ),
        ),
        (
            gcs(),
            (
                "gcs.anonymous",
                json!(true),
                "anonymous is for a server at endpoint",
            ),
        ),
        (
            gcs(),
            ("gcs.bucket", json!("gs://backups"), "name of a bucket"),
        ),
        (
            azure(),
            ("azure.account", json!("a.b"), "name of a storage account"),
        ),
        (
            azure(),
            ("azure.container", json!("back--ups"), "name of a container"),
        ),
        (
            azure(),
            (
                "azure.endpoint",
                json!("https://u:p@host"),
                "endpoint must be a URL",
            ),
        ),
        (
            file(),
            ("file.path", json!("backup"), "path must be absolute"),
        ),
        (file(), ("file.path", json!("/"), "path must be absolute")),
        (
            file(),
            (
                "file.pods",
                json!({"podSelector": {}}),
                "podSelector must name labels",
            ),
        ),
    ]
}

/// Tries to create it, without doing so, and expects a refusal that says this.
async fn refused(api: &Api<DynamicObject>, object: Value, (field, value, says): &Case) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let try_only = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match api.create(&try_only, &object).await {
        Ok(_) => panic!("{field}: {value} was taken"),
        Err(error) => {
            let error = error.to_string();
            assert!(error.contains(says), "{field}: {value}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_for_the_person_who_typed_it_and_what_is_right_is_the_same_twice()
{
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("typed").await.unwrap();
    let _operator = Operator::install(&bed, &namespace).await.unwrap();
    let wrong_backups = wrong_backups()
        .into_iter()
        .map(|case| ("CassandraBackup", backup(), case));
    let wrong_schedules = wrong_schedules()
        .into_iter()
        .map(|case| ("CronBackup", cron(), case));
    let wrong_restores = wrong_restores()
        .into_iter()
        .map(|case| ("CassandraRestore", restore(), case));
    let wrong_storages = wrong_storages()
        .into_iter()
        .map(|(spec, case)| ("BackupStorage", spec, case));
    let mut count = 0;
    for (kind, mut spec, case) in wrong_backups
        .chain(wrong_schedules)
        .chain(wrong_restores)
        .chain(wrong_storages)
    {
        set(&mut spec, case.0, case.1.clone());
        refused(
            &api(&bed, &namespace, kind),
            object(kind, "wrong", spec),
            &case,
        )
        .await;
        count += 1;
    }
    assert!(count >= 70, "{count}");

    let cancelled = {
        let mut spec = backup();
        set(&mut spec, "cancel", json!(true));
        spec
    };
    let no_restore = {
        let mut spec = restore();
        set(&mut spec, "cancel", json!(true));
        spec
    };
    let mut suspended = cron();
    set(&mut suspended, "suspend", json!(true));
    for (kind, spec) in [
        ("BackupStorage", file()),
        ("BackupStorage", s3()),
        ("BackupStorage", gcs()),
        ("BackupStorage", azure()),
        ("CassandraBackup", cancelled.clone()),
        ("CassandraRestore", no_restore),
        ("CronBackup", suspended),
    ] {
        let api = api(&bed, &namespace, kind);
        let name = spec
            .as_object()
            .unwrap()
            .keys()
            .next()
            .unwrap()
            .to_lowercase();
        let apply = PatchParams::apply("somebody");
        let patch = Patch::Apply(object(kind, &name, spec));
        let first = api.patch(&name, &apply, &patch).await.unwrap();
        let second = api.patch(&name, &apply, &patch).await.unwrap();
        assert_eq!(first.metadata.generation, second.metadata.generation);
    }
    let backups = api(&bed, &namespace, "CassandraBackup");
    let mut other = cancelled;
    set(&mut other, "cluster", json!("other"));
    let patch = Patch::Merge(json!({"spec": other}));
    let changed = backups
        .patch("cancel", &PatchParams::default(), &patch)
        .await;
    let error = changed.unwrap_err().to_string();
    assert!(
        error.contains("the spec of a backup cannot be changed"),
        "{error}"
    );
    documented::ones_are_right(&bed, &namespace).await;
    namespace.done().await.unwrap();
}
