//! What to do about the resources of a cluster, from what is there and what the storage has. Nothing
//! here talks to anybody.

use std::collections::{BTreeMap, BTreeSet};

use crds::{BackupPhase, CassandraBackup, DeletionPolicy};
use kube::ResourceExt;
use protocol::{BackupFound, Catalogue};

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

/// The backups of a cluster that need not be told of: something is known of them already.
pub(super) fn known(resources: &[CassandraBackup], cluster: &str) -> Vec<String> {
    let of = resources.iter().filter(|it| it.spec.cluster == cluster);
    of.filter(|it| !is_empty(it)).map(name_in_storage).collect()
}

/// Whether nobody has said yet what was found.
fn is_empty(backup: &CassandraBackup) -> bool {
    backup.spec.imported && backup.status.as_ref().is_none_or(|it| it.phase.is_none())
}

/// Decides.
pub(super) fn decide<'a>(
    resources: &'a [CassandraBackup],
    cluster: &'a str,
    catalogue: Catalogue,
) -> Vec<Step<'a>> {
    let of = resources.iter().filter(|it| it.spec.cluster == cluster);
    let by_name: BTreeMap<String, &CassandraBackup> =
        of.map(|it| (name_in_storage(it), it)).collect();
    let there: BTreeSet<&String> = catalogue.names.iter().collect();
    let mut steps: Vec<Step<'_>> = by_name
        .iter()
        .filter(|(_, resource)| is_mirror(resource) && !is_empty(resource))
        .filter_map(|(name, resource)| match there.contains(name) {
            true => Some(Step::Keep),
            false => may_go(resource).then_some(Step::Remove(resource)),
        })
        .collect();
    for found in catalogue.found {
        steps.extend(match by_name.get(&found.backup) {
            Some(resource) if is_empty(resource) => Some(Step::Fill(resource, found)),
            // It was made while the storage was asked.
            Some(_) => None,
            None => Some(Step::Make(cluster, found)),
        });
    }
    steps
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
