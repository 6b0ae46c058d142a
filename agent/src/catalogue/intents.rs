//! Whether somebody may still be at work on a backup.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use manifest::{BackupName, Intent};
use store::{Key, Store};

use super::{Backup, CatalogueError, Completeness, PARALLEL};
use crate::lease::{self, MARGIN};
use crate::read::{self, ReadFailure};

/// Those of `backups` that are not complete and that an attempt may still be at work on: its node
/// has no manifest, and its intent's deadline is not over. An intent that cannot be read counts as
/// at work: unknown is not ended.
pub async fn running(
    store: &dyn Store,
    backups: &[Backup],
) -> Result<BTreeSet<BackupName>, CatalogueError> {
    let open: Vec<(&BackupName, &Key)> = backups
        .iter()
        .filter(|backup| backup.completeness() != Completeness::Complete)
        .flat_map(|backup| {
            let without_manifest = backup
                .intents
                .iter()
                .filter(|intent| !backup.manifests.contains_key(&intent.of.host_id));
            without_manifest.map(|intent| (&backup.name, &intent.key))
        })
        .collect();
    if open.is_empty() {
        return Ok(BTreeSet::new());
    }
    let now = lease::now_for_readers(store).await?;
    let live = open.into_iter().map(|(name, key)| async move {
        let deadline = deadline(store, key).await?;
        let at_work = deadline.is_none_or(|deadline| lease::honoured(deadline, now, MARGIN));
        Ok::<_, CatalogueError>(at_work.then(|| name.clone()))
    });
    let names: Vec<Option<BackupName>> = stream::iter(live)
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    Ok(names.into_iter().flatten().collect())
}

/// The deadline of an intent; nothing if it cannot be read.
async fn deadline(store: &dyn Store, key: &Key) -> Result<Option<Timestamp>, CatalogueError> {
    match read::keys_head::<Intent>(store, key).await {
        Ok(intent) => Ok(Some(intent.deadline)),
        // A purge removed it: its deadline was over.
        Err(gone) if gone.is_not_found() => Ok(Some(Timestamp::MIN)),
        Err(ReadFailure::Store(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}
