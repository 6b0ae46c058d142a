//! What to do about the resources of a cluster, from what is there and what the storage has. Nothing
//! here talks to anybody.

use std::collections::{BTreeMap, BTreeSet};

use crds::{BackupPhase, CassandraBackup, DeletionPolicy};
use kube::ResourceExt;
use protocol::BackupFound;

use super::build::LABEL;
use crate::backup::name_in_storage;

/// What to do.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Nothing: it is there and its backup, too.
    Keep,
    /// Make a resource for a cluster's backup.
    Make(&'a str, BackupFound),
    /// Say in a resource what was found.
    Fill(&'a CassandraBackup, BackupFound),
    /// The backup is gone, and so is to be its mirror.
    Remove(&'a CassandraBackup),
}

/// Whether the operator has made it for a backup that it found.
pub(super) fn is_mirror(backup: &CassandraBackup) -> bool {
    backup.spec.imported && backup.labels().contains_key(LABEL)
}

/// The backups of a cluster that need not be told of: all that will ever be known of them is.
pub(super) fn known(resources: &[CassandraBackup], cluster: &str) -> Vec<String> {
    let named = by_name(resources, cluster).into_iter();
    let known = named.filter(|(_, about)| !about.iter().any(|it| is_open(it)));
    known.map(|(name, _)| name).collect()
}

/// The resources of a cluster, by the backup that they are about.
fn by_name<'a>(
    resources: &'a [CassandraBackup],
    cluster: &str,
) -> BTreeMap<String, Vec<&'a CassandraBackup>> {
    let mut named: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for resource in resources.iter().filter(|it| it.spec.cluster == cluster) {
        named
            .entry(name_in_storage(resource))
            .or_default()
            .push(resource);
    }
    named
}

/// Whether more may be found of it: nobody has looked yet, or it lacked nodes, which may follow.
fn is_open(backup: &CassandraBackup) -> bool {
    let phase = backup.status.as_ref().and_then(|it| it.phase);
    backup.spec.imported && matches!(phase, None | Some(BackupPhase::PartiallyFailed))
}

/// Decides about the mirrors of a cluster, from the names of what the storage has. One that looks empty may be a
/// directory that is not mounted.
pub(super) fn of_mirrors<'a>(
    resources: &'a [CassandraBackup],
    cluster: &str,
    names: &[String],
    may_be_unmounted: bool,
) -> Vec<Step<'a>> {
    let named = by_name(resources, cluster);
    let there: BTreeSet<&String> = names.iter().collect();
    let nothing_there = there.is_empty() && may_be_unmounted;
    let mut steps = Vec::new();
    for (name, about) in &named {
        // Somebody else's resource is about it by now, or its backup is gone.
        let others = about.iter().any(|it| !is_mirror(it));
        for mirror in about.iter().filter(|it| is_mirror(it)) {
            let stays = there.contains(name) && !others;
            if stays || nothing_there || !may_go(mirror) {
                steps.push(Step::Keep);
            } else {
                steps.push(Step::Remove(mirror));
            }
        }
    }
    steps
}

/// Decides about backups of a cluster that were found.
pub(super) fn of_found<'a>(
    resources: &'a [CassandraBackup],
    cluster: &'a str,
    all: Vec<BackupFound>,
) -> Vec<Step<'a>> {
    let named = by_name(resources, cluster);
    let mut steps = Vec::new();
    for found in all {
        match named.get(&found.backup) {
            Some(about) => {
                let open = about.iter().filter(|it| is_open(it));
                steps.extend(open.map(|it| Step::Fill(it, found.clone())));
            }
            None => steps.push(Step::Make(cluster, found)),
        }
    }
    steps
}

/// Whether to ask for the older ones at once: most of what was told got no resource. The newest are told first, so
/// these would be told again each time, and no older one ever.
pub(super) fn is_in_the_way(told: usize, made: usize, left: u64) -> bool {
    left > 0 && 2 * made < told
}

/// One that deletes data takes its time, and says how it went.
fn may_go(mirror: &CassandraBackup) -> bool {
    mirror.spec.deletion_policy == DeletionPolicy::Retain
        && mirror.metadata.deletion_timestamp.is_none()
        && mirror
            .status
            .as_ref()
            .and_then(|status| status.phase)
            .is_some_and(BackupPhase::is_final)
}
