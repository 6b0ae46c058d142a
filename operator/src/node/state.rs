//! What a run says, folded into the node's status.

use std::sync::{Arc, Mutex, PoisonError};

use crds::{Amount, NodePhase, NodeStatus, NodeWarning, SnapshotStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use protocol::{
    Event, EventKind, NodeIdentity, Outcome, Phase, Progress, Reason, Rehearsed, RestorePlan,
    RingMember,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Pace;
use crate::humane::{self, amount};

/// Messages are cut here; they come from elsewhere and end up in a status.
const LONGEST_MESSAGE: usize = 1024;

/// All that is known of a node's run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeReport {
    pub(crate) node: NodeStatus,
    /// The ring, once a result told it.
    pub(crate) ring: Option<Ring>,
    pub(crate) warnings: Vec<NodeWarning>,
    /// Of a restore: what is fetched, or was there.
    pub(crate) fetched: Option<Amount>,
    /// Of a restore: what is restored, once that is known.
    pub(crate) plan: Option<Box<RestorePlan>>,
    /// Of a rehearsal: what was found.
    pub(crate) rehearsed: Option<Rehearsed>,
}

/// The members of a ring, by host id. Nodes that see the same one share it.
pub(crate) type Ring = Arc<[RingMember]>;

/// The ring that nodes of a backup told last: a thousand of them tell it a thousand times.
#[derive(Debug, Default)]
pub(crate) struct Rings(Mutex<Option<Ring>>);

impl Rings {
    /// The ring as a node told it, if it told one.
    pub(super) fn shared(&self, told: &[RingMember]) -> Option<Ring> {
        if told.is_empty() {
            return None;
        }
        let mut sorted: Vec<&RingMember> = told.iter().collect();
        sorted.sort_by_key(|member| member.host_id);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(ring) if ring.iter().eq(sorted.iter().copied()) => Some(Arc::clone(ring)),
            _ => {
                let ring: Ring = sorted.into_iter().cloned().collect();
                *last = Some(Arc::clone(&ring));
                Some(ring)
            }
        }
    }
}

/// Tells the rest of the operator what a run says.
pub(crate) struct Reporter {
    sender: watch::Sender<NodeReport>,
    wake: Box<dyn Fn() + Send + Sync>,
    pace: Pace,
    woken: Option<Instant>,
}

impl Reporter {
    /// `wake` is called when the status should be written anew.
    pub(crate) fn new(
        node: NodeStatus,
        pace: Pace,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> (Self, watch::Receiver<NodeReport>) {
        let (sender, receiver) = watch::channel(NodeReport {
            node,
            ring: None,
            warnings: Vec::new(),
            fetched: None,
            plan: None,
            rehearsed: None,
        });
        let reporter = Self {
            sender,
            wake,
            pace,
            woken: None,
        };
        (reporter, receiver)
    }

    pub(crate) fn node(&self) -> NodeStatus {
        self.sender.borrow().node.clone()
    }

    /// Whether the agent warned for this reason.
    pub(crate) fn warned(&self, reason: Reason) -> bool {
        let report = self.sender.borrow();
        report
            .warnings
            .iter()
            .any(|warning| warning.reason == reason.as_str())
    }

    /// Changes the report. A new phase or reason is told at once, figures now and then.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut NodeReport)) {
        let key = |report: &NodeReport| {
            (
                report.node.phase,
                report.node.reason.clone(),
                report.node.attempt,
                report.warnings.len(),
            )
        };
        let before = key(&self.sender.borrow());
        self.sender.send_modify(change);
        let urgent = key(&self.sender.borrow()) != before;
        let due = self
            .woken
            .is_none_or(|woken| woken.elapsed() >= self.pace.progress);
        if urgent || due {
            self.woken = Some(Instant::now());
            (self.wake)();
        }
    }

    /// The node waits, for the reason given.
    pub(crate) fn waiting(&mut self, reason: Reason, message: String) {
        self.change(|report| {
            report.node.phase = NodePhase::Waiting;
            report.node.reason = Some(reason.to_string());
            report.node.message = Some(shortened(&message));
        });
    }

    /// The node's share has ended.
    pub(crate) fn finish(&mut self, phase: NodePhase, reason: Reason, message: &str, sweep: bool) {
        self.change(|report| {
            let node = &mut report.node;
            node.phase = phase;
            node.reason = Some(reason.to_string());
            node.message = Some(shortened(message));
            node.completed_at = Some(Time(Timestamp::now()));
            node.sweep_pending = sweep;
        });
    }
}

