//! What is told as an Event when something was done.

use crds::CronBackupStatus;
use kube::runtime::events::{Event, EventType};

use super::names::Run;
use super::reason::Reason;
use super::status::{self, Outcome};
use crate::humane;

/// Longest note that the API takes is 1 KiB.
const NOTE: usize = 1000;

/// Events for the step from one status to the next, and for what was made in it.
pub(super) fn news(
    old: &CronBackupStatus,
    new: &CronBackupStatus,
    made: Option<(Run, &str, &Outcome)>,
) -> Vec<Event> {
    let mut news = Vec::new();
    if let Some((run, name, Outcome::Created)) = made {
        let reason = if run.retry == 0 {
            Reason::BackupCreated
        } else {
            Reason::BackupRetried
        };
        news.push(event(reason, format!("CassandraBackup {name} was made")));
    }
    let missed = new.missed - old.missed;
    if missed > 0 {
        let note = format!("{missed} missed, {} in all", new.missed);
        news.push(event(Reason::SlotsMissed, note));
    }
    if let Some((word, message)) = status::ready(new)
        && status::ready(old).is_none_or(|(before, _)| before != word)
    {
        let type_ = if Reason::is_fine_word(word) {
            EventType::Normal
        } else {
            EventType::Warning
        };
        news.push(told(type_, word, message));
    }
    news
}

fn event(reason: Reason, note: String) -> Event {
    let type_ = if reason.is_fine() {
        EventType::Normal
    } else {
        EventType::Warning
    };
    told(type_, reason.as_str(), &note)
}

fn told(type_: EventType, reason: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(humane::shortened(note, NOTE)),
        action: "Schedule".into(),
        secondary: None,
    }
}
