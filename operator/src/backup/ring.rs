//! A backup covers the ring, not just the pods that were selected.

use std::collections::{BTreeMap, BTreeSet};

use crds::{CassandraBackupStatus, MemberWithoutPod, RingStatus};
use protocol::RingMember;

/// Folds the ring that a node reported into the status. `datacenters` limits what counts; empty
/// means all.
pub(super) fn fold(
    status: &mut CassandraBackupStatus,
    ring: &[RingMember],
    datacenters: &[String],
) {
    let counts =
        |member: &&RingMember| datacenters.is_empty() || datacenters.contains(&member.datacenter);
    let seen: BTreeMap<String, &RingMember> = ring
        .iter()
        .filter(counts)
        .map(|member| (member.host_id.to_string(), member))
        .collect();
    if !seen.is_empty() {
        let known = status.ring.get_or_insert_default();
        known.members = known
            .members
            .max(i64::try_from(seen.len()).unwrap_or(i64::MAX));
        for (host_id, member) in seen {
            if !known
                .without_pod
                .iter()
                .any(|other| other.host_id == host_id)
            {
                known.without_pod.push(MemberWithoutPod {
                    host_id,
                    address: member.address.clone(),
                    datacenter: member.datacenter.clone(),
                    rack: member.rack.clone(),
                });
            }
        }
    }
    leave_out_selected(status);
}

/// Nodes tell their host id before their result, so this shrinks as they do.
pub(super) fn leave_out_selected(status: &mut CassandraBackupStatus) {
    let selected: BTreeSet<_> = status
        .nodes
        .iter()
        .filter_map(|node| node.host_id.clone())
        .collect();
    if let Some(RingStatus { without_pod, .. }) = &mut status.ring {
        without_pod.retain(|member| !selected.contains(&member.host_id));
        without_pod.sort_by(|a, b| a.host_id.cmp(&b.host_id));
    }
}
