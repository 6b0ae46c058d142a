//! Whose backups are in a storage, for whoever probes it.

use std::time::Duration;

use protocol::{ClusterFound, Reason, Seen, StorageAccess, Survey, Verdict};
use store::Store;

use super::yes;
use crate::catalogue::{self, SurveyError};
use crate::neighbour;

/// A survey that takes longer is not told: who asks has no patience for more.
const LIMIT: Duration = Duration::from_secs(30);
/// Clusters that are told, a result being one line.
const MOST: usize = 100;

/// The clusters, as far as they are known, and why not all are.
pub(super) async fn told(store: &dyn Store, storage: &StorageAccess) -> Survey {
    let ended = clusters(store, storage).await;
    ended.unwrap_or_else(|(reason, message)| unknown(reason, message))
}

fn unknown(reason: Reason, message: String) -> Survey {
    Survey {
        seen: Seen {
            verdict: Verdict::Unknown,
            reason,
            message,
        },
        ..Survey::default()
    }
}

async fn clusters(store: &dyn Store, storage: &StorageAccess) -> Result<Survey, (Reason, String)> {
    // A directory is looked into in Cassandra's own container.
    if matches!(storage, StorageAccess::File { .. }) {
        let enough = neighbour::enough_memory();
        enough.map_err(|error| (Reason::OutOfMemory, error.to_string()))?;
    }
    let survey = tokio::time::timeout(LIMIT, catalogue::survey(store)).await;
    let late = |_| {
        let message = format!(
            "it took longer than {} s to look for clusters",
            LIMIT.as_secs()
        );
        (Reason::NotProbed, message)
    };
    match survey.map_err(late)? {
        Ok(clusters) => Ok(found(clusters)),
        Err(error) => {
            let (reason, why) = (error.reason(), crate::chain(&error));
            match error {
                SurveyError::Partly {
                    found,
                    first,
                    others,
                } => {
                    let unseen = std::iter::once(*first).chain(others);
                    let unseen = unseen.map(|it| it.folder.to_string()).take(MOST);
                    Ok(partly(found, unseen.collect(), reason, why))
                }
                _ => Err((reason, why)),
            }
        }
    }
}

/// What is told where some folders cannot be looked into.
fn partly(clusters: Vec<ClusterFound>, unseen: Vec<String>, reason: Reason, why: String) -> Survey {
    if clusters.is_empty() {
        return unknown(reason, why);
    }
    let told = found(clusters);
    let message = format!("{}; {why}", told.seen.message);
    Survey {
        clusters: told.clusters,
        left_out: told.left_out,
        unseen,
        ..unknown(reason, message)
    }
}

fn found(mut clusters: Vec<ClusterFound>) -> Survey {
    let all = clusters.len();
    clusters.truncate(MOST);
    let left_out = all - clusters.len();
    let told = match (all, left_out) {
        (0, _) => "no cluster has a backup here".to_owned(),
        (1, _) => "1 cluster has backups here".to_owned(),
        (all, 0) => format!("{all} clusters have backups here"),
        (all, _) => format!("{all} clusters have backups here, the first {MOST} are told"),
    };
    Survey {
        seen: yes(&told),
        clusters,
        left_out: left_out as u64,
        unseen: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::S3Access;
    use store::testing::{Fault, Faulty, Operation};
    use store::{Error, FileStore};

    use super::*;

    /// Of two clusters the second one cannot be listed, or neither can.
    async fn told_without(denied: &[u64]) -> Survey {
        let home = tempfile::tempdir().unwrap();
        for cluster in ["a", "b"] {
            let backup = home.path().join(cluster).join("manifests/b");
            std::fs::create_dir_all(&backup).unwrap();
            let manifest = backup.join(format!("{}.jsonl", uuid::Uuid::from_u128(1)));
            std::fs::write(manifest, b"{").unwrap();
        }
        let mut store = Faulty::new(FileStore::open(home.path()).unwrap());
        for list in denied {
            let fault = Fault::Refused(|at| Error::Denied {
                at,
                source: "403".into(),
            });
            store = store.fail(Operation::List, *list, fault);
        }
        told(&store, &StorageAccess::S3(S3Access::default())).await
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_looked_into_keeps_no_other_from_being_told() {
        let of = |survey: &Survey| (survey.seen.verdict, survey.seen.reason);
        // The first list is that of the folders.
        let partly = told_without(&[3]).await;
        let clusters: Vec<_> = partly.clusters.iter().map(|it| &*it.cluster).collect();
        assert_eq!(clusters, ["a"]);
        assert_eq!(partly.unseen, ["b"]);
        assert_eq!(of(&partly), (Verdict::Unknown, Reason::StorageDenied));
        let message = &partly.seen.message;
        let begin = "1 cluster has backups here; cannot look into b: ";
        assert!(message.starts_with(begin), "{message}");
        let nothing = told_without(&[2, 3]).await;
        assert!(nothing.clusters.is_empty());
        assert_eq!(of(&nothing), (Verdict::Unknown, Reason::StorageDenied));
        let message = &nothing.seen.message;
        assert!(message.starts_with("cannot look into a, b: "), "{message}");
        assert_eq!(told_without(&[]).await.seen.verdict, Verdict::Yes);
    }

    #[test]
    fn the_first_hundred_are_told_and_the_others_counted() {
        let of = |count| found(vec![ClusterFound::default(); count]);
        let survey = of(103);
        assert_eq!((survey.clusters.len(), survey.left_out), (100, 3));
        assert!(survey.seen.message.starts_with("103 clusters"));
        assert_eq!((of(100).left_out, of(0).left_out), (0, 0));
    }
}
