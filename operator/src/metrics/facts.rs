//! What the metrics of a cluster need to know of its backups. Nothing here is shown.

use std::collections::BTreeSet;

use crds::{BackupPhase, CassandraBackup, CassandraBackupStatus, NodePhase};
use jiff::Timestamp;
use kube::ResourceExt;

/// A stage of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stage {
    pub(super) pod: String,
    pub(super) phase: String,
}

/// One backup.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Facts {
    pub(super) cluster: String,
    /// Where its nodes are, while it is at work.
    pub(super) stages: BTreeSet<Stage>,
    ended: Option<Ended>,
}

#[derive(Clone, Debug, PartialEq)]
struct Ended {
    /// It was found in a storage: somebody made it, and nothing of it is news.
    found: bool,
    phase: BackupPhase,
    at: Timestamp,
    /// Seconds.
    lasted: f64,
    recovery_point: Option<Timestamp>,
}

impl Facts {
    pub(super) fn of(backup: &CassandraBackup, status: &CassandraBackupStatus) -> Self {
        let ended = ended(backup, status);
        let stage = |(pod, phase): (&String, NodePhase)| Stage {
            pod: pod.clone(),
            phase: format!("{phase:?}"),
        };
        let nodes = status.nodes.iter().filter(|_| ended.is_none());
        Self {
            cluster: backup.spec.cluster.clone(),
            stages: nodes.map(|node| stage((&node.pod, node.phase))).collect(),
            ended,
        }
    }
}

fn ended(backup: &CassandraBackup, status: &CassandraBackupStatus) -> Option<Ended> {
    let phase = status.phase.filter(|phase| phase.is_final())?;
    let end = status.completion_time.as_ref().map(|time| time.0);
    let start = status.start_time.as_ref().map(|time| time.0);
    // One that never began ended without an end.
    let at = end.or_else(|| backup.creation_timestamp().map(|time| time.0))?;
    Some(Ended {
        found: backup.spec.imported,
        phase,
        at,
        lasted: start.map_or(0.0, |start| at.duration_since(start).as_secs_f64()),
        recovery_point: recovery_point(backup, status),
    })
}

/// What was written before is in the backup: its first snapshot. A backup of some keyspaces or
/// tables is none to recover a cluster with.
fn recovery_point(backup: &CassandraBackup, status: &CassandraBackupStatus) -> Option<Timestamp> {
    let whole = backup.spec.keyspaces.is_empty() && backup.spec.tables.is_empty();
    if !whole || status.phase != Some(BackupPhase::Succeeded) {
        return None;
    }
    let snapshots = status
        .nodes
        .iter()
        .filter_map(|node| node.snapshot.as_ref());
    let first = snapshots.map(|snapshot| snapshot.started_at.0).min();
    first.or(status.start_time.as_ref().map(|time| time.0))
}

/// What all backups of a cluster say together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Summary {
    /// Phase and seconds of the backup that ended last, of those that were made here.
    pub(super) last: Option<(BackupPhase, f64)>,
    pub(super) last_success: Option<Timestamp>,
    pub(super) recovery_point: Option<Timestamp>,
}

impl Summary {
    pub(super) fn of<'a>(backups: impl Iterator<Item = &'a Facts>) -> Self {
        // One that was deleted from the storage says nothing any more.
        let ended: Vec<_> = backups
            .filter_map(|facts| facts.ended.as_ref())
            .filter(|ended| ended.phase != BackupPhase::Expired)
            .collect();
        let made = ended.iter().filter(|ended| !ended.found);
        let last = made.max_by_key(|ended| ended.at);
        let succeeded = |ended: &&&Ended| ended.phase == BackupPhase::Succeeded;
        Self {
            last: last.map(|ended| (ended.phase, ended.lasted)),
            last_success: ended.iter().filter(succeeded).map(|ended| ended.at).max(),
            recovery_point: ended.iter().filter_map(|ended| ended.recovery_point).max(),
        }
    }
}
