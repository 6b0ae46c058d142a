//! What follows from how far the nodes are with the present step.

use crds::{
    CassandraRestoreSpec, CassandraRestoreStatus, RestoreNodePhase, RestoreNodeStatus,
    RestorePhase, RestoreStep,
};
use protocol::Reason;

use super::node;
use super::plan::participants;
use crate::humane;
use crate::prerequisites::Obstacle;
use crate::ring;

/// Nodes that are named in a message.
const NAMED: usize = 5;
/// Of the message of each.
const LONGEST: usize = 1024;

/// How a restore ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) phase: RestorePhase,
    pub(super) reason: String,
    pub(super) message: String,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nodes are at work.
    Wait,
    /// The next step.
    Step(RestoreStep),
    End(Verdict),
}

/// What follows from how far the nodes are.
pub(super) fn next(spec: &CassandraRestoreSpec, status: &CassandraRestoreStatus) -> Next {
    let taking = participants(status);
    if !taking.iter().all(|node| node.phase.is_final()) {
        return Next::Wait;
    }
    let failed: Vec<_> = taking
        .iter()
        .filter(|node| node.phase != RestoreNodePhase::Succeeded)
        .collect();
    if !failed.is_empty() {
        return Next::End(of_failed(status, &failed));
    }
    match status.phase {
        Some(RestorePhase::Planning) => after_planning(spec, status),
        Some(RestorePhase::Preparing) => Next::Step(RestoreStep::Load),
        Some(RestorePhase::Loading) => Next::Step(RestoreStep::Finish),
        _ => Next::End(ended(
            RestorePhase::Succeeded,
            Reason::Succeeded,
            restored(status),
        )),
    }
}

/// All that take part know what they import.
fn after_planning(spec: &CassandraRestoreSpec, status: &CassandraRestoreStatus) -> Next {
    // The others join once it is known which backup is meant.
    if participants(status).len() < status.nodes.len() {
        return Next::Wait;
    }
    let without_pod = status.ring.as_ref().map(|ring| ring.without_pod.as_slice());
    let failed = |reason, message| Next::End(ended(RestorePhase::Failed, reason, message));
    match without_pod {
        None => failed(
            Reason::NodesIncomplete,
            "nothing was changed: no node told the ring, so that it is not known whether all of it was selected".into(),
        ),
        Some(without_pod @ [_, ..]) => failed(
            Reason::NodeWithoutPod,
            format!(
                "nothing was changed: {} of the ring's members have no pod among the selected ones, and would not get their share: {}. Correct spec.cassandra.podSelector",
                without_pod.len(),
                ring::named(without_pod, NAMED)
            ),
        ),
        Some([]) if spec.dry_run => {
            let message = format!("nothing was changed; would restore {}", what(status));
            Next::End(ended(RestorePhase::Planned, Reason::Succeeded, message))
        }
        Some([]) => Next::Step(RestoreStep::Prepare),
    }
}

fn of_failed(status: &CassandraRestoreStatus, failed: &[&RestoreNodeStatus]) -> Verdict {
    let cancelled = failed
        .iter()
        .any(|node| node.phase == RestoreNodePhase::Cancelled);
    let becomes_of = match status.phase {
        Some(RestorePhase::Planning) => "nothing was changed",
        Some(RestorePhase::Preparing) => "nothing was imported",
        Some(RestorePhase::Loading) => {
            "the tables have what was imported so far; a new CassandraRestore begins anew"
        }
        _ => {
            "all rows are imported, but indexes and views may be missing; a new CassandraRestore begins anew"
        }
    };
    let named = failed.iter().take(NAMED).map(|node| {
        let reason = node.reason.as_deref().unwrap_or("Unknown");
        let message = node.message.as_deref().unwrap_or_default();
        format!(
            "{}: {reason}: {}",
            node.pod,
            humane::shortened(message, LONGEST)
        )
    });
    let named = named.collect::<Vec<_>>().join("; ");
    let (phase, reason) = match cancelled {
        true => (RestorePhase::Cancelled, Reason::Cancelled.to_string()),
        false => {
            let first = failed.first().and_then(|node| node.reason.clone());
            let same = failed.iter().all(|node| node.reason == first);
            let common = first.filter(|_| same);
            let common = common.unwrap_or_else(|| Reason::NodesIncomplete.to_string());
            (RestorePhase::Failed, common)
        }
    };
    Verdict {
        phase,
        reason,
        message: format!("{becomes_of}. {named}"),
    }
}

/// What was restored, in words.
fn restored(status: &CassandraRestoreStatus) -> String {
    let warnings = match status.warnings.len() {
        0 => String::new(),
        _ => "; see the warnings".to_owned(),
    };
    let rehearsed = status.rehearsed.as_ref().map(node::as_told);
    let rehearsed = rehearsed.map_or_else(String::new, |it| format!("; {it}"));
    format!("restored {}{rehearsed}{warnings}", what(status))
}

fn what(status: &CassandraRestoreStatus) -> String {
    let plan = status.plan.clone().unwrap_or_default();
    let taken = status.snapshot_time.as_ref();
    let taken = taken.map_or_else(String::new, |time| format!(", taken {:.0}", time.0));
    format!(
        "{}, {}, from backup {}{taken}, on {}",
        humane::count(usize::try_from(plan.tables).unwrap_or(0), "table"),
        plan.total.size,
        status.backup_name.as_deref().unwrap_or_default(),
        humane::count(status.nodes.len(), "node")
    )
}

fn ended(phase: RestorePhase, reason: Reason, message: String) -> Verdict {
    Verdict {
        phase,
        reason: reason.to_string(),
        message,
    }
}

pub(super) fn cancelled_before_it_began() -> Verdict {
    let message = "cancelled before it began".into();
    ended(RestorePhase::Cancelled, Reason::Cancelled, message)
}

/// What it needs is not there.
pub(super) fn of_obstacle(obstacle: Obstacle) -> Verdict {
    ended(RestorePhase::Failed, obstacle.reason, obstacle.message)
}
