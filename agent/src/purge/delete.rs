//! Deletes what is condemned and still unreferenced: manifests first, so that none ever names what
//! is gone.
//!
//! When a delete fails, none is begun any more, and those that are on their way are waited for: the
//! report has what they did.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use manifest::{BackupName, ManifestKey};
use store::Key;

use super::condemn::Condemned;
use super::{Again, Purge, PurgeError, PurgeReport, PurgeStep};
use crate::lease::Deadline;
use crate::order::Rule;

/// How long our own clock is believed instead of the storage's.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How often progress is told, in objects.
const TELL_EVERY: u64 = 1_000;

/// The last step.
pub(super) struct Deleting<'a> {
    pub purge: &'a Purge<'a>,
    pub deadline: &'a Deadline,
    pub condemned: &'a Condemned,
    /// What the second look left of it.
    pub again: &'a Again,
    /// Dead intents that the list names.
    pub dead_before: &'a BTreeSet<Key>,
    /// A delete has failed.
    pub failed: AtomicBool,
}

impl Deleting<'_> {
    /// Deletes until all is done, the deadline has passed or something fails. The report has what was
    /// deleted, however it ends.
    pub async fn run(&self, report: &mut PurgeReport) -> Result<(), PurgeError> {
        let manifests_first = self.purge.options.order.keeps(Rule::ManifestsBeforeData);
        if manifests_first {
            self.manifests(report).await?;
        }
        if !report.unfinished {
            self.data(report).await?;
        }
        if !manifests_first {
            self.manifests(report).await?;
        }
        for key in self.dead_before.intersection(&self.again.dead) {
            if self.one(key).await? {
                report.intents += 1;
            } else {
                report.unfinished = true;
            }
        }
        Ok(())
    }

    async fn manifests(&self, report: &mut PurgeReport) -> Result<(), PurgeError> {
        let manifests = &self.again.expired.manifests;
        let deletes = manifests
            .iter()
            .map(|(manifest, key)| async move { (manifest, self.one(key).await) });
        let mut deletes =
            stream::iter(deletes).buffer_unordered(self.purge.options.concurrency.max(1));
        let mut left: BTreeSet<&ManifestKey> = manifests.keys().collect();
        let mut ended = Ok(());
        while let Some((manifest, deleted)) = deletes.next().await {
            match deleted {
                Ok(true) => {
                    report.manifests += 1;
                    left.remove(manifest);
                }
                Ok(false) => report.unfinished = true,
                Err(error) => ended = self.fail(ended, error),
            }
        }
        let left: BTreeSet<&BackupName> = left.iter().map(|manifest| &manifest.backup).collect();
        report.expired = self.again.expired.names();
        report.expired.retain(|backup| !left.contains(backup));
        ended
    }

    async fn data(&self, report: &mut PurgeReport) -> Result<(), PurgeError> {
        let total = self.condemned.sizes_len();
        let deletes = self.condemned.data()?.map(|next| async move {
            let (name, size) = next?;
            if self.again.named.contains(&name) {
                return Ok::<_, PurgeError>((None, size));
            }
            let key = Key::parse(&self.purge.layout.key_in_cluster(&name))?;
            Ok((Some(self.one(&key).await?), size))
        });
        let mut deletes =
            stream::iter(deletes).buffer_unordered(self.purge.options.concurrency.max(1));
        let mut ended = Ok(());
        while let Some(deleted) = deletes.next().await {
            match deleted {
                Ok((None, _)) => report.spared += 1,
                Ok((Some(true), size)) => report.deleted.add(size),
                Ok((Some(false), _)) => report.unfinished = true,
                Err(error) => ended = self.fail(ended, error),
            }
            if report.deleted.objects.is_multiple_of(TELL_EVERY) {
                let done = report.deleted.objects + report.spared;
                self.purge.tell(PurgeStep::Deleting, done, Some(total));
            }
        }
        ended
    }

    /// Lets nothing more begin. The first error is told.
    fn fail(&self, ended: Result<(), PurgeError>, error: PurgeError) -> Result<(), PurgeError> {
        self.failed.store(true, Ordering::Relaxed);
        ended.and(Err(error))
    }

    /// Deletes one object, unless the deadline has passed, the purge is cancelled or another delete
    /// has failed.
    async fn one(&self, key: &Key) -> Result<bool, PurgeError> {
        if self.failed.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let (store, timer) = (self.purge.store, self.purge.options.timer.as_ref());
        if self.deadline.unseen_for(timer) > LOOK_EVERY {
            self.deadline.look(store, timer).await?;
        }
        if self.purge.options.cancel.is_cancelled() {
            return Ok(false);
        }
        let in_time = !self.deadline.passed(timer);
        if in_time || !self.purge.options.order.keeps(Rule::DeletesBeforeDeadline) {
            store.delete(key).await?;
            return Ok(true);
        }
        Ok(false)
    }
}
