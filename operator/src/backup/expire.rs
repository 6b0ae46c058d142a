//! A backup whose data is no more.

use crds::{BackupPhase, CassandraBackup, CassandraBackupStatus};
use jiff::Timestamp;
use kube::Resource;
use protocol::Reason;

use super::verdict;
use crate::conditions::{self, Is};
use crate::context::Context;
use crate::{publish, rehearsal};

/// Says in the resource's status that its backup is no more.
pub(crate) async fn expire(
    context: &Context,
    backup: &CassandraBackup,
    message: &str,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let old = backup.status.clone().unwrap_or_default();
    let new = expired(&old, backup.meta().generation, message, now);
    publish::write(&context.client, backup, &new).await?;
    context.metrics.observe(backup, Some(&old), &new);
    Ok(())
}

/// The status of a backup that is no more. When it ended stays as it was.
fn expired(
    status: &CassandraBackupStatus,
    generation: Option<i64>,
    message: &str,
    now: Timestamp,
) -> CassandraBackupStatus {
    let mut status = status.clone();
    rehearsal::leave_out(&mut status);
    status.phase = Some(BackupPhase::Expired);
    let why = (Reason::Expired.as_str(), message);
    let all = &mut status.conditions;
    conditions::set(all, "Complete", Is::False, why, generation, now);
    conditions::set(all, "Reconciling", Is::False, why, generation, now);
    // It went as it was meant to.
    conditions::set(all, "Stalled", Is::False, why, generation, now);
    status
}

/// Whether the backup was whole when it ended, whatever became of it since.
pub(crate) fn was_whole(status: &CassandraBackupStatus) -> bool {
    match status.phase {
        Some(BackupPhase::Expired) => {
            verdict::verdict(status).is_some_and(|verdict| verdict.phase == BackupPhase::Succeeded)
        }
        phase => phase == Some(BackupPhase::Succeeded),
    }
}
