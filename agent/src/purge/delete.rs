//! Deletes what is condemned and still unreferenced: manifests first, so that none ever names what
//! is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use store::Key;

use super::condemn::Condemned;
use super::{Again, Amount, Purge, PurgeError, PurgeReport, PurgeStep};
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
}

impl Deleting<'_> {
    /// Deletes until all is done or the deadline has passed.
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
        let deletes = manifests.iter().map(|(manifest, key)| async move {
            Ok::<_, PurgeError>((manifest, self.one(key).await?))
        });
        let mut deletes =
            stream::iter(deletes).buffer_unordered(self.purge.options.concurrency.max(1));
        let mut left = BTreeSet::new();
        while let Some((manifest, deleted)) = deletes.try_next().await? {
            if deleted {
                report.manifests += 1;
            } else {
                report.unfinished = true;
                left.insert(&manifest.backup);
            }
        }
        report.expired = self.again.expired.names();
        report.expired.retain(|backup| !left.contains(backup));
        Ok(())
    }

    async fn data(&self, report: &mut PurgeReport) -> Result<(), PurgeError> {
        let total = self.condemned.sizes_len();
        let mut done = Amount::default();
        let mut spared = 0;
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
        while let Some((deleted, size)) = deletes.try_next().await? {
            match deleted {
                None => spared += 1,
                Some(true) => done.add(size),
                Some(false) => report.unfinished = true,
            }
            if done.objects.is_multiple_of(TELL_EVERY) {
                let done = done.objects + spared;
                self.purge.tell(PurgeStep::Deleting, done, Some(total));
            }
        }
        report.deleted = done;
        report.spared = spared;
        Ok(())
    }

    /// Deletes one object, unless the deadline has passed or the purge is cancelled.
    async fn one(&self, key: &Key) -> Result<bool, PurgeError> {
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
