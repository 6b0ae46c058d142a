//! Which token ranges a backup lacks, where not every member of the ring is in it.

use crds::{BackupPhase, CassandraBackupStatus, CoverageStatus, KeyspaceUncovered, NodePhase};
use protocol::KeyspaceCoverage;
use uuid::Uuid;

use super::verdict::Verdict;

/// Keyspaces that a status keeps, and that a message names.
const KEPT: usize = 50;
const NAMED: usize = 5;

/// The node to be asked what the backup lacks: one that is backed up, if that is worth asking.
pub(super) fn whom_to_ask(status: &CassandraBackupStatus, verdict: &Verdict) -> Option<String> {
    let known = status
        .ring
        .as_ref()
        .is_some_and(|ring| ring.coverage.is_some());
    if known || verdict.phase != BackupPhase::PartiallyFailed || missing(status).is_empty() {
        return None;
    }
    let mut nodes = status.nodes.iter();
    let backed_up = nodes.find(|node| node.phase == NodePhase::Succeeded)?;
    Some(backed_up.pod.clone())
}

/// Members of the ring that are not backed up. Nodes that never told who they are are among those
/// without a pod.
pub(super) fn missing(status: &CassandraBackupStatus) -> Vec<Uuid> {
    let without_pod = status.ring.iter().flat_map(|ring| &ring.without_pod);
    let failed = status
        .nodes
        .iter()
        .filter(|node| node.phase != NodePhase::Succeeded);
    let ids = without_pod
        .map(|member| Some(&member.host_id))
        .chain(failed.map(|node| node.host_id.as_ref()));
    let mut missing: Vec<Uuid> = ids.flatten().filter_map(|id| id.parse().ok()).collect();
    missing.sort();
    missing.dedup();
    missing
}

/// What a node said, for the status.
pub(super) fn told(told: Result<Vec<KeyspaceCoverage>, String>) -> CoverageStatus {
    let keyspaces = match told {
        Ok(keyspaces) => keyspaces,
        Err(why) => {
            return CoverageStatus {
                unknown: Some(crate::humane::shortened(&why, 1024)),
                ..CoverageStatus::default()
            };
        }
    };
    let (mut lost, whole): (Vec<_>, Vec<_>) = keyspaces
        .into_iter()
        .partition(|keyspace| keyspace.uncovered > 0);
    lost.sort_by(|a, b| b.share.unwrap_or(1.0).total_cmp(&a.share.unwrap_or(1.0)));
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let uncovered = lost
        .into_iter()
        .take(KEPT)
        .map(|keyspace| KeyspaceUncovered {
            share: keyspace.share.map(percent),
            ranges: count(keyspace.uncovered),
            of_ranges: count(keyspace.ranges),
            first_ranges: keyspace.first,
            keyspace: keyspace.keyspace,
        });
    CoverageStatus {
        unknown: None,
        uncovered: uncovered.collect(),
        covered_keyspaces: count(whole.len() as u64),
    }
}

/// Never `0%` of what is lost, nor `100%` where something is left.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match format!("{percent:.1}%").as_str() {
        "0.0%" => "<0.1%".into(),
        "100.0%" if share < 1.0 => ">99.9%".into(),
        usual => usual.into(),
    }
}

/// What it comes to, as the rest of the verdict's message.
pub(super) fn sentence(coverage: &CoverageStatus) -> String {
    if let Some(why) = &coverage.unknown {
        return format!("Which token ranges that leaves out is not known: {why}");
    }
    if coverage.uncovered.is_empty() {
        return "Every token range is on a node that is backed up, without what only the others have"
            .into();
    }
    let named = coverage.uncovered.iter().take(NAMED).map(|keyspace| {
        let ranges = format!("{} of {} token ranges", keyspace.ranges, keyspace.of_ranges);
        match &keyspace.share {
            Some(share) => format!("{share} of {} ({ranges})", keyspace.keyspace),
            None => format!("{ranges} of {}", keyspace.keyspace),
        }
    });
    let named: Vec<_> = named.collect();
    let more = match coverage.uncovered.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!("; and parts of {more} more keyspaces"),
        _ => String::new(),
    };
    format!("On no node that is backed up: {}{more}", named.join("; "))
}
