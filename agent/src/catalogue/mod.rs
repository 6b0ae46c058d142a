//! What a storage holds of a cluster: its backups, by their manifests.
//!
//! Reading only; what is decided from it stands in `retention`, `purge` and `verify`.

mod intents;
mod request;
mod summary;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use manifest::{BackupName, ClusterId, Header, IntentKey, ManifestKey, Scope};
use protocol::Reason;
use store::{InvalidKey, Key, Store};
use uuid::Uuid;

use crate::read::{self, ReadFailure};
use crate::storage;

pub use intents::running;
pub use request::tell;
pub use summary::{NodeSummary, TableSum, summarize};
pub use survey::{SurveyError, Unseen, survey};

/// Headers and heads that are read at the same time.
const PARALLEL: usize = 16;

/// Why the backups of a cluster could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The storage.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A key of ours.
    #[error("a name cannot be stored: {0}")]
    Key(#[from] InvalidKey),
    /// A file of ours in the storage.
    #[error(transparent)]
    Read(#[from] ReadFailure),
    /// No backup of that name.
    #[error(
        "there is no backup {name} of cluster {cluster} in {storage}; `list` names those there"
    )]
    NoBackup {
        /// What was asked for.
        name: String,
        /// The cluster.
        cluster: String,
        /// The storage.
        storage: String,
    },
}

impl CatalogueError {
    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Store(error) | Self::Read(ReadFailure::Store(error)) => storage::reason(error),
            Self::NoBackup { .. } => Reason::BackupNotFound,
            Self::Read(_) => Reason::ContentMismatch,
            Self::Key(_) => Reason::InvalidRequest,
        }
    }
}

/// How many headers of a backup are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headers {
    /// One that can be read: who belongs to the backup, and its scope.
    One,
    /// All: what decides over deletion.
    All,
}

/// A manifest in the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its key.
    pub key: Key,
    /// Its size, in bytes.
    pub size: u64,
    /// When it was written, by the storage's clock.
    pub modified: SystemTime,
}

/// A backup, as far as its headers were read.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Its name.
    pub name: BackupName,
    /// What was committed, by node.
    pub manifests: BTreeMap<Uuid, StoredManifest>,
    /// Headers that could be read, by node.
    pub headers: BTreeMap<Uuid, Header>,
    /// Nodes whose header was to be read and cannot be believed, with the cause.
    pub unreadable: BTreeMap<Uuid, String>,
    /// Attempts that announced themselves.
    pub intents: Vec<StoredIntent>,
}

/// A manifest that cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manifest of node {host_id} in backup {backup} cannot be used: {why}")]
pub struct Unreadable {
    /// Its backup.
    pub backup: BackupName,
    /// Its node.
    pub host_id: Uuid,
    /// Why.
    pub why: String,
}

/// An intent in the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredIntent {
    /// Its key.
    pub key: Key,
    /// What the key says.
    pub of: IntentKey,
}

/// What became of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Every node that its headers name has a manifest.
    Complete,
    /// These nodes have none.
    Missing(BTreeSet<Uuid>),
    /// No header can be believed.
    Unknown,
}

impl Backup {
    /// The nodes that belong to it, by the headers that were read.
    pub fn expected(&self) -> BTreeSet<Uuid> {
        self.headers
            .values()
            .flat_map(|header| header.expected_host_ids.iter().copied())
            .collect()
    }

    /// Whether each of those nodes has a manifest.
    pub fn completeness(&self) -> Completeness {
        if self.headers.is_empty() {
            return Completeness::Unknown;
        }
        let missing: BTreeSet<Uuid> = self
            .expected()
            .into_iter()
            .filter(|node| !self.manifests.contains_key(node))
            .collect();
        if missing.is_empty() {
            Completeness::Complete
        } else {
            Completeness::Missing(missing)
        }
    }

    /// The first manifest that cannot be believed, of those nodes of which `is` holds.
    pub fn unreadable(&self, is: impl Fn(Uuid) -> bool) -> Option<Unreadable> {
        let mut unreadable = self.unreadable.iter();
        let (host_id, why) = unreadable.find(|(node, _)| is(**node))?;
        Some(Unreadable {
            backup: self.name.clone(),
            host_id: *host_id,
            why: why.clone(),
        })
    }

    /// When its first snapshot was taken, as far as headers were read; else when its first
    /// manifest was written.
    pub fn started(&self) -> Option<Timestamp> {
        let by_header = self.headers.values().map(|h| h.snapshot.started_at).min();
        let by_manifest = || {
            let first = self.manifests.values().map(|m| m.modified).min()?;
            Timestamp::try_from(first).ok()
        };
        by_header.or_else(by_manifest)
    }

    /// The schedule that it belongs to.
    pub fn series(&self) -> Option<&str> {
        self.headers.values().next()?.series.as_deref()
    }

    /// What it covers.
    pub fn scope(&self) -> Option<&Scope> {
        self.headers.values().next().map(|header| &header.scope)
    }
}

