//! Deletes expired backups, then the data that no manifest and no intent names, such that no
//! backup that runs meanwhile, and no crash, ever loses an object that somebody relies on.
//!
//! The order is that of `docs/storage-layout.md`, "Purge": look, write down what is condemned,
//! look again, delete what is still unreferenced, take the list away. What has expired is decided
//! by the caller, purely, from the [`Catalogue`]; it is asked at both looks, and only what it
//! answers twice is deleted.

mod catalogue;
mod condemn;
mod delete;
mod error;
mod look;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use manifest::{BackupName, ClusterId, ClusterLayout};
use store::{Key, Store};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::catalogue::{Backup, Catalogue, NodeManifest};
pub use self::error::PurgeError;
use self::look::{Expired, Look};
use crate::lease::{self, Deadline, MARGIN, SystemTimer, Timer};
use crate::named::Named;
use crate::order::{Order, Rule};
use crate::read;

/// Incomplete uploads stay at least so long after they began, on FILE after they were last written to,
/// whatever the grace: a run may be at work on them. The operator's deletions begin later than that after
/// a run's end.
const UPLOADS_STAY: Duration = MARGIN;

/// What a purge may do, and how.
pub struct PurgeOptions {
    /// Never used twice.
    pub purge_id: Uuid,
    /// Younger data is left alone, whether it is named or not.
    pub grace: Duration,
    /// Say what would be deleted, and write and delete nothing.
    pub dry_run: bool,
    /// Nothing is deleted later than this after the start. A backup that needs what a crashed purge
    /// had condemned waits for as long.
    pub lifetime: Duration,
    /// Requests at the same time.
    pub concurrency: usize,
    /// How long clients of the file system below FILE believe what they cached (`acdirmax` of NFS);
    /// zero where every client is on this machine. Object stores have no such time.
    pub attribute_cache: Duration,
    /// A directory for lists that are too large for memory.
    pub directory: PathBuf,
    /// Ends the purge: what is not deleted yet stays.
    pub cancel: CancellationToken,
    /// Runs that have committed, [`MARGIN`] ago and more, and that nobody goes on with: their
    /// intents are dead before their deadline.
    pub ended: BTreeSet<Uuid>,
    /// The process's clock.
    pub timer: Arc<dyn Timer>,
    /// Every rule, outside tests.
    pub order: Order,
}

impl PurgeOptions {
    /// The defaults; large lists are kept in `directory` meanwhile.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            purge_id: Uuid::new_v4(),
            grace: Duration::from_secs(24 * 3600),
            dry_run: false,
            lifetime: Duration::from_secs(6 * 3600),
            concurrency: 32,
            attribute_cache: Duration::from_secs(60),
            directory: directory.into(),
            cancel: CancellationToken::new(),
            ended: BTreeSet::new(),
            timer: Arc::new(SystemTimer),
            order: Order::RIGHT,
        }
    }
}

/// What a purge is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeStep {
    /// Reads manifests and lists the data.
    Looking,
    /// Waits for the caches of other clients.
    Waiting,
    /// Looks again.
    LookingAgain,
    /// Deletes.
    Deleting,
    /// Ends uploads that nobody goes on with.
    Sweeping,
}

/// How far a purge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeProgress {
    /// The step.
    pub step: PurgeStep,
    /// Objects that it has dealt with.
    pub done: u64,
    /// Of how many, where that is known.
    pub total: Option<u64>,
}

/// Objects and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Number of objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// What a purge did, or with `dry_run` would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeReport {
    /// Backups whose manifests were deleted.
    pub expired: Vec<BackupName>,
    /// Expired backups that stay for now because an intent names their manifest, or because a
    /// manifest of theirs changed meanwhile.
    pub held: Vec<BackupName>,
    /// Manifests that were deleted.
    pub manifests: u64,
    /// Data and tokens files that were deleted.
    pub deleted: Amount,
    /// Data that nobody names, too young to be deleted.
    pub young: Amount,
    /// Data that was condemned and is named now.
    pub spared: u64,
    /// Intents past their time that were removed.
    pub intents: u64,
    /// Condemned lists that crashed purges left and that were removed.
    pub condemned_lists: u64,
    /// Other purges that are at work.
    pub other_purges: u64,
    /// Incomplete uploads and temporary files that were ended.
    pub uploads: u64,
    /// Why these could not be looked for.
    pub unswept: Option<String>,
    /// The deadline came first, or it was cancelled or failed: some of what is condemned is left for the
    /// next purge.
    pub unfinished: bool,
}

