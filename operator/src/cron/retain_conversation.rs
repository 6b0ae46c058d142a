//! Retention of a CronBackup, against an API server that is played.

use std::sync::Arc;
use std::time::Duration;

use crds::{CronBackup, CronBackupStatus};
use http::Method;
use kube::runtime::controller::Action;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::conversation::{BACKUPS, CRON, UID, child, event, list, status};
use super::tests::{at, cron, known};
use super::{Error, bring_forward};
use crate::access::AccessError;
use crate::context::Context;
use crate::played::{Api, context};
use crate::retention::Chore;

const STORAGE: &str = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/backupstorages/main";

/// After the backup of the 24th, all is dealt with.
fn retaining() -> CronBackup {
    let mut cron = cron(|spec| spec["retention"] = json!({"keepLast": 3}));
    cron.status = Some(known(&cron, "2026-11-25T00:00:00Z"));
    cron
}

async fn reconciled(
    context: &Arc<Context>,
    api: &mut Api,
    cron: &CronBackup,
    children: &[Value],
    now: &str,
) -> JoinHandle<Result<Action, Error>> {
    let (seen, shared, now) = (cron.clone(), Arc::clone(context), at(now));
    let reconciled = tokio::spawn(async move { bring_forward(&seen, &shared, now).await });
    let fresh = serde_json::to_value(cron).unwrap();
    api.expect(Method::GET, CRON, Ok(fresh)).await;
    api.expect(Method::GET, BACKUPS, Ok(list(children))).await;
    reconciled
}

async fn ends(reconciled: JoinHandle<Result<Action, Error>>) -> Action {
    let ended = timeout(Duration::from_secs(5), reconciled).await;
    ended.expect("nothing more is asked").unwrap().unwrap()
}

fn written(mut cron: CronBackup, status: Value) -> CronBackup {
    let status: CronBackupStatus = serde_json::from_value(status).unwrap();
    cron.status = Some(status);
    cron
}

#[tokio::test]
async fn a_purge_begins_once_the_status_is_written_and_its_end_is_told() {
    let (context, mut api) = context();
    let running = [child("20261124-0230", UID, Some("Uploading"))];
    let now = "2026-11-25T01:00:00Z";
    let first = reconciled(&context, &mut api, &retaining(), &running, now).await;
    let before = status(&mut api).await;
    assert_eq!(event(&mut api).await, "Scheduled");
    ends(first).await;
    assert_eq!(
        before["retention"],
        json!({"nextRunTime": "2026-11-25T12:00:00Z"})
    );
    assert!(context.chores.of(UID).is_none(), "nothing is due");

    // Its backup has succeeded.
    let cron = written(retaining(), before);
    let done = [child("20261124-0230", UID, Some("Succeeded"))];
    let second = reconciled(&context, &mut api, &cron, &done, now).await;
    let due = status(&mut api).await;
    assert_eq!(due["retention"]["nextRunTime"], "2026-11-24T03:00:00Z");
    ends(second).await;
    assert!(matches!(context.chores.of(UID), Some(Chore::Running)));
    let cron = written(cron, due);
    api.expect(Method::GET, BACKUPS, Ok(list(&done))).await;
    api.expect(Method::GET, STORAGE, Err(404)).await;
    timeout(Duration::from_secs(5), async {
        while !matches!(context.chores.of(UID), Some(Chore::Ended { .. })) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();

    let later = "2026-11-25T01:01:00Z";
    let fourth = reconciled(&context, &mut api, &cron, &done, later).await;
    let told = status(&mut api).await;
    let retention = &told["retention"];
    assert_eq!(retention["lastResult"], "Failed");
    assert_eq!(retention["reason"], "BackupStorageNotFound");
    assert_eq!(retention["failures"], 1);
    let conditions = told["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|it| it["type"] == "RetentionReady");
    assert_eq!(ready.unwrap()["status"], "False");
    assert_eq!(event(&mut api).await, "PurgeFailed");
    ends(fourth).await;
    let text = context.metrics.text(0).unwrap();
    let line = "purge_failures_total{namespace=\"shop\",schedule=\"nightly\"} 1";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn a_result_that_could_not_be_written_is_told_the_next_time() {
    let (context, mut api) = context();
    let place = crate::retention::Place {
        namespace: "shop".into(),
        storage: "main".into(),
        cluster: "prod".into(),
    };
    let error = AccessError::NoMaintenanceIdentity { kind: "s3" }.into();
    let began = at("2026-11-25T00:30:00Z");
    let ended = crate::retention::Ended::of(began, Err(error));
    let (woken, wakes) = tokio::sync::oneshot::channel();
    let wake = move || woken.send(()).unwrap();
    assert!(
        context
            .chores
            .start(UID.into(), place, async { ended }, wake)
    );
    wakes.await.unwrap();
    let now = "2026-11-25T00:31:00Z";
    let first = reconciled(&context, &mut api, &retaining(), &[], now).await;
    let path = format!("{CRON}/status");
    api.expect(Method::PATCH, &path, Err(409)).await;
    ends(first).await;
    let second = reconciled(&context, &mut api, &retaining(), &[], now).await;
    let told = status(&mut api).await;
    assert_eq!(told["retention"]["lastResult"], "NotRun");
    assert_eq!(told["retention"]["nextRunTime"], "2026-11-25T00:35:00Z");
    assert_eq!(event(&mut api).await, "Scheduled");
    assert_eq!(event(&mut api).await, "MaintenanceCredentialsMissing");
    assert_eq!(
        ends(second).await,
        Action::requeue(Duration::from_secs(240))
    );
    assert!(context.chores.of(UID).is_none());

    // Who wants no retention any more is told nothing of it.
    let mut without = written(retaining(), told);
    without.spec.retention = None;
    let third = reconciled(&context, &mut api, &without, &[], now).await;
    let told = status(&mut api).await;
    assert_eq!(told["retention"], Value::Null);
    let conditions = told["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|it| it["type"] != "RetentionReady"));
    ends(third).await;
}

#[tokio::test]
async fn beside_another_purge_none_is_begun() {
    let (context, mut api) = context();
    let place = crate::retention::Place {
        namespace: "shop".into(),
        storage: "main".into(),
        cluster: "prod".into(),
    };
    let pending = std::future::pending::<crate::retention::Ended>;
    assert!(
        context
            .chores
            .start("another".into(), place.clone(), pending(), || ())
    );
    let done = [child("20261124-0230", UID, Some("Succeeded"))];
    let now = "2026-11-25T01:00:00Z";
    let first = reconciled(&context, &mut api, &retaining(), &done, now).await;
    let before = status(&mut api).await;
    assert_eq!(event(&mut api).await, "Scheduled");
    assert_eq!(ends(first).await, Action::requeue(Duration::from_secs(30)));
    assert!(context.chores.of(UID).is_none());

    // Nor beside its own, in another storage.
    let elsewhere = crate::retention::Place {
        storage: "other".into(),
        ..place
    };
    assert!(
        context
            .chores
            .start(UID.into(), elsewhere, pending(), || ())
    );
    let cron = written(retaining(), before);
    let second = reconciled(&context, &mut api, &cron, &done, now).await;
    assert_eq!(
        ends(second).await,
        Action::requeue(Duration::from_secs(300))
    );
}
