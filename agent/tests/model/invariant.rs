//! What must hold at every moment: every object of every manifest that is there exists with its
//! content, all of them renewed by the run that wrote it, but for what was changed from outside and
//! that a verify reports; and the newest complete backups of each series stay.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;

use manifest::{IntentKey, Line, ManifestKey, ManifestReader, ObjectKeys};
use store::Key;
use uuid::Uuid;

use crate::world::Stored;

/// A manifest that is there.
#[derive(Clone, Debug)]
struct Manifest {
    names: Vec<Key>,
    /// Its objects are no older.
    fresh_since: u64,
}

/// What is known of a backup.
#[derive(Clone, Debug, Default)]
struct Known {
    group: (Option<String>, String),
    started_at: i64,
    expected: BTreeSet<Uuid>,
    nodes: BTreeSet<Uuid>,
}

#[derive(Clone, Debug, Default)]
pub struct Invariant {
    manifests: BTreeMap<Key, Manifest>,
    backups: BTreeMap<String, Known>,
    /// The first intent of each run.
    intents: BTreeMap<Uuid, u64>,
    /// Objects that somebody else changed, and that nobody has stored again since.
    wrong: BTreeSet<Key>,
    /// All that ever were.
    were_wrong: BTreeSet<Key>,
    /// Of each series and scope, so many complete backups stay.
    pub newest: usize,
    /// By how much the promise of fresh objects is shortened, in milliseconds.
    pub touch_after: u64,
    /// The first thing that did not hold.
    pub broken: Option<String>,
    pub commits: u32,
    pub deletes: u32,
    /// Wrong objects that a repair removed.
    pub repairs: u32,
    /// Restores that found all that they held.
    pub restores: u32,
}

/// Wrong objects, each with the manifests that name it.
pub type Wrong = BTreeMap<Key, BTreeSet<Key>>;

/// The content of every object but manifests and lists: its key, so that anybody can check it.
pub fn content(key: &Key) -> &str {
    key.as_str()
}

impl Invariant {
    fn fail(&mut self, text: String) {
        self.broken.get_or_insert(text);
    }

    pub fn created(&mut self, key: &Key, objects: &BTreeMap<Key, Stored>, now: u64) {
        let name = key.as_str();
        self.wrong.remove(key);
        if let Some(intent) = IntentKey::parse(name) {
            self.intents.entry(intent.run_id).or_insert(now);
        } else if let Some(manifest) = ManifestKey::parse(name) {
            self.commits += 1;
            self.committed(key, &manifest, objects, now);
        }
    }

    fn committed(
        &mut self,
        key: &Key,
        manifest: &ManifestKey,
        objects: &BTreeMap<Key, Stored>,
        now: u64,
    ) {
        let body = &objects[key].body;
        let mut reader = ManifestReader::new(BufReader::new(&body[..])).unwrap();
        let header = reader.header().clone();
        let mut keys = ObjectKeys::new(manifest.host_id);
        let mut names = Vec::new();
        let mut name = |key: &str| names.push(Key::parse(&format!("c/{key}")).unwrap());
        keys.of(&Line::Header(Box::new(header.clone())), &mut name);
        while let Some(line) = reader.next().unwrap() {
            keys.of(&line, &mut name);
        }
        keys.of(&Line::Footer(reader.footer().unwrap().clone()), &mut name);
        let since = self.intents.get(&header.run_id).copied().unwrap_or(now);
        let fresh_since = since.saturating_sub(self.touch_after);
        for named in &names {
            match objects.get(named) {
                None => self.fail(format!("{key} is committed and {named} is not there")),
                Some(stored) if stored.body != content(named) => {
                    if !self.wrong.contains(named) {
                        self.fail(format!("{named} has another content"));
                    }
                }
                Some(stored) if !stored.settled => {
                    let text = "would be lost with the power";
                    self.fail(format!("{key} is committed and {named} {text}"));
                }
                Some(stored) if stored.modified < fresh_since => {
                    self.fail(format!("{key} is committed and {named} was not renewed"));
                }
                Some(_) => {}
            }
        }
        let known = self.backups.entry(manifest.backup.to_string()).or_default();
        known.group = (header.series, format!("{:?}", header.scope));
        known.started_at = header.snapshot.started_at.as_millisecond();
        known.expected.extend(header.expected_host_ids);
        known.nodes.insert(manifest.host_id);
        self.manifests
            .insert(key.clone(), Manifest { names, fresh_since });
    }

