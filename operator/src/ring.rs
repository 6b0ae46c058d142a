//! The ring as nodes see it, not just the pods that were selected.

use std::collections::{BTreeMap, BTreeSet};

use crds::{MemberWithoutPod, RingStatus};
use protocol::RingMember;

/// Folds the ring that a node reported into what is known. `datacenters` limits what counts; empty
/// means all.
pub(crate) fn fold(known: &mut Option<RingStatus>, ring: &[RingMember], datacenters: &[String]) {
    let counts =
        |member: &&RingMember| datacenters.is_empty() || datacenters.contains(&member.datacenter);
    let seen: BTreeMap<String, &RingMember> = ring
        .iter()
        .filter(counts)
        .map(|member| (member.host_id.to_string(), member))
        .collect();
    if seen.is_empty() {
        return;
    }
    let known = known.get_or_insert_default();
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

/// Leaves out the members whose host ids these are.
pub(crate) fn leave_out<'a>(
    known: &mut Option<RingStatus>,
    selected: impl Iterator<Item = &'a String>,
) {
    if let Some(RingStatus { without_pod, .. }) = known {
        let selected: BTreeSet<_> = selected.collect();
        without_pod.retain(|member| !selected.contains(&member.host_id));
        without_pod.sort_by(|a, b| a.host_id.cmp(&b.host_id));
    }
}

/// Members without a pod, in words; the first ones only.
pub(crate) fn named(without_pod: &[MemberWithoutPod], most: usize) -> String {
    let named = without_pod.iter().take(most).map(|member| {
        format!(
            "{} at {} in {}",
            member.host_id, member.address, member.datacenter
        )
    });
    let mut text = named.collect::<Vec<_>>().join("; ");
    if let Some(more @ 1..) = without_pod.len().checked_sub(most) {
        text.push_str(&format!("; and {more} more"));
    }
    text
}
