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
use crate::prerequisites::{self, Obstacle};

/// From the first request to the common snapshot: the agents are brought into the pods and connect
/// to Cassandra meanwhile.
const LEAD: Duration = Duration::from_secs(5);
/// More of it for each node: to ask a thousand that have the agent took 11 to 14 s where all of the cluster,
/// API server and agents too, had two cores. The agent that is brought into a pod is 20 MB, for 64 at a time.
const LEAD_PER_NODE: Duration = Duration::from_millis(10);
const LEAD_PER_INJECTION: Duration = Duration::from_millis(50);

/// A spec that was understood.
#[derive(Clone, Debug)]
pub(super) struct Validated {
    pub(super) selector: Selector,
    /// Bytes per second.
    pub(super) bandwidth: Option<u64>,
}

/// Understands what the schema could not check.
pub(super) fn validate(spec: &CassandraBackupSpec) -> Result<Validated, Obstacle> {
    let selector = prerequisites::selector(&spec.cassandra)?;
    let bandwidth = spec
        .bandwidth_per_node
        .as_deref()
        .map(parse_quantity)
        .transpose();
    Ok(Validated {
        selector,
        bandwidth: bandwidth
            .map_err(|error| Obstacle::invalid(format!("spec.bandwidthPerNode: {error}")))?,
    })
}

/// The status of a backup that begins now with these pods.
pub(super) fn begin(
    backup: &CassandraBackup,
    pods: &[PodView],
    now: Timestamp,
) -> Result<CassandraBackupStatus, Obstacle> {
    let selector = prerequisites::selector(&backup.spec.cassandra)?;
    let alive = prerequisites::alive(pods, &selector)?;
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
        turned_away: None,
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
