//! Which clusters have backups in a storage, and to which times they can be brought back.

use futures::stream::{self, StreamExt};
use manifest::ClusterId;
use protocol::{ClusterFound, Reason, Restorable};
use store::Store;

use super::{Backup, CatalogueError, Completeness, Headers, read, read_headers};
use crate::chain;
use crate::read::ReadFailure;

/// Folders at the top of a storage that are looked into. A bucket with more is shared with others,
/// and each would cost requests.
const MOST_FOLDERS: usize = 1000;

/// Clusters that are looked at at the same time.
const AT_ONCE: usize = 4;

/// Folders that a message names.
const NAMED: usize = 5;

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
    /// Some folders cannot be looked into, and the others can.
    #[error("{}", named(.first, .others))]
    Partly {
        /// The clusters that have a backup in the others, by name.
        found: Vec<ClusterFound>,
        /// One that cannot.
        first: Box<Unseen>,
        /// More of them.
        others: Vec<Unseen>,
    },
}

/// A folder that cannot be looked into.
#[derive(Debug)]
pub struct Unseen {
    /// Its name, which may be that of a cluster.
    pub folder: ClusterId,
    /// Why.
    pub cause: CatalogueError,
}

impl SurveyError {
    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Catalogue(error) => error.reason(),
            Self::Crowded { .. } => Reason::StorageUnsuitable,
            Self::Partly { first, .. } => first.cause.reason(),
        }
    }
}

fn named(first: &Unseen, others: &[Unseen]) -> String {
    let mut text = format!("cannot look into {}", first.folder);
    for other in others.iter().take(NAMED - 1) {
        text.push_str(&format!(", {}", other.folder));
    }
    if others.len() >= NAMED {
        text.push_str(&format!(" and {} more", others.len() - (NAMED - 1)));
    }
    format!("{text}: {}", chain(&first.cause))
}

/// Whether it is the storage that fails, and not what is in a folder.
fn is_of_all(error: &CatalogueError) -> bool {
    match error {
        CatalogueError::Store(error) | CatalogueError::Read(ReadFailure::Store(error)) => {
            error.is_temporary() || matches!(error, store::Error::StorageMissing { .. })
        }
        _ => false,
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
    let looks = names.into_iter().map(|folder| async move {
        let seen = look(store, &folder).await;
        (folder, seen)
    });
    let mut looks = stream::iter(looks).buffered(AT_ONCE);
    let (mut found, mut unseen) = (Vec::new(), Vec::new());
    while let Some((folder, seen)) = looks.next().await {
        match seen {
            Ok(cluster) => found.extend(cluster),
            Err(error) if is_of_all(&error) => return Err(error.into()),
            Err(cause) => unseen.push(Unseen { folder, cause }),
        }
    }
    let mut unseen = unseen.into_iter();
    match unseen.next() {
        None => Ok(found),
        Some(first) => Err(SurveyError::Partly {
            found,
            first: Box::new(first),
            others: unseen.collect(),
        }),
    }
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

#[cfg(test)]
mod tests {
    use store::FileStore;
    use store::testing::{Fault, Faulty, Operation};
    use store::{At, Error};

    use super::*;

    fn denied(at: At) -> Error {
        let source = "403".into();
        Error::Denied { at, source }
    }

    fn unavailable(at: At) -> Error {
        let source = "no route".into();
        Error::Unavailable { at, source }
    }

    /// What is told of a storage with a folder for each of these clusters, of which these cannot be listed.
    async fn surveyed(
        clusters: &[&str],
        fail: &[&str],
        how: fn(At) -> Error,
    ) -> Result<Vec<String>, SurveyError> {
        let home = tempfile::tempdir().unwrap();
        for cluster in clusters {
            let backup = home.path().join(cluster).join("manifests/b");
            std::fs::create_dir_all(&backup).unwrap();
            // It is there, though nobody can read it.
            let manifest = backup.join(format!("{}.jsonl", uuid::Uuid::from_u128(1)));
            std::fs::write(manifest, b"{").unwrap();
        }
        let mut store = Faulty::new(FileStore::open(home.path()).unwrap());
        // The first list is that of the folders, and their own ones follow by name.
        for (nth, _) in (2..).zip(clusters).filter(|(_, it)| fail.contains(it)) {
            store = store.fail(Operation::List, nth, Fault::Refused(how));
        }
        let names = |found: Vec<ClusterFound>| found.into_iter().map(|it| it.cluster).collect();
        survey(&store).await.map(names)
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_listed_is_named_and_the_others_are_told() {
        let all = ["a", "b", "c"];
        assert_eq!(surveyed(&all, &[], denied).await.unwrap(), all);
        let error = surveyed(&all, &["b"], denied).await.unwrap_err();
        assert_eq!(error.reason(), Reason::StorageDenied);
        let text = error.to_string();
        assert!(text.starts_with("cannot look into b: "), "{text}");
        let SurveyError::Partly { found, others, .. } = error else {
            panic!("{error:?}")
        };
        let found: Vec<_> = found.iter().map(|it| it.cluster.as_str()).collect();
        assert_eq!(found, ["a", "c"]);
        assert!(others.is_empty());
    }

    #[tokio::test]
    async fn the_first_folders_that_cannot_be_listed_are_named_and_the_others_counted() {
        let all = ["a", "b", "c", "d", "e", "f", "g"];
        let text = |error: SurveyError| error.to_string();
        let five = text(surveyed(&all, &all[..5], denied).await.unwrap_err());
        assert!(
            five.starts_with("cannot look into a, b, c, d, e: "),
            "{five}"
        );
        let seven = text(surveyed(&all, &all, denied).await.unwrap_err());
        let begin = "cannot look into a, b, c, d, e and 2 more: ";
        assert!(seven.starts_with(begin), "{seven}");
    }

    #[tokio::test]
    async fn a_storage_that_does_not_answer_is_no_folder_that_cannot_be_listed() {
        let error = surveyed(&["a", "b"], &["b"], unavailable)
            .await
            .unwrap_err();
        assert!(matches!(error, SurveyError::Catalogue(_)), "{error:?}");
        assert_eq!(error.reason(), Reason::StorageUnavailable);
    }
}
