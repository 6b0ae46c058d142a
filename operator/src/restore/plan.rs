//! What to do next with a restore that has begun, from what is known of it. Nothing here waits or talks
//! to anybody.

use std::collections::BTreeSet;

use crds::{
    CassandraRestore, CassandraRestoreStatus, NodeWarning, RestoreMode, RestoreNodePhase,
    RestoreNodeStatus, RestorePhase, RestorePlanStatus, RestoreStep,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use protocol::Reason;

use super::node;
use super::verdict::{Next, Verdict, next};
use crate::conditions;
use crate::humane;
use crate::node::{Stop, deadline};
use crate::prerequisites::Obstacle;

/// Tables that a warning names.
const NAMED: usize = 20;

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Follow the run of the node's present step.
    Follow { pod: String },
    /// Tell it to stop.
    Stop { pod: String, stop: Stop },
}

/// What to do next, and the status that goes with it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) status: CassandraRestoreStatus,
    pub(super) actions: Vec<Action>,
}

/// Plans from the resource, the status with all reports folded in, the pods that are being worked on,
/// and the time.
pub(super) fn plan(
    restore: &CassandraRestore,
    status: &CassandraRestoreStatus,
    active: &BTreeSet<String>,
    now: Timestamp,
) -> Plan {
    let mut status = status.clone();
    let mut actions = Vec::new();
    status.observed_generation = restore.meta().generation;
    if status.phase.is_some_and(RestorePhase::is_final) {
        return Plan { status, actions };
    }
    let spec = &restore.spec;
    let deadline = deadline(status.start_time.as_ref(), spec.active_deadline_seconds);
    let stop = Stop::due(spec.cancel, deadline, now);
    if let Some(stop) = stop {
        actions = stops(&mut status, active, stop, now);
    }
    // What nodes have told by now is part of what is said of the end.
    summarize(&mut status, now);
    let mut outcome = next(spec, &status);
    // Nobody is at work on the step that has ended.
    if let Next::Step(step) = outcome
        && active.is_empty()
    {
        enter(restore, &mut status, step);
        if let Some(stop) = stop {
            stops(&mut status, active, stop, now);
        }
        outcome = next(spec, &status);
    }
    if let Next::End(verdict) = outcome {
        summarize(&mut status, now);
        end(&mut status, verdict, now);
        return Plan { status, actions };
    }
    if stop.is_none() {
        actions = follows(&status, active);
    }
    summarize(&mut status, now);
    let message = said(&status);
    at_work(&mut status, Reason::Running, &message, now);
    Plan { status, actions }
}

/// Those that take the present step: one for all, or all. While it is not known which backup is meant,
/// one finds that out.
pub(super) fn participants(status: &CassandraRestoreStatus) -> &[RestoreNodeStatus] {
    let all = match status.phase {
        Some(RestorePhase::Planning) => status.backup_name.is_some(),
        Some(RestorePhase::Preparing | RestorePhase::Finishing) => false,
        _ => true,
    };
    let count = if all { status.nodes.len() } else { 1 };
    status.nodes.get(..count).unwrap_or_default()
}

/// Begins a step.
fn enter(restore: &CassandraRestore, status: &mut CassandraRestoreStatus, step: RestoreStep) {
    if step == RestoreStep::Prepare && restore.spec.mode == RestoreMode::Merge {
        warn_of_rows(status);
    }
    status.phase = Some(match step {
        RestoreStep::Plan => RestorePhase::Planning,
        RestoreStep::Prepare => RestorePhase::Preparing,
        RestoreStep::Load => RestorePhase::Loading,
        RestoreStep::Finish => RestorePhase::Finishing,
    });
    let count = participants(status).len();
    for node in status.nodes.iter_mut().take(count) {
        node::move_on(restore, node, step);
    }
}

/// A merge into tables that have rows may not show what was restored.
fn warn_of_rows(status: &mut CassandraRestoreStatus) {
    let plans = status.nodes.iter().filter_map(|it| it.plan.as_ref());
    let tables: BTreeSet<_> = plans.flat_map(|it| &it.not_empty).collect();
    let Some(first) = status.nodes.first().filter(|_| !tables.is_empty()) else {
        return;
    };
    let named: Vec<_> = tables.iter().take(NAMED).map(|it| it.as_str()).collect();
    let warning = NodeWarning {
        pod: first.pod.clone(),
        reason: Reason::RestoreNote.to_string(),
        message: format!(
            "{}{} not empty: what was deleted or overwritten since the backup stays so",
            named.join(", "),
            if tables.len() > NAMED {
                " and others are"
            } else {
                " are"
            },
        ),
    };
    if !status.warnings.contains(&warning) {
        status.warnings.push(warning);
    }
}

