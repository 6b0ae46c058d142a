//! Removes objects whose content is wrong, so that the next backup that needs them uploads them
//! again: the same key is the same content, so that heals older backups too.
//!
//! A running backup must not rely on what goes, so this keeps the order of a purge: write down what
//! is condemned, wait for the caches of a file system, see which intents name it, look at the
//! object once more, delete it, take the list away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::TryStreamExt;
use jiff::Timestamp;
use manifest::{
    ClusterId, ClusterLayout, Condemned, FORMAT_VERSION, Intent, IntentError, IntentKey,
    ManifestKey,
};
use store::{InvalidKey, Key, Object, Store};
use uuid::Uuid;

use super::check::{Expected, check};
use super::claims::agreeing;
use super::{Finding, Level, Problem, VerifyError};
use crate::lease::{self, Deadline, MARGIN, SystemTimer, Timer};
use crate::order::{Order, Rule};
use crate::read::{self, ReadFailure};

/// How long our own clock is believed instead of the storage's.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How a repair goes about it.
pub struct RepairOptions {
    /// Never used twice.
    pub repair_id: Uuid,
    /// Nothing is deleted later than this after the start. A backup that needs what a crashed
    /// repair had condemned waits for as long.
    pub lifetime: Duration,
    /// How long the other clients of a file system believe what they cached; zero elsewhere.
    pub attribute_cache: Duration,
    /// The process's clock.
    pub timer: Arc<dyn Timer>,
    /// Every rule, outside tests.
    pub order: Order,
}

impl RepairOptions {
    /// The defaults, with the time that the storage's clients cache for.
    pub fn new(attribute_cache: Duration) -> Self {
        Self {
            repair_id: Uuid::new_v4(),
            lifetime: Duration::from_secs(3600),
            attribute_cache,
            timer: Arc::new(SystemTimer),
            order: Order::RIGHT,
        }
    }
}

/// Why a repair ended early.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The storage.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A key of ours.
    #[error("a name cannot be stored: {0}")]
    Key(#[from] InvalidKey),
    /// An intent that cannot be read, or a manifest of a newer format: what is relied on is not
    /// known.
    #[error("the repair stops and removes nothing: {0}")]
    Unreadable(ReadFailure),
    /// The list of what is to go.
    #[error("cannot write the list of what is to be removed: {0}")]
    List(#[from] IntentError),
    /// Looking at an object once more.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// What a repair did with each object, by key below the cluster id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Removed: the next backup of the node uploads them if it still has them.
    pub removed: BTreeSet<String>,
    /// Left, since a running backup relies on them: try again when it has ended.
    pub in_use: BTreeSet<String>,
    /// Left, since the manifest of another backup says that they are as they should be: one of the
    /// two manifests is wrong.
    pub disputed: BTreeSet<String>,
    /// Right by now.
    pub right: BTreeSet<String>,
    /// Left, since the time was over, or what was wrong is wrong in another way by now.
    pub left: BTreeSet<String>,
}

/// Removes the objects of `findings` whose size or content is wrong.
pub async fn repair(
    store: &dyn Store,
    cluster: &ClusterId,
    findings: &[Finding],
    options: RepairOptions,
) -> Result<Repaired, RepairError> {
    let mut wrong: BTreeMap<&str, &Finding> = BTreeMap::new();
    for finding in findings {
        let known = wrong.get(finding.key.as_str());
        match (&finding.problem, known.map(|known| &known.problem)) {
            (Problem::Missing, _) => {}
            // Of what manifests differ over, what says more.
            (Problem::Size { .. }, Some(Problem::Content { .. })) => {}
            _ => {
                wrong.insert(&finding.key, finding);
            }
        }
    }
    if wrong.is_empty() {
        return Ok(Repaired::default());
    }
    // Reading manifests takes its time, and nobody has to wait for a list yet.
    let layout = ClusterLayout::new(cluster.clone());
    let (manifests, _) = announced(store, &layout).await?;
    let disputed = agreeing(store, &manifests, &wrong).await?;
    let repair = Repair {
        store,
        layout,
        deadline: Deadline::after(options.lifetime, store, options.timer.as_ref()).await?,
        options,
        manifests,
    };
    repair.run(wrong, disputed).await
}

/// The manifests of a cluster, and the keys of its intents.
async fn announced(
    store: &dyn Store,
    layout: &ClusterLayout,
) -> Result<(BTreeMap<ManifestKey, Key>, Vec<Key>), RepairError> {
    let mut intents = Vec::new();
    let mut committed = BTreeMap::new();
    let prefix = Key::parse(&layout.manifests_prefix())?;
    let mut objects = store.list(&prefix);
    while let Some(Object { key, .. }) = objects.try_next().await? {
        if let Some(of) = ManifestKey::parse(key.as_str()) {
            committed.insert(of, key);
        } else if key.as_str().ends_with(".intent") {
            intents.push(key);
        }
    }
    Ok((committed, intents))
}

struct Repair<'a> {
    store: &'a dyn Store,
    layout: ClusterLayout,
    deadline: Deadline,
    options: RepairOptions,
    /// Those that were there at the beginning, whose claims are known.
    manifests: BTreeMap<ManifestKey, Key>,
}

