//! What is told as an Event when the status changes.

use crds::{BackupPhase, CassandraBackupStatus, NodePhase};
use kube::runtime::events::{Event, EventType};
use protocol::Reason;

use crate::humane;

/// Events of nodes at a time; the status names the others.
const NODES: usize = 10;
/// Longest note that the API takes is 1 KiB.
const NOTE: usize = 1000;

/// Events for the step from one status to the next.
pub(super) fn news(old: Option<&CassandraBackupStatus>, new: &CassandraBackupStatus) -> Vec<Event> {
    let mut news = Vec::new();
    let began = new.start_time.is_some() && old.is_none_or(|old| old.start_time.is_none());
    if began {
        let name = new.backup_name.as_deref().unwrap_or_default();
        let note = format!("backup {name} of {} nodes begins", new.nodes.len());
        news.push(event(EventType::Normal, Reason::Running.as_str(), note));
    }
    let waits = |status: &CassandraBackupStatus| {
        let reconciling = status
            .conditions
            .iter()
            .find(|one| one.type_ == "Reconciling");
        reconciling
            .filter(|one| one.reason == Reason::ClusterBusy.as_str())
            .map(|one| one.message.clone())
    };
    if let Some(note) = waits(new).filter(|note| old.and_then(waits).as_ref() != Some(note)) {
        news.push(event(EventType::Normal, Reason::ClusterBusy.as_str(), note));
    }
    let failed = new.nodes.iter().filter(|node| {
        let before = old.and_then(|old| old.nodes.iter().find(|other| other.pod == node.pod));
        node.phase == NodePhase::Failed && before.is_none_or(|before| before.phase != node.phase)
    });
    for node in failed.take(NODES) {
        let note = format!(
            "{}: {}",
            node.pod,
            node.message.as_deref().unwrap_or_default()
        );
        news.push(event(
            EventType::Warning,
            node.reason.as_deref().unwrap_or("Failed"),
            note,
        ));
    }
    let known = old.map_or(0, |old| old.warnings.len());
    for warning in new.warnings.iter().skip(known).take(NODES) {
        let note = format!("{}: {}", warning.pod, warning.message);
        news.push(event(EventType::Warning, &warning.reason, note));
    }
    if new.phase.is_some_and(BackupPhase::is_final) && old.is_none_or(|old| old.phase != new.phase)
    {
        let kind = match new.phase {
            Some(BackupPhase::Succeeded | BackupPhase::Cancelled) => EventType::Normal,
            _ => EventType::Warning,
        };
        if let Some(complete) = new.conditions.iter().find(|one| one.type_ == "Complete") {
            news.push(event(kind, &complete.reason, complete.message.clone()));
        }
    }
    news
}

fn event(type_: EventType, reason: &str, note: String) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(humane::shortened(&note, NOTE)),
        action: "Backup".into(),
        secondary: None,
    }
}
