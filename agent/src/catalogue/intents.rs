//! Whether somebody may still be at work on a backup.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use manifest::{BackupName, Intent, KeyLines};
use store::{Key, Store};

use super::{Backup, CatalogueError, Completeness, PARALLEL};

/// An attempt is believed to be at work this long after its deadline, for clocks that differ.
const MARGIN: Duration = Duration::from_secs(600);

/// The head of an intent has less.
const HEAD: u64 = 4 << 10;

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
    let now = Timestamp::try_from(store.now().await?).unwrap_or(Timestamp::MIN);
    let live = open.into_iter().map(|(name, key)| async move {
        let deadline = deadline(store, key).await?;
        let at_work = deadline.is_none_or(|deadline| now < deadline + MARGIN);
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
    let mut content = match store.get(key, Some(0..HEAD)).await {
        // A purge removed it: its deadline was over.
        Err(store::Error::NotFound { .. }) => return Ok(Some(Timestamp::MIN)),
        content => content?,
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = content.chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    let mut lines = KeyLines::<Intent>::default();
    let first = bytes.split_inclusive(|byte| *byte == b'\n').next();
    Ok(match first.map(|line| lines.line(line)) {
        Some(Ok(_)) => lines.head().map(|intent| intent.deadline),
        _ => None,
    })
}
