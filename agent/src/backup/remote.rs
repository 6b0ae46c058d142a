//! What the storage holds of this node: its listing, the condemned lists, earlier manifests.

use std::collections::{HashMap, HashSet};
use std::io::BufReader;
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use manifest::{BackupName, Condemned, Line, ManifestReader, NodeLayout};
use store::{Key, Store};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::error::Error;
use super::inventory::{Inventory, InventorySsTable};
use super::plan::{Storage, Stored};

/// Keyspaces that are listed at the same time.
const PARALLEL: usize = 8;

/// A purge is believed to be at work this long after its deadline, for clocks that differ.
const MARGIN: Duration = Duration::from_secs(600);

/// A condemned list of a purge of ten million objects.
const MAX_CONDEMNED: u64 = 4 << 30;

/// Reads what decisions rest on, in the order that makes purges harmless: condemned lists first,
/// then the listing.
pub async fn look(
    store: &dyn Store,
    layout: &NodeLayout,
    inventory: &Inventory,
    touch_after: Duration,
) -> Result<Storage, Error> {
    let now = store.now().await?;
    let condemned = condemned(store, layout, now).await?;
    let mut keyspaces: Vec<&str> = inventory
        .tables
        .iter()
        .map(|t| t.keyspace.as_str())
        .collect();
    keyspaces.dedup();
    let wanted: HashSet<&str> = inventory.items().map(|item| item.key.as_str()).collect();
    let lists = keyspaces.into_iter().map(|keyspace| {
        let prefix = Key::parse(&layout.keyspace_prefix(keyspace));
        let wanted = &wanted;
        async move {
            let mut objects = store.list(&prefix?);
            let mut found = Vec::new();
            while let Some(object) = objects.try_next().await? {
                if wanted.contains(object.key.as_str()) {
                    let stored = Stored {
                        size: object.size,
                        modified: object.modified,
                    };
                    found.push((object.key.as_str().to_owned(), stored));
                }
            }
            Ok::<_, Error>(found)
        }
    });
    let found: Vec<Vec<(String, Stored)>> = futures::stream::iter(lists)
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    let stored: HashMap<String, Stored> = found.into_iter().flatten().collect();
    Ok(Storage {
        stored,
        condemned,
        now,
        touch_after,
    })
}

/// Keys that purges are about to delete, whole as this run names them.
async fn condemned(
    store: &dyn Store,
    layout: &NodeLayout,
    now: SystemTime,
) -> Result<HashSet<String>, Error> {
    let mut keys = HashSet::new();
    let mut lists = store.list(&Key::parse(&layout.purge_prefix())?);
    while let Some(object) = lists.try_next().await? {
        if !object.key.as_str().ends_with(".condemned") {
            continue;
        }
        let (list, head) = match read_condemned(store, &object.key).await {
            // It ended between the listing and now.
            Err(Error::Store(store::Error::NotFound { .. })) => continue,
            read => read?,
        };
        let now = Timestamp::try_from(now).unwrap_or(Timestamp::MAX);
        if now < head.deadline + MARGIN {
            keys.extend(list.into_iter().map(|key| layout.key_in_cluster(&key)));
        }
    }
    Ok(keys)
}

async fn read_condemned(store: &dyn Store, key: &Key) -> Result<(Vec<String>, Condemned), Error> {
    let content = store.get(key, None).await?;
    if content.size > MAX_CONDEMNED {
        return Err(Error::Answer(format!(
            "{key} has {} bytes, which is absurd",
            content.size
        )));
    }
    let reader = StreamReader::new(content.chunks.map_err(std::io::Error::other));
    let named = key.to_string();
    tokio::task::spawn_blocking(move || {
        let mut keys = Vec::new();
        let head = Condemned::read(SyncIoBridge::new(reader), |key| keys.push(key))
            .map_err(|source| Error::Keys { key: named, source })?;
        Ok((keys, head))
    })
    .await?
}

