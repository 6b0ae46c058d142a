//! The status of a CronBackup: what children say, and what came of making one.

use crds::{BackupPhase, CronBackupStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::{Decision, Facts};
use super::names::Run;
use super::reason::Reason;
use crate::conditions::{self, Is};
use crate::humane;

/// Messages of the API server can be long.
const LONGEST_MESSAGE: usize = 1024;
const READY: &str = "Ready";
const STALLED: &str = "Stalled";

/// Why it is as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why {
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Why {
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { reason, message }
    }
}

/// What came of making a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is there now.
    Created,
    /// It was there, made by us before.
    Existed,
    /// Something else has its name.
    Foreign,
    /// The API server does not want it, and says why.
    Refused(String),
}

/// The status as the children say it is.
pub(super) fn observed(facts: &Facts<'_>) -> CronBackupStatus {
    let mut status = facts.status.clone();
    status.observed_generation = facts.generation;
    let mut children: Vec<_> = facts.children.iter().collect();
    children.sort_by_key(|child| child.run);
    status.active = children
        .iter()
        .filter(|child| child.is_active())
        .map(|child| child.name.clone())
        .collect();
    if let Some(last) = children.last() {
        made(&mut status, last.run);
    }
    let ended = children.iter().filter(|child| !child.is_active());
    if let Some(last) = ended.max_by_key(|child| child.completed) {
        let known = status.last_completion_time.as_ref().map(|time| time.0);
        // What ended last may be gone by its limit, and what ended before it still be there.
        if last.completed >= known {
            status.last_completion_time = last.completed.map(Time);
            // That its data went later says nothing of how it ended.
            if last.phase != Some(BackupPhase::Expired) {
                status.last_result = last.phase;
            }
        }
    }
    let success = children
        .iter()
        .filter(|child| child.has_succeeded())
        .filter_map(|child| child.completed);
    let before = status.last_successful_time.as_ref().map(|time| time.0);
    status.last_successful_time = success.max().max(before).map(Time);
    status
}

/// Notes that there is, or was, a child of this run.
fn made(status: &mut CronBackupStatus, run: Run) {
    let last = status.last_schedule_time.as_ref().map(|time| time.0);
    if last > Some(run.slot) {
        return;
    }
    if last < Some(run.slot) {
        status.retries = None;
    }
    status.last_schedule_time = Some(Time(run.slot));
    let retries = status.retries.unwrap_or(0).max(run.retry);
    status.retries = (retries > 0).then_some(retries);
}

/// The status when it is known what came of making a child, if one was to be made.
pub(super) fn concluded(
    facts: &Facts<'_>,
    decision: &Decision,
    made_of: Option<(Run, &str, &Outcome)>,
    now: Timestamp,
) -> CronBackupStatus {
    let mut status = decision.status.clone();
    let why = made_of.and_then(|(run, name, outcome)| note(&mut status, run, name, outcome));
    let Why { reason, message } = why.unwrap_or_else(|| decision.why.clone());
    let why = (reason.as_str(), message.as_str());
    let (fine, generation) = (reason.is_fine(), facts.generation);
    let conditions = &mut status.conditions;
    conditions::set(conditions, READY, Is::from(fine), why, generation, now);
    conditions::set(conditions, STALLED, Is::from(!fine), why, generation, now);
    status
}

/// Notes what came of making a child. Returns what is wrong, if something is.
fn note(status: &mut CronBackupStatus, run: Run, name: &str, outcome: &Outcome) -> Option<Why> {
    match outcome {
        Outcome::Created | Outcome::Existed => {
            if *outcome == Outcome::Created {
                status.active.push(name.to_owned());
            }
            made(status, run);
            decided(status, run);
            None
        }
        Outcome::Foreign => {
            if run.retry == 0 {
                status.missed += 1;
            } else {
                made(status, run);
            }
            decided(status, run);
            let message = format!(
                "CassandraBackup {name} exists and is not of this CronBackup: it was left alone, and the backup was not made; delete or rename it"
            );
            Some(Why::new(Reason::NameTaken, message))
        }
        Outcome::Refused(message) => {
            let message = format!("CassandraBackup {name} is refused: {message}");
            let message = humane::shortened(&message, LONGEST_MESSAGE);
            Some(Why::new(Reason::CreateRefused, message))
        }
    }
}

fn decided(status: &mut CronBackupStatus, run: Run) {
    let until = status.decided_until.as_ref().map(|time| time.0);
    status.decided_until = until.max(Some(run.slot)).map(Time);
}

/// That a name is taken stays until another backup is made.
pub(super) fn still_taken(status: &CronBackupStatus) -> Option<Why> {
    let (reason, message) = ready(status)?;
    (reason == Reason::NameTaken.as_str()).then(|| Why::new(Reason::NameTaken, message))
}

/// Reason and message of the condition that says whether all is well.
pub(super) fn ready(status: &CronBackupStatus) -> Option<(&str, &str)> {
    let ready = status.conditions.iter().find(|one| one.type_ == READY)?;
    Some((&ready.reason, &ready.message))
}