impl PurgeReport {
    /// Whether something is gone that was there before.
    fn has_deleted(&self) -> bool {
        self.manifests + self.deleted.objects + self.intents + self.condemned_lists > 0
    }
}

/// Says which backups have expired. A pure function of the catalogue. It must never name the newest
/// complete backup of a series and scope.
pub type Decide<'a> = dyn Fn(&Catalogue) -> Vec<BackupName> + Send + Sync + 'a;

/// Takes what a purge tells of itself.
pub type Told<'a> = dyn Fn(PurgeProgress) + Send + Sync + 'a;

/// Deletes what `decide` says has expired, and data older than the grace period that is named by
/// nobody. What it had deleted when it failed is told with the error: [`PurgeError::HalfWay`].
pub async fn purge(
    store: &dyn Store,
    cluster: &ClusterId,
    decide: &Decide<'_>,
    options: PurgeOptions,
    told: &Told<'_>,
) -> Result<PurgeReport, PurgeError> {
    let purge = Purge {
        store,
        layout: ClusterLayout::new(cluster.clone()),
        options,
        told,
    };
    purge.run(decide).await
}

/// What the second look left of what the first one had found.
struct Again {
    /// Manifests that go.
    expired: Expired,
    /// Data that stays.
    named: Named,
    /// Intents that are still dead.
    dead: BTreeSet<Key>,
}

/// A purge at work.
struct Purge<'a> {
    store: &'a dyn Store,
    layout: ClusterLayout,
    options: PurgeOptions,
    told: &'a Told<'a>,
}