/// Folds one event of the agent into the report.
pub(crate) fn apply(event: &Event, report: &mut NodeReport) {
    let node = &mut report.node;
    node.last_seq = i64::try_from(event.seq).ok();
    match &event.kind {
        EventKind::Started { attempt, .. } => {
            node.attempt = i32::try_from(*attempt).unwrap_or(i32::MAX);
            node.started_at.get_or_insert(Time(event.time));
            node.phase = NodePhase::Preparing;
            running(node);
        }
        EventKind::Phase {
            phase,
            node: identity,
        } => {
            if let Some(phase) = node_phase(*phase) {
                node.phase = phase;
            }
            if let Some(identity) = identity {
                identify(node, identity);
            }
            running(node);
        }
        EventKind::Progress(progress) => figures(report, progress),
        EventKind::Warning { reason, message } => {
            let warning = NodeWarning {
                pod: node.pod.clone(),
                reason: reason.to_string(),
                message: shortened(message),
            };
            if !report.warnings.contains(&warning) {
                report.warnings.push(warning);
            }
        }
        // Whether it is the end is decided elsewhere.
        EventKind::Result(_) => {}
    }
}

/// Folds what a result says besides how it ended.
pub(crate) fn apply_outcome(outcome: &Outcome, report: &mut NodeReport) {
    let node = &mut report.node;
    node.attempt = i32::try_from(outcome.attempt).unwrap_or(i32::MAX);
    if let Some(identity) = &outcome.node {
        identify(node, identity);
    }
    if let Some(snapshot) = &outcome.snapshot {
        node.snapshot = Some(SnapshotStatus {
            started_at: Time(snapshot.started_at),
            ended_at: Time(snapshot.ended_at),
            late_milliseconds: snapshot.late_ms,
        });
    }
    node.manifest.clone_from(&outcome.manifest);
    report.plan.clone_from(&outcome.restore);
    report.rehearsed = outcome.rehearsed;
    figures(report, &outcome.progress);
}

fn running(node: &mut NodeStatus) {
    node.reason = Some(Reason::Running.to_string());
    node.message = None;
}

fn identify(node: &mut NodeStatus, identity: &NodeIdentity) {
    node.host_id = Some(identity.host_id.to_string());
    node.datacenter = Some(identity.datacenter.clone());
    node.rack = Some(identity.rack.clone());
    node.cassandra_version = Some(identity.cassandra_version.clone());
}

fn figures(report: &mut NodeReport, progress: &Progress) {
    report.fetched = Some(amount(progress.fetched));
    let node = &mut report.node;
    node.total = Some(amount(progress.total));
    node.uploaded = Some(amount(progress.uploaded));
    node.reused = Some(amount(progress.reused));
}

/// A phase of a newer agent changes nothing.
fn node_phase(phase: Phase) -> Option<NodePhase> {
    Some(match phase {
        Phase::Preparing => NodePhase::Preparing,
        Phase::Snapshotting => NodePhase::Snapshotting,
        Phase::Holding => NodePhase::Holding,
        Phase::Planning => NodePhase::Planning,
        Phase::Uploading => NodePhase::Uploading,
        Phase::Committing => NodePhase::Committing,
        // No phase of a backup.
        Phase::Restoring | Phase::Unknown => return None,
    })
}

/// A message that fits into a status.
fn shortened(message: &str) -> String {
    humane::shortened(message, LONGEST_MESSAGE)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn member(number: u128) -> RingMember {
        RingMember {
            host_id: Uuid::from_u128(number),
            address: String::new(),
            datacenter: "dc1".into(),
            rack: "r1".into(),
            status: "Up".into(),
            state: "Normal".into(),
        }
    }

    #[test]
    fn nodes_that_see_the_same_ring_share_it_and_others_do_not() {
        let rings = Rings::default();
        let one = rings.shared(&[member(1), member(2)]).unwrap();
        // In the order of a map of Java's.
        let same = rings.shared(&[member(2), member(1)]).unwrap();
        assert!(Arc::ptr_eq(&one, &same));
        assert!(rings.shared(&[]).is_none());
        let left = RingMember {
            state: "Leaving".into(),
            ..member(2)
        };
        let left = rings.shared(&[member(1), left]).unwrap();
        assert_ne!(one, left);
        let other = rings.shared(&[member(1), member(2), member(3)]).unwrap();
        assert_eq!((one.len(), other.len()), (2, 3));
    }
}
