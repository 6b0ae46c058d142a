//! CronBackups on a real cluster, followed by the clock: one backup for each time of the schedule,
//! whatever happens to the operator, and data that outlives the resources.

mod policies;

use std::time::Duration;

use crds::{BackupPhase, BackupStorage, CassandraBackup, CronBackup, CronBackupStatus};
use e2e::backup::Backup;
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::parts::kubectl;
use e2e::parts::minio::{Setup, User};
use e2e::product::{BUCKET, OneNode, STORAGE, back_up, ended, one_node, resources};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const DB: &str = "db";
const MINUTES: Duration = Duration::from_secs(300);
/// What the pods may do in a bucket, and maintenance besides (docs/backup-storage.md).
const PODS: &[&str] = &[
    "s3:ListBucket",
    "s3:GetBucketVersioning",
    "s3:GetObject",
    "s3:PutObject",
    "s3:AbortMultipartUpload",
];
const KEEPER: &[&str] = &["s3:DeleteObject", "s3:ListBucketMultipartUploads"];
/// Set by the operator on what a schedule has made.
const CHILD: &str = "cassandrabackup.io/cron-backup";

/// By which Argo CD and Flux know what is theirs.
const TRACKED: [&str; 3] = [
    "app.kubernetes.io/instance",
    "argocd.argoproj.io/instance",
    "argocd.argoproj.io/tracking-id",
];

struct Ground<'n> {
    bed: &'n Bed,
    namespace: &'n Namespace,
    parts: OneNode<'n>,
}

impl Ground<'_> {
    async fn apply(&self, name: &str, spec: Value, template: Value) {
        self.namespace
            .apply(&schedule(name, spec, template).to_string())
            .await
            .unwrap();
    }

    async fn reaches(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&CronBackupStatus) -> bool,
    ) -> CronBackup {
        let is = |cron: &CronBackup| cron.status.as_ref().is_some_and(&is);
        self.namespace
            .wait_for(name, what, MINUTES, is)
            .await
            .unwrap()
    }

    /// The backups that a schedule has made, oldest first.
    async fn children(&self, name: &str) -> Vec<CassandraBackup> {
        let labelled = ListParams::default().labels(&format!("{CHILD}={name}"));
        let backups = self.namespace.api::<CassandraBackup>();
        let mut children = backups.list(&labelled).await.unwrap().items;
        children.sort_by_key(ResourceExt::name_any);
        for child in &children {
            let (labels, annotations) = (child.labels(), child.annotations());
            assert_eq!(labels["team"], "shop");
            let theirs = |key: &&str| labels.contains_key(*key) || annotations.contains_key(*key);
            let found: Vec<_> = TRACKED.into_iter().filter(theirs).collect();
            assert!(found.is_empty(), "GitOps would prune it for {found:?}");
        }
        children
    }

    async fn suspend(&self, name: &str) {
        let patch = Patch::Merge(json!({"spec": {"suspend": true}}));
        let crons = self.namespace.api::<CronBackup>();
        crons
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    async fn events(&self, reason: &str) -> usize {
        let events = self.namespace.api::<Event>();
        let events = events.list(&ListParams::default()).await.unwrap();
        let said = |event: &&Event| event.reason.as_deref() == Some(reason);
        events.iter().filter(said).count()
    }
}

/// The spec of the backups is a usual one, changed by `template`.
fn schedule(name: &str, spec: Value, template: Value) -> Value {
    let mut of_backups = json!({
        "cluster": DB,
        "storage": {"name": STORAGE},
        "cassandra": {"podSelector": {"matchLabels": {"app": DB}}},
    });
    extend(&mut of_backups, template);
    let gitops = json!({
        "labels": {TRACKED[0]: "gitops", TRACKED[1]: "gitops", "team": "shop"},
        "annotations": {TRACKED[2]: "gitops"},
    });
    let mut whole = json!({"template": {"metadata": gitops.clone(), "spec": of_backups}});
    extend(&mut whole, spec);
    let mut metadata = json!({"name": name});
    extend(&mut metadata, gitops);
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "CronBackup",
        "metadata": metadata,
        "spec": whole,
    })
}

fn extend(object: &mut Value, more: Value) {
    let (Value::Object(object), Value::Object(more)) = (object, more) else {
        panic!("both are objects");
    };
    object.extend(more);
}

fn status(cron: &CronBackup) -> &CronBackupStatus {
    cron.status.as_ref().unwrap()
}

fn ready(cron: &CronBackupStatus) -> Option<(&str, &str)> {
    let found = cron.conditions.iter().find(|one| one.type_ == "Ready")?;
    Some((&found.status, &found.reason))
}

