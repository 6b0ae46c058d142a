//! How a backup ended, once all its nodes have.

use crds::{BackupPhase, CassandraBackupStatus, NodePhase, NodeStatus};
use protocol::Reason;

use super::{coverage, ring};
use crate::ring::named;

/// Nodes that are named in a message.
const NAMED: usize = 5;

/// How a backup ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) phase: BackupPhase,
    pub(super) reason: String,
    pub(super) message: String,
}

/// How a backup ended; `None` while a node is still at work.
pub(super) fn verdict(status: &CassandraBackupStatus) -> Option<Verdict> {
    let mut verdict = of_nodes(status)?;
    let coverage = status.ring.as_ref().and_then(|ring| ring.coverage.as_ref());
    if let Some(coverage) = coverage
        && verdict.phase == BackupPhase::PartiallyFailed
    {
        verdict.message = format!("{}. {}", verdict.message, coverage::sentence(coverage));
    }
    Some(verdict)
}

fn of_nodes(status: &CassandraBackupStatus) -> Option<Verdict> {
    let nodes = &status.nodes;
    if nodes.is_empty() || !nodes.iter().all(|node| node.phase.is_final()) {
        return None;
    }
    let unsuccessful: Vec<_> = nodes
        .iter()
        .filter(|node| node.phase != NodePhase::Succeeded)
        .collect();
    let succeeded = nodes.len() - unsuccessful.len();
    if !unsuccessful.is_empty() {
        let phase = if unsuccessful
            .iter()
            .any(|node| node.phase == NodePhase::Cancelled)
        {
            BackupPhase::Cancelled
        } else if succeeded == 0 {
            BackupPhase::Failed
        } else {
            BackupPhase::PartiallyFailed
        };
        return Some(Verdict {
            phase,
            reason: common_reason(phase, &unsuccessful),
            message: described(&unsuccessful, status),
        });
    }
    Some(of_ring(status))
}

/// All selected nodes are backed up; whether they are the ring decides.
fn of_ring(status: &CassandraBackupStatus) -> Verdict {
    let nodes = status.nodes.len();
    let partially = |reason: Reason, message| Verdict {
        phase: BackupPhase::PartiallyFailed,
        reason: reason.to_string(),
        message,
    };
    let Some(ring) = status.ring.as_ref().filter(|ring| ring.members > 0) else {
        return partially(
            Reason::NodesIncomplete,
            "no node reported the ring, so that it is not known whether all of it is backed up"
                .into(),
        );
    };
    if ring.without_pod.is_empty() {
        return Verdict {
            phase: BackupPhase::Succeeded,
            reason: Reason::Succeeded.to_string(),
            message: match nodes {
                1 => "the node is backed up".into(),
                _ => format!("all {nodes} nodes are backed up"),
            },
        };
    }
    partially(
        Reason::NodeWithoutPod,
        format!(
            "{} of the ring's members have no pod among the selected ones: {}. Correct spec.cassandra.podSelector, or limit spec.datacenters",
            ring.without_pod.len(),
            named(&ring.without_pod, NAMED),
        ),
    )
}

fn common_reason(phase: BackupPhase, unsuccessful: &[&NodeStatus]) -> String {
    if phase == BackupPhase::Cancelled {
        return Reason::Cancelled.to_string();
    }
    let first = unsuccessful.first().and_then(|node| node.reason.clone());
    let same = unsuccessful.iter().all(|node| node.reason == first);
    match first {
        Some(reason) if same => reason,
        _ => Reason::NodesIncomplete.to_string(),
    }
}

fn described(unsuccessful: &[&NodeStatus], status: &CassandraBackupStatus) -> String {
    let all = status.nodes.len();
    let named: Vec<_> = unsuccessful
        .iter()
        .take(NAMED)
        .map(|node| {
            let reason = node.reason.as_deref().unwrap_or("Unknown");
            let message: String = node
                .message
                .as_deref()
                .unwrap_or_default()
                .chars()
                .take(400)
                .collect();
            format!("{}: {reason}: {message}", node.pod)
        })
        .collect();
    let without_pod = match ring::without_pod(status) {
        0 => String::new(),
        1 => "; 1 more member of the ring has no pod".into(),
        members => format!("; {members} more members of the ring have no pod"),
    };
    format!(
        "{} of {all} nodes are not backed up. {}{}{without_pod}",
        unsuccessful.len(),
        named.join("; "),
        and_more(unsuccessful.len())
    )
}

fn and_more(count: usize) -> String {
    match count.checked_sub(NAMED) {
        Some(more @ 1..) => format!("; and {more} more"),
        _ => String::new(),
    }
}
