//! CassandraBackups whose backup is no more, whoever made them.

use std::collections::{BTreeMap, BTreeSet};

use crds::{BackupPhase, CassandraBackup, CassandraBackupSpec, NodePhase};
use jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use kube::{Client, ResourceExt};
use protocol::Purged;

use super::perform::NotRun;
use crate::answer::is_gone;
use crate::backup;
use crate::context::Context;

/// Backups that are asked about at a time; a request has an end.
const ASKED: usize = 5000;
/// Backups that are listed at a time: their statuses are large where clusters are.
const PAGE: u32 = 50;

/// A CassandraBackup whose backup should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct There {
    /// Name of the backup in the storage.
    pub(super) backup: String,
    resource: String,
    uid: Option<String>,
}

/// The CassandraBackups of this cluster and storage whose backups should be there.
pub(super) async fn there(
    client: &Client,
    namespace: &str,
    spec: &CassandraBackupSpec,
) -> Result<Vec<There>, NotRun> {
    let api: Api<DeserializeGuard<CassandraBackup>> = Api::namespaced(client.clone(), namespace);
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await.map_err(|cause| NotRun::List {
            namespace: namespace.into(),
            cause: Box::new(cause),
        })?;
        let readable = list.items.iter().filter_map(|item| item.0.as_ref().ok());
        found.extend(readable.filter_map(|backup| {
            Some(There {
                backup: name_if_there(backup, spec)?,
                resource: backup.name_any(),
                uid: backup.uid(),
            })
        }));
        match list.metadata.continue_ {
            Some(token) if !token.is_empty() => page = page.continue_token(&token),
            _ => break,
        }
    }
    found.truncate(ASKED);
    Ok(found)
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
pub(super) async fn say(
    context: &Context,
    namespace: &str,
    spec: &CassandraBackupSpec,
    there: &[There],
    purged: &Purged,
) {
    // A storage without any backup of the cluster is rather another one, or a directory where
    // nothing is mounted, than one that lost them all.
    let nothing_there = purged.kept == 0 && purged.held == 0 && purged.expired.is_empty();
    if purged.dry_run || nothing_there {
        return;
    }
    let reasons: BTreeMap<&str, &str> = purged
        .expired
        .iter()
        .map(|expired| (expired.backup.as_str(), expired.reason.as_str()))
        .collect();
    let gone: BTreeSet<&str> = purged.gone.iter().map(String::as_str).collect();
    for known in there {
        let name = known.backup.as_str();
        let message = match reasons.get(name) {
            Some(reason) => format!("retention deleted backup {name}: {reason}"),
            None if gone.contains(name) => {
                format!("backup {name} is not in the storage any more")
            }
            None => continue,
        };
        if let Err(error) = expire(context, namespace, spec, known, &message).await {
            tracing::warn!(
                namespace, resource = known.resource, %error,
                "cannot say that a backup has expired"
            );
        }
    }
}

/// The purge took its time: what was known of the resource is looked up anew.
async fn expire(
    context: &Context,
    namespace: &str,
    spec: &CassandraBackupSpec,
    known: &There,
    message: &str,
) -> Result<(), kube::Error> {
    let api: Api<CassandraBackup> = Api::namespaced(context.client.clone(), namespace);
    let fresh = api.get_opt(&known.resource).await?;
    let same = |fresh: &CassandraBackup| {
        fresh.uid() == known.uid && name_if_there(fresh, spec).as_ref() == Some(&known.backup)
    };
    let Some(fresh) = fresh.filter(same) else {
        return Ok(());
    };
    match backup::expire(context, &fresh, message, Timestamp::now()).await {
        Err(kube::Error::Api(status)) if is_gone(&status) => Ok(()),
        other => other,
    }
}