    /// Somebody else changes an object.
    pub fn corrupted(&mut self, key: &Key) {
        self.wrong.insert(key.clone());
        self.were_wrong.insert(key.clone());
    }

    /// Somebody deletes an object.
    pub fn deleted(&mut self, key: &Key, by_repair: bool) {
        self.deletes += 1;
        let repaired = by_repair && self.wrong.contains(key);
        self.repairs += u32::from(repaired);
        let user = self.manifests.iter().find(|(_, m)| m.names.contains(key));
        if let Some((manifest, _)) = user.filter(|_| !repaired) {
            self.fail(format!("{key} is deleted and {manifest} names it"));
        }
        if let Some(manifest) = ManifestKey::parse(key.as_str()) {
            let backup = manifest.backup.to_string();
            if self.is_newest_complete(&backup) {
                self.fail(format!(
                    "{key} is of the newest complete backup and is deleted"
                ));
            }
            self.forget(key, &manifest);
        }
    }

    /// A restore that holds its backup does not find this.
    pub fn missed(&mut self, key: &Key) {
        self.fail(format!("{key} is held by a restore and is not there"));
    }

    /// What is wrong or was removed for that, and is named.
    pub fn wrong(&self) -> Wrong {
        let users = |key: &Key| {
            let manifests = self.manifests.iter();
            let users = manifests.filter(|(_, manifest)| manifest.names.contains(key));
            users.map(|(manifest, _)| manifest.clone()).collect()
        };
        let wrong = self.wrong.iter().map(|key| (key.clone(), users(key)));
        wrong
            .filter(|(_, users): &(_, BTreeSet<_>)| !users.is_empty())
            .collect()
    }

    /// A verify of these manifests found this to be wrong; before it began, that was.
    pub fn verified(&mut self, before: &Wrong, manifests: &BTreeSet<Key>, found: &BTreeSet<Key>) {
        if let Some(sound) = found.difference(&self.were_wrong).next() {
            self.fail(format!("{sound} is sound and is said not to be"));
        }
        for (key, users) in self.wrong() {
            let Some(users_before) = before.get(&key) else {
                continue;
            };
            let looked_at = |user: &&Key| users_before.contains(*user) && manifests.contains(*user);
            if let Some(user) = users.iter().find(looked_at)
                && !found.contains(&key)
            {
                self.fail(format!(
                    "{key} is wrong, {user} names it, and nobody says so"
                ));
            }
        }
    }

    /// Every node has the last backup, and nothing is wrong that a manifest names.
    pub fn healed(&mut self, last: usize) {
        let named = |key: &&Key| key.as_str().contains("/b9/");
        if self.manifests.keys().filter(named).count() != last {
            self.fail("the last backup fails".to_owned());
        }
        if let Some((key, users)) = self.wrong().first_key_value() {
            self.fail(format!("{key} is not healed and {users:?} name it"));
        }
    }

    /// An external cleanup removes an object that is older than `oldest`.
    pub fn cleaned(&mut self, key: &Key, oldest: u64) {
        let users = self.manifests.iter().filter(|(_, m)| m.names.contains(key));
        let (live, ended): (Vec<_>, Vec<_>) = users
            .map(|(manifest, m)| (manifest.clone(), m.fresh_since))
            .partition(|(_, fresh_since)| *fresh_since >= oldest);
        if let Some((manifest, _)) = live.first() {
            self.fail(format!(
                "{key} was not renewed and {manifest} is young and names it"
            ));
        }
        for (manifest, _) in ended {
            self.manifests.remove(&manifest);
        }
        if let Some(manifest) = ManifestKey::parse(key.as_str()) {
            self.forget(key, &manifest);
        }
    }

    fn forget(&mut self, key: &Key, manifest: &ManifestKey) {
        self.manifests.remove(key);
        if let Some(known) = self.backups.get_mut(manifest.backup.as_str()) {
            known.nodes.remove(&manifest.host_id);
        }
    }

    /// Whether a backup is among the newest complete ones of its series and scope.
    fn is_newest_complete(&self, backup: &str) -> bool {
        let is_complete =
            |known: &&Known| !known.nodes.is_empty() && known.expected.is_subset(&known.nodes);
        let Some(of) = self.backups.get(backup).filter(is_complete) else {
            return false;
        };
        let alike = self
            .backups
            .values()
            .filter(|known| known.group == of.group);
        let newer = alike.filter(|known| known.started_at > of.started_at);
        newer.filter(is_complete).count() < self.newest
    }
}
