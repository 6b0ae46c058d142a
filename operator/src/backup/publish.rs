//! Writing the status.

use std::time::Duration;

use crds::{CassandraBackup, CassandraBackupStatus};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use crate::FIELD_MANAGER;

/// Between two writes that tell only new figures.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// Whether to write now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Now,
    After(Duration),
    Never,
}

/// Decides when `new` is written: a turn at once, figures now and then.
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
    let turn = old.phase != new.phase
        || old.observed_generation != new.observed_generation
        || old.conditions != new.conditions
        || old.nodes.len() != new.nodes.len()
        || old.warnings.len() != new.warnings.len()
        || old.nodes.iter().zip(&new.nodes).any(|(old, new)| {
            (old.phase, &old.reason, old.attempt, old.sweep_pending)
                != (new.phase, &new.reason, new.attempt, new.sweep_pending)
        });
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
    use crds::BackupPhase;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn figures_wait_and_a_turn_does_not() {
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
    }
}
