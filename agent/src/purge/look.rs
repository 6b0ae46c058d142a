//! What a purge looks at, twice: intents first, then manifests.
//!
//! An intent is removed only when it is dead, and by then the manifest that it stood for is there
//! or never will be. So whoever is not seen in the intents is seen in the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt, stream};
use manifest::{BackupName, ClusterLayout, Intent, IntentKey, Line, ManifestKey, ObjectKeys};
use store::{Key, Object};
use uuid::Uuid;

use super::catalogue::{self, Catalogue, Summary};
use super::{Purge, PurgeError};
use crate::lease::{self, MARGIN};
use crate::named::Named;
use crate::order::Rule;
use crate::read;

/// What was seen.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The storage's clock, before anything was read.
    pub now: SystemTime,
    /// What intents name that are honoured.
    pub intents: Named,
    /// Whose they are.
    pub running: BTreeMap<BackupName, BTreeSet<Uuid>>,
    /// Intents that are not.
    pub dead: BTreeSet<Key>,
    /// Manifests.
    pub manifests: BTreeMap<ManifestKey, Found>,
    /// Condemned lists.
    pub lists: Vec<Key>,
}

/// A manifest that was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub key: Key,
    pub size: u64,
    pub modified: SystemTime,
    pub summary: Summary,
}

impl Found {
    fn is(&self, object: &Object) -> bool {
        (self.size, self.modified) == (object.size, object.modified)
    }
}

/// Manifests that have expired.
#[derive(Clone, Debug, Default)]
pub(super) struct Expired {
    /// With their keys.
    pub manifests: BTreeMap<ManifestKey, Key>,
    /// Backups that have expired and stay for now.
    pub held: Vec<BackupName>,
}

impl Expired {
    /// The backups.
    pub fn names(&self) -> Vec<BackupName> {
        let mut names: Vec<_> = self
            .manifests
            .keys()
            .map(|key| key.backup.clone())
            .collect();
        names.dedup();
        names
    }
}

impl Look {
    /// For retention.
    pub fn catalogue(&self) -> Catalogue {
        Catalogue {
            now: self.now,
            backups: catalogue::backups(self.manifests.iter()),
            running: self.running.clone(),
        }
    }

    /// The manifests of the backups that were decided; backups that an intent names are held.
    pub fn expired(&self, decided: &[BackupName], layout: &ClusterLayout) -> Expired {
        let mut expired = Expired::default();
        for backup in decided.iter().collect::<BTreeSet<_>>() {
            let manifests = || {
                self.manifests
                    .iter()
                    .filter(|(key, _)| key.backup == *backup)
            };
            let is_named = |found: &Found| {
                let key = layout.below_cluster(found.key.as_str());
                self.intents.contains(key)
            };
            if manifests().any(|(_, found)| is_named(found)) {
                expired.held.push(backup.clone());
                continue;
            }
            let found = manifests().map(|(key, found)| (key.clone(), found.key.clone()));
            expired.manifests.extend(found);
        }
        expired
    }

    /// What had expired and was decided again, unless something of it is new.
    pub fn still_expired(
        &self,
        first: &Self,
        expired: &Expired,
        decided: &[BackupName],
        layout: &ClusterLayout,
    ) -> Expired {
        let mut again = self.expired(decided, layout);
        let is_new = |key: &ManifestKey| {
            let before = first.manifests.get(key);
            !expired.manifests.contains_key(key) || !before.is_some_and(|b| self.is_same(key, b))
        };
        let new: BTreeSet<BackupName> = again
            .manifests
            .keys()
            .filter(|key| is_new(key))
            .map(|key| key.backup.clone())
            .collect();
        again.manifests.retain(|key, _| !new.contains(&key.backup));
        again.held.extend(new);
        again.held.extend(expired.held.iter().cloned());
        again.held.sort();
        again.held.dedup();
        again
    }

    fn is_same(&self, key: &ManifestKey, before: &Found) -> bool {
        self.manifests
            .get(key)
            .is_some_and(|now| (now.size, now.modified) == (before.size, before.modified))
    }
}

