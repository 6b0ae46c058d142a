//! CassandraBackups whose backup is no more, whoever made them.

use std::collections::{BTreeMap, BTreeSet};

use crds::{BackupPhase, CassandraBackup, CassandraBackupSpec, NodePhase};
use jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Client, ResourceExt};
use protocol::Purged;

use super::perform::NotRun;
use crate::backup;
use crate::context::Context;

/// Backups that are asked about at a time; a request has an end.
const ASKED: usize = 5000;

/// The CassandraBackups of this cluster and storage that should be there, with their names in the
/// storage.
pub(super) async fn there(
    client: &Client,
    namespace: &str,
    spec: &CassandraBackupSpec,
) -> Result<Vec<(String, CassandraBackup)>, NotRun> {
    let api: Api<DeserializeGuard<CassandraBackup>> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default()).await;
    let list = list.map_err(|cause| NotRun::List {
        namespace: namespace.into(),
        cause: Box::new(cause),
    })?;
    let of = |backup: CassandraBackup| Some((name_if_there(&backup, spec)?, backup));
    let readable = list.items.into_iter().filter_map(|item| item.0.ok());
    Ok(readable.filter_map(of).take(ASKED).collect())
}

/// Its name in the storage, if it is of this cluster and storage, has ended and left something there.
pub(super) fn name_if_there(backup: &CassandraBackup, of: &CassandraBackupSpec) -> Option<String> {
    if (&backup.spec.cluster, &backup.spec.storage) != (&of.cluster, &of.storage) {
        return None;
    }
    let status = backup.status.as_ref()?;
    let ended = status
        .phase
        .is_some_and(|phase| phase.is_final() && phase != BackupPhase::Expired);
    let left = |node: &crds::NodeStatus| node.phase == NodePhase::Succeeded;
    // As long as leftover snapshots are removed, its status is written by who does that.
    let sweeping = status.nodes.iter().any(|node| node.sweep_pending);
    let name = status.backup_name.clone()?;
    (ended && !sweeping && status.nodes.iter().any(left)).then_some(name)
}

/// Says in their statuses that they are no more. What fails is found gone by the next purge.
pub(super) async fn say(context: &Context, there: Vec<(String, CassandraBackup)>, purged: &Purged) {
    if purged.dry_run {
        return;
    }
    let reasons: BTreeMap<&str, &str> = purged
        .expired
        .iter()
        .map(|expired| (expired.backup.as_str(), expired.reason.as_str()))
        .collect();
    let gone: BTreeSet<&str> = purged.gone.iter().map(String::as_str).collect();
    for (name, backup) in there {
        let message = match reasons.get(name.as_str()) {
            Some(reason) => format!("retention deleted backup {name}: {reason}"),
            None if gone.contains(name.as_str()) => {
                format!("backup {name} is not in the storage any more")
            }
            None => continue,
        };
        match backup::expire(context, &backup, &message, Timestamp::now()).await {
            Ok(()) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
            Err(error) => tracing::warn!(
                namespace = backup.namespace(), resource = backup.name_any(), %error,
                "cannot say that a backup has expired"
            ),
        }
    }
}
