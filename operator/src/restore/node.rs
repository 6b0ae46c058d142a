//! A node's share of a restore: what its status says of a run, and what a run says of it.

use crds::{
    CassandraRestore, NodePhase, NodeStatus, RehearsedStatus, RestoreNodePhase, RestoreNodeStatus,
    RestorePlanStatus, RestoreStep,
};
use kube::ResourceExt;
use protocol::{Reason, Rehearsed, RestorePlan, Tally};
use uuid::Uuid;

use crate::humane;
use crate::names;
use crate::node::NodeReport;

/// Tables that a status names.
const NAMED: usize = 20;

/// Id of the run of a step.
pub(super) fn run_id(restore: &CassandraRestore, pod: &str, step: RestoreStep) -> Uuid {
    let uid = restore.uid().unwrap_or_default();
    names::step_run_id(&uid, pod, &format!("{step:?}"))
}

/// A node that nothing is known of, before a step.
pub(super) fn at(restore: &CassandraRestore, pod: &str, step: RestoreStep) -> RestoreNodeStatus {
    RestoreNodeStatus {
        pod: pod.to_owned(),
        pod_uid: None,
        container_id: None,
        host_id: None,
        datacenter: None,
        rack: None,
        cassandra_version: None,
        step,
        phase: RestoreNodePhase::Pending,
        reason: Some(Reason::Pending.to_string()),
        message: None,
        attempt: 1,
        turned_away: None,
        run_id: run_id(restore, pod, step).to_string(),
        plan: None,
        fetched: None,
        started_at: None,
        completed_at: None,
        last_seq: None,
    }
}

/// Moves the node on to a step.
pub(super) fn move_on(restore: &CassandraRestore, node: &mut RestoreNodeStatus, step: RestoreStep) {
    let before = std::mem::replace(node, at(restore, &node.pod, step));
    *node = RestoreNodeStatus {
        pod_uid: before.pod_uid,
        host_id: before.host_id,
        datacenter: before.datacenter,
        rack: before.rack,
        cassandra_version: before.cassandra_version,
        plan: before.plan,
        fetched: before.fetched,
        ..node.clone()
    };
}

/// The node as the run of its present step takes it up.
pub(super) fn as_run(node: &RestoreNodeStatus) -> NodeStatus {
    NodeStatus {
        pod: node.pod.clone(),
        pod_uid: node.pod_uid.clone(),
        container_id: node.container_id.clone(),
        host_id: node.host_id.clone(),
        datacenter: node.datacenter.clone(),
        rack: node.rack.clone(),
        cassandra_version: node.cassandra_version.clone(),
        phase: match node.phase {
            RestoreNodePhase::Pending => NodePhase::Pending,
            RestoreNodePhase::Waiting => NodePhase::Waiting,
            RestoreNodePhase::Running => NodePhase::Preparing,
            RestoreNodePhase::Succeeded => NodePhase::Succeeded,
            RestoreNodePhase::Failed => NodePhase::Failed,
            RestoreNodePhase::Cancelled => NodePhase::Cancelled,
        },
        reason: node.reason.clone(),
        message: node.message.clone(),
        attempt: node.attempt,
        turned_away: node.turned_away,
        run_id: node.run_id.clone(),
        total: None,
        uploaded: None,
        reused: None,
        snapshot: None,
        turn_at: None,
        manifest: None,
        started_at: node.started_at.clone(),
        completed_at: node.completed_at.clone(),
        last_seq: node.last_seq,
        sweep_pending: false,
    }
}

/// Takes over what the run of the present step says.
pub(super) fn take_over(node: &mut RestoreNodeStatus, report: &NodeReport) {
    let said = &report.node;
    node.pod_uid.clone_from(&said.pod_uid);
    node.container_id.clone_from(&said.container_id);
    node.host_id.clone_from(&said.host_id);
    node.datacenter.clone_from(&said.datacenter);
    node.rack.clone_from(&said.rack);
    node.cassandra_version.clone_from(&said.cassandra_version);
    node.phase = match said.phase {
        NodePhase::Pending => RestoreNodePhase::Pending,
        NodePhase::Waiting => RestoreNodePhase::Waiting,
        NodePhase::Succeeded => RestoreNodePhase::Succeeded,
        NodePhase::Failed => RestoreNodePhase::Failed,
        NodePhase::Cancelled => RestoreNodePhase::Cancelled,
        _ => RestoreNodePhase::Running,
    };
    node.reason.clone_from(&said.reason);
    node.message.clone_from(&said.message);
    node.attempt = said.attempt;
    node.turned_away = said.turned_away;
    node.started_at.clone_from(&said.started_at);
    node.completed_at.clone_from(&said.completed_at);
    node.last_seq = said.last_seq;
    // Only who loads fetches, and only who plans says what will be imported.
    if node.step == RestoreStep::Load && report.fetched.is_some() {
        node.fetched.clone_from(&report.fetched);
    }
    if node.step == RestoreStep::Plan
        && let Some(plan) = &report.plan
    {
        node.plan = Some(in_status(plan));
    }
}

/// What was found in a rehearsal, as a status has it.
pub(super) fn found(rehearsed: &Rehearsed) -> RehearsedStatus {
    RehearsedStatus {
        tables: count(rehearsed.tables),
        sstables: count(rehearsed.sstables),
        partitions: count(rehearsed.partitions),
        rows: count(rehearsed.rows),
        keys: count(rehearsed.keys),
        unrecorded: count(rehearsed.unrecorded),
    }
}

/// The same, as the agent told it.
pub(super) fn as_told(status: &RehearsedStatus) -> Rehearsed {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Rehearsed {
        tables: count(status.tables),
        sstables: count(status.sstables),
        partitions: count(status.partitions),
        rows: count(status.rows),
        keys: count(status.keys),
        unrecorded: count(status.unrecorded),
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn in_status(plan: &RestorePlan) -> RestorePlanStatus {
    RestorePlanStatus {
        tables: count(plan.tables),
        sstables: count(plan.sstables),
        total: humane::amount(Tally {
            files: plan.files,
            bytes: plan.bytes,
        }),
        peak: humane::size(plan.peak_bytes),
        free: humane::size(plan.free_bytes),
        statements: count(plan.statements),
        degraded_ranges: count(plan.degraded_ranges),
        not_empty: plan.not_empty.iter().take(NAMED).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_often_a_step_was_turned_away_outlives_the_operator_and_not_the_step() {
        let restore: CassandraRestore = serde_json::from_value(json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraRestore",
            "metadata": {"name": "back", "namespace": "shop", "uid": "u"},
            "spec": {
                "cluster": "prod", "storage": {"name": "main"}, "backup": {"name": "b1"},
                "mode": "Merge",
                "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
            },
        }))
        .unwrap();
        let mut node = at(&restore, "c-0", RestoreStep::Plan);
        let mut run = as_run(&node);
        (run.attempt, run.turned_away) = (3, Some(2));
        let said = NodeReport {
            node: run,
            ring: None,
            warnings: Vec::new(),
            fetched: None,
            plan: None,
            rehearsed: None,
        };
        take_over(&mut node, &said);
        assert_eq!((node.attempt, node.turned_away), (3, Some(2)));
        assert_eq!(as_run(&node).turned_away, Some(2));
        move_on(&restore, &mut node, RestoreStep::Load);
        assert_eq!((node.attempt, node.turned_away), (1, None));
    }
}
