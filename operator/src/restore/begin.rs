//! What a restore needs before it begins, and which nodes it begins with.

use std::sync::Arc;

use crds::{
    BackupChoice, BackupPhase, CassandraBackup, CassandraRestore, CassandraRestoreSpec,
    CassandraRestoreStatus, RestoreMode, RestorePhase, RestoreStep, parse_quantity,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Api;
use kube::{Resource, ResourceExt};
use protocol::{Reason, Scope};

use super::{Error, node};
use crate::context::Context;
use crate::node::{Job, Reach, Restoring, Work, deadline};
use crate::prerequisites::{self, Obstacle};

/// The status of the restore as it begins, or what keeps it from that.
pub(super) async fn lookup(
    context: &Context,
    restore: &CassandraRestore,
    now: Timestamp,
) -> Result<Result<CassandraRestoreStatus, Obstacle>, Error> {
    let cluster = &*context.tools.cluster;
    let namespace = restore.namespace().unwrap_or_default();
    let spec = &restore.spec;
    let selector = match validate(spec) {
        Ok(selector) => selector,
        Err(obstacle) => return Ok(Err(obstacle)),
    };
    let reach = Reach::of_restore(&namespace, spec);
    let storage = match prerequisites::storage(cluster, &reach).await? {
        Ok(storage) => storage,
        Err(obstacle) => return Ok(Err(obstacle)),
    };
    if let Err(obstacle) = prerequisites::secrets(cluster, &reach, &storage).await? {
        return Ok(Err(obstacle));
    }
    let backup = match &spec.backup.resource {
        None => spec.backup.name.clone(),
        Some(name) => {
            let backups: Api<CassandraBackup> = Api::namespaced(context.client.clone(), &namespace);
            let found = backups.get_opt(name).await;
            let found = found.map_err(|error| Error::ReadBackup(Box::new(error)))?;
            match named(spec, name, found.as_ref()) {
                Ok(backup) => Some(backup),
                Err(obstacle) => return Ok(Err(obstacle)),
            }
        }
    };
    let pods = prerequisites::pods(cluster, &reach, &selector).await?;
    let alive = match prerequisites::alive(&pods, &selector) {
        Ok(alive) => alive,
        Err(obstacle) => return Ok(Err(obstacle)),
    };
    let mut pods: Vec<_> = alive.iter().map(|pod| pod.name.clone()).collect();
    pods.sort();
    let nodes = pods
        .iter()
        .map(|pod| node::at(restore, pod, RestoreStep::Plan));
    Ok(Ok(CassandraRestoreStatus {
        observed_generation: restore.meta().generation,
        phase: Some(RestorePhase::Planning),
        backup_name: backup,
        start_time: Some(Time(now)),
        nodes: nodes.collect(),
        ..restore.status.clone().unwrap_or_default()
    }))
}

/// Understands what the schema could not check.
fn validate(spec: &CassandraRestoreSpec) -> Result<kube::core::Selector, Obstacle> {
    let bandwidth = spec.bandwidth_per_node.as_deref().map(parse_quantity);
    if let Some(Err(error)) = bandwidth {
        return Err(Obstacle::invalid(format!("spec.bandwidthPerNode: {error}")));
    }
    prerequisites::selector(&spec.cassandra)
}

/// The name in the storage of the backup of a resource.
pub(super) fn named(
    spec: &CassandraRestoreSpec,
    name: &str,
    found: Option<&CassandraBackup>,
) -> Result<String, Obstacle> {
    let missing = |message: String, passing| {
        let reason = Reason::BackupNotFound;
        Err(Obstacle {
            reason,
            message,
            passing,
        })
    };
    let Some(backup) = found else {
        let message = format!(
            "CassandraBackup {name} does not exist in this namespace; spec.backup.name takes the name that a backup has in the storage"
        );
        return missing(message, true);
    };
    if backup.spec.cluster != spec.cluster {
        return Err(Obstacle::invalid(format!(
            "CassandraBackup {name} is of cluster {}, and spec.cluster is {}",
            backup.spec.cluster, spec.cluster
        )));
    }
    let status = backup.status.as_ref();
    let in_storage = status.and_then(|it| it.backup_name.clone());
    match (status.and_then(|it| it.phase), in_storage) {
        (Some(BackupPhase::Succeeded | BackupPhase::PartiallyFailed), Some(backup)) => Ok(backup),
        (Some(phase), _) if phase.is_final() => missing(
            format!("CassandraBackup {name} is {phase:?}, so that there is nothing to restore"),
            false,
        ),
        _ => missing(format!("CassandraBackup {name} has not ended yet"), true),
    }
}

/// What the nodes have in common in a step.
pub(super) fn job(
    restore: &CassandraRestore,
    status: &CassandraRestoreStatus,
    step: RestoreStep,
) -> Job {
    let spec = &restore.spec;
    let chosen = status.backup_name.clone();
    Job {
        resource: restore.name_any(),
        uid: restore.uid().unwrap_or_default(),
        reach: Reach::of_restore(&restore.namespace().unwrap_or_default(), spec),
        cluster: spec.cluster.clone(),
        backup: chosen.unwrap_or_else(|| on_the_wire(&spec.backup)),
        scope: Scope {
            keyspaces: spec.keyspaces.clone(),
            tables: spec.tables.clone(),
            datacenters: Vec::new(),
        },
        bandwidth: spec
            .bandwidth_per_node
            .as_deref()
            .and_then(|it| parse_quantity(it).ok()),
        deadline: deadline(status.start_time.as_ref(), spec.active_deadline_seconds),
        work: Work::Restore(Restoring {
            renames: spec
                .renames
                .iter()
                .map(|it| format!("{}={}", it.from, it.to))
                .collect(),
            mode: match spec.mode {
                RestoreMode::Merge => protocol::RestoreMode::Merge,
                RestoreMode::Replace => protocol::RestoreMode::Replace,
                RestoreMode::Rehearse => protocol::RestoreMode::Rehearse,
            },
            step: match step {
                RestoreStep::Plan => protocol::RestoreStep::All,
                RestoreStep::Prepare => protocol::RestoreStep::Prepare,
                RestoreStep::Load => protocol::RestoreStep::Load,
                RestoreStep::Finish => protocol::RestoreStep::Finish,
            },
            allow_degraded: spec.allow_degraded,
            dry_run: step == RestoreStep::Plan,
        }),
        rings: Arc::default(),
        shared: Arc::default(),
    }
}

/// A choice as the agent takes it.
fn on_the_wire(choice: &BackupChoice) -> String {
    match choice {
        BackupChoice {
            before: Some(time), ..
        } => format!("before={}", time.0),
        BackupChoice {
            name: Some(name), ..
        } => name.clone(),
        _ => "latest".to_owned(),
    }
}
