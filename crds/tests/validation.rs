//! Each rule refuses what it is for, with a message for the person who typed it.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests too, which the lint does not see.

use crds::{BackupStorage, CassandraBackup, CronBackup};
use kube::CustomResourceExt;
use kube::core::cel::Validator;
use serde_json::{Value, json};

fn messages<T: CustomResourceExt>(object: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = serde_json::to_value(T::crd()).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    match Validator::new().validate(schema, object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_iter().map(|error| error.to_string()).collect(),
    }
}

/// The object as the API server keeps it: with the defaults of the schema.
fn backup(change: impl FnOnce(&mut Value)) -> Value {
    let mut typed = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "CassandraBackup",
        "metadata": {"name": "before-upgrade"},
        "spec": {
            "cluster": "prod",
            "storage": {"name": "main"},
            "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
        },
    });
    change(&mut typed["spec"]);
    let read: CassandraBackup = serde_json::from_value(typed).unwrap();
    serde_json::to_value(read).unwrap()
}

fn storage(spec: Value) -> Value {
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "BackupStorage",
        "metadata": {"name": "main"},
        "spec": spec,
    })
}

fn assert_refused(messages: &[String], expected: &str) {
    assert!(
        messages.iter().any(|message| message.contains(expected)),
        "expected {expected:?}, got {messages:?}"
    );
}

#[test]
fn a_usual_backup_is_taken() {
    let usual = backup(|spec| {
        spec["tables"] = json!(["shop.orders"]);
        spec["bandwidthPerNode"] = json!("100Mi");
        spec["concurrentNodes"] = json!(3);
        spec["backupName"] = json!("nightly-1");
        spec["agent"] = json!({"mode": "Container", "container": "agent"});
    });
    assert_eq!(
        messages::<CassandraBackup>(&usual, None),
        Vec::<String>::new()
    );
    assert_eq!(
        messages::<CassandraBackup>(&usual, Some(&usual)),
        Vec::<String>::new()
    );
}

#[test]
fn wrong_backups_are_refused_with_a_message_for_the_person_who_typed_them() {
    type Change = fn(&mut Value);
    let cases: &[(Change, &str)] = &[
        (
            |s| s["cluster"] = json!("a/b"),
            "cluster becomes part of a path",
        ),
        (
            |s| s["cluster"] = json!(".."),
            "cluster becomes part of a path",
        ),
        (
            |s| s["backupName"] = json!("a b"),
            "backupName becomes part of a path",
        ),
        (|s| s["series"] = json!("a/b"), "series must be letters"),
        (
            |s| {
                s["keyspaces"] = json!(["shop"]);
                s["tables"] = json!(["shop.orders"]);
            },
            "either keyspaces or tables",
        ),
        (|s| s["tables"] = json!(["orders"]), "keyspace.table"),
        (|s| s["tables"] = json!(["a.b.c"]), "keyspace.table"),
        (
            |s| s["keyspaces"] = json!(["shop.orders"]),
            "names of keyspaces",
        ),
        (
            |s| s["bandwidthPerNode"] = json!("100MB"),
            "bandwidthPerNode must be",
        ),
        (
            |s| s["bandwidthPerNode"] = json!("0"),
            "bandwidthPerNode must be",
        ),
        (
            |s| s["cassandra"]["podSelector"] = json!({}),
            "podSelector must name labels",
        ),
        (
            |s| s["agent"] = json!({"mode": "Container"}),
            "container names the container",
        ),
        (
            |s| s["agent"] = json!({"container": "x"}),
            "container names the container",
        ),
        (
            |s| s["agent"] = json!({"directories": ["tmp"]}),
            "directories must be absolute",
        ),
        (
            |s| s["agent"] = json!({"directories": ["/tmp/../etc"]}),
            "directories must be absolute",
        ),
        (
            |s| s["cassandra"]["jmx"] = json!({"tls": {"caCertificate": {}}}),
            "exactly one of secretName",
        ),
        (
            |s| s["agent"] = json!({"path": "x"}),
            "path must be absolute",
        ),
    ];
    for (change, expected) in cases {
        assert_refused(
            &messages::<CassandraBackup>(&backup(change), None),
            expected,
        );
    }
}

#[test]
fn cancel_can_be_set_once_and_not_taken_back() {
    let (running, cancelled) = (backup(|_| ()), backup(|spec| spec["cancel"] = json!(true)));
    assert_eq!(
        messages::<CassandraBackup>(&cancelled, Some(&running)),
        Vec::<String>::new()
    );
    assert_refused(
        &messages::<CassandraBackup>(&running, Some(&cancelled)),
        "cancelled cannot be resumed",
    );
}

