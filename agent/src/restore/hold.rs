//! Keeping purges away from a backup that is being restored.
//!
//! An intent that names a manifest holds the backup, and with it all that its manifests name. It is
//! written first; then the condemned lists are read, and then the manifest is looked for once more:
//! whoever wrote first is seen by the other, as between a backup and a purge (docs/storage-layout.md).

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use manifest::{BackupName, ClusterId, Condemned, FORMAT_VERSION, Intent, NodeLayout};
use store::{Key, Store};
use uuid::Uuid;

use super::RestoreError;
use crate::lease::{self, Deadline, MARGIN, SystemTimer, Timer};
use crate::order::{Order, Rule};
use crate::read;

/// How long a backup is held after the intent was written, and thus at most after the restore's end.
pub const LIFETIME: Duration = Duration::from_secs(6 * 3600);
/// How long a purge that is about to delete the backup is waited for, and what is waited between two looks.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_secs(2);
/// How long after an intent that was not written the next is tried.
const AGAIN: Duration = Duration::from_secs(300);

/// Holds a backup for a restore.
pub struct Hold<'a> {
    /// What is waited by.
    pub timer: &'a dyn Timer,
    /// Every rule, outside tests.
    pub order: Order,
    store: &'a dyn Store,
    /// Of the node in whose name the intent is written.
    layout: NodeLayout,
    backup: BackupName,
    manifests: Vec<Key>,
    run: Uuid,
    attempt: u32,
    /// Until the next intent.
    wait: Duration,
}

impl<'a> Hold<'a> {
    /// Of the backup, the manifests of these nodes.
    pub fn new(
        store: &'a dyn Store,
        cluster: &ClusterId,
        backup: &BackupName,
        manifests: BTreeMap<Uuid, Key>,
    ) -> Self {
        Self {
            timer: &SystemTimer,
            order: Order::RIGHT,
            store,
            layout: NodeLayout::new(
                cluster.clone(),
                manifests.keys().next().copied().unwrap_or_default(),
            ),
            backup: backup.clone(),
            manifests: manifests.into_values().collect(),
            run: Uuid::new_v4(),
            attempt: 1,
            wait: LIFETIME / 2,
        }
    }

    /// Holds the backup from now on. Nothing can be said to a storage that takes no object, such as
    /// one that is read only; then `warn` says so, and the restore is worth trying all the same. That a
    /// purge has it, or had, is an error.
    pub async fn take(&mut self, warn: &(dyn Fn(String) + Sync)) -> Result<(), RestoreError> {
        let looks_first = !self.order.keeps(Rule::HoldBeforeLook);
        if looks_first {
            self.is_not_condemned().await?;
        }
        match self.write().await {
            Ok(()) if looks_first => Ok(()),
            Ok(()) => self.is_not_condemned().await,
            Err(error) => {
                self.wait = AGAIN;
                warn(format!(
                    "nothing keeps a purge from deleting backup {} meanwhile, since the storage takes no intent: {}",
                    self.backup,
                    crate::chain(&error)
                ));
                self.is_not_condemned().await
            }
        }
    }

    /// Renews it for as long as it is polled.
    pub async fn renew(&mut self, warn: &(dyn Fn(String) + Sync)) -> Infallible {
        loop {
            self.timer.sleep(self.wait).await;
            let written = self.write().await;
            let before = std::mem::replace(&mut self.wait, LIFETIME / 2);
            if let Err(error) = written {
                self.wait = AGAIN;
                // Once is enough.
                if before != AGAIN {
                    let why = crate::chain(&error);
                    warn(format!("the backup is not held for longer: {why}"));
                }
            }
        }
    }

    async fn write(&mut self) -> Result<(), RestoreError> {
        let deadline = Deadline::after(LIFETIME, self.store, self.timer).await?;
        let intent = Intent {
            format_version: FORMAT_VERSION.into(),
            run_id: self.run,
            attempt: self.attempt,
            // The storage's clock is far from the end of time.
            deadline: Timestamp::try_from(deadline.at()).unwrap_or(Timestamp::MAX),
        };
        let intent_key = self.layout.intent(&self.backup, self.run, self.attempt);
        // Also where the answer is lost: under the same name the next one would never be written.
        self.attempt += 1;
        let key = Key::parse(&intent_key)?;
        let manifests = self.manifests.iter();
        let manifests = manifests.map(|it| self.layout.below_cluster(it.as_str()));
        let text = intent.write(Vec::new(), manifests)?;
        Ok(self.store.create(&key, text.into()).await?)
    }

