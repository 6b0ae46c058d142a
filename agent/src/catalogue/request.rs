//! The same, as a caller of the protocol asks for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use manifest::{BackupName, ClusterId, Header};
use protocol::{
    BackupFound, Catalogue, CatalogueRequest, NodeFound, NodeIdentity, Outcome, Reason, Scope,
    SnapshotTimes, StorageAccess,
};
use store::Store;
use uuid::Uuid;

use super::{Backup, CatalogueError, StoredManifest, names, read_headers, running};
use crate::field::{self, BadField};
use crate::neighbour::{self, NoMemory};
use crate::probe::outcome;
use crate::run_context::Run;
use crate::storage;

/// Backups that are told at once, and nodes of them: each node is some 400 bytes of a line.
const MOST_BACKUPS: usize = 100;
const MOST_NODES: usize = 2000;

#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error(transparent)]
    Field(#[from] BadField),
    #[error(transparent)]
    Memory(#[from] NoMemory),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl RequestError {
    fn reason(&self) -> Reason {
        match self {
            Self::Field(_) => Reason::InvalidRequest,
            Self::Memory(_) => Reason::OutOfMemory,
            Self::Catalogue(error) => error.reason(),
        }
    }
}

/// Tells the backups of the request's cluster.
pub async fn tell(run: &Run, request: &CatalogueRequest) -> Outcome {
    match catalogue(request).await {
        Ok(catalogue) => {
            let message = format!("{} backups are there", catalogue.names.len());
            Outcome {
                catalogue: Some(Box::new(catalogue)),
                ..outcome(run, Reason::Succeeded, message)
            }
        }
        Err(error) => outcome(run, error.reason(), crate::chain(&error)),
    }
}

async fn catalogue(request: &CatalogueRequest) -> Result<Catalogue, RequestError> {
    let cluster: ClusterId = field::parse("cluster", &request.cluster)?;
    // Only directories are looked into in Cassandra's own containers.
    if matches!(request.storage, StorageAccess::File { .. }) {
        neighbour::enough_memory()?;
    }
    let opened = async {
        let store = storage::open(&request.storage).await?;
        store.reach().await?;
        Ok::<Arc<dyn Store>, store::Error>(store)
    };
    let store = opened.await.map_err(CatalogueError::from)?;
    let mut backups = names(store.as_ref(), &cluster).await?;
    backups.retain(|backup| !backup.manifests.is_empty());
    let all = backups.iter().map(|backup| backup.name.to_string());
    let mut catalogue = Catalogue {
        names: all.collect(),
        ..Catalogue::default()
    };
    let known: BTreeSet<&str> = request.known.iter().map(String::as_str).collect();
    backups.retain(|backup| !known.contains(backup.name.as_str()));
    // Without headers, by when its first manifest was written.
    backups.sort_by_key(|backup| std::cmp::Reverse(backup.started()));
    let told = fit(backups.iter().map(|backup| backup.manifests.len()));
    catalogue.left_out = (backups.len() - told) as u64;
    backups.truncate(told);
    read_headers(store.as_ref(), &mut backups).await?;
    let at_work = running(store.as_ref(), &backups).await?;
    add(&mut catalogue, backups, &at_work);
    Ok(catalogue)
}

/// How many backups are told, of which these have so many nodes: at least one.
fn fit(nodes: impl Iterator<Item = usize>) -> usize {
    let sums = nodes.take(MOST_BACKUPS).scan(0, |sum, nodes| {
        *sum += nodes;
        Some(*sum)
    });
    let all: Vec<usize> = sums.collect();
    let fitting = all.iter().take_while(|sum| **sum <= MOST_NODES).count();
    fitting.max(all.len().min(1))
}

/// What the headers tell of the backups that nobody is at work on.
fn add(catalogue: &mut Catalogue, backups: Vec<Backup>, at_work: &BTreeSet<BackupName>) {
    for backup in backups {
        // It went while it was looked at.
        if backup.manifests.is_empty() || at_work.contains(&backup.name) {
            continue;
        }
        match found(&backup) {
            Some(found) => catalogue.found.push(found),
            None => catalogue.unreadable.push(backup.name.to_string()),
        }
    }
}

fn found(backup: &Backup) -> Option<BackupFound> {
    let first = backup.headers.values().next()?;
    let nodes: Vec<NodeFound> = backup
        .headers
        .iter()
        .filter_map(|(node, header)| Some(node_found(header, backup.manifests.get(node)?)))
        .collect();
    let readable = |node: &Uuid| backup.headers.contains_key(node);
    let missing = backup.expected().into_iter().filter(|node| !readable(node));
    Some(BackupFound {
        backup: backup.name.to_string(),
        series: first.series.clone(),
        scope: Scope {
            keyspaces: first.scope.keyspaces.clone(),
            tables: first.scope.tables.clone(),
            datacenters: first.scope.datacenters.clone(),
        },
        missing: missing.collect(),
        nodes,
    })
}

fn node_found(header: &Header, stored: &StoredManifest) -> NodeFound {
    NodeFound {
        node: NodeIdentity {
            host_id: header.node.host_id,
            datacenter: header.node.datacenter.clone(),
            rack: header.node.rack.clone(),
            cassandra_version: header.node.cassandra_version.clone(),
        },
        pod: header.node.pod.clone(),
        run_id: header.run_id,
        snapshot: SnapshotTimes {
            started_at: header.snapshot.started_at,
            ended_at: header.snapshot.ended_at,
            late_ms: None,
        },
        manifest: stored.key.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn a_line_holds_a_hundred_backups_or_two_thousand_nodes_and_one_backup_of_any_size() {
        let of = |nodes: &[usize]| fit(nodes.iter().copied());
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[5000, 1]), 1);
        assert_eq!(of(&[1000, 1000, 1]), 2);
        assert_eq!(fit(std::iter::repeat_n(3, 500)), 100);
    }
}