#[test]
fn no_field_of_a_spec_but_cancel_can_be_changed() {
    let crd = serde_json::to_value(CassandraBackup::crd()).unwrap();
    let fields =
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            .as_object()
            .unwrap();
    assert!(fields.len() > 10, "{fields:?}");
    for name in fields.keys().filter(|name| *name != "cancel") {
        let (old, mut new) = (backup(|_| ()), backup(|_| ()));
        // Another value of the same type, or one where there was none.
        new["spec"][name] = match &old["spec"][name] {
            Value::Bool(value) => json!(!value),
            Value::String(value) => json!(format!("{value}x")),
            Value::Array(_) => json!(["other"]),
            Value::Object(map) => {
                let mut map = map.clone();
                map.insert("other".into(), json!("x"));
                Value::Object(map)
            }
            Value::Number(_) | Value::Null => json!(7),
        };
        assert_refused(
            &messages::<CassandraBackup>(&new, Some(&old)),
            "the spec of a backup cannot be changed",
        );
    }
}

#[test]
fn usual_storages_are_taken() {
    for spec in [
        json!({"file": {"path": "/backup"}}),
        json!({"s3": {"bucket": "backups"}}),
        json!({"s3": {
            "bucket": "backups", "prefix": "a/b", "endpoint": "http://10.0.0.1:9000",
            "caCertificate": {"secretName": "ca", "key": "ca.crt"},
        }}),
        json!({"s3": {"bucket": "backups", "encryption": {"type": "SSE-S3"}}}),
        json!({"s3": {
            "bucket": "backups", "encryption": {"type": "SSE-KMS", "keyId": "arn:aws:kms:eu-north-1:1:key/x"},
            "credentials": {"secretName": "pods"}, "maintenanceCredentials": {"secretName": "keeper"},
        }, "readOnly": true}),
        json!({"gcs": {"bucket": "backups", "prefix": "a", "credentials": {"secretName": "google"}}}),
        json!({"gcs": {"bucket": "backups", "endpoint": "http://gcs:4443", "anonymous": true}}),
        json!({"azure": {"account": "acme", "container": "backups"}}),
        json!({"azure": {
            "account": "devstoreaccount1", "container": "back-ups",
            "endpoint": "http://azurite:10000/devstoreaccount1",
        }}),
    ] {
        assert_eq!(
            messages::<BackupStorage>(&storage(spec), None),
            Vec::<String>::new()
        );
    }
}

#[test]
fn wrong_storages_are_refused_with_a_message_for_the_person_who_typed_them() {
    let cases = [
        (json!({}), "exactly one kind of storage"),
        (
            json!({"file": {"path": "/b"}, "s3": {"bucket": "b2x"}}),
            "exactly one kind of storage",
        ),
        (json!({"file": {"path": "backup"}}), "path must be absolute"),
        (
            json!({"file": {"path": "/b", "pods": {"podSelector": {}}}}),
            "podSelector must name labels",
        ),
        (json!({"file": {"path": "/"}}), "path must be absolute"),
        (
            json!({"file": {"path": "/a/../b"}}),
            "path must be absolute",
        ),
        (
            json!({"s3": {"bucket": "s3://backups"}}),
            "name of a bucket",
        ),
        (json!({"s3": {"bucket": "backups/x"}}), "name of a bucket"),
        (
            json!({"s3": {"bucket": "backups", "prefix": "/x"}}),
            "prefix must not",
        ),
        (
            json!({"s3": {"bucket": "backups", "endpoint": "minio:9000"}}),
            "endpoint must be a URL",
        ),
        (
            json!({"s3": {"bucket": "backups", "endpoint": "http://user:pw@minio"}}),
            "endpoint must be a URL",
        ),
        (
            json!({"s3": {"bucket": "backups", "caCertificate": {}}}),
            "exactly one of secretName",
        ),
        (
            json!({"s3": {"bucket": "backups"}, "gcs": {"bucket": "backups"}}),
            "exactly one kind of storage",
        ),
        (
            json!({"gcs": {"bucket": "backups"}, "azure": {"account": "acme", "container": "b2x"}}),
            "exactly one kind of storage",
        ),
        (
            json!({"s3": {"bucket": "backups", "encryption": {"type": "SSE-S3", "keyId": "k"}}}),
            "keyId is the key of SSE-KMS",
        ),
        (
            json!({"gcs": {"bucket": "gs://backups"}}),
            "name of a bucket",
        ),
        (
            json!({"gcs": {"bucket": "backups", "prefix": "a/../b"}}),
            "prefix must not",
        ),
        (
            json!({"gcs": {"bucket": "backups", "endpoint": "gcs:4443"}}),
            "endpoint must be a URL",
        ),
        (
            json!({"gcs": {"bucket": "backups", "anonymous": true}}),
            "anonymous is for a server at endpoint",
        ),
        (
            json!({"gcs": {
                "bucket": "backups", "endpoint": "http://gcs", "anonymous": true,
                "credentials": {"secretName": "google"},
            }}),
            "anonymous is for a server at endpoint",
        ),
        (
            json!({"azure": {"account": "acme.blob.core.windows.net", "container": "backups"}}),
            "name of a storage account",
        ),
        (
            json!({"azure": {"account": "acme", "container": "back--ups"}}),
            "name of a container",
        ),
        (
            json!({"azure": {"account": "acme", "container": "backups/x"}}),
            "name of a container",
        ),
        (
            json!({"azure": {"account": "acme", "container": "backups", "prefix": "x/"}}),
            "prefix must not",
        ),
        (
            json!({"azure": {"account": "acme", "container": "backups", "endpoint": "https://u:p@host"}}),
            "endpoint must be a URL",
        ),
        (
            json!({"azure": {"account": "acme", "container": "backups", "caCertificate": {"secretName": "a", "configMapName": "b"}}}),
            "exactly one of secretName",
        ),
    ];
    for (spec, expected) in cases {
        assert_refused(&messages::<BackupStorage>(&storage(spec), None), expected);
    }
}

