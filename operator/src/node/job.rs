//! What the nodes of a backup or a restore have in common, and the requests that follow from it.

use std::sync::Arc;

use jiff::Timestamp;
use protocol::{
    BackupRequest, CqlAccess, Limits, Operation, Outcome, PROTOCOL_VERSION, Reason, Request,
    RestoreMode, RestoreRequest, RestoreStep, Scope,
};
use uuid::Uuid;

use super::fetched::{Fetched, Sharing};
use super::reach::Reach;
use super::state::Rings;
use crate::inject::Placed;

/// What the nodes of a backup or a restore have in common.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Name of the resource.
    pub(crate) resource: String,
    pub(crate) uid: String,
    pub(crate) reach: Reach,
    /// Cluster id in the storage.
    pub(crate) cluster: String,
    /// Name of the backup in the storage.
    pub(crate) backup: String,
    /// What is covered.
    pub(crate) scope: Scope,
    /// Bytes per second.
    pub(crate) bandwidth: Option<u64>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) work: Work,
    pub(crate) rings: Arc<Rings>,
    pub(crate) shared: Arc<Sharing>,
}

/// What is done.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Backup(Making),
    Restore(Restoring),
}

/// A backup is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Making {
    pub(crate) series: Option<String>,
    pub(crate) allow_corrupt: bool,
    pub(crate) snapshot_at: Option<Timestamp>,
    /// Whether nodes hold after their snapshot until it is their turn.
    pub(crate) hold: bool,
}

/// A step of a restore is done.
#[derive(Clone, Debug)]
pub(crate) struct Restoring {
    /// As `keyspace.table=keyspace.table`.
    pub(crate) renames: Vec<String>,
    pub(crate) mode: RestoreMode,
    pub(crate) step: RestoreStep,
    pub(crate) allow_degraded: bool,
    pub(crate) dry_run: bool,
}

/// Which run, and from where on it is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Telling {
    pub(crate) run_id: Uuid,
    pub(crate) attempt: u32,
    pub(crate) from_seq: u64,
    /// Whether it holds after its snapshot until it is told to go on.
    pub(crate) hold: bool,
    /// Whether it tells the ring.
    pub(crate) ring: bool,
}

impl Job {
    /// Whether nodes hold after their snapshot until it is their turn.
    pub(crate) fn holds(&self) -> bool {
        matches!(&self.work, Work::Backup(Making { hold: true, .. }))
    }

    /// What is missing of a success, which is then none.
    pub(crate) fn unproven(&self, outcome: &Outcome) -> Option<String> {
        let (lacks, what) = match &self.work {
            Work::Backup(_) => (outcome.manifest.is_none(), "a manifest"),
            Work::Restore(_) => (outcome.restore.is_none(), "what it restored"),
        };
        let lacks = lacks && outcome.reason == Reason::Succeeded;
        lacks.then(|| {
            format!(
                "the agent reported success without {what}: {}",
                outcome.message
            )
        })
    }

    /// The request for a node's share.
    pub(crate) fn request(
        &self,
        pod: &str,
        telling: Telling,
        placed: &Placed,
        fetched: &Fetched,
        now: Timestamp,
    ) -> Request {
        let limits = Limits {
            bandwidth: self.bandwidth,
            concurrency: None,
            deadline_seconds: self.deadline.map(|deadline| seconds_until(deadline, now)),
        };
        let cql = CqlAccess {
            port: port(self.reach.cassandra.cql.port, CqlAccess::default().port),
            credentials: fetched.cql.clone(),
            ..CqlAccess::default()
        };
        let operation = match &self.work {
            Work::Backup(making) => Operation::Backup(Box::new(BackupRequest {
                backup: self.backup.clone(),
                cluster: self.cluster.clone(),
                series: making.series.clone(),
                scope: self.scope.clone(),
                require_own_device: fetched.storage_spec.requires_own_device(),
                storage: fetched.storage.clone(),
                jmx: fetched.jmx.clone(),
                cql,
                pod: Some(pod.to_owned()),
                snapshot_at: making.snapshot_at,
                hold: telling.hold,
                without_ring: !telling.ring,
                limits,
                touch_after_seconds: 0,
                allow_corrupt: making.allow_corrupt,
            })),
            Work::Restore(restoring) => Operation::Restore(Box::new(RestoreRequest {
                backup: self.backup.clone(),
                cluster: self.cluster.clone(),
                storage: fetched.storage.clone(),
                jmx: fetched.jmx.clone(),
                cql,
                keyspaces: self.scope.keyspaces.clone(),
                tables: self.scope.tables.clone(),
                renames: restoring.renames.clone(),
                mode: restoring.mode,
                step: restoring.step,
                allow_degraded: restoring.allow_degraded,
                // Another resource that failed, or a command, may have begun the same or another one;
                // nobody else is at work on it now.
                anew: true,
                dry_run: restoring.dry_run,
                limits,
            })),
        };
        request(telling, placed, operation)
    }
}

/// A request to the agent that is placed there.
pub(crate) fn request(telling: Telling, placed: &Placed, operation: Operation) -> Request {
    Request {
        protocol: PROTOCOL_VERSION.into(),
        run_id: telling.run_id,
        attempt: telling.attempt,
        state_directory: placed.state_directory.clone(),
        from_seq: telling.from_seq,
        operation,
    }
}

/// A port of the spec; the schema allows no other than these.
fn port(port: i32, default: u16) -> u16 {
    u16::try_from(port).unwrap_or(default)
}

/// At least one second, since an agent without a deadline would never end.
fn seconds_until(deadline: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(deadline.duration_since(now).as_secs())
        .unwrap_or(0)
        .max(1)
}
