//! What is told as an Event when the status changes.

use crds::{CassandraRestoreStatus, RestoreNodePhase, RestorePhase};
use kube::runtime::events::{Event, EventType};
use protocol::Reason;

use crate::humane;

/// Events of nodes at a time; the status names the others.
const NODES: usize = 10;
/// Longest note that the API takes is 1 KiB.
const NOTE: usize = 1000;

/// Events for the step from one status to the next.
pub(super) fn news(
    old: Option<&CassandraRestoreStatus>,
    new: &CassandraRestoreStatus,
) -> Vec<Event> {
    let mut news = Vec::new();
    let phase_is_new = old.is_none_or(|old| old.phase != new.phase);
    if let Some(condition) = new.conditions.iter().find(|it| it.type_ == "Complete")
        && phase_is_new
    {
        let kind = match new.phase {
            Some(RestorePhase::Failed) => EventType::Warning,
            _ => EventType::Normal,
        };
        let note = match new.phase {
            Some(phase) if phase.is_final() => condition.message.clone(),
            Some(phase) => format!("{phase:?}: {}", condition.message),
            None => condition.message.clone(),
        };
        news.push(event(kind, &condition.reason, &note));
    }
    let failed = new.nodes.iter().filter(|node| {
        let before = old.and_then(|old| old.nodes.iter().find(|other| other.pod == node.pod));
        node.phase == RestoreNodePhase::Failed
            && before.is_none_or(|before| before.phase != node.phase)
    });
    for node in failed.take(NODES) {
        let note = format!(
            "{}: {}",
            node.pod,
            node.message.as_deref().unwrap_or_default()
        );
        let reason = node.reason.as_deref().unwrap_or(Reason::Failed.as_str());
        news.push(event(EventType::Warning, reason, &note));
    }
    let known = old.map_or(0, |old| old.warnings.len());
    for warning in new.warnings.iter().skip(known).take(NODES) {
        let note = format!("{}: {}", warning.pod, warning.message);
        news.push(event(EventType::Warning, &warning.reason, &note));
    }
    news
}

fn event(type_: EventType, reason: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(humane::shortened(note, NOTE)),
        action: "Restore".into(),
        secondary: None,
    }
}
