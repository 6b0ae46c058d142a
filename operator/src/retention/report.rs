//! How a purge or a deletion ended, for statuses and Events.

use crds::{PurgeResult, RetentionStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::runtime::events::{Event, EventType};
use protocol::{ExitCode, Outcome, Purged, Reason};
use tokio::task::JoinError;

use super::perform::NotRun;
use crate::conditions::{self as all, Is};
use crate::cron::Reason as Told;
use crate::humane;

/// Backups that a message names.
const NAMED: usize = 5;
const LONGEST_MESSAGE: usize = 1024;
/// Longest note that the API takes is 1 KiB.
const NOTE: usize = 1000;
const READY: &str = "RetentionReady";

/// How a purge or a deletion ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) began: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) result: PurgeResult,
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) purged: Option<Purged>,
}

impl Ended {
    /// From what the agent said, or why nobody could ask it.
    pub(crate) fn of(began: Timestamp, told: Result<Outcome, NotRun>) -> Self {
        let ended = Timestamp::now();
        let (result, reason, message, purged) = match told {
            Ok(outcome) => {
                let purged = outcome.purged.map(|purged| *purged);
                let done = outcome.exit_code == ExitCode::Done as u8
                    && outcome.reason == Reason::Succeeded;
                match (done, purged) {
                    (true, Some(purged)) => {
                        let message = described(&purged);
                        (
                            PurgeResult::Succeeded,
                            outcome.reason,
                            message,
                            Some(purged),
                        )
                    }
                    // An agent of another version, that says nothing of what it did.
                    (true, None) => (
                        PurgeResult::Failed,
                        Reason::NotSupported,
                        outcome.message,
                        None,
                    ),
                    (false, purged) => {
                        let begun = purged.as_ref().and_then(deleted_before);
                        let message = match begun {
                            Some(deleted) => format!("{deleted}: {}", outcome.message),
                            None => outcome.message,
                        };
                        (PurgeResult::Failed, outcome.reason, message, purged)
                    }
                }
            }
            Err(error) => {
                let reason = error.reason();
                let result = match reason {
                    Reason::MaintenanceCredentialsMissing | Reason::StorageReadOnly => {
                        PurgeResult::NotRun
                    }
                    _ => PurgeResult::Failed,
                };
                (result, reason, error.to_string(), None)
            }
        };
        Self {
            began,
            ended,
            result,
            reason,
            message: humane::shortened(&message, LONGEST_MESSAGE),
            purged,
        }
    }

    /// A bug of ours.
    pub(super) fn panicked(error: JoinError) -> Self {
        let now = Timestamp::now();
        Self {
            began: now,
            ended: now,
            result: PurgeResult::Failed,
            reason: Reason::Failed,
            message: format!("the operator has a bug: {error}; report this line"),
            purged: None,
        }
    }

    pub(crate) fn is_success(&self) -> bool {
        self.result == PurgeResult::Succeeded
    }

    /// Whether a manifest is known to be deleted, however it ended.
    pub(crate) fn has_deleted_a_backup(&self) -> bool {
        let of = |purged: &Purged| gone(purged) + purged.manifests > 0;
        self.purged.as_ref().is_some_and(of)
    }
}

/// How many backups are gone.
fn gone(purged: &Purged) -> u64 {
    purged.expired.len() as u64 + purged.expired_unnamed
}

/// What one that did not go through had deleted by then, if that is known of anything.
fn deleted_before(purged: &Purged) -> Option<String> {
    let (backups, manifests, data) = (gone(purged), purged.manifests, purged.deleted);
    (backups + manifests + data.files > 0).then(|| {
        format!(
            "{backups} backups ({manifests} manifests) and {} objects with {} were deleted before it stopped",
            data.files,
            humane::bytes(data.bytes)
        )
    })
}

/// What was deleted, by name as far as there is room.
fn described(purged: &Purged) -> String {
    let count = gone(purged);
    let mut text = format!(
        "{count} backups and {} deleted, {} kept",
        humane::bytes(purged.deleted.bytes),
        purged.kept
    );
    if purged.held > 0 {
        let held = format!(
            "; {} expired ones stay for now, as a run relies on them",
            purged.held
        );
        text.push_str(&held);
    }
    if purged.young.bytes > 0 {
        let young = format!(
            "; {} that no backup needs is younger than graceHours and stays for now",
            humane::bytes(purged.young.bytes)
        );
        text.push_str(&young);
    }
    for (at, expired) in purged.expired.iter().take(NAMED).enumerate() {
        text.push_str(if at == 0 { ": " } else { "; " });
        text.push_str(&format!("{} ({})", expired.backup, expired.reason));
    }
    let more = count.saturating_sub(NAMED.min(purged.expired.len()) as u64);
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

/// The status once a purge has ended.
pub(crate) fn told(before: Option<&RetentionStatus>, ended: &Ended) -> RetentionStatus {
    let mut status = before.cloned().unwrap_or_default();
    status.last_run_time = Some(Time(ended.began));
    status.last_result = Some(ended.result);
    status.reason = Some(ended.reason.to_string());
    status.message = Some(ended.message.clone());
    status.failures = if ended.is_success() {
        status.last_successful_time = Some(Time(ended.began));
        None
    } else {
        Some(status.failures.unwrap_or(0).saturating_add(1))
    };
    if let Some(purged) = &ended.purged {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        status.deleted_backups = Some(number(gone(purged)));
        status.freed_bytes = Some(number(purged.deleted.bytes));
        status.freed = Some(humane::bytes(purged.deleted.bytes));
        status.kept_backups = Some(number(purged.kept));
    }
    status
}

/// Says in the conditions how a purge ended.
pub(crate) fn conditions(
    conditions: &mut Vec<Condition>,
    ended: &Ended,
    generation: Option<i64>,
    now: Timestamp,
) {
    let why = (ended.reason.as_str(), ended.message.as_str());
    let is = Is::from(ended.is_success());
    all::set(conditions, READY, is, why, generation, now);
}

/// Says nothing any more of retention.
pub(crate) fn without(conditions: &mut Vec<Condition>) {
    conditions.retain(|condition| condition.type_ != READY);
}

/// What is told as an Event when a purge has ended.
pub(crate) fn news(before: Option<&RetentionStatus>, ended: &Ended) -> Option<Event> {
    let (type_, reason, note) = match ended.result {
        PurgeResult::Succeeded => {
            let purged = ended.purged.as_ref()?;
            if purged.expired.is_empty() && purged.deleted.files == 0 {
                return None;
            }
            (
                EventType::Normal,
                Told::BackupsPurged.as_str(),
                ended.message.clone(),
            )
        }
        PurgeResult::Failed => {
            let note = format!("{}: {}", ended.reason, ended.message);
            (EventType::Warning, Told::PurgeFailed.as_str(), note)
        }
        // It is tried again and again, and told once.
        PurgeResult::NotRun => {
            let reason = ended.reason.as_str();
            if before.and_then(|before| before.reason.as_deref()) == Some(reason) {
                return None;
            }
            (EventType::Warning, reason, ended.message.clone())
        }
    };
    Some(Event {
        type_,
        reason: reason.into(),
        note: Some(humane::shortened(&note, NOTE)),
        action: "Purge".into(),
        secondary: None,
    })
}
