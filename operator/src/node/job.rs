//! What the nodes of a backup have in common, and the requests that follow from it.

use std::sync::Arc;

use crds::{AgentMode, BackupStorageSpec, CassandraBackupSpec};
use jiff::Timestamp;
use protocol::{
    BackupRequest, CqlAccess, JmxAccess, Limits, Operation, PROTOCOL_VERSION, Password, Request,
    Scope, StorageAccess,
};
use uuid::Uuid;

use super::state::Rings;
use crate::inject::Placed;

/// What the nodes of a backup have in common.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) namespace: String,
    /// Name of the resource.
    pub(crate) resource: String,
    pub(crate) uid: String,
    pub(crate) spec: CassandraBackupSpec,
    /// Name of the backup in the storage.
    pub(crate) backup: String,
    /// Bytes per second.
    pub(crate) bandwidth: Option<u64>,
    pub(crate) snapshot_at: Option<Timestamp>,
    /// Whether nodes hold after their snapshot until it is their turn.
    pub(crate) hold: bool,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) rings: Arc<Rings>,
}

/// What a request needs that is fetched anew each time: storage, passwords.
pub(crate) struct Fetched {
    pub(crate) storage_spec: BackupStorageSpec,
    pub(crate) storage: StorageAccess,
    pub(crate) jmx: JmxAccess,
    pub(crate) cql: Option<Password>,
}

/// What proves to storage and Cassandra who asks, as its BLAKE3: to be compared, and small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Secrets(blake3::Hash);

impl Fetched {
    pub(super) fn secrets(&self) -> Secrets {
        let all = serde_json::to_vec(&(&self.storage, &self.jmx, &self.cql));
        // It cannot fail; then they would count as never exchanged.
        Secrets(blake3::hash(&all.unwrap_or_default()))
    }
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
    /// Of no backup, for what is done in a pod all the same.
    pub(super) fn of(namespace: &str, spec: &CassandraBackupSpec) -> Self {
        Self {
            namespace: namespace.to_owned(),
            resource: String::new(),
            uid: String::new(),
            spec: spec.clone(),
            backup: String::new(),
            bandwidth: None,
            snapshot_at: None,
            hold: false,
            deadline: None,
            rings: Arc::default(),
        }
    }

    /// The container that the agent works in.
    pub(crate) fn container(&self) -> Option<&str> {
        match self.spec.agent.mode {
            AgentMode::Inject => self.spec.cassandra.container.as_deref(),
            AgentMode::Container => self.spec.agent.container.as_deref(),
        }
    }

    /// The agent where the container already has it.
    pub(crate) fn present_agent(&self) -> Option<Placed> {
        match self.spec.agent.mode {
            AgentMode::Inject => None,
            AgentMode::Container => Some(Placed {
                path: self.spec.agent.path.clone(),
                state_directory: self
                    .spec
                    .agent
                    .directories
                    .first()
                    .map(|directory| format!("{directory}/state")),
            }),
        }
    }

    /// The request for a node's backup.
    pub(crate) fn backup_request(
        &self,
        pod: &str,
        telling: Telling,
        placed: &Placed,
        fetched: Fetched,
        now: Timestamp,
    ) -> Request {
        let spec = &self.spec;
        let require_own_device = fetched.storage_spec.requires_own_device();
        request(
            telling,
            placed,
            Operation::Backup(Box::new(BackupRequest {
                backup: self.backup.clone(),
                cluster: spec.cluster.clone(),
                series: spec.series.clone(),
                scope: Scope {
                    keyspaces: spec.keyspaces.clone(),
                    tables: spec.tables.clone(),
                    datacenters: spec.datacenters.clone(),
                },
                storage: fetched.storage,
                jmx: fetched.jmx,
                cql: CqlAccess {
                    port: port(spec.cassandra.cql.port, CqlAccess::default().port),
                    credentials: fetched.cql,
                    ..CqlAccess::default()
                },
                pod: Some(pod.to_owned()),
                snapshot_at: self.snapshot_at,
                hold: telling.hold,
                without_ring: !telling.ring,
                limits: Limits {
                    bandwidth: self.bandwidth,
                    concurrency: None,
                    deadline_seconds: self.deadline.map(|deadline| seconds_until(deadline, now)),
                },
                touch_after_seconds: 0,
                allow_corrupt: spec.allow_corrupt,
                require_own_device,
            })),
        )
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