#[test]
fn the_place_of_a_storage_cannot_be_changed_and_the_way_to_it_can() {
    let s3 = |extra: Value| {
        let mut s3 = json!({"bucket": "backups"});
        s3.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        storage(json!({"s3": s3}))
    };
    let old = s3(json!({}));
    for new in [
        s3(json!({"bucket": "others"})),
        s3(json!({"prefix": "x"})),
        storage(json!({"file": {"path": "/backup"}})),
    ] {
        let expected = "the place of a storage cannot be changed";
        assert_refused(&messages::<BackupStorage>(&new, Some(&old)), expected);
    }
    let moved = s3(json!({"endpoint": "https://other", "credentials": {"secretName": "new"}}));
    assert_eq!(
        messages::<BackupStorage>(&moved, Some(&old)),
        Vec::<String>::new()
    );
}

#[test]
fn the_place_of_every_kind_of_bucket_is_fixed_and_its_settings_are_not() {
    let with = |kind: &str, base: &Value, extra: Value| {
        let mut place = base.clone();
        place
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        storage(json!({kind: place}))
    };
    let gcs = json!({"bucket": "backups", "prefix": "a"});
    let azure = json!({"account": "acme", "container": "backups"});
    for (kind, base, moves) in [
        (
            "gcs",
            &gcs,
            vec![json!({"bucket": "others"}), json!({"prefix": "b"})],
        ),
        (
            "azure",
            &azure,
            vec![
                json!({"account": "other"}),
                json!({"container": "others"}),
                json!({"prefix": "b"}),
            ],
        ),
    ] {
        let old = with(kind, base, json!({}));
        for change in moves {
            let new = with(kind, base, change);
            let expected = "the place of a storage cannot be changed";
            assert_refused(&messages::<BackupStorage>(&new, Some(&old)), expected);
        }
        for other in [
            json!({"s3": {"bucket": "backups"}}),
            json!({"gcs": gcs}),
            json!({"azure": azure}),
        ] {
            if other.get(kind).is_none() {
                let expected = "the place of a storage cannot be changed";
                let messages = messages::<BackupStorage>(&storage(other), Some(&old));
                assert_refused(&messages, expected);
            }
        }
        let mut settled = with(
            kind,
            base,
            json!({"endpoint": "https://other", "maintenanceCredentials": {"secretName": "keeper"}}),
        );
        settled["spec"]["readOnly"] = json!(true);
        assert_eq!(
            messages::<BackupStorage>(&settled, Some(&old)),
            Vec::<String>::new()
        );
    }
}

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

#[test]
fn a_backup_may_take_its_data_with_it_and_cannot_change_its_mind() {
    let delete = backup(|spec| spec["deletionPolicy"] = json!("Delete"));
    assert_eq!(
        messages::<CassandraBackup>(&delete, None),
        Vec::<String>::new()
    );
    let retain = backup(|_| ());
    assert_refused(
        &messages::<CassandraBackup>(&delete, Some(&retain)),
        "cannot be changed",
    );
}