/// The name of the backup that is due at `time`, as its documentation promises it.
fn child_name(schedule: &str, time: Timestamp) -> String {
    let time = time.to_zoned(TimeZone::UTC);
    format!("{schedule}-{}", time.strftime("%Y%m%d-%H%M"))
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_make_one_backup_for_each_time_and_the_data_outlives_the_resources() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("cron").await.unwrap();
    let parts = one_node(&bed, &namespace, DB, json!({})).await.unwrap();
    let ground = Ground {
        bed: &bed,
        namespace: &namespace,
        parts,
    };

    two_keys(&ground).await;
    at_once_and_applied_twice(&ground).await;
    let shifted = next_of(&ground, "later").await;
    names_of_others_are_left_alone(&ground).await;
    long_backups_never_overlap(&ground).await;
    assert_eq!(
        next_of(&ground, "later").await,
        shifted,
        "another operator shifts it elsewhere"
    );
    only_the_last_one_stays(&ground).await;
    data_outlives_the_schedule(&ground).await;
    namespace.done().await.unwrap();
}

/// The pods have a key that may not delete; what is purged is deleted with another.
async fn two_keys(ground: &Ground<'_>) {
    let both = [PODS, KEEPER].concat();
    for (name, actions) in [("pods", PODS), ("keeper", &both)] {
        let key = format!("{name}-secret");
        let user = User::allowed(name, &key, actions, &[BUCKET]);
        let setup = Setup {
            users: vec![user],
            ..Setup::default()
        };
        ground.parts.minio.set_up(setup).await.unwrap();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": key},
        });
        ground.namespace.apply(&secret.to_string()).await.unwrap();
    }
    let patch = Patch::Merge(json!({"spec": {"s3": {
        "credentials": {"secretName": "pods"},
        "maintenanceCredentials": {"secretName": "keeper"},
    }}}));
    let storages = ground.namespace.api::<BackupStorage>();
    storages
        .patch(STORAGE, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

/// `immediate` makes one backup, and applying the same again changes nothing.
async fn at_once_and_applied_twice(ground: &Ground<'_>) {
    let spec = json!({"schedule": "0 0 1 1 *", "timeZone": "Europe/Berlin", "immediate": true});
    ground.apply("yearly", spec.clone(), json!({})).await;
    let succeeded = |cron: &CronBackupStatus| cron.last_result == Some(BackupPhase::Succeeded);
    let cron = ground.reaches("yearly", "has succeeded", succeeded).await;
    assert_eq!(ready(status(&cron)), Some(("True", "Scheduled")));
    let next = status(&cron).next_schedule_time.as_ref().unwrap().0;
    let next = next.in_tz("Europe/Berlin").unwrap();
    assert_eq!(next.strftime("%m-%d %H:%M").to_string(), "01-01 00:00");
    let children = ground.children("yearly").await;
    assert_eq!(children.len(), 1);
    assert_eq!(children[0].spec.series.as_deref(), Some("yearly"));

    ground.apply("yearly", spec.clone(), json!({})).await;
    let yaml = schedule("yearly", spec, json!({})).to_string();
    let (kubeconfig, name) = (ground.bed.kubeconfig(), ground.namespace.name());
    let diff = kubectl::diff(&kubeconfig, name, &yaml).await.unwrap();
    assert_eq!(diff, "", "the operator has changed what was applied");
    let other = yaml.replace("0 0 1 1 *", "0 0 2 1 *");
    let diff = kubectl::diff(&kubeconfig, name, &other).await.unwrap();
    assert!(diff.contains("0 0 2 1 *"), "{diff}");
    ground.parts.operator.kill().await.unwrap();
    // The new operator has looked at it once it has looked at one that was made after it.
    let later = json!({"schedule": "0 0 1 1 *", "jitterSeconds": 86400});
    ground.apply("later", later, json!({})).await;
    ground
        .reaches("later", "is followed", |cron| ready(cron).is_some())
        .await;
    let shifted = next_of(ground, "later").await.to_zoned(TimeZone::UTC);
    assert_eq!((shifted.month(), shifted.day()), (1, 1));
    assert_ne!(shifted.datetime().time(), Time::midnight(), "{shifted}");
    let crons = ground.namespace.api::<CronBackup>();
    let same = crons.get("yearly").await.unwrap();
    assert_eq!(same.metadata.generation, cron.metadata.generation);
    assert_eq!(ground.children("yearly").await.len(), 1);
}

/// When the next backup of a schedule begins.
async fn next_of(ground: &Ground<'_>, name: &str) -> Timestamp {
    let cron = ground.namespace.api::<CronBackup>().get(name).await;
    let next = status(&cron.unwrap()).next_schedule_time.clone();
    next.unwrap().0
}

/// A CassandraBackup of another origin has the name that the next two should have.
async fn names_of_others_are_left_alone(ground: &Ground<'_>) {
    let now = Timestamp::now();
    for minutes in 1..=2 {
        let name = child_name("taken", now + Span::new().minutes(minutes));
        back_up(
            ground.namespace,
            &name,
            DB,
            STORAGE,
            json!({"cancel": true}),
        )
        .await
        .unwrap();
        ended(ground.namespace, &name).await.unwrap();
    }
    let every_minute = json!({"schedule": "* * * * *"});
    ground.apply("taken", every_minute, json!({})).await;
    let cron = ground
        .reaches("taken", "has missed a time", |cron| cron.missed > 0)
        .await;
    ground.suspend("taken").await;
    // It is told after the status.
    let told = async || anyhow::Ok((ground.events("NameTaken").await > 0).then_some(()));
    until("an Event tells of it", MINUTES, told).await.unwrap();
    assert!(status(&cron).active.is_empty(), "{cron:?}");
    assert!(ground.children("taken").await.is_empty());
    let foreign = child_name("taken", now + Span::new().minutes(1));
    let backups = ground.namespace.api::<CassandraBackup>();
    let foreign = backups.get(&foreign).await.unwrap();
    assert_eq!(resources::phase(&foreign), Some(BackupPhase::Cancelled));
    assert!(foreign.owner_references().is_empty());
}

/// Each backup takes more than a minute, and one is due every minute. Only the last of them stays
/// in the storage.
async fn long_backups_never_overlap(ground: &Ground<'_>) {
    let spec = json!({
        "schedule": "* * * * *",
        "concurrencyPolicy": "Forbid",
        "retention": {"keepDaily": 1, "keepYearly": 1},
    });
    let slow = json!({"cluster": "slow", "bandwidthPerNode": "110Ki", "keyspaces": ["shop"]});
    ground.apply("minutely", spec, slow).await;
    let waits = |cron: &CronBackupStatus| {
        cron.pending_schedule_time.is_some() && ready(cron) == Some(("True", "WaitsForRunning"))
    };
    let cron = ground
        .reaches("minutely", "waits for a backup", waits)
        .await;
    let waiting = status(&cron).pending_schedule_time.clone().unwrap().0;
    assert_eq!(status(&cron).active.len(), 1, "{cron:?}");
    ground.parts.operator.kill().await.unwrap();

    let second = child_name("minutely", waiting);
    let begun = async || {
        let children = ground.children("minutely").await;
        let at_work = children.iter().filter(|child| {
            let phase = resources::phase(child);
            !phase.is_some_and(BackupPhase::is_final)
        });
        assert!(at_work.count() <= 1, "two at once: {children:#?}");
        Ok(children
            .iter()
            .any(|child| child.name_any() == second)
            .then_some(()))
    };
    until("the waiting backup begins", MINUTES, begun)
        .await
        .unwrap();
    let last = |cron: &CronBackupStatus| cron.last_schedule_time.as_ref().map(|it| it.0);
    let told = |cron: &CronBackupStatus| last(cron) == Some(waiting);
    ground
        .reaches("minutely", "tells of which time it made the last", told)
        .await;
    ground.suspend("minutely").await;
    let second = ended(ground.namespace, &second).await.unwrap();
    let phase = resources::phase(&second);
    assert_eq!(phase, Some(BackupPhase::Succeeded), "{:#?}", second.status);
    let children = ground.children("minutely").await;
    assert_eq!(children.len(), 2, "{children:#?}");
    let first = children[0].status.as_ref().unwrap();
    let (ended, begun) = (first.completion_time.as_ref(), second.creation_timestamp());
    // The API server's times are in whole seconds.
    assert!(ended.unwrap().0.as_second() <= begun.unwrap().0.as_second());
}

/// The purge after the second backup took the first, and the resource says so.
async fn only_the_last_one_stays(ground: &Ground<'_>) {
    let purged = |cron: &CronBackupStatus| {
        let retention = cron.retention.as_ref();
        retention
            .is_some_and(|it| it.deleted_backups == Some(1) && it.last_successful_time.is_some())
    };
    let cron = ground.reaches("minutely", "has purged", purged).await;
    let children = ground.children("minutely").await;
    let [first, second] = &children[..] else {
        panic!("{children:#?}")
    };
    let message = status(&cron).retention.as_ref().unwrap().message.clone();
    assert!(message.unwrap().contains(&stored(first)), "{cron:#?}");
    assert!(ground.events("BackupsPurged").await > 0);
    let expired = |backup: &CassandraBackup| resources::phase(backup) == Some(BackupPhase::Expired);
    resources::reaches(ground.namespace, &first.name_any(), "has expired", expired)
        .await
        .unwrap();
    assert_eq!(resources::phase(second), Some(BackupPhase::Succeeded));
    let left = ground.parts.bucket.list("slow/manifests").await.unwrap();
    let manifest = |key: &String| key.contains(&stored(first)) && key.ends_with(".jsonl");
    assert!(!left.keys().any(manifest), "{left:?}");
}

/// The name of a backup in the storage.
fn stored(backup: &CassandraBackup) -> String {
    let status = backup.status.as_ref().unwrap();
    status.backup_name.clone().unwrap()
}

async fn data_outlives_the_schedule(ground: &Ground<'_>) {
    let children = ground.children("minutely").await;
    let last = stored(children.last().unwrap());
    let crons = ground.namespace.api::<CronBackup>();
    crons
        .delete("minutely", &DeleteParams::default())
        .await
        .unwrap();
    let gone = async || Ok((ground.children("minutely").await.is_empty()).then_some(()));
    until("the backups of the schedule are gone", MINUTES, gone)
        .await
        .unwrap();
    let backup = Backup::read(&ground.parts.bucket, "slow", &last)
        .await
        .unwrap();
    backup.verify(&ground.parts.bucket).await.unwrap();
}
