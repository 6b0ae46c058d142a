//! Storages and backups, applied as text, as their owners do, and what the operator says of them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::{BackupPhase, CassandraBackup, CassandraRestore, RestorePhase};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::bed::Namespace;
use crate::parts::minio::{Key, Minio, REGION};

/// How long a backup of a test may take. Most take 10 s.
const PATIENCE: Duration = Duration::from_secs(300);
const API: &str = "cassandrabackup.io/v1alpha1";

/// Applies a BackupStorage for a directory that all Cassandra pods mount.
pub async fn file_storage(namespace: &Namespace, name: &str, path: &str) -> Result<()> {
    let storage = json!({
        "apiVersion": API,
        "kind": "BackupStorage",
        "metadata": {"name": name},
        "spec": {"file": {"path": path}},
    });
    namespace.apply(&storage.to_string()).await
}

/// Applies a BackupStorage for a bucket, with a Secret of the same name that holds the key.
pub async fn s3_storage(
    namespace: &Namespace,
    name: &str,
    minio: &Minio,
    bucket: &str,
    key: &Key,
) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {"AWS_ACCESS_KEY_ID": key.id, "AWS_SECRET_ACCESS_KEY": key.secret},
    });
    let storage = json!({
        "apiVersion": API,
        "kind": "BackupStorage",
        "metadata": {"name": name},
        "spec": {"s3": {
            "bucket": bucket,
            "endpoint": minio.endpoint(),
            "region": REGION,
            "pathStyle": true,
            "credentials": {"secretName": name},
        }},
    });
    namespace.apply(&secret.to_string()).await?;
    namespace.apply(&storage.to_string()).await
}

/// Applies a CassandraBackup of the StatefulSet `cassandra`, whose cluster id is the same. What
/// is in `more` is put into the spec.
pub async fn back_up(
    namespace: &Namespace,
    name: &str,
    cassandra: &str,
    storage: &str,
    more: Value,
) -> Result<()> {
    let mut spec = json!({
        "cluster": cassandra,
        "storage": {"name": storage},
        "cassandra": {"podSelector": {"matchLabels": {"app": cassandra}}},
        "backupName": name,
    });
    merge(&mut spec, more);
    apply(namespace, "CassandraBackup", name, spec).await
}

async fn apply(namespace: &Namespace, kind: &str, name: &str, spec: Value) -> Result<()> {
    let resource = json!({
        "apiVersion": API,
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    });
    namespace.apply(&resource.to_string()).await
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

/// Waits until a backup has ended, however, and its leftovers are gone. An error if its
/// conditions, its phase and its nodes contradict each other.
pub async fn ended(namespace: &Namespace, name: &str) -> Result<CassandraBackup> {
    let over = |backup: &CassandraBackup| {
        phase(backup).is_some_and(BackupPhase::is_final)
            && nodes_left(backup, |node| node.sweep_pending) == 0
    };
    let backup = namespace
        .wait_for(name, "has ended", PATIENCE, over)
        .await?;
    check(&backup).with_context(|| format!("CassandraBackup {name}: {:?}", backup.status))?;
    Ok(backup)
}

/// Waits until `is` says yes to a backup's status.
pub async fn reaches(
    namespace: &Namespace,
    name: &str,
    what: &str,
    is: impl Fn(&CassandraBackup) -> bool,
) -> Result<CassandraBackup> {
    namespace.wait_for(name, what, PATIENCE, is).await
}

/// Where a backup is.
pub fn phase(backup: &CassandraBackup) -> Option<BackupPhase> {
    backup.status.as_ref().and_then(|status| status.phase)
}

/// Waits until a backup cannot go on, or its deletion cannot; returns reason and message of that.
pub async fn stalled(namespace: &Namespace, name: &str) -> Result<(String, String)> {
    let is = |backup: &CassandraBackup| {
        condition(backup, "Stalled").is_some_and(|(status, ..)| status == "True")
    };
    let backup = reaches(namespace, name, "is stalled", is).await?;
    let (_, reason, message) = condition(&backup, "Stalled").context("it was there")?;
    Ok((reason.to_owned(), message.to_owned()))
}

/// Lets the resource of a backup go without its data.
pub async fn skip_data_deletion(namespace: &Namespace, name: &str) -> Result<()> {
    let skip = json!({"metadata": {"annotations": {
        "cassandrabackup.io/skip-data-deletion": "true",
    }}});
    let backups = namespace.api::<CassandraBackup>();
    backups
        .patch(name, &PatchParams::default(), &Patch::Merge(skip))
        .await?;
    Ok(())
}

/// Status, reason and message of a condition.
pub fn condition<'b>(
    backup: &'b CassandraBackup,
    kind: &str,
) -> Option<(&'b str, &'b str, &'b str)> {
    let conditions = backup.status.iter().flat_map(|status| &status.conditions);
    let found = conditions.into_iter().find(|one| one.type_ == kind)?;
    Some((&found.status, &found.reason, &found.message))
}

