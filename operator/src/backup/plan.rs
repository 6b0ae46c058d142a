//! What to do next with a backup that has begun, from what is known of it. Nothing here waits or
//! talks to anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crds::{
    Amount, BackupPhase, CassandraBackupSpec, CassandraBackupStatus, NodePhase, NodeStatus,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use protocol::Reason;
use uuid::Uuid;

use super::coverage;
use super::ring;
use super::verdict::{Verdict, verdict};
use crate::conditions;
use crate::humane;
use crate::node::{Stop, deadline};

/// After so long, a node whose snapshot could not be removed is left alone; the agent's next run
/// there removes it.
const SWEEP_LIMIT: Duration = Duration::from_secs(3600);
/// Nodes that tell the ring. In a ring of a thousand, one that all tell is 150 MB.
const RING_TELLERS: usize = 30;

/// Whether the node at this place of so many tells the ring: some of each part of the list, since pods
/// of a rack lie beside each other.
pub(super) fn tells_ring(at: usize, nodes: usize) -> bool {
    at.is_multiple_of(nodes.div_ceil(RING_TELLERS).max(1))
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Follow the node's run.
    Follow { pod: String },
    /// Let the node's run go on after its snapshot.
    Proceed { pod: String },
    /// Tell the node's run to stop.
    Stop { pod: String, stop: Stop },
    /// Ask a node what the backup lacks without these members of the ring.
    Measure { pod: String, without: Vec<Uuid> },
    /// Remove leftover snapshots.
    Sweep { pod: String },
}

/// What to do next, and the status that goes with it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) status: CassandraBackupStatus,
    pub(super) actions: Vec<Action>,
}

/// Plans from the spec, the status with all reports folded in, the pods that are being worked on,
/// and the time.
pub(super) fn plan(
    spec: &CassandraBackupSpec,
    generation: Option<i64>,
    status: &CassandraBackupStatus,
    active: &BTreeSet<String>,
    now: Timestamp,
) -> Plan {
    let mut status = status.clone();
    status.observed_generation = generation;
    if status.phase.is_some_and(BackupPhase::is_final) {
        let actions = sweeps(&mut status, active, now);
        return Plan { status, actions };
    }
    let deadline = deadline(status.start_time.as_ref(), spec.active_deadline_seconds);
    let stop = Stop::due(spec.cancel, deadline, now);
    let mut actions = match stop {
        Some(stop) => stops(&mut status, active, stop, now),
        None => {
            let mut actions = follows(spec, &status, active);
            actions.extend(turns(spec, &mut status, now));
            actions
        }
    };
    summarize(&mut status, now);
    let verdict = verdict(&status);
    let asked = verdict
        .as_ref()
        .and_then(|verdict| coverage::whom_to_ask(&status, verdict));
    match (verdict, asked) {
        (Some(verdict), None) => end(&mut status, verdict, now),
        (Some(_), Some(pod)) => {
            let without = coverage::missing(&status);
            let message = format!("finding out what is lost without {} members", without.len());
            status.phase = Some(phase(&status.nodes));
            at_work(&mut status, Reason::Running, &message, now);
            if !active.contains(&pod) {
                actions.push(Action::Measure { pod, without });
            }
        }
        (None, _) => {
            status.phase = Some(phase(&status.nodes));
            let message = format!(
                "{} nodes are backed up",
                status.nodes_done.as_deref().unwrap_or("no")
            );
            at_work(&mut status, Reason::Running, &message, now);
        }
    }
    Plan { status, actions }
}

/// Nodes that never began end here; for the others the agent has to be told.
fn stops(
    status: &mut CassandraBackupStatus,
    active: &BTreeSet<String>,
    stop: Stop,
    now: Timestamp,
) -> Vec<Action> {
    let mut actions = Vec::new();
    for node in status
        .nodes
        .iter_mut()
        .filter(|node| !node.phase.is_final())
    {
        let pod = node.pod.clone();
        if active.contains(&pod) {
            actions.push(Action::Stop { pod, stop });
        } else if node.started_at.is_some() {
            // Found after a restart: what it does has to be found out before it can be stopped.
            actions.push(Action::Follow { pod: pod.clone() });
            actions.push(Action::Stop { pod, stop });
        } else {
            let (phase, reason) = match stop {
                Stop::Cancelled => (NodePhase::Cancelled, Reason::Cancelled),
                Stop::Deadline => (NodePhase::Failed, Reason::DeadlineExceeded),
            };
            node.phase = phase;
            node.reason = Some(reason.to_string());
            node.message = Some("its turn had not come".into());
            node.completed_at = Some(Time(now));
        }
    }
    actions
}

/// Nodes whose turn it is; those that began before come first.
fn follows(
    spec: &CassandraBackupSpec,
    status: &CassandraBackupStatus,
    active: &BTreeSet<String>,
) -> Vec<Action> {
    let at_once = match holds(spec, status) {
        true => usize::MAX,
        false => at_once(spec),
    };
    let mut waiting: Vec<_> = status
        .nodes
        .iter()
        .filter(|node| !node.phase.is_final() && !active.contains(&node.pod))
        .collect();
    waiting.sort_by_key(|node| node.phase == NodePhase::Pending);
    waiting
        .into_iter()
        .take(at_once.saturating_sub(active.len()))
        .map(|node| Action::Follow {
            pod: node.pod.clone(),
        })
        .collect()
}

