//! Whose backups are in a storage, for whoever probes it.

use std::time::Duration;

use protocol::{ClusterFound, Reason, Seen, StorageAccess, Survey, Verdict};
use store::Store;

use super::yes;
use crate::catalogue;
use crate::neighbour;

/// A survey that takes longer is not told: who asks has no patience for more.
const LIMIT: Duration = Duration::from_secs(30);
/// Clusters that are told, a result being one line.
const MOST: usize = 100;

/// The clusters, or why they are not known.
pub(super) async fn told(store: &dyn Store, storage: &StorageAccess) -> Survey {
    match clusters(store, storage).await {
        Ok(clusters) => found(clusters),
        Err((reason, message)) => Survey {
            seen: Seen {
                verdict: Verdict::Unknown,
                reason,
                message,
            },
            ..Survey::default()
        },
    }
}

async fn clusters(
    store: &dyn Store,
    storage: &StorageAccess,
) -> Result<Vec<ClusterFound>, (Reason, String)> {
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
    let survey = survey.map_err(late)?;
    survey.map_err(|error| (error.reason(), crate::chain(&error)))
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hundred_are_told_and_the_others_counted() {
        let of = |count| found(vec![ClusterFound::default(); count]);
        let survey = of(103);
        assert_eq!((survey.clusters.len(), survey.left_out), (100, 3));
        assert!(survey.seen.message.starts_with("103 clusters"));
        assert_eq!((of(100).left_out, of(0).left_out), (0, 0));
    }
}
