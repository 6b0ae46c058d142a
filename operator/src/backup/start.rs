//! What a backup needs before it begins, and which nodes it begins with.

use std::time::Duration;

use crds::{
    AgentMode, CassandraBackup, CassandraBackupSpec, CassandraBackupStatus, NodePhase, NodeStatus,
    parse_quantity,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::core::Selector;
use protocol::Reason;

use crate::names;
use crate::pod::PodView;

/// Resources that are applied together do not all appear at once: so long, what is missing is
/// waited for.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// From the first request to the common snapshot: the agents are brought into the pods and connect
/// to Cassandra meanwhile.
const LEAD: Duration = Duration::from_secs(5);
/// More of it for each node: a thousand that have the agent are asked within 7 s where all of the cluster
/// has two cores. The agent that is brought into a pod is 20 MB, for 64 at a time.
const LEAD_PER_NODE: Duration = Duration::from_millis(10);
const LEAD_PER_INJECTION: Duration = Duration::from_millis(50);

/// A spec that was understood.
#[derive(Clone, Debug)]
pub(super) struct Validated {
    pub(super) selector: Selector,
    /// Bytes per second.
    pub(super) bandwidth: Option<u64>,
}

/// Why a backup does not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) reason: Reason,
    pub(super) message: String,
    /// Whether it may pass by itself.
    pub(super) passing: bool,
}

impl Obstacle {
    /// Whether to wait instead of giving up: for what is missing not for long, for one's turn as
    /// long as it takes.
    pub(super) fn is_waited_for(&self, within_grace: bool) -> bool {
        self.passing && (within_grace || self.reason == Reason::ClusterBusy)
    }
}

/// Understands what the schema could not check.
pub(super) fn validate(spec: &CassandraBackupSpec) -> Result<Validated, Obstacle> {
    let invalid = |message: String| Obstacle {
        reason: Reason::InvalidRequest,
        message,
        passing: false,
    };
    let selector = Selector::try_from(spec.cassandra.pod_selector.clone())
        .map_err(|error| invalid(format!("spec.cassandra.podSelector: {error}")))?;
    let bandwidth = spec
        .bandwidth_per_node
        .as_deref()
        .map(parse_quantity)
        .transpose();
    Ok(Validated {
        selector,
        bandwidth: bandwidth.map_err(|error| invalid(format!("spec.bandwidthPerNode: {error}")))?,
    })
}

/// The status of a backup that begins now with these pods.
pub(super) fn begin(
    backup: &CassandraBackup,
    pods: &[PodView],
    now: Timestamp,
) -> Result<CassandraBackupStatus, Obstacle> {
    let alive: Vec<_> = pods.iter().filter(|pod| !pod.ended).collect();
    if alive.is_empty() {
        return Err(Obstacle {
            reason: Reason::PodsNotFound,
            message: "no pod of this namespace matches spec.cassandra.podSelector".into(),
            passing: true,
        });
    }
    let uid = backup.uid().unwrap_or_default();
    let nodes = alive.iter().map(|pod| NodeStatus {
        pod: pod.name.clone(),
        pod_uid: None,
        container_id: None,
        host_id: None,
        datacenter: None,
        rack: None,
        cassandra_version: None,
        phase: NodePhase::Pending,
        reason: Some(Reason::Pending.to_string()),
        message: None,
        attempt: 1,
        run_id: names::run_id(&uid, &pod.name).to_string(),
        total: None,
        uploaded: None,
        reused: None,
        snapshot: None,
        turn_at: None,
        manifest: None,
        started_at: None,
        completed_at: None,
        last_seq: None,
        sweep_pending: false,
    });
    Ok(CassandraBackupStatus {
        backup_name: Some(name_in_storage(backup)),
        start_time: Some(Time(now)),
        snapshot_at: snapshot_at(&backup.spec, alive.len(), now),
        nodes: nodes.collect(),
        ..backup.status.clone().unwrap_or_default()
    })
}

/// The backup's name in the storage.
pub(crate) fn name_in_storage(backup: &CassandraBackup) -> String {
    let uid = backup.uid().unwrap_or_default();
    let chosen = backup.spec.backup_name.as_deref();
    names::backup_name(chosen, &backup.name_any(), &uid)
}

/// One node alone needs no appointment.
fn snapshot_at(spec: &CassandraBackupSpec, nodes: usize, now: Timestamp) -> Option<Time> {
    if !spec.start_together || nodes < 2 {
        return None;
    }
    let each = match spec.agent.mode {
        AgentMode::Inject => LEAD_PER_INJECTION,
        AgentMode::Container => LEAD_PER_NODE,
    };
    let lead = LEAD + each * u32::try_from(nodes).unwrap_or(u32::MAX);
    let lead = SignedDuration::try_from(lead).ok()?;
    now.checked_add(lead).ok().map(Time)
}

/// Whether what is missing should still be waited for.
pub(super) fn within_grace(backup: &CassandraBackup, now: Timestamp) -> bool {
    let Some(created) = backup.creation_timestamp() else {
        return true;
    };
    let age = now.duration_since(created.0);
    age < SignedDuration::try_from(GRACE).unwrap_or(SignedDuration::ZERO)
}