fn nodes_left(backup: &CassandraBackup, is: fn(&crds::NodeStatus) -> bool) -> usize {
    let nodes = backup.status.iter().flat_map(|status| &status.nodes);
    nodes.filter(|node| is(node)).count()
}

/// What holds for every backup that has ended.
fn check(backup: &CassandraBackup) -> Result<()> {
    let status = backup.status.as_ref().context("no status")?;
    let succeeded = status.phase == Some(BackupPhase::Succeeded);
    let is = |kind| condition(backup, kind).map(|(status, ..)| status == "True");
    ensure!(
        is("Complete") == Some(succeeded),
        "the condition Complete is wrong"
    );
    ensure!(
        is("Reconciling") == Some(false),
        "the condition Reconciling is wrong"
    );
    let failed = matches!(
        status.phase,
        Some(BackupPhase::Failed | BackupPhase::PartiallyFailed)
    );
    ensure!(
        is("Stalled") == Some(failed),
        "the condition Stalled is wrong"
    );
    ensure!(
        status.observed_generation == backup.metadata.generation,
        "an old generation"
    );
    ensure!(status.completion_time.is_some(), "no completionTime");
    ensure!(
        nodes_left(backup, |node| !node.phase.is_final()) == 0,
        "a node goes on"
    );
    for node in &status.nodes {
        let committed = node.phase == crds::NodePhase::Succeeded;
        ensure!(
            committed == node.manifest.is_some(),
            "{}: manifest",
            node.pod
        );
        ensure!(!succeeded || committed, "{} has not succeeded", node.pod);
    }
    Ok(())
}

/// Applies a CassandraRestore into the StatefulSet `cassandra`, of the cluster id [`back_up`] uses. What
/// is in `more` is put into the spec.
pub async fn bring_back(
    namespace: &Namespace,
    name: &str,
    cassandra: &str,
    storage: &str,
    more: Value,
) -> Result<()> {
    let mut spec = json!({
        "cluster": cassandra,
        "storage": {"name": storage},
        "cassandra": {"podSelector": {"matchLabels": {"app": cassandra}}},
    });
    merge(&mut spec, more);
    apply(namespace, "CassandraRestore", name, spec).await
}

/// Waits until a restore has ended, however. An error if its conditions and its phase contradict each
/// other.
pub async fn brought_back(namespace: &Namespace, name: &str) -> Result<CassandraRestore> {
    let over = |restore: &CassandraRestore| {
        let phase = restore.status.as_ref().and_then(|status| status.phase);
        phase.is_some_and(RestorePhase::is_final)
    };
    let restore = namespace
        .wait_for(name, "has ended", PATIENCE, over)
        .await?;
    let status = restore.status.clone().unwrap_or_default();
    let is = |type_: &str| {
        let mut conditions = status.conditions.iter();
        let found = conditions.find(|it| it.type_ == type_);
        found.map(|it| it.status.as_str())
    };
    let good = matches!(
        status.phase,
        Some(RestorePhase::Succeeded | RestorePhase::Planned)
    );
    let stalled = status.phase == Some(RestorePhase::Failed);
    let told = |yes| Some(if yes { "True" } else { "False" });
    ensure!(
        is("Complete") == told(good)
            && is("Reconciling") == Some("False")
            && is("Stalled") == told(stalled),
        "CassandraRestore {name} contradicts itself: {status:#?}"
    );
    Ok(restore)
}
