//! `CassandraBackup`.

use crds::CassandraBackup;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::{assert_refused, messages};

/// The object as the API server keeps it: with the defaults of the schema.
pub fn backup(change: impl FnOnce(&mut Value)) -> Value {
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
fn verify_can_be_set_changed_and_taken_back() {
    let never = backup(|_| ());
    let small = backup(|spec| spec["verify"] = json!({"podTemplate": "small"}));
    let large = backup(|spec| spec["verify"] = json!({"podTemplate": "large"}));
    for (old, new) in [(&never, &small), (&small, &large), (&large, &never)] {
        assert_eq!(
            messages::<CassandraBackup>(new, Some(old)),
            Vec::<String>::new()
        );
    }
}

#[test]
fn no_field_of_a_spec_but_cancel_and_verify_can_be_changed() {
    let crd = serde_json::to_value(CassandraBackup::crd()).unwrap();
    let fields =
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            .as_object()
            .unwrap();
    assert!(fields.len() > 10, "{fields:?}");
    let fixed = |name: &&String| !["cancel", "verify"].contains(&name.as_str());
    for name in fields.keys().filter(fixed) {
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
