//! Which clusters have backups in a storage, and to which times they can be brought back.

use manifest::ClusterId;
use protocol::{ClusterFound, Restorable};
use store::Store;

use super::{Backup, CatalogueError, Completeness, Headers, Wanted, add_headers, read};

/// Folders at the top of a storage that are looked into. A bucket with more is shared with others,
/// and each would cost requests.
const MOST_FOLDERS: usize = 1000;

/// Why clusters could not be told.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// A cluster.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// Others use the storage, too.
    #[error(
        "{storage} has more than {MOST_FOLDERS} folders at its top, too many to look for clusters in: give backups a prefix of their own"
    )]
    Crowded {
        /// The storage.
        storage: String,
    },
}

/// The clusters that have a backup, by name.
pub async fn survey(store: &dyn Store) -> Result<Vec<ClusterFound>, SurveyError> {
    let folders = store.folders(MOST_FOLDERS + 1).await;
    let folders = folders.map_err(CatalogueError::from)?;
    if folders.len() > MOST_FOLDERS {
        return Err(SurveyError::Crowded {
            storage: store.name().to_owned(),
        });
    }
    let mut names: Vec<ClusterId> = folders
        .into_iter()
        .filter_map(|folder| folder.parse().ok())
        .collect();
    names.sort();
    let mut found = Vec::new();
    for cluster in names {
        found.extend(look(store, &cluster).await?);
    }
    Ok(found)
}

/// What is there of one cluster; none where it has no manifest.
async fn look(
    store: &dyn Store,
    cluster: &ClusterId,
) -> Result<Option<ClusterFound>, CatalogueError> {
    let mut backups = read(store, cluster, Headers::One).await?;
    backups.retain(|backup| !backup.manifests.is_empty());
    if backups.is_empty() {
        return Ok(None);
    }
    let complete = backups
        .iter()
        .filter(|backup| backup.completeness() == Completeness::Complete);
    let ends = [complete.clone().next(), complete.clone().next_back()];
    let [mut first, mut last] = [None, None];
    for (end, restorable) in ends.into_iter().zip([&mut first, &mut last]) {
        if let Some(backup) = end {
            *restorable = restorable_of(store, backup).await?;
        }
    }
    Ok(Some(ClusterFound {
        cluster: cluster.to_string(),
        backups: backups.len() as u64,
        complete: complete.count() as u64,
        first,
        last,
    }))
}

/// What was written before this is in the backup: its first snapshot, over all nodes.
async fn restorable_of(
    store: &dyn Store,
    backup: &Backup,
) -> Result<Option<Restorable>, CatalogueError> {
    let mut whole = [backup.clone()];
    let unread: Wanted = backup
        .manifests
        .iter()
        .filter(|(node, _)| !backup.headers.contains_key(node))
        .map(|(node, stored)| (0, *node, stored.key.clone()))
        .collect();
    add_headers(store, &mut whole, unread).await?;
    let [whole] = whole;
    Ok(whole.started().map(|time| Restorable {
        backup: whole.name.to_string(),
        time,
    }))
}
