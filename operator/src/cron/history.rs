//! Which children have been there long enough.

use std::cmp::Reverse;

use super::child::Child;
use super::decide::Facts;

/// Children beyond the limits, oldest first.
///
/// Those of the newest slot stay, and those of slots that are not written down as dealt with: as
/// long as they are there, nobody who looks at an old state, or at a clock that was put back, can
/// make them again, and a retry knows what it repeats. So does one of which a snapshot is left on
/// a node, and one that is being rehearsed.
pub(super) fn beyond(facts: &Facts<'_>) -> Vec<Child> {
    let children = facts.children;
    let newest = children.iter().map(|child| child.run.slot).max();
    let decided = facts.status.decided_until.as_ref().map(|time| time.0);
    let mut ended: Vec<_> = children.iter().filter(|child| !child.is_active()).collect();
    ended.sort_by_key(|child| Reverse(child.run));
    let (whole, other): (Vec<_>, Vec<_>) =
        ended.into_iter().partition(|child| child.has_succeeded());
    let whole = past(whole, facts.spec.successful_backups_history_limit);
    let other = past(other, facts.spec.failed_backups_history_limit);
    let mut beyond: Vec<_> = whole
        .chain(other)
        .filter(|child| Some(child.run.slot) != newest && Some(child.run.slot) <= decided)
        .filter(|child| !child.sweeping && !child.is_rehearsed())
        .cloned()
        .collect();
    beyond.sort_by_key(|child| child.run);
    beyond
}

fn past(newest_first: Vec<&Child>, limit: i32) -> impl Iterator<Item = &Child> {
    newest_first
        .into_iter()
        .skip(usize::try_from(limit).unwrap_or(0))
}
