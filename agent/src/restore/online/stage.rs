//! Fetching the SSTables of a batch to beside the data, until they are on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use futures::stream::{self, StreamExt, TryStreamExt};
use rustix::fs::{Advice, fadvise};
use store::Store;
use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use super::error::OnlineError;
use crate::bandwidth::Bandwidth;
use crate::restore::fetch::{Got, Wanted, fetch, on_disk};
use crate::restore::progress::Told;
use crate::restore::target::file;
use crate::restore::{Done, RestoreError, Seen, TableName};

/// An SSTable that is to be imported.
pub(super) struct Item {
    pub(super) source: Uuid,
    pub(super) table: TableName,
    pub(super) sstable: String,
    /// Where its files are staged: `…/<keyspace>/<table>-<id>`, with the names of the target.
    pub(super) folder: PathBuf,
    pub(super) files: Vec<Wanted>,
}

impl Item {
    pub(super) fn bytes(&self) -> u64 {
        let bytes = self.files.iter().map(|it| it.bytes);
        bytes.fold(0, u64::saturating_add)
    }
}

/// The SSTables of a batch, by their table.
pub(super) type Batch = BTreeMap<TableName, Vec<Item>>;

/// A table of a batch, and its SSTables there, all files of which are staged.
pub(super) type Whole<'b> = (&'b TableName, &'b [Item]);

/// How SSTables are staged.
pub(super) struct Stage<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) concurrency: usize,
    pub(super) bandwidth: &'a Bandwidth,
    pub(super) seen: &'a (dyn Fn(Seen) + Sync),
}

impl Stage<'_> {
    /// Fetches all files of a batch, and says of each table when its files are there: whole, but not
    /// yet sure to outlive a loss of power.
    pub(super) async fn run<'b>(
        &self,
        batch: &'b Batch,
        whole: UnboundedSender<Whole<'b>>,
        told: &Told,
        done: &mut Done,
    ) -> Result<(), OnlineError> {
        clear(batch)?;
        let files = batch.iter().flat_map(|(table, items)| {
            let files = items.iter().flat_map(|it| &it.files);
            files.map(move |wanted| (table, wanted.clone()))
        });
        let counted = batch.iter().map(|(table, items)| {
            let files = items.iter().map(|it| it.files.len()).sum::<usize>();
            (table, (files, items.as_slice()))
        });
        let mut missing: BTreeMap<&TableName, (usize, &[Item])> = counted.collect();
        let fetched = stream::iter(files).map(|(table, wanted)| async move {
            let bytes = wanted.bytes;
            let got = fetch(self.store, wanted, self.bandwidth).await?;
            (self.seen)(told.add(1, bytes));
            Ok::<_, RestoreError>((table, got))
        });
        let mut fetched = fetched.buffer_unordered(self.concurrency.max(1));
        while let Some((table, got)) = fetched.try_next().await? {
            match got {
                Got::Fetched => done.fetched += 1,
                Got::Kept => done.kept += 1,
            }
            if let Some((left, items)) = missing.get_mut(table) {
                *left -= 1;
                if *left == 0 {
                    // Whoever imports listens until this ends.
                    let _ = whole.send((table, *items));
                }
            }
        }
        Ok(())
    }
}

/// Makes the directories, with nothing in them but what is wanted: Cassandra would import that, too,
/// or fail at it.
fn clear(batch: &Batch) -> Result<(), OnlineError> {
    let mut wanted: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for item in batch.values().flatten() {
        let paths = item.files.iter().map(|it| it.path.as_path());
        wanted.entry(&item.folder).or_default().extend(paths);
    }
    for (folder, files) in wanted {
        let failed = |source| OnlineError::from(file(folder, source));
        fs::create_dir_all(folder).map_err(failed)?;
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if !files.contains(path.as_path()) {
                fs::remove_file(&path).map_err(|source| file(&path, source))?;
            }
        }
    }
    Ok(())
}

/// Makes sure that all is on the disks.
pub(super) async fn settle(directories: &[PathBuf]) -> Result<(), OnlineError> {
    let directories = directories.to_owned();
    let settled = on_disk(move || {
        directories.iter().try_for_each(|directory| {
            let settle = || Ok(rustix::fs::syncfs(fs::File::open(directory)?)?);
            settle().map_err(|source| file(directory, source))
        })
    });
    Ok(settled.await?)
}

/// Takes files that are on the disk out of the page cache, which is Cassandra's.
pub(super) async fn forget_pages(items: &[Item]) -> Result<(), OnlineError> {
    let files = items.iter().flat_map(|item| &item.files);
    let paths: Vec<PathBuf> = files.map(|wanted| wanted.path.clone()).collect();
    let forgotten = on_disk(move || {
        paths.iter().try_for_each(|path| {
            let advise = || Ok(fadvise(fs::File::open(path)?, 0, None, Advice::DontNeed)?);
            advise().map_err(|source| file(path, source))
        })
    });
    Ok(forgotten.await?)
}