impl Purge<'_> {
    /// Looks at intents, then at manifests. What is as it was at `before` is not read again.
    pub(super) async fn look(&self, before: Option<&Look>) -> Result<Look, PurgeError> {
        let order = self.options.order;
        let again = before.is_some();
        let mut look = Look {
            now: SystemTime::UNIX_EPOCH,
            intents: Named::default(),
            running: BTreeMap::new(),
            dead: BTreeSet::new(),
            manifests: BTreeMap::new(),
            lists: Vec::new(),
        };
        let intents_first = order.keeps(Rule::IntentsBeforeManifests);
        if !intents_first {
            self.look_at_manifests(before, &mut look).await?;
        }
        if !again || order.keeps(Rule::IntentsAgain) {
            self.look_at_intents(&mut look).await?;
        }
        if intents_first {
            self.look_at_manifests(before, &mut look).await?;
        }
        Ok(look)
    }

    /// Every file of a kind in the manifests' directory.
    async fn find(&self, suffix: &str) -> Result<Vec<Object>, PurgeError> {
        let prefix = Key::parse(&self.layout.manifests_prefix())?;
        let wanted = |object: &Object| {
            let wanted = object.key.as_str().ends_with(suffix);
            std::future::ready(wanted)
        };
        Ok(self
            .store
            .list(&prefix)
            .try_filter(wanted)
            .try_collect()
            .await?)
    }

    async fn look_at_intents(&self, look: &mut Look) -> Result<(), PurgeError> {
        // Asked first: what is dead by this clock has committed already, or never will.
        let now = self.store.now().await?;
        let margin = match self.options.order.keeps(Rule::IntentMargin) {
            true => MARGIN,
            false => Duration::ZERO,
        };
        let mut intents = Vec::new();
        for object in self.find(".intent").await? {
            let Some(intent) = IntentKey::parse(object.key.as_str()) else {
                return Err(PurgeError::Unknown(object.key));
            };
            intents.push((intent, object.key));
        }
        let named = Mutex::new(std::mem::take(&mut look.intents));
        let read = stream::iter(intents.into_iter().map(|(intent, key)| {
            let named = &named;
            async move {
                let ended = self.options.ended.contains(&intent.run_id);
                let is_honoured =
                    |head: &Intent| !ended && lease::honoured(head.deadline, now, margin);
                let read = read::keys(self.store, &key, |head: &Intent, name| {
                    if is_honoured(head) {
                        lock(named).insert(&name);
                    }
                });
                match read.await {
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(PurgeError::from(error)),
                    Ok(head) => Ok(Some((intent, key, is_honoured(&head)))),
                }
            }
        }));
        let read: Vec<_> = read
            .buffer_unordered(self.options.concurrency.max(1))
            .try_collect()
            .await?;
        for (intent, key, honoured) in read.into_iter().flatten() {
            if honoured {
                let nodes = look.running.entry(intent.backup).or_default();
                nodes.insert(intent.host_id);
            } else {
                look.dead.insert(key);
            }
        }
        look.intents = named.into_inner().unwrap_or_else(PoisonError::into_inner);
        look.now = now;
        Ok(())
    }

    async fn look_at_manifests(
        &self,
        before: Option<&Look>,
        look: &mut Look,
    ) -> Result<(), PurgeError> {
        if let Some(before) = before
            && !self.options.order.keeps(Rule::ManifestsAgain)
        {
            look.manifests = before.manifests.clone();
            return Ok(());
        }
        let prefix = Key::parse(&self.layout.manifests_prefix())?;
        let mut objects = self.store.list(&prefix);
        let mut unread = Vec::new();
        while let Some(object) = objects.try_next().await? {
            let name = object.key.as_str();
            if name.ends_with(".condemned") {
                look.lists.push(object.key);
            } else if name.ends_with(".jsonl") {
                let Some(key) = ManifestKey::parse(name) else {
                    return Err(PurgeError::Unknown(object.key));
                };
                match before.and_then(|before| before.manifests.get(&key)) {
                    Some(found) if found.is(&object) => {
                        look.manifests.insert(key, found.clone());
                    }
                    _ => unread.push((key, object)),
                }
            }
        }
        let read = stream::iter(unread.into_iter().map(|(key, object)| async move {
            match read::header(self.store, &object.key).await {
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(PurgeError::from(error)),
                Ok(header) => Ok(Some((key, object, header))),
            }
        }));
        let mut read = read.buffer_unordered(self.options.concurrency.max(1));
        let mut like: Option<Summary> = None;
        while let Some(read) = read.try_next().await? {
            let Some((key, object, header)) = read else {
                continue;
            };
            if (&header.backup, header.node.host_id) != (&key.backup, key.host_id) {
                return Err(PurgeError::Misplaced {
                    key: object.key,
                    backup: header.backup.to_string(),
                    host_id: header.node.host_id,
                });
            }
            let summary = Summary::new(header, like.as_ref());
            like = Some(summary.clone());
            let found = Found {
                key: object.key,
                size: object.size,
                modified: object.modified,
                summary,
            };
            look.manifests.insert(key, found);
        }
        Ok(())
    }

    /// Reads one manifest to its end and adds what it names, if that is wanted; one that is gone
    /// names nothing.
    pub(super) async fn read_manifest(
        &self,
        manifest: &ManifestKey,
        key: &Key,
        named: Option<&Mutex<Named>>,
    ) -> Result<(), PurgeError> {
        let mut keys = ObjectKeys::new(manifest.host_id);
        if let Some(named) = named {
            let tokens = self.layout.tokens(manifest);
            lock(named).insert(self.layout.below_cluster(&tokens));
        }
        let each = |line: &Line| {
            if let Some(named) = named {
                let mut named = lock(named);
                keys.of(line, |key| {
                    named.insert(key);
                });
            }
        };
        match read::manifest(self.store, key, each).await {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }

    /// What is named by those whom the first look did not see.
    pub(super) async fn named_again(
        &self,
        first: &Look,
        second: &Look,
        was_expired: &Expired,
        expired: &Expired,
    ) -> Result<Named, PurgeError> {
        let named = Mutex::new(second.intents.clone());
        let unseen = second.manifests.iter().filter(|(key, now)| {
            let seen =
                first.manifests.get(key).is_some_and(|before| {
                    (before.size, before.modified) == (now.size, now.modified)
                }) && !was_expired.manifests.contains_key(key);
            !seen && !expired.manifests.contains_key(key)
        });
        stream::iter(unseen.map(|(key, found)| self.read_manifest(key, &found.key, Some(&named))))
            .buffer_unordered(self.options.concurrency.max(1))
            .try_collect::<()>()
            .await?;
        Ok(named.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

fn lock(named: &Mutex<Named>) -> std::sync::MutexGuard<'_, Named> {
    named.lock().unwrap_or_else(PoisonError::into_inner)
}