/// The manifest of this node and backup, if it is there: by whom, and its sums.
pub async fn committed(
    store: &dyn Store,
    layout: &NodeLayout,
    backup: &BackupName,
) -> Result<Option<(manifest::Header, manifest::Footer)>, Error> {
    let key = Key::parse(&layout.manifest(backup))?;
    let content = match store.get(&key, None).await {
        Err(store::Error::NotFound { .. }) => return Ok(None),
        content => content?,
    };
    let reader = StreamReader::new(content.chunks.map_err(std::io::Error::other));
    let named = key.to_string();
    tokio::task::spawn_blocking(move || {
        let failed = |source| Error::Manifest {
            key: named.clone(),
            source,
        };
        let input = BufReader::with_capacity(1 << 16, SyncIoBridge::new(reader));
        let mut manifest = ManifestReader::new(input).map_err(failed)?;
        while manifest.next().map_err(failed)?.is_some() {}
        let footer = manifest.footer().cloned().unwrap_or_default();
        Ok(Some((manifest.header().clone(), footer)))
    })
    .await?
}

/// Hashes of stored objects as this node's newest manifest has them.
#[derive(Default)]
pub struct Earlier {
    /// By SSTable directory and file name; with the hash of the SSTable's Statistics.db.
    sstables: HashMap<String, HashMap<String, blake3::Hash>>,
}

impl Earlier {
    /// Reads the newest manifest of this node that can be read; without one it is empty.
    pub async fn read(store: &dyn Store, layout: &NodeLayout) -> Result<Self, Error> {
        let own = format!("/{}.jsonl", layout.host_id());
        let mut manifests: Vec<_> = store
            .list(&Key::parse(&layout.manifests_prefix())?)
            .try_filter(|object| std::future::ready(object.key.as_str().ends_with(&own)))
            .try_collect()
            .await?;
        manifests.sort_by_key(|object| std::cmp::Reverse(object.modified));
        match manifests.first() {
            Some(newest) => Self::from_manifest(store, &newest.key).await,
            None => Ok(Self::default()),
        }
    }

    async fn from_manifest(store: &dyn Store, key: &Key) -> Result<Self, Error> {
        let content = store.get(key, None).await?;
        let reader = StreamReader::new(content.chunks.map_err(std::io::Error::other));
        let read = tokio::task::spawn_blocking(move || {
            let input = BufReader::with_capacity(1 << 16, SyncIoBridge::new(reader));
            let mut manifest = ManifestReader::new(input)?;
            let mut found = Self::default();
            let mut directory = String::new();
            while let Some(line) = manifest.next()? {
                match line {
                    Line::Table(table) => {
                        directory = format!("{}/{}", table.keyspace, table.directory);
                    }
                    Line::SsTable(sstable) => found.add(&directory, sstable),
                    Line::Header(_) | Line::Footer(_) => {}
                }
            }
            Ok::<_, manifest::ReadError>(found)
        })
        .await?;
        // A manifest that cannot be believed gives no hashes: the files are read instead.
        Ok(read.unwrap_or_default())
    }

    fn add(&mut self, directory: &str, sstable: manifest::SsTable) {
        let place = place(directory, sstable.index.as_deref(), &sstable.sstable);
        let hashes = sstable.components.into_iter().filter_map(|component| {
            Some((
                component.name,
                blake3::Hash::from_hex(component.blake3).ok()?,
            ))
        });
        self.sstables.insert(place, hashes.collect());
    }

    /// The hash of a file of an SSTable. A numeric id comes again with other content: then it is
    /// only believed where Statistics.db, which holds times and positions, is the same.
    pub fn hash(
        &self,
        directory: &str,
        sstable: &InventorySsTable,
        file: &str,
    ) -> Option<blake3::Hash> {
        let place = place(directory, sstable.index.as_deref(), sstable.dir.as_str());
        let known = self.sstables.get(&place)?;
        if sstable.numeric_id {
            let statistics = sstable
                .items
                .iter()
                .find(|i| i.file.name.ends_with("-Statistics.db"))?;
            if known.get(&statistics.file.name).copied() != statistics.hash {
                return None;
            }
        }
        known.get(file).copied()
    }
}

fn place(directory: &str, index: Option<&str>, sstable: &str) -> String {
    format!("{directory}/{}/{sstable}", index.unwrap_or_default())
}