impl Purge<'_> {
    async fn run(&self, decide: &Decide<'_>) -> Result<PurgeReport, PurgeError> {
        let mut report = PurgeReport::default();
        let ended = self.carry_out(decide, &mut report).await;
        match ended {
            Ok(()) => Ok(report),
            Err(cause) if report.has_deleted() => {
                report.unfinished = true;
                Err(PurgeError::HalfWay {
                    cause: Box::new(cause),
                    report: Box::new(report),
                })
            }
            Err(cause) => Err(cause),
        }
    }

    async fn carry_out(
        &self,
        decide: &Decide<'_>,
        report: &mut PurgeReport,
    ) -> Result<(), PurgeError> {
        let options = &self.options;
        let timer = options.timer.as_ref();
        self.tell(PurgeStep::Looking, 0, None);
        let deadline = Deadline::after(options.lifetime, self.store, timer).await?;
        let first = self.look(None).await?;
        let expired = first.expired(&decide(&first.catalogue()), &self.layout);
        report.held = expired.held.clone();
        let crashed = self.crashed_purges(&first, report).await?;
        let condemned = self.condemn(&first, &expired, &deadline, report).await?;
        if options.dry_run {
            report.expired = expired.names();
            report.manifests = expired.manifests.len() as u64;
            report.deleted = condemned.amount();
            report.intents = first.dead.len() as u64;
            report.condemned_lists = crashed.len() as u64;
            return Ok(());
        }
        if options.cancel.is_cancelled() {
            return Err(PurgeError::Cancelled);
        }
        if !condemned.is_empty() {
            let list = Key::parse(&self.layout.condemned(options.purge_id))?;
            if options.order.keeps(Rule::CondemnedBeforeLook) {
                self.publish(&condemned, &list).await?;
            }
            let again = match self.look_again(&first, &expired, decide).await {
                Ok(again) => again,
                // Nothing was deleted, so nobody needs to wait for this purge.
                Err(error) => {
                    let _ = self.store.delete(&list).await;
                    return Err(error);
                }
            };
            if !options.order.keeps(Rule::CondemnedBeforeLook) {
                self.publish(&condemned, &list).await?;
            }
            if !options.order.keeps(Rule::CondemnedUntilDeleted) {
                self.store.delete(&list).await?;
            }
            report.held = again.expired.held.clone();
            let deleting = delete::Deleting {
                purge: self,
                deadline: &deadline,
                condemned: &condemned,
                again: &again,
                dead_before: &first.dead,
                failed: AtomicBool::new(false),
            };
            // Where a delete failed, its request may still arrive: then the list stays until its
            // deadline has passed, and a later purge removes it.
            deleting.run(report).await?;
            if report.manifests + report.deleted.objects > 0 {
                self.wait_for_caches(Rule::CacheWaitAgain, 1).await?;
            }
            self.store.delete(&list).await?;
        }
        for list in crashed {
            self.store.delete(&list).await?;
            report.condemned_lists += 1;
        }
        self.sweep(&first, report).await
    }

    fn tell(&self, step: PurgeStep, done: u64, total: Option<u64>) {
        (self.told)(PurgeProgress { step, done, total });
    }

    /// Writes down what is about to be deleted.
    async fn publish(&self, condemned: &condemn::Condemned, list: &Key) -> Result<(), PurgeError> {
        match condemned.publish(self.store, list).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(PurgeError::IdTaken(self.options.purge_id)),
            // It may be there all the same, and backups would wait for a purge that has ended.
            Err(error) => {
                let _ = self.store.delete(list).await;
                Err(error)
            }
        }
    }

    /// Once everybody who will not be seen sees the list.
    async fn look_again(
        &self,
        first: &Look,
        expired: &Expired,
        decide: &Decide<'_>,
    ) -> Result<Again, PurgeError> {
        self.wait_for_caches(Rule::CacheWait, 2).await?;
        self.tell(PurgeStep::LookingAgain, 0, None);
        let second = self.look(Some(first)).await?;
        let decided = decide(&second.catalogue());
        let still = second.still_expired(first, expired, &decided, &self.layout);
        let named = self.named_again(first, &second, expired, &still).await?;
        Ok(Again {
            expired: still,
            named,
            dead: second.dead,
        })
    }

    /// On a file system: until every client sees what was written or deleted before.
    async fn wait_for_caches(&self, rule: Rule, times: u32) -> Result<(), PurgeError> {
        let wait = self.options.attribute_cache * times;
        if wait.is_zero() || self.store.reach().await?.is_none() {
            return Ok(());
        }
        if self.options.order.keeps(rule) {
            self.tell(PurgeStep::Waiting, 0, None);
            self.options.timer.sleep(wait).await;
        }
        Ok(())
    }

    /// The lists of purges that crashed long ago; counts those that are at work.
    async fn crashed_purges(
        &self,
        look: &Look,
        report: &mut PurgeReport,
    ) -> Result<Vec<Key>, PurgeError> {
        let mut crashed = Vec::new();
        for key in &look.lists {
            let head: manifest::Condemned = match read::keys_head(self.store, key).await {
                Err(error) if error.is_not_found() => continue,
                head => head?,
            };
            if lease::honoured(head.deadline, look.now, MARGIN) {
                report.other_purges += 1;
            } else {
                crashed.push(key.clone());
            }
        }
        Ok(crashed)
    }

    /// Ends uploads that nobody goes on with.
    async fn sweep(&self, look: &Look, report: &mut PurgeReport) -> Result<(), PurgeError> {
        self.tell(PurgeStep::Sweeping, 0, None);
        let before = look
            .now
            .checked_sub(self.options.grace.max(UPLOADS_STAY))
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let prefix = Key::parse(self.layout.prefix())?;
        // An upload that an intent names may only be slow.
        let named = |key: &Key| {
            look.intents
                .contains(self.layout.below_cluster(key.as_str()))
        };
        match self.store.sweep(&prefix, before, &named).await {
            Ok(uploads) => report.uploads = uploads,
            // Not every identity may list uploads, and not every server can.
            Err(error @ (store::Error::Denied { .. } | store::Error::Refused { .. })) => {
                report.unswept = Some(crate::chain(&error));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
