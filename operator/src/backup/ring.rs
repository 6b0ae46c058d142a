//! A backup covers the ring, not just the pods that were selected.

use crds::CassandraBackupStatus;
use protocol::RingMember;

use crate::ring;

/// Folds the ring that a node reported into the status. `datacenters` limits what counts; empty
/// means all.
pub(super) fn fold(
    status: &mut CassandraBackupStatus,
    ring: &[RingMember],
    datacenters: &[String],
) {
    ring::fold(&mut status.ring, ring, datacenters);
    leave_out_selected(status);
}

/// Nodes tell their host id before their result, so this shrinks as they do.
pub(super) fn leave_out_selected(status: &mut CassandraBackupStatus) {
    let selected = status.nodes.iter().filter_map(|node| node.host_id.as_ref());
    ring::leave_out(&mut status.ring, selected);
}

/// How many members of the ring have no pod. A node that never told who it is cannot be told from them, and
/// is one of the others.
pub(super) fn without_pod(status: &CassandraBackupStatus) -> usize {
    let members = status
        .ring
        .as_ref()
        .map_or(0, |ring| ring.without_pod.len());
    let unknown = status.nodes.iter().filter(|node| node.host_id.is_none());
    members.saturating_sub(unknown.count())
}
