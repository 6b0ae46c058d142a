//! A purge, against an API server and an agent that are played.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use crds::{CronBackup, PurgeResult};
use http::Method;
use protocol::{ExpiredBackup, Operation, Outcome, Purged, Reason, Request, Tally};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Ended, purge};
use crate::played::{Api, context};

const BACKUPS: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/cassandrabackups";
const STORAGE: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/backupstorages/main";
const SECRET: &str = "/api/v1/namespaces/shop/secrets/keys";

fn spec() -> Value {
    json!({
        "cluster": "prod", "storage": {"name": "main"},
        "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
    })
}

fn cron() -> CronBackup {
    serde_json::from_value(json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
        "metadata": {"name": "nightly", "namespace": "shop", "uid": "cron"},
        "spec": {
            "schedule": "30 2 * * *", "timeZone": "Europe/Berlin",
            "retention": {"keepDaily": 7, "graceHours": 2},
            "template": {"spec": spec()},
        },
    }))
    .unwrap()
}

fn backup(name: &str) -> Value {
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid of {name}")},
        "spec": spec(),
        "status": {
            "phase": "Succeeded", "backupName": format!("{name}-1"),
            "completionTime": "2026-11-24T03:00:00Z",
            "nodes": [{"pod": "c-0", "phase": "Succeeded", "attempt": 1, "runId": "r"}],
        },
    })
}

fn storage(credentials: bool) -> Value {
    let mut s3 = json!({"bucket": "backups"});
    if credentials {
        s3["credentials"] = json!({"secretName": "keys"});
    }
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": "main", "namespace": "shop"}, "spec": {"s3": s3},
    })
}

/// Lists these backups and that storage for a purge with an agent that says this.
async fn begun(
    backups: &[&str],
    credentials: bool,
    outcome: &Outcome,
) -> (tokio::task::JoinHandle<Ended>, Api, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let (agent, heard) = (
        directory.path().join("agent"),
        directory.path().join("heard"),
    );
    let mut event = json!({
        "runId": uuid::Uuid::nil(), "seq": 1, "time": "2026-11-25T03:00:00Z", "event": "result",
    });
    let more = serde_json::to_value(outcome).unwrap();
    event
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let script = format!(
        "#!/bin/sh\nread -r request\nprintf %s \"$request\" > {}\necho '{event}'\n",
        heard.display()
    );
    std::fs::write(&agent, script).unwrap();
    std::fs::set_permissions(&agent, PermissionsExt::from_mode(0o700)).unwrap();
    let (mut context, mut api) = context();
    Arc::get_mut(&mut context).unwrap().home.agent = agent;
    let purging = tokio::spawn(purge(context, cron()));
    // Page by page.
    for (at, name) in backups.iter().enumerate() {
        let token = if at + 1 == backups.len() { "" } else { "more" };
        let list = json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackupList",
            "metadata": {"continue": token}, "items": [backup(name)],
        });
        api.expect(Method::GET, BACKUPS, Ok(list)).await;
    }
    api.expect(Method::GET, STORAGE, Ok(storage(credentials)))
        .await;
    if credentials {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
            "data": {
                "AWS_ACCESS_KEY_ID": "YQ==", "AWS_SECRET_ACCESS_KEY": "Yg==",
            },
        });
        api.expect(Method::GET, SECRET, Ok(secret)).await;
    }
    (purging, api, directory)
}

async fn ends(purging: tokio::task::JoinHandle<Ended>) -> Ended {
    let ended = timeout(Duration::from_secs(20), purging).await;
    ended.expect("nothing more is asked").unwrap()
}

