//! Carries the plan out: uploads what is new, renews the timestamps of the rest, and learns the
//! hash of every object on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use protocol::{Progress, Reason, Tally};
use store::{Outcome, Store};

use super::error::{self, Error};
use super::files::Files;
use super::inventory::{Inventory, InventorySsTable, InventoryTable, Item};
use super::plan::{Action, Storage};
use super::remote::Earlier;
use crate::run_context::Run;

/// Large files uploaded at the same time where the caller says nothing.
pub const DEFAULT_CONCURRENCY: usize = 4;

/// Below it, in bytes, a file is a matter of waiting for the storage and not of moving data.
const SMALL: u64 = 256 << 10;

/// How many small files are uploaded in the place of a large one. On a disk, what waits for it at
/// the same time shares its commits.
const SMALL_FOR_LARGE: usize = 4;

/// Requests that move no data wait for the network only.
const TOUCHES: usize = 32;

const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What is needed to transfer.
pub struct Transfer<'a> {
    /// Who is told.
    pub run: &'a Run,
    /// Where to.
    pub store: &'a dyn Store,
    /// What is sent.
    pub files: &'a dyn Files,
    /// Large files at the same time; of small ones [`SMALL_FOR_LARGE`] times as many.
    pub concurrency: usize,
    /// Leave damaged SSTables out.
    pub allow_corrupt: bool,
}

/// Figures that tasks raise while they work.
#[derive(Default)]
struct Counters {
    /// As they are read.
    moved_bytes: Arc<AtomicU64>,
    /// Those of whole objects.
    uploaded_bytes: AtomicU64,
    uploaded_files: AtomicU64,
    touched: AtomicU64,
}

/// One object of the plan. There are as many as the node has files.
struct Job<'i> {
    table: &'i InventoryTable,
    /// Nothing for a schema.
    sstable: Option<&'i InventorySsTable>,
    item: &'i Item,
    action: Action,
}

/// The plan: what goes side by side with what.
#[derive(Default)]
struct Jobs<'i> {
    large: Vec<Job<'i>>,
    small: Vec<Job<'i>>,
    /// What moves no data.
    others: Vec<Job<'i>>,
}

/// What a transfer did.
#[derive(Default)]
pub struct Transferred {
    /// The last figures.
    pub progress: Progress,
    /// SSTables that were left out, as `keyspace/directory/sstable`.
    pub left_out: Vec<String>,
}

impl Transfer<'_> {
    /// Uploads and touches. Afterwards every item of the inventory has its hash, and SSTables that
    /// were left out are gone from it.
    pub async fn carry_out(
        &self,
        inventory: &mut Inventory,
        storage: &Storage,
        earlier: &Earlier,
    ) -> Result<Transferred, Error> {
        let counters = Counters::default();
        let (jobs, start) = jobs(inventory, storage)?;
        self.run.progress(start);
        let Jobs {
            large,
            small,
            others,
        } = jobs;
        let work = async {
            let run = |jobs, parallel| self.run_jobs(jobs, parallel, earlier, &counters);
            let large = run(large, self.concurrency);
            let small = run(small, self.concurrency * SMALL_FOR_LARGE);
            let others = run(others, TOUCHES);
            futures::try_join!(large, small, others).map(drop)
        };
        self.with_progress(work, start, &counters).await?;
        let left_out = leave_out(inventory);
        let progress = counters.closed(start, inventory);
        self.run.progress(progress);
        Ok(Transferred { progress, left_out })
    }

    async fn run_jobs(
        &self,
        jobs: Vec<Job<'_>>,
        parallel: usize,
        earlier: &Earlier,
        counters: &Counters,
    ) -> Result<(), Error> {
        futures::stream::iter(jobs.into_iter().map(Ok))
            .try_for_each_concurrent(parallel.max(1), |job| self.one(job, earlier, counters))
            .await
    }

    async fn with_progress<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
        start: Progress,
        counters: &Counters,
    ) -> Result<T, Error> {
        let mut work = std::pin::pin!(work);
        let first = tokio::time::Instant::now() + PROGRESS_EVERY;
        let mut ticks = tokio::time::interval_at(first, PROGRESS_EVERY);
        loop {
            tokio::select! {
                result = &mut work => return result,
                () = self.run.cancel.cancelled() => return Err(Error::Cancelled),
                _ = ticks.tick() => self.run.progress(counters.told(start)),
            }
        }
    }

    async fn one(&self, job: Job<'_>, earlier: &Earlier, counters: &Counters) -> Result<(), Error> {
        let item = job.item;
        let mut upload = job.action == Action::Upload;
        if job.action == Action::Touch {
            match self.store.touch(&item.key(), item.size()).await {
                Ok(()) => {
                    counters.touched.fetch_add(1, Ordering::Relaxed);
                }
                // An external cleanup was faster.
                Err(store::Error::NotFound { .. }) => upload = true,
                Err(error) => return Err(error.into()),
            }
        }
        let hash = match (upload, job.known(earlier)) {
            (true, known) => self.upload(item, known, counters).await,
            (false, Some(hash)) => Ok(hash),
            (false, None) => self.files.hash(item).await,
        };
        match (hash, job.sstable) {
            (Ok(hash), _) => item.learn(hash),
            (Err(failed), Some(sstable))
                if self.allow_corrupt && error::corrupt(&failed).is_some() =>
            {
                self.run.warn(Reason::SSTableLeftOut, failed.to_string());
                sstable.damaged.store(true, Ordering::Relaxed);
            }
            (Err(failed), _) => return Err(failed),
        }
        Ok(())
    }

    async fn upload(
        &self,
        item: &Item,
        known: Option<blake3::Hash>,
        counters: &Counters,
    ) -> Result<blake3::Hash, Error> {
        let read_at = SystemTime::now();
        let bytes = counters.moved_bytes.clone();
        let mut source = self.files.open(item, bytes)?;
        let key = item.key();
        let outcome = self
            .store
            .upload(&key, item.size(), source.as_mut())
            .await?;
        let hash = match source.hash().or(known) {
            Some(hash) => hash,
            // The object was there before and the file was not read for it.
            None => self.files.hash(item).await?,
        };
        if outcome == Outcome::Stored {
            counters.uploaded_files.fetch_add(1, Ordering::Relaxed);
            counters
                .uploaded_bytes
                .fetch_add(item.size(), Ordering::Relaxed);
        }
        self.files.read(item, hash, read_at);
        Ok(hash)
    }
}

