//! What is shown of restores and rehearsals, for each cluster of which the backup is.

use crds::{CassandraBackup, CassandraRestore, CassandraRestoreStatus, RestoreMode, RestorePhase};
use kube::ResourceExt;
use protocol::Reason;

use super::Metrics;
use super::labels::Cluster;

/// Phases that a restore ends in.
const ENDS: [RestorePhase; 4] = [
    RestorePhase::Planned,
    RestorePhase::Succeeded,
    RestorePhase::Failed,
    RestorePhase::Cancelled,
];

impl Metrics {
    /// Counts a restore that has ended, unless it is a rehearsal's, or was to change nothing.
    pub(crate) fn restored(
        &self,
        restore: &CassandraRestore,
        old: Option<&CassandraRestoreStatus>,
        new: &CassandraRestoreStatus,
    ) {
        let ended = new.phase.filter(|phase| phase.is_final());
        let known = old.and_then(|old| old.phase) == ended;
        let Some(phase) = ended.filter(|_| {
            !known && restore.spec.mode != RestoreMode::Rehearse && !restore.spec.dry_run
        }) else {
            return;
        };
        let of = Cluster {
            namespace: restore.namespace().unwrap_or_default(),
            cluster: restore.spec.cluster.clone(),
        };
        let result = of.with(&format!("{phase:?}"));
        self.restores.get_or_create(&result).inc();
        let fetched = new.fetched.as_ref().map_or(0, |amount| amount.bytes);
        let fetched = u64::try_from(fetched).unwrap_or(0);
        self.restored_bytes.get_or_create(&of).inc_by(fetched);
    }

    /// Counts a rehearsal that has ended, for this reason.
    pub(crate) fn rehearsed(&self, backup: &CassandraBackup, reason: &str) {
        let of = Cluster {
            namespace: backup.namespace().unwrap_or_default(),
            cluster: backup.spec.cluster.clone(),
        };
        self.rehearsals.get_or_create(&of.with(reason)).inc();
    }

    /// Shows nothing any more of a cluster.
    pub(super) fn forget_restores(&self, of: &Cluster) {
        for phase in ENDS {
            self.restores.remove(&of.with(&format!("{phase:?}")));
        }
        for reason in Reason::ALL {
            self.rehearsals.remove(&of.with(reason.as_str()));
        }
        self.restored_bytes.remove(of);
    }
}
