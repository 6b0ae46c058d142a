//! What the storage holds of this node: its listing, the condemned lists, earlier manifests.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};
use manifest::{BackupName, Condemned, Line, NodeLayout};
use store::{Key, Store};

use super::error::Error;
use super::inventory::{Inventory, InventorySsTable, InventoryTable};
use super::plan::{Storage, Stored};
use crate::lease::{self, MARGIN};
use crate::named::{ByDigest, Named, digest};
use crate::order::{Order, Rule};
use crate::read;

/// Lists that are read at the same time.
const PARALLEL: usize = 8;

/// Keys on a page of a list. All object stores give at most that many.
const PAGE: usize = 1000;

/// What a look is for.
pub struct Looking<'a> {
    /// Keys of this node.
    pub layout: &'a NodeLayout,
    /// What is looked for in the listings.
    pub inventory: &'a Inventory,
    /// Every key that the attempt relies on, its intent's own included.
    pub wanted: Named,
    /// Younger objects are not touched.
    pub touch_after: Duration,
    /// Every rule, outside tests.
    pub order: Order,
}

impl Looking<'_> {
    /// Reads what decisions rest on, in the order that makes purges harmless: condemned lists
    /// first, then the listing.
    pub async fn look(&self, store: &dyn Store) -> Result<Storage, Error> {
        let now = store.now().await?;
        let (condemned, stored);
        if self.order.keeps(Rule::CondemnedBeforeList) {
            condemned = self.condemned(store, now).await?;
            stored = self.stored(store).await?;
        } else {
            stored = self.stored(store).await?;
            condemned = self.condemned(store, now).await?;
        }
        Ok(Storage {
            stored,
            condemned,
            now,
            touch_after: self.touch_after,
        })
    }

    async fn stored(&self, store: &dyn Store) -> Result<ByDigest<Stored>, Error> {
        let found = Mutex::new(ByDigest::default());
        let lists = prefixes(self.layout, &self.inventory.tables)
            .into_iter()
            .map(|prefix| {
                let prefix = Key::parse(&prefix);
                let found = &found;
                async move {
                    let mut objects = store.list(&prefix?);
                    while let Some(object) = objects.try_next().await? {
                        if self.wanted.contains(object.key.as_str()) {
                            let stored = Stored {
                                size: object.size,
                                modified: object.modified,
                            };
                            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                            found.insert(digest(object.key.as_str()), stored);
                        }
                    }
                    Ok::<_, Error>(())
                }
            });
        futures::stream::iter(lists)
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
        Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// What this attempt wants of the keys that purges are about to delete.
    async fn condemned(
        &self,
        store: &dyn Store,
        now: SystemTime,
    ) -> Result<HashSet<String>, Error> {
        let mut condemned = HashSet::new();
        if !self.order.keeps(Rule::CondemnedRead) {
            return Ok(condemned);
        }
        let margin = match self.order.keeps(Rule::CondemnedMargin) {
            true => MARGIN,
            false => Duration::ZERO,
        };
        let mut lists = store.list(&Key::parse(&self.layout.purge_prefix())?);
        while let Some(object) = lists.try_next().await? {
            if !object.key.as_str().ends_with(".condemned") {
                continue;
            }
            let each = |head: &Condemned, key: String| {
                let key = self.layout.key_in_cluster(&key);
                let honoured = lease::honoured(head.deadline, now, margin);
                if honoured && self.wanted.contains(key.as_str()) {
                    condemned.insert(key);
                }
            };
            match read::keys(store, &object.key, each).await {
                // It ended between the listing and now.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
        }
        Ok(condemned)
    }
}

/// What to list: keyspaces, whose pages come one after the other; of large ones the tables, whose
/// pages come side by side, as long as that takes at most twice the requests. The tables are in
/// order of keyspaces.
fn prefixes(layout: &NodeLayout, tables: &[InventoryTable]) -> Vec<String> {
    let mut prefixes = Vec::new();
    for tables in tables.chunk_by(|a, b| a.keyspace == b.keyspace) {
        let keyspace = &tables[0].keyspace;
        let (mut objects, mut by_table) = (0, 0);
        for table in tables {
            let of_table = table.items().count();
            objects += of_table;
            by_table += of_table.div_ceil(PAGE).max(1);
        }
        if objects > PAGE && by_table <= 2 * objects.div_ceil(PAGE) {
            let prefix = |t: &InventoryTable| layout.table_prefix(keyspace, &t.directory);
            prefixes.extend(tables.iter().map(prefix));
        } else {
            prefixes.push(layout.keyspace_prefix(keyspace));
        }
    }
    prefixes
}

/// The manifest of this node and backup, if it is there: by whom, and its sums.
pub async fn committed(
    store: &dyn Store,
    layout: &NodeLayout,
    backup: &BackupName,
) -> Result<Option<(manifest::Header, manifest::Footer)>, Error> {
    let key = Key::parse(&layout.manifest(backup))?;
    match read::manifest(store, &key, |_| {}).await {
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
        Ok(found) => Ok(Some(found)),
    }
}

/// Hashes of stored objects as this node's newest manifest has them.
#[derive(Default)]
pub struct Earlier {
    /// By table, index, SSTable and file name.
    files: ByDigest<blake3::Hash>,
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
        let mut found = Self::default();
        let mut directory = String::new();
        let each = |line: &Line| match line {
            Line::Table(table) => {
                directory = format!("{}/{}", table.keyspace, table.directory);
            }
            Line::SsTable(sstable) => found.add(&directory, sstable),
            Line::Header(_) | Line::Footer(_) => {}
        };
        match read::manifest(store, key, each).await {
            Ok(_) => Ok(found),
            // A manifest that cannot be believed, or that a purge deleted just now, gives no
            // hashes: the files are read instead.
            Err(read::ReadFailure::Store(error))
                if !matches!(error, store::Error::NotFound { .. }) =>
            {
                Err(error.into())
            }
            Err(_) => Ok(Self::default()),
        }
    }

    fn add(&mut self, directory: &str, sstable: &manifest::SsTable) {
        let of = |file: &str| place(directory, sstable.index.as_deref(), &sstable.sstable, file);
        let hashes = sstable.components.iter().filter_map(|component| {
            let hash = blake3::Hash::from_hex(&component.blake3).ok()?;
            Some((of(&component.name), hash))
        });
        self.files.extend(hashes);
    }

    /// The hash of a file of an SSTable. A numeric id comes again with other content: then it is
    /// only believed where Statistics.db, which holds times and positions, is the same.
    pub fn hash(
        &self,
        table: &InventoryTable,
        sstable: &InventorySsTable,
        file: &str,
    ) -> Option<blake3::Hash> {
        if self.files.is_empty() {
            return None;
        }
        let directory = format!("{}/{}", table.keyspace, table.directory);
        let (index, dir) = (sstable.index.as_deref(), sstable.dir.as_str());
        let known = |file: &str| {
            self.files
                .get(&place(&directory, index, dir, file))
                .copied()
        };
        if sstable.numeric_id {
            let statistics = sstable
                .items
                .iter()
                .find(|i| i.file.name.ends_with("-Statistics.db"))?;
            if known(&statistics.file.name) != statistics.hash() {
                return None;
            }
        }
        known(file)
    }
}

