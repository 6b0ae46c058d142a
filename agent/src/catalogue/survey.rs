//! Which clusters have backups in a storage, and to which times they can be brought back.

use futures::stream::{self, StreamExt, TryStreamExt};
use manifest::ClusterId;
use protocol::{ClusterFound, Reason, Restorable};
use store::Store;

use super::{Backup, CatalogueError, Completeness, Headers, read, read_headers};

/// Folders at the top of a storage that are looked into. A bucket with more is shared with others,
/// and each would cost requests.
const MOST_FOLDERS: usize = 1000;

/// Clusters that are looked at at the same time.
const AT_ONCE: usize = 4;

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

impl SurveyError {
    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Catalogue(error) => error.reason(),
            Self::Crowded { .. } => Reason::StorageUnsuitable,
        }
    }
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
    let looks = names.iter().map(|cluster| look(store, cluster));
    let found = stream::iter(looks).buffered(AT_ONCE);
    Ok(found
        .try_filter_map(async |found| Ok(found))
        .try_collect()
        .await?)
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
    let first = restorable(store, complete.clone()).await?;
    let last = restorable(store, complete.clone().rev()).await?;
    Ok(Some(ClusterFound {
        cluster: cluster.to_string(),
        backups: backups.len() as u64,
        complete: complete.count() as u64,
        first,
        last,
    }))
}

/// The first of these backups whose headers can all be believed. What was written before its first
/// snapshot, over all nodes, is in it.
async fn restorable(
    store: &dyn Store,
    backups: impl Iterator<Item = &Backup>,
) -> Result<Option<Restorable>, CatalogueError> {
    for backup in backups {
        let mut whole = [backup.clone()];
        read_headers(store, &mut whole).await?;
        let [whole] = whole;
        let believed = whole.unreadable.is_empty();
        if believed && whole.completeness() == Completeness::Complete {
            return Ok(whole.started().map(|time| Restorable {
                backup: whole.name.to_string(),
                time,
            }));
        }
    }
    Ok(None)
}