/// The backups of a cluster, oldest first.
pub async fn read(
    store: &dyn Store,
    cluster: &ClusterId,
    headers: Headers,
) -> Result<Vec<Backup>, CatalogueError> {
    let mut backups = names(store, cluster).await?;
    let wanted = every_manifest(&backups);
    match headers {
        Headers::All => add_headers(store, &mut backups, wanted).await?,
        Headers::One => {
            // The first node of each; then the next node of those whose header was damaged.
            let mut left = wanted;
            while !left.is_empty() {
                let (now, later) = first_of_each(left);
                add_headers(store, &mut backups, now).await?;
                left = later
                    .into_iter()
                    .filter(|(at, ..)| backups[*at].headers.is_empty())
                    .collect();
            }
        }
    }
    backups.sort_by(|a, b| (a.started(), &a.name).cmp(&(b.started(), &b.name)));
    Ok(backups)
}

/// One backup with all its headers.
pub async fn read_one(
    store: &dyn Store,
    cluster: &ClusterId,
    name: &BackupName,
) -> Result<Backup, CatalogueError> {
    let missing = || CatalogueError::NoBackup {
        name: name.to_string(),
        cluster: cluster.to_string(),
        storage: store.name().to_owned(),
    };
    let prefix = Key::parse(&format!("{cluster}/manifests/{name}"))?;
    let found = group(store, &prefix).await?.remove(name);
    let mut backups = vec![found.ok_or_else(missing)?];
    read_headers(store, &mut backups).await?;
    backups.pop().ok_or_else(missing)
}

/// Reads all headers of these backups.
async fn read_headers(store: &dyn Store, backups: &mut [Backup]) -> Result<(), CatalogueError> {
    let wanted = every_manifest(backups);
    add_headers(store, backups, wanted).await
}

fn every_manifest(backups: &[Backup]) -> Wanted {
    let all = backups.iter().enumerate();
    all.flat_map(|(at, backup)| {
        let manifests = backup.manifests.iter();
        manifests.map(move |(node, stored)| (at, *node, stored.key.clone()))
    })
    .collect()
}

/// Backups without headers, from the keys alone.
async fn names(store: &dyn Store, cluster: &ClusterId) -> Result<Vec<Backup>, CatalogueError> {
    let prefix = Key::parse(&format!("{cluster}/manifests"))?;
    Ok(group(store, &prefix).await?.into_values().collect())
}

async fn group(
    store: &dyn Store,
    prefix: &Key,
) -> Result<BTreeMap<BackupName, Backup>, CatalogueError> {
    let mut backups: BTreeMap<BackupName, Backup> = BTreeMap::new();
    let mut objects = store.list(prefix);
    while let Some(object) = objects.try_next().await? {
        let key = object.key.as_str();
        if let Some(found) = ManifestKey::parse(key) {
            let stored = StoredManifest {
                key: object.key.clone(),
                size: object.size,
                modified: object.modified,
            };
            let backup = backups.entry(found.backup.clone());
            let backup = backup.or_insert_with(|| empty(found.backup));
            backup.manifests.insert(found.host_id, stored);
        } else if let Some(found) = IntentKey::parse(key) {
            let backup = backups.entry(found.backup.clone());
            let backup = backup.or_insert_with(|| empty(found.backup.clone()));
            backup.intents.push(StoredIntent {
                key: object.key.clone(),
                of: found,
            });
        }
    }
    Ok(backups)
}

fn empty(name: BackupName) -> Backup {
    Backup {
        name,
        manifests: BTreeMap::new(),
        headers: BTreeMap::new(),
        unreadable: BTreeMap::new(),
        intents: Vec::new(),
    }
}

type Wanted = Vec<(usize, Uuid, Key)>;

/// The first entry of each backup, and the others.
fn first_of_each(wanted: Wanted) -> (Wanted, Wanted) {
    let mut seen = BTreeSet::new();
    wanted.into_iter().partition(|(at, ..)| seen.insert(*at))
}

async fn add_headers(
    store: &dyn Store,
    backups: &mut [Backup],
    wanted: Wanted,
) -> Result<(), CatalogueError> {
    let reads = wanted
        .into_iter()
        .map(|(at, node, key)| async move { (at, node, read::header(store, &key).await) });
    let mut reads = stream::iter(reads).buffer_unordered(PARALLEL);
    while let Some((at, node, header)) = reads.next().await {
        let backup = &mut backups[at];
        match header {
            Ok(header) => {
                backup.headers.insert(node, header);
            }
            // It was deleted between the listing and now.
            Err(gone) if gone.is_not_found() => {
                backup.manifests.remove(&node);
            }
            Err(ReadFailure::Store(error)) => return Err(error.into()),
            Err(damaged) => {
                backup.unreadable.insert(node, damaged.to_string());
            }
        }
    }
    Ok(())
}