fn place(directory: &str, index: Option<&str>, sstable: &str, file: &str) -> u128 {
    let index = index.unwrap_or_default();
    digest(&format!("{directory}/{index}/{sstable}/{file}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use uuid::Uuid;

    use super::super::inventory::Item;
    use super::super::scan::{SnapshotFile, Stat};
    use super::*;

    /// A table with one SSTable of so many files.
    fn table(layout: &NodeLayout, keyspace: &str, name: &str, files: usize) -> InventoryTable {
        let directory = format!("{name}-0");
        let prefix = Key::parse(&layout.table_prefix(keyspace, &directory)).unwrap();
        let stat = Stat {
            device: 0,
            inode: 0,
            size: 0,
            modified: 0,
        };
        let item = |n: usize| {
            let name = n.to_string().into();
            let at = Path::new("").into();
            Item::named(SnapshotFile { name, stat }, at, &prefix, None, None).unwrap()
        };
        let sstable = InventorySsTable {
            dir: manifest::SsTableDir::without_digest("nb-1-big", &blake3::hash(b""), 0),
            numeric_id: true,
            index: None,
            data_directory: 0,
            bounds: None,
            content: None,
            items: (0..files).map(item).collect(),
            damaged: false.into(),
        };
        InventoryTable {
            keyspace: keyspace.into(),
            table: name.into(),
            id: "0".into(),
            directory,
            schema: None,
            sstables: vec![sstable],
        }
    }

    #[test]
    fn large_keyspaces_are_listed_by_table_unless_most_tables_are_small() {
        let layout = NodeLayout::new("c".parse().unwrap(), Uuid::from_u128(1));
        let listed = |tables: &[(&str, &str, usize)]| {
            let tables: Vec<_> = tables
                .iter()
                .map(|(keyspace, name, files)| table(&layout, keyspace, name, *files))
                .collect();
            let prefixes = prefixes(&layout, &tables);
            for item in tables.iter().flat_map(InventoryTable::items) {
                let below = |prefix: &&String| {
                    let key = item.key();
                    let rest = key.as_str().strip_prefix(prefix.as_str());
                    rest.is_some_and(|rest| rest.starts_with('/'))
                };
                assert_eq!(prefixes.iter().filter(below).count(), 1, "{}", item.key());
            }
            let data = format!("{}/", layout.data_prefix());
            let short = |prefix: &String| prefix.strip_prefix(&data).unwrap().to_owned();
            prefixes.iter().map(short).collect::<Vec<_>>()
        };
        let small = listed(&[("a", "t", 600), ("a", "u", 400), ("b", "t", 0)]);
        assert_eq!(small, ["a", "b"]);
        let large = listed(&[("a", "t", 1500), ("a", "u", 700), ("b", "t", 9)]);
        assert_eq!(large, ["a/t-0", "a/u-0", "b"]);
        // Two pages, and nine tables of which eight have next to nothing.
        let mut tables = vec![("a", "t", 1500)];
        let names: Vec<String> = (0..8).map(|n| format!("u{n}")).collect();
        tables.extend(names.iter().map(|name| ("a", name.as_str(), 1)));
        assert_eq!(listed(&tables), ["a"]);
    }
}
