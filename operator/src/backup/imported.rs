//! A backup that was found in a storage: nothing is done for it, and its status is what its manifests
//! say.

use crds::{
    BackupPhase, CassandraBackup, CassandraBackupStatus, MemberWithoutPod, NodePhase, NodeStatus,
    RingStatus, SnapshotStatus,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use protocol::{BackupFound, NodeFound, Reason};

use crate::conditions::{self, Is};
use crate::context::Context;
use crate::publish;

/// Says in the resource's status what was found.
pub(crate) async fn imported(
    context: &Context,
    backup: &CassandraBackup,
    found: &BackupFound,
    now: Timestamp,
) -> Result<(), kube::Error> {
    let status = status(found, backup.meta().generation, now);
    publish::write(&context.client, backup, &status).await?;
    context.metrics.show(backup, &status);
    Ok(())
}

fn status(found: &BackupFound, generation: Option<i64>, now: Timestamp) -> CassandraBackupStatus {
    let (nodes, missing) = (found.nodes.len(), found.missing.len());
    let all = nodes + missing;
    let (phase, reason, message) = if missing == 0 {
        (
            BackupPhase::Succeeded,
            Reason::Succeeded,
            format!("found in the storage, with a manifest of each of its {all} nodes"),
        )
    } else {
        (
            BackupPhase::PartiallyFailed,
            Reason::NodesIncomplete,
            format!(
                "found in the storage, with manifests that can be read of {nodes} of its {all} nodes; status.ring names the others"
            ),
        )
    };
    let begun = found.nodes.iter().map(|node| node.snapshot.started_at);
    // What is known of its end. The time of its manifests is that of a copy where it was copied.
    let ended = found.nodes.iter().map(|node| node.snapshot.ended_at);
    let mut conditions = Vec::new();
    let why = (reason.as_str(), message.as_str());
    let whole = phase == BackupPhase::Succeeded;
    conditions::set(
        &mut conditions,
        "Complete",
        whole.into(),
        why,
        generation,
        now,
    );
    for other in ["Reconciling", "Stalled"] {
        conditions::set(&mut conditions, other, Is::False, why, generation, now);
    }
    CassandraBackupStatus {
        observed_generation: generation,
        phase: Some(phase),
        backup_name: Some(found.backup.clone()),
        start_time: begun.min().map(Time),
        completion_time: ended.max().map(Time),
        nodes_done: Some(format!("{nodes}/{all}")),
        nodes: found.nodes.iter().map(node).collect(),
        ring: Some(RingStatus {
            members: i64::try_from(all).unwrap_or(i64::MAX),
            without_pod: found.missing.iter().map(without_manifest).collect(),
            coverage: None,
        }),
        conditions,
        ..CassandraBackupStatus::default()
    }
}

fn node(found: &NodeFound) -> NodeStatus {
    let host_id = found.node.host_id.to_string();
    NodeStatus {
        pod: found.pod.clone().unwrap_or_else(|| host_id.clone()),
        pod_uid: None,
        container_id: None,
        host_id: Some(host_id),
        datacenter: Some(found.node.datacenter.clone()),
        rack: Some(found.node.rack.clone()),
        cassandra_version: Some(found.node.cassandra_version.clone()),
        phase: NodePhase::Succeeded,
        reason: Some(Reason::Succeeded.to_string()),
        message: None,
        // A manifest does not say: whoever deletes it counts with one that nobody heard the end of.
        attempt: 0,
        turned_away: None,
        run_id: found.run_id.to_string(),
        total: None,
        uploaded: None,
        reused: None,
        snapshot: Some(SnapshotStatus {
            started_at: Time(found.snapshot.started_at),
            ended_at: Time(found.snapshot.ended_at),
            late_milliseconds: None,
        }),
        turn_at: None,
        manifest: Some(found.manifest.clone()),
        started_at: None,
        completed_at: None,
        last_seq: None,
        sweep_pending: false,
    }
}

fn without_manifest(host_id: &uuid::Uuid) -> MemberWithoutPod {
    MemberWithoutPod {
        host_id: host_id.to_string(),
        address: String::new(),
        datacenter: String::new(),
        rack: String::new(),
    }
}
