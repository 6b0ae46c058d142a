//! `BackupStorage`.

use crds::BackupStorage;
use serde_json::{Value, json};

use crate::{assert_refused, messages};

fn storage(spec: Value) -> Value {
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "BackupStorage",
        "metadata": {"name": "main"},
        "spec": spec,
    })
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
        json!({"s3": {"bucket": "backups"}, "maintenancePod": {"serviceAccountName": "keeper"}}),
        json!({
            "s3": {"bucket": "backups", "credentials": {"secretName": "pods"}}, "readOnly": true,
            "maintenancePod": {
                "serviceAccountName": "keeper", "labels": {"a": "b"}, "imagePullSecrets": ["x"],
                "tolerations": [{"key": "db", "operator": "Exists"}],
            },
        }),
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
            json!({"file": {"path": "/b"}, "maintenancePod": {"serviceAccountName": "keeper"}}),
            "maintenancePod is for buckets",
        ),
        (
            json!({
                "s3": {"bucket": "b2x", "maintenanceCredentials": {"secretName": "k"}},
                "maintenancePod": {"serviceAccountName": "keeper"},
            }),
            "maintenancePod has an identity of its own",
        ),
        (
            json!({
                "gcs": {"bucket": "b2x", "endpoint": "http://gcs", "anonymous": true},
                "maintenancePod": {"serviceAccountName": "keeper"},
            }),
            "maintenancePod has an identity of its own",
        ),
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