impl Job<'_> {
    /// The hash of its file, as far as that is known.
    fn known(&self, earlier: &Earlier) -> Option<blake3::Hash> {
        let of_manifest = || earlier.hash(self.table, self.sstable?, &self.item.file.name);
        self.item.hash().or_else(of_manifest)
    }
}

impl Counters {
    /// How far it is: bytes as they go.
    fn told(&self, start: Progress) -> Progress {
        Progress {
            uploaded: Tally {
                files: self.uploaded_files.load(Ordering::Relaxed),
                bytes: self.moved_bytes.load(Ordering::Relaxed),
            },
            touched: self.touched.load(Ordering::Relaxed),
            ..start
        }
    }

    /// The last figures: what was there already, or came there meanwhile, is reused, not uploaded.
    fn closed(&self, start: Progress, inventory: &Inventory) -> Progress {
        let mut total = Tally::default();
        for item in inventory.items() {
            total.add(item.size());
        }
        let uploaded = Tally {
            files: self.uploaded_files.load(Ordering::Relaxed),
            bytes: self.uploaded_bytes.load(Ordering::Relaxed),
        };
        Progress {
            total,
            uploaded,
            to_upload: uploaded,
            reused: Tally {
                files: total.files.saturating_sub(uploaded.files),
                bytes: total.bytes.saturating_sub(uploaded.bytes),
            },
            ..self.told(start)
        }
    }
}

/// The plan, object by object, and its figures; a key that a purge wants or that has another size is an
/// error.
fn jobs<'i>(inventory: &'i Inventory, storage: &Storage) -> Result<(Jobs<'i>, Progress), Error> {
    let (mut jobs, mut figures) = (Jobs::default(), Progress::default());
    let mut add = |table, sstable, item: &'i Item| {
        let (key, size) = (item.key(), item.size());
        let action = storage.decide(key.as_str(), size);
        figures.total.add(size);
        match action {
            Action::Wait => return Err(Error::Purge(key.to_string())),
            Action::Conflict { found } => {
                return Err(Error::Conflict {
                    key: key.to_string(),
                    expected: size,
                    found,
                });
            }
            Action::Upload => figures.to_upload.add(size),
            Action::Touch | Action::Keep => figures.reused.add(size),
        }
        let of = match action {
            Action::Upload if size < SMALL => &mut jobs.small,
            Action::Upload => &mut jobs.large,
            _ => &mut jobs.others,
        };
        of.push(Job {
            table,
            sstable,
            item,
            action,
        });
        Ok(())
    };
    for table in &inventory.tables {
        if let Some(item) = &table.schema {
            add(table, None, item)?;
        }
        for sstable in &table.sstables {
            for item in &sstable.items {
                add(table, Some(sstable), item)?;
            }
        }
    }
    Ok((jobs, figures))
}

/// Takes damaged SSTables out of the inventory, and names them.
fn leave_out(inventory: &mut Inventory) -> Vec<String> {
    let mut left_out = Vec::new();
    for table in &mut inventory.tables {
        let (keyspace, directory) = (&table.keyspace, &table.directory);
        table.sstables.retain_mut(|sstable| {
            let damaged = *sstable.damaged.get_mut();
            if damaged {
                left_out.push(format!("{keyspace}/{directory}/{}", sstable.dir.as_str()));
            }
            !damaged
        });
    }
    left_out
}

/// Reads the newest manifest only where a hash is not known otherwise.
pub async fn earlier(
    store: &dyn Store,
    layout: &manifest::NodeLayout,
    inventory: &Inventory,
    storage: &Storage,
) -> Result<Earlier, Error> {
    let unknown = |item: &Item| item.hash().is_none() && storage.has(item.key().as_str());
    if inventory.items().any(unknown) {
        Earlier::read(store, layout).await
    } else {
        Ok(Earlier::default())
    }
}