/// How many nodes may upload at the same time.
fn at_once(spec: &CassandraBackupSpec) -> usize {
    spec.concurrent_nodes
        .and_then(|nodes| usize::try_from(nodes).ok())
        .unwrap_or(usize::MAX)
}

/// Whether nodes hold their snapshots until it is their turn to upload: all take theirs at the same
/// time, and not all may upload at the same time.
pub(super) fn holds(spec: &CassandraBackupSpec, status: &CassandraBackupStatus) -> bool {
    status.snapshot_at.is_some() && at_once(spec) < status.nodes.len()
}

/// Gives turns to nodes that hold, those first of whose racks the fewest upload: the replicas of a
/// rack's data are in other racks.
fn turns(
    spec: &CassandraBackupSpec,
    status: &mut CassandraBackupStatus,
    now: Timestamp,
) -> Vec<Action> {
    if !holds(spec, status) {
        return Vec::new();
    }
    let place = |node: &NodeStatus| (node.datacenter.clone(), node.rack.clone());
    let mut uploading: BTreeMap<_, usize> = BTreeMap::new();
    for node in &status.nodes {
        if node.turn_at.is_some() && !node.phase.is_final() {
            *uploading.entry(place(node)).or_default() += 1;
        }
    }
    let mut actions = Vec::new();
    for _ in uploading.values().sum()..at_once(spec) {
        let holding = status
            .nodes
            .iter_mut()
            .filter(|node| node.phase == NodePhase::Holding && node.turn_at.is_none());
        let Some(next) = holding.min_by_key(|node| uploading.get(&place(node)).copied()) else {
            break;
        };
        next.turn_at = Some(Time(now));
        *uploading.entry(place(next)).or_default() += 1;
        actions.push(Action::Proceed {
            pod: next.pod.clone(),
        });
    }
    actions
}

fn sweeps(
    status: &mut CassandraBackupStatus,
    active: &BTreeSet<String>,
    now: Timestamp,
) -> Vec<Action> {
    let limit = SignedDuration::try_from(SWEEP_LIMIT).unwrap_or(SignedDuration::ZERO);
    let over = status
        .completion_time
        .as_ref()
        .is_some_and(|ended| now.duration_since(ended.0) >= limit);
    let mut actions = Vec::new();
    for node in status.nodes.iter_mut().filter(|node| node.sweep_pending) {
        if over {
            node.sweep_pending = false;
        } else if !active.contains(&node.pod) {
            actions.push(Action::Sweep {
                pod: node.pod.clone(),
            });
        }
    }
    actions
}

/// The furthest that a node is.
fn phase(nodes: &[NodeStatus]) -> BackupPhase {
    nodes
        .iter()
        .map(|node| match node.phase {
            NodePhase::Planning
            | NodePhase::Uploading
            | NodePhase::Committing
            | NodePhase::Succeeded => 2,
            NodePhase::Snapshotting | NodePhase::Holding => 1,
            _ => i32::from(node.snapshot.is_some()),
        })
        .max()
        .map_or(BackupPhase::Preparing, |furthest| match furthest {
            2 => BackupPhase::Uploading,
            1 => BackupPhase::Snapshotting,
            _ => BackupPhase::Preparing,
        })
}

fn summarize(status: &mut CassandraBackupStatus, now: Timestamp) {
    let done = status
        .nodes
        .iter()
        .filter(|node| node.phase == NodePhase::Succeeded)
        .count();
    // A member of the ring without a pod is one that is not done.
    let all = status.nodes.len() + ring::without_pod(status);
    status.nodes_done = Some(format!("{done}/{all}"));
    let sum = |of: fn(&NodeStatus) -> Option<&Amount>| {
        let mut known = status.nodes.iter().filter_map(of).peekable();
        known.peek().is_some().then(|| humane::sum(known))
    };
    let total = sum(|node| node.total.as_ref());
    let uploaded = sum(|node| node.uploaded.as_ref());
    let reused = sum(|node| node.reused.as_ref());
    (status.total, status.uploaded, status.reused) = (total, uploaded, reused);
    let start = status.start_time.as_ref();
    status.duration = start.map(|start| humane::elapsed(start.0, now));
}

/// The conditions of a backup that goes on.
pub(super) fn at_work(
    status: &mut CassandraBackupStatus,
    reason: Reason,
    message: &str,
    now: Timestamp,
) {
    let why = (reason.as_str(), message);
    let generation = status.observed_generation;
    conditions::at_work(&mut status.conditions, why, generation, now);
}

/// The conditions of a backup that ended.
pub(super) fn end(status: &mut CassandraBackupStatus, verdict: Verdict, now: Timestamp) {
    let Verdict {
        phase,
        reason,
        message,
    } = verdict;
    status.phase = Some(phase);
    status.completion_time = Some(Time(now));
    let why = (reason.as_str(), message.as_str());
    let complete = phase == BackupPhase::Succeeded;
    let stalled = matches!(phase, BackupPhase::Failed | BackupPhase::PartiallyFailed);
    let generation = status.observed_generation;
    let conditions = &mut status.conditions;
    conditions::ended(conditions, complete, stalled, why, generation, now);
}