/// Expects that a backup is said to be no more. Returns the message.
async fn expires(api: &mut Api, name: &str) -> String {
    let path = format!("{BACKUPS}/{name}");
    api.expect(Method::GET, &path, Ok(backup(name))).await;
    let path = format!("{path}/status");
    let patch = api.expect(Method::PATCH, &path, Ok(backup(name))).await;
    assert_eq!(patch["metadata"]["uid"], format!("uid of {name}"));
    let status = &patch["status"];
    assert_eq!(status["phase"], "Expired");
    assert_eq!(status["completionTime"], "2026-11-24T03:00:00Z");
    let conditions = status["conditions"].as_array().unwrap();
    let complete = conditions.iter().find(|one| one["type"] == "Complete");
    let complete = complete.unwrap();
    assert_eq!(
        (&complete["status"], &complete["reason"]),
        (&json!("False"), &json!("Expired"))
    );
    complete["message"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_a_purge_deleted_or_found_gone_expires_whoever_made_it() {
    let outcome = Outcome {
        purged: Some(Box::new(Purged {
            expired: vec![ExpiredBackup {
                backup: "nightly-a-1".into(),
                reason: "no rule keeps it".into(),
            }],
            gone: vec!["nightly-a-1".into(), "manual-1".into()],
            kept: 1,
            finished: true,
            ..Purged::default()
        })),
        ..Outcome::ended(Reason::Succeeded, "m", 1)
    };
    let backups = ["nightly-a", "nightly-b", "manual"];
    let (purging, mut api, directory) = begun(&backups, true, &outcome).await;
    assert_eq!(
        expires(&mut api, "nightly-a").await,
        "retention deleted backup nightly-a-1: no rule keeps it"
    );
    assert_eq!(
        expires(&mut api, "manual").await,
        "backup manual-1 is not in the storage any more"
    );
    let ended = ends(purging).await;
    assert_eq!(ended.result, PurgeResult::Succeeded);

    let heard = std::fs::read(directory.path().join("heard")).unwrap();
    let request = Request::parse(&heard).unwrap();
    let Operation::Purge(asked) = request.operation else {
        panic!("{:?}", request.operation)
    };
    assert_eq!(asked.cluster, "prod");
    assert_eq!(asked.series.as_deref(), Some("nightly"));
    assert_eq!(asked.policy.keep_daily, 7);
    assert_eq!(asked.policy.time_zone.as_deref(), Some("Europe/Berlin"));
    assert_eq!(asked.limits.grace_seconds, 7200);
    assert_eq!(asked.known, ["nightly-a-1", "nightly-b-1", "manual-1"]);
    assert!(!asked.dry_run);
}

#[tokio::test]
async fn a_purge_that_stopped_half_way_says_what_it_did_all_the_same() {
    let outcome = Outcome {
        purged: Some(Box::new(Purged {
            expired: vec![ExpiredBackup {
                backup: "nightly-a-1".into(),
                reason: "no rule keeps it".into(),
            }],
            manifests: 2,
            deleted: Tally { files: 3, bytes: 9 },
            ..Purged::default()
        })),
        ..Outcome::ended(Reason::DeadlineExceeded, "some is left", 1)
    };
    let (purging, mut api, _directory) = begun(&["nightly-a"], true, &outcome).await;
    expires(&mut api, "nightly-a").await;
    let ended = ends(purging).await;
    assert_eq!(
        (ended.result, ended.reason),
        (PurgeResult::Failed, Reason::DeadlineExceeded)
    );
    assert_eq!(
        ended.message,
        "1 backups (2 manifests) and 3 objects with 9 B were deleted before it stopped: some is left"
    );
}

#[tokio::test]
async fn without_credentials_of_its_own_nothing_is_run() {
    let outcome = Outcome::ended(Reason::Succeeded, "m", 1);
    let (purging, _api, directory) = begun(&["nightly-a"], false, &outcome).await;
    let ended = ends(purging).await;
    assert_eq!(
        (ended.result, ended.reason),
        (PurgeResult::NotRun, Reason::MaintenanceCredentialsMissing)
    );
    assert!(!directory.path().join("heard").exists());
}

#[tokio::test]
async fn a_resource_that_was_made_anew_meanwhile_is_left_alone() {
    let outcome = Outcome {
        purged: Some(Box::new(Purged {
            gone: vec!["manual-1".into()],
            kept: 1,
            ..Purged::default()
        })),
        ..Outcome::ended(Reason::Succeeded, "m", 1)
    };
    for change in ["uid", "phase"] {
        let (purging, mut api, _directory) = begun(&["manual"], true, &outcome).await;
        let mut anew = backup("manual");
        match change {
            "uid" => anew["metadata"]["uid"] = json!("another"),
            _ => anew["status"]["phase"] = json!("Expired"),
        }
        let path = format!("{BACKUPS}/manual");
        api.expect(Method::GET, &path, Ok(anew)).await;
        ends(purging).await;
    }
}

/// Another bucket, or a directory where nothing is mounted.
#[tokio::test]
async fn a_storage_where_nothing_of_the_cluster_is_expires_nothing() {
    let outcome = Outcome {
        purged: Some(Box::new(Purged {
            gone: vec!["manual-1".into()],
            finished: true,
            ..Purged::default()
        })),
        ..Outcome::ended(Reason::Succeeded, "m", 1)
    };
    let (purging, _api, _directory) = begun(&["manual"], true, &outcome).await;
    // Nothing is asked of the API server, which answers nobody here.
    assert_eq!(ends(purging).await.result, PurgeResult::Succeeded);
}