impl Repair<'_> {
    async fn run(
        &self,
        wrong: BTreeMap<&str, &Finding>,
        mut disputed: BTreeSet<String>,
    ) -> Result<Repaired, RepairError> {
        let order = self.options.order;
        let list = Key::parse(&self.layout.condemned(self.options.repair_id))?;
        if order.keeps(Rule::CondemnedBeforeLook) {
            self.publish(&list, wrong.keys().copied()).await?;
        }
        self.wait_for_caches(Rule::CacheWait, 2).await;
        let in_use = match self.needed(&wrong).await {
            Ok((in_use, also)) => {
                disputed.extend(also);
                in_use
            }
            // Nothing was removed, so nobody needs to wait for it.
            Err(error) => {
                let _ = self.store.delete(&list).await;
                return Err(error);
            }
        };
        if !order.keeps(Rule::CondemnedBeforeLook) {
            self.publish(&list, wrong.keys().copied()).await?;
        }
        if !order.keeps(Rule::CondemnedUntilDeleted) {
            self.store.delete(&list).await?;
        }
        let mut repaired = Repaired {
            in_use,
            disputed,
            ..Repaired::default()
        };
        for finding in wrong.into_values() {
            let key = &finding.key;
            if !repaired.in_use.contains(key) && !repaired.disputed.contains(key) {
                self.one(finding, &mut repaired).await?;
            }
        }
        self.wait_for_caches(Rule::CacheWaitAgain, 1).await;
        self.store.delete(&list).await?;
        Ok(repaired)
    }

    /// On a file system: until every client sees what was written or deleted before.
    async fn wait_for_caches(&self, rule: Rule, times: u32) {
        let wait = self.options.attribute_cache * times;
        if !wait.is_zero() && self.options.order.keeps(rule) {
            self.options.timer.sleep(wait).await;
        }
    }

    async fn publish(
        &self,
        list: &Key,
        keys: impl Iterator<Item = &str>,
    ) -> Result<(), RepairError> {
        let head = Condemned {
            format_version: FORMAT_VERSION.into(),
            purge_id: self.options.repair_id,
            deadline: Timestamp::try_from(self.deadline.at()).unwrap_or(Timestamp::MAX),
        };
        let text = head.write(Vec::new(), keys)?;
        Ok(self.store.create(list, Bytes::from(text)).await?)
    }

    /// Those that somebody needs as they are: a run that may be at work, or another backup.
    async fn needed(
        &self,
        wrong: &BTreeMap<&str, &Finding>,
    ) -> Result<(BTreeSet<String>, BTreeSet<String>), RepairError> {
        let now: SystemTime = self.store.now().await?;
        let (mut committed, intents) = announced(self.store, &self.layout).await?;
        let in_use = self.in_use(wrong, &committed, intents, now).await?;
        committed.retain(|of, _| !self.manifests.contains_key(of));
        let disputed = agreeing(self.store, &committed, wrong).await?;
        Ok((in_use, disputed))
    }

    /// Those that an intent names which is still honoured. An attempt whose backup has this node's
    /// manifest is done with what it relied on.
    async fn in_use(
        &self,
        wrong: &BTreeMap<&str, &Finding>,
        committed: &BTreeMap<ManifestKey, Key>,
        intents: Vec<Key>,
        now: SystemTime,
    ) -> Result<BTreeSet<String>, RepairError> {
        let mut in_use = BTreeSet::new();
        if !self.options.order.keeps(Rule::IntentsAgain) {
            return Ok(in_use);
        }
        let margin = match self.options.order.keeps(Rule::IntentMargin) {
            true => MARGIN,
            false => Duration::ZERO,
        };
        for key in intents {
            let done = IntentKey::parse(key.as_str()).is_some_and(|of| {
                let (backup, host_id) = (of.backup, of.host_id);
                committed.contains_key(&ManifestKey { backup, host_id })
            });
            if done {
                continue;
            }
            let read = read::keys(self.store, &key, |head: &Intent, key| {
                let honoured = lease::honoured(head.deadline, now, margin);
                if honoured && wrong.contains_key(key.as_str()) {
                    in_use.insert(key);
                }
            });
            match read.await {
                Ok(_) => {}
                Err(gone) if gone.is_not_found() => {}
                Err(ReadFailure::Store(error)) => return Err(error.into()),
                Err(error) => return Err(RepairError::Unreadable(error)),
            }
        }
        Ok(in_use)
    }

    /// Whether the deadline has passed, by a storage's clock that was looked at just now.
    async fn late(&self) -> Result<bool, RepairError> {
        let timer = self.options.timer.as_ref();
        if self.deadline.unseen_for(timer) > LOOK_EVERY {
            self.deadline.look(self.store, timer).await?;
        }
        let kept = self.options.order.keeps(Rule::DeletesBeforeDeadline);
        Ok(kept && self.deadline.passed(timer))
    }

    /// Removes one object if it is still wrong.
    async fn one(&self, finding: &Finding, repaired: &mut Repaired) -> Result<(), RepairError> {
        let key = Key::parse(&self.layout.key_in_cluster(&finding.key))?;
        let size = match self.store.stat(&key).await {
            Ok(object) => object.size,
            Err(store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let expected = Expected {
            key: finding.key.clone(),
            bytes: finding.bytes,
            blake3: finding.blake3.clone(),
        };
        let (problem, _) = check(
            self.store,
            &self.layout,
            Level::Content,
            &expected,
            Some(size),
        )
        .await?;
        let looks = self.options.order.keeps(Rule::WrongAgain);
        // What others say of it was compared with what was found then.
        let is_same = problem.as_ref() == Some(&finding.problem);
        let done = if problem.is_none() && looks {
            &mut repaired.right
        } else if (looks && !is_same) || self.late().await? {
            &mut repaired.left
        } else {
            self.store.delete(&key).await?;
            &mut repaired.removed
        };
        done.insert(finding.key.clone());
        Ok(())
    }
}