/// Nodes whose step never began end here; for the others the agent has to be told.
fn stops(
    status: &mut CassandraRestoreStatus,
    active: &BTreeSet<String>,
    stop: Stop,
    now: Timestamp,
) -> Vec<Action> {
    let mut actions = Vec::new();
    let count = participants(status).len();
    let nodes = status.nodes.iter_mut().take(count);
    for node in nodes.filter(|node| !node.phase.is_final()) {
        let pod = node.pod.clone();
        if active.contains(&pod) {
            actions.push(Action::Stop { pod, stop });
        } else if node.started_at.is_some() {
            // Found after a restart: what it does has to be found out before it can be stopped.
            actions.push(Action::Follow { pod: pod.clone() });
            actions.push(Action::Stop { pod, stop });
        } else {
            let (phase, reason) = match stop {
                Stop::Cancelled => (RestoreNodePhase::Cancelled, Reason::Cancelled),
                Stop::Deadline => (RestoreNodePhase::Failed, Reason::DeadlineExceeded),
            };
            node.phase = phase;
            node.reason = Some(reason.to_string());
            node.message = Some("its step had not begun".into());
            node.completed_at = Some(Time(now));
        }
    }
    actions
}

/// The nodes of the present step that nobody follows.
fn follows(status: &CassandraRestoreStatus, active: &BTreeSet<String>) -> Vec<Action> {
    participants(status)
        .iter()
        .filter(|node| !node.phase.is_final() && !active.contains(&node.pod))
        .map(|node| Action::Follow {
            pod: node.pod.clone(),
        })
        .collect()
}

fn summarize(status: &mut CassandraRestoreStatus, now: Timestamp) {
    let taking = participants(status);
    let done = taking
        .iter()
        .filter(|it| it.phase == RestoreNodePhase::Succeeded);
    let done = format!("{}/{}", done.count(), taking.len());
    status.nodes_done = Some(done);
    let plans: Vec<_> = status
        .nodes
        .iter()
        .filter_map(|it| it.plan.as_ref())
        .collect();
    if !plans.is_empty() {
        status.plan = Some(together(&plans));
    }
    let fetched: Vec<_> = status
        .nodes
        .iter()
        .filter_map(|it| it.fetched.as_ref())
        .collect();
    if !fetched.is_empty() {
        status.fetched = Some(humane::sum(fetched.into_iter()));
    }
    let start = status.start_time.as_ref();
    status.duration = start.map(|start| humane::elapsed(start.0, now));
}

/// The plans of all nodes as one.
fn together(plans: &[&RestorePlanStatus]) -> RestorePlanStatus {
    let most = |of: fn(&RestorePlanStatus) -> i64| plans.iter().map(|it| of(it)).max();
    let fullest = plans.iter().max_by_key(|it| it.peak.bytes);
    let not_empty: BTreeSet<_> = plans.iter().flat_map(|it| &it.not_empty).collect();
    RestorePlanStatus {
        tables: most(|it| it.tables).unwrap_or(0),
        sstables: plans.iter().map(|it| it.sstables).sum(),
        total: humane::sum(plans.iter().map(|it| &it.total)),
        peak: fullest.map(|it| it.peak.clone()).unwrap_or_default(),
        free: fullest.map(|it| it.free.clone()).unwrap_or_default(),
        statements: most(|it| it.statements).unwrap_or(0),
        degraded_ranges: plans.iter().map(|it| it.degraded_ranges).sum(),
        not_empty: not_empty.into_iter().take(NAMED).cloned().collect(),
    }
}

/// What is being done, in words.
fn said(status: &CassandraRestoreStatus) -> String {
    let done = status.nodes_done.as_deref().unwrap_or("no");
    match status.phase {
        Some(RestorePhase::Preparing) => "the schema is made ready".to_owned(),
        Some(RestorePhase::Loading) => format!("{done} nodes have imported their share"),
        Some(RestorePhase::Finishing) => "indexes and views are made".to_owned(),
        _ => format!("{done} nodes know what they import; nothing was changed"),
    }
}

/// What it needs is not there yet.
pub(super) fn wait(status: &mut CassandraRestoreStatus, obstacle: &Obstacle, now: Timestamp) {
    status.phase = Some(RestorePhase::Pending);
    at_work(status, obstacle.reason, &obstacle.message, now);
}

/// The conditions of a restore that goes on.
fn at_work(status: &mut CassandraRestoreStatus, reason: Reason, message: &str, now: Timestamp) {
    let why = (reason.as_str(), message);
    let generation = status.observed_generation;
    conditions::at_work(&mut status.conditions, why, generation, now);
}

/// The conditions of a restore that ended.
pub(super) fn end(status: &mut CassandraRestoreStatus, verdict: Verdict, now: Timestamp) {
    let Verdict {
        phase,
        reason,
        message,
    } = verdict;
    status.phase = Some(phase);
    status.completion_time = Some(Time(now));
    let why = (reason.as_str(), message.as_str());
    let complete = matches!(phase, RestorePhase::Succeeded | RestorePhase::Planned);
    let stalled = phase == RestorePhase::Failed;
    let generation = status.observed_generation;
    let conditions = &mut status.conditions;
    conditions::ended(conditions, complete, stalled, why, generation, now);
}