    /// Waits for purges that are about to delete the manifest and may not have seen the intent.
    async fn is_not_condemned(&self) -> Result<(), RestoreError> {
        let begun = self.timer.now();
        while let Some(list) = self.condemned().await? {
            if self.timer.now().saturating_sub(begun) >= PATIENCE {
                return Err(RestoreError::Condemned {
                    backup: self.backup.clone(),
                    list,
                });
            }
            self.timer.sleep(PAUSE).await;
        }
        if self.order.keeps(Rule::HeldManifestsAgain) {
            for manifest in &self.manifests {
                self.store.stat(manifest).await?;
            }
        }
        Ok(())
    }

    /// A list that is honoured and names a manifest.
    async fn condemned(&self) -> Result<Option<Key>, RestoreError> {
        if !self.order.keeps(Rule::HeldCondemnedRead) {
            return Ok(None);
        }
        let now = lease::now_for_readers(self.store).await?;
        let manifests = self.manifests.iter();
        let held: BTreeSet<&str> = manifests
            .map(|it| self.layout.below_cluster(it.as_str()))
            .collect();
        let mut lists = self.store.list(&Key::parse(&self.layout.purge_prefix())?);
        while let Some(object) = lists.try_next().await? {
            if !object.key.as_str().ends_with(".condemned") {
                continue;
            }
            let mut named = false;
            let each = |head: &Condemned, key: String| {
                named |= held.contains(key.as_str()) && lease::honoured(head.deadline, now, MARGIN);
            };
            match read::keys(self.store, &object.key, each).await {
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
                Ok(_) if named => return Ok(Some(object.key)),
                Ok(_) => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use manifest::ClusterLayout;
    use std::path::PathBuf;
    use std::sync::Mutex;

    use store::FileStore;
    use store::testing::{Fault, Faulty, Operation};
    use tempfile::TempDir;

    use super::*;

    const NEVER: &str = "2999-01-01T00:00:00Z";

    /// The clock of the tests, which goes on where all wait.
    #[derive(Clone, Copy, Debug)]
    struct TestTimer(tokio::time::Instant);

    #[async_trait]
    impl Timer for TestTimer {
        fn now(&self) -> Duration {
            self.0.elapsed()
        }

        async fn sleep(&self, duration: Duration) {
            tokio::time::sleep(duration).await;
        }
    }

    /// A storage with the manifest of a node's backup, and perhaps a list of what a purge deletes.
    struct Stage {
        root: TempDir,
        backup: BackupName,
        manifest: Key,
        timer: TestTimer,
    }

    impl Stage {
        fn new() -> Self {
            let node = NodeLayout::new("prod".parse().unwrap(), Uuid::from_u128(1));
            let manifest = node.manifest(&"old".parse().unwrap());
            let root = tempfile::tempdir().unwrap();
            let stage = Self {
                backup: "old".parse().unwrap(),
                manifest: Key::parse(&manifest).unwrap(),
                root,
                timer: TestTimer(tokio::time::Instant::now()),
            };
            stage.write(&manifest, b"a manifest");
            stage
        }

        fn path(&self, key: &str) -> PathBuf {
            self.root.path().join(key)
        }

        fn write(&self, key: &str, content: &[u8]) {
            let path = self.path(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }

        /// A purge's list of these keys; gives its path.
        fn condemn(&self, deadline: &str, keys: &[&str]) -> PathBuf {
            let purge = Uuid::from_u128(5);
            let list = Condemned {
                format_version: FORMAT_VERSION.into(),
                purge_id: purge,
                deadline: deadline.parse().unwrap(),
            };
            let key = ClusterLayout::new("prod".parse().unwrap()).condemned(purge);
            self.write(&key, &list.write(Vec::new(), keys).unwrap());
            self.path(&key)
        }

        /// Takes hold; what was warned of.
        async fn take(&self) -> (Result<(), RestoreError>, Vec<String>) {
            let store = FileStore::open(self.root.path()).unwrap();
            let warnings = Mutex::new(Vec::new());
            let warn = |why| warnings.lock().unwrap().push(why);
            let mut hold = self.hold(&store);
            let taken = hold.take(&warn).await;
            (taken, warnings.into_inner().unwrap())
        }

        /// How many intents there are.
        fn intents(&self) -> usize {
            let entries = std::fs::read_dir(self.path("prod/manifests/old")).unwrap();
            let names = entries.map(|it| it.unwrap().file_name());
            names
                .filter(|it| it.to_string_lossy().ends_with(".intent"))
                .count()
        }

        fn hold<'a>(&'a self, store: &'a dyn Store) -> Hold<'a> {
            let manifests = [(Uuid::from_u128(1), self.manifest.clone())];
            let mut hold = Hold::new(
                store,
                &"prod".parse().unwrap(),
                &self.backup,
                manifests.into(),
            );
            hold.timer = &self.timer;
            hold
        }

        fn own(&self) -> &str {
            self.manifest.as_str().strip_prefix("prod/").unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_that_names_the_backup_is_waited_for_and_then_told() {
        let stage = Stage::new();
        let list = stage.condemn(NEVER, &["data/x", stage.own()]);
        let (taken, _) = stage.take().await;
        assert!(
            matches!(taken, Err(RestoreError::Condemned { .. })),
            "{taken:?}"
        );
        let ends = async {
            tokio::time::sleep(PATIENCE / 2).await;
            std::fs::remove_file(&list).unwrap();
        };
        let ((taken, warnings), ()) = tokio::join!(stage.take(), ends);
        taken.unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_of_others_or_whose_time_is_over_is_nothing_to_wait_for() {
        let stage = Stage::new();
        stage.condemn(NEVER, &["data/x"]);
        stage.take().await.0.unwrap();
        stage.condemn("2026-01-01T00:00:00Z", &[stage.own()]);
        stage.take().await.0.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_backup_that_went_before_it_was_held_is_not_restored() {
        let stage = Stage::new();
        std::fs::remove_file(stage.path(stage.manifest.as_str())).unwrap();
        let (taken, _) = stage.take().await;
        assert!(
            matches!(taken, Err(RestoreError::Catalogue(_))),
            "{taken:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_can_be_written_a_warning_says_so() {
        let mut stage = Stage::new();
        stage.backup = "new".parse().unwrap();
        // No directory can be made there.
        stage.write("prod/manifests/new", b"");
        let (taken, warnings) = stage.take().await;
        taken.unwrap();
        assert!(warnings[0].contains("backup new"), "{warnings:?}");
        // What a purge is about to delete is not begun with all the same.
        stage.condemn(NEVER, &[stage.own()]);
        let (taken, _) = stage.take().await;
        assert!(
            matches!(taken, Err(RestoreError::Condemned { .. })),
            "{taken:?}"
        );
    }

    /// As a file system that is read only: to tell the time, a file is written.
    #[tokio::test(start_paused = true)]
    async fn a_storage_that_tells_no_time_is_restored_from_with_a_warning() {
        let stage = Stage::new();
        let take = async || {
            let files = FileStore::open(stage.root.path()).unwrap();
            let denied = Fault::Refused(|at| store::Error::Denied {
                at,
                source: "read-only file system".into(),
            });
            let store = (1..100).fold(Faulty::new(files), |store, nth| {
                store.fail(Operation::Now, nth, denied)
            });
            let warnings = Mutex::new(0);
            let warn = |_| *warnings.lock().unwrap() += 1;
            let taken = stage.hold(&store).take(&warn).await;
            (taken, warnings.into_inner().unwrap())
        };
        let (taken, warnings) = take().await;
        taken.unwrap();
        assert_eq!(warnings, 1);
        stage.condemn(NEVER, &[stage.own()]);
        let (taken, _) = take().await;
        assert!(
            matches!(taken, Err(RestoreError::Condemned { .. })),
            "{taken:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_renewed_while_the_restore_goes_on() {
        let stage = Stage::new();
        let store = FileStore::open(stage.root.path()).unwrap();
        let mut hold = stage.hold(&store);
        let warn = |why: String| panic!("{why}");
        hold.take(&warn).await.unwrap();
        let day = tokio::time::timeout(2 * LIFETIME, hold.renew(&warn)).await;
        assert!(day.is_err());
        let count = stage.intents();
        assert!((3..=5).contains(&count), "{count}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_intent_whose_answer_was_lost_is_followed_by_another() {
        let stage = Stage::new();
        let files = FileStore::open(stage.root.path()).unwrap();
        let lost = [1, 3, 4].into_iter();
        let store = lost.fold(Faulty::new(files), |store, nth| {
            store.fail(Operation::Create, nth, Fault::AnswerLost)
        });
        let warnings = Mutex::new(Vec::new());
        let warn = |why| warnings.lock().unwrap().push(why);
        let mut hold = stage.hold(&store);
        hold.take(&warn).await.unwrap();
        let mut renew = std::pin::pin!(hold.renew(&warn));
        let mut after = async |time| {
            let renewed = tokio::time::timeout(time, &mut renew).await;
            assert!(renewed.is_err());
            (stage.intents(), warnings.lock().unwrap().len())
        };
        let moment = Duration::from_secs(1);
        // The next is tried in minutes, and not as late as one that was written; two that follow each other are told once.
        assert_eq!(after(AGAIN + moment).await, (2, 1));
        assert_eq!(after(LIFETIME / 2).await, (3, 2));
        assert_eq!(after(2 * AGAIN).await, (5, 2));
    }
}
