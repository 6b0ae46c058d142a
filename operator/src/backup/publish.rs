//! Writing the status.

use std::time::Duration;

use crds::{BackupPhase, CassandraBackup, CassandraBackupStatus};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use crate::FIELD_MANAGER;

/// Between two writes of a backup at work that tell of its nodes only. With a thousand nodes a status
/// has half a megabyte, and each node has some seven turns.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// Whether to write now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Now,
    After(Duration),
    Never,
}

/// Decides when `new` is written: a turn of the backup at once, turns and figures of its nodes now and
/// then. What is not written yet is found out again after a restart, from the agents.
pub(super) fn when(
    written: Option<&(CassandraBackupStatus, Instant)>,
    new: &CassandraBackupStatus,
    now: Instant,
) -> When {
    let Some((old, at)) = written else {
        return When::Now;
    };
    if old == new {
        return When::Never;
    }
    let reasons = |status: &CassandraBackupStatus| -> Vec<_> {
        let conditions = status.conditions.iter();
        conditions
            .map(|it| (it.type_.clone(), it.status.clone(), it.reason.clone()))
            .collect()
    };
    let turn = old.phase != new.phase
        || new.phase.is_some_and(BackupPhase::is_final)
        || old.observed_generation != new.observed_generation
        || old.nodes.len() != new.nodes.len()
        || reasons(old) != reasons(new);
    match INTERVAL.checked_sub(now.duration_since(*at)) {
        Some(rest) if !turn && !rest.is_zero() => When::After(rest),
        _ => When::Now,
    }
}

/// Writes the status of exactly this object: its uid keeps a namesake from being written to.
pub(super) async fn write(
    client: &Client,
    backup: &CassandraBackup,
    status: &CassandraBackupStatus,
) -> Result<(), kube::Error> {
    let namespace = backup.namespace().unwrap_or_default();
    let api: Api<CassandraBackup> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({
        "apiVersion": CassandraBackup::api_version(&()),
        "kind": CassandraBackup::kind(&()),
        "metadata": {"name": backup.name_any(), "uid": backup.uid()},
        "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch_status(&backup.name_any(), &parameters, &Patch::Apply(patch))
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nodes_wait_and_a_turn_of_the_backup_does_not() {
        let old = CassandraBackupStatus {
            phase: Some(BackupPhase::Uploading),
            ..CassandraBackupStatus::default()
        };
        let written = (old.clone(), Instant::now());
        assert_eq!(when(Some(&written), &old, Instant::now()), When::Never);
        let figures = CassandraBackupStatus {
            duration: Some("2s".into()),
            ..old.clone()
        };
        assert_eq!(
            when(Some(&written), &figures, Instant::now()),
            When::After(INTERVAL)
        );
        assert_eq!(
            when(Some(&written), &figures, Instant::now() + INTERVAL),
            When::Now
        );
        let turn = CassandraBackupStatus {
            phase: Some(BackupPhase::Succeeded),
            ..old
        };
        assert_eq!(when(Some(&written), &turn, Instant::now()), When::Now);
        assert_eq!(when(None, &turn, Instant::now()), When::Now);
        // Nobody comes back to a backup that has ended.
        let written = (turn.clone(), Instant::now());
        let swept = CassandraBackupStatus {
            duration: Some("3s".into()),
            ..turn
        };
        assert_eq!(when(Some(&written), &swept, Instant::now()), When::Now);
    }
}
