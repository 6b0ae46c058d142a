//! Carries the plan out: uploads what is new, renews the timestamps of the rest, and learns the
//! hash of every object on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::{StreamExt, TryStreamExt};
use protocol::{Progress, Reason, Tally};
use store::{Outcome, Store};

use super::error::{self, Error};
use super::files::Files;
use super::inventory::{Inventory, Item};
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
    uploaded_bytes: Arc<AtomicU64>,
    uploaded_files: AtomicU64,
    touched: AtomicU64,
}

/// One object of the plan.
struct Job<'i> {
    /// Positions of table and SSTable, and of the file; no SSTable for a schema.
    place: Place,
    item: &'i Item,
    /// Its hash, as far as that is known.
    hash: Option<blake3::Hash>,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    table: usize,
    /// SSTable and file.
    file: Option<(usize, usize)>,
}

/// What became of an object.
struct Done {
    place: Place,
    uploaded: Option<u64>,
    /// Nothing where the SSTable is left out.
    hash: Option<blake3::Hash>,
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
        let jobs = jobs(inventory, storage, earlier)?;
        let start = figures(&jobs);
        self.run.progress(start);
        let counters = Counters::default();
        let (uploads, others): (Vec<Job<'_>>, Vec<Job<'_>>) = jobs
            .into_iter()
            .partition(|job| job.action == Action::Upload);
        let (small, large): (Vec<Job<'_>>, Vec<Job<'_>>) =
            uploads.into_iter().partition(|job| job.item.size() < SMALL);
        let work = async {
            let large = self.run_jobs(large, self.concurrency, &counters);
            let small = self.run_jobs(small, self.concurrency * SMALL_FOR_LARGE, &counters);
            let others = self.run_jobs(others, TOUCHES, &counters);
            futures::try_join!(large, small, others)
        };
        let (large, small, others) = self.with_progress(work, start, &counters).await?;
        let done = large.into_iter().chain(small).chain(others);
        let mut progress = start;
        progress.touched = counters.touched.load(Ordering::Relaxed);
        let left_out = apply(inventory, done, &mut progress);
        self.run.progress(progress);
        Ok(Transferred { progress, left_out })
    }

    async fn run_jobs(
        &self,
        jobs: Vec<Job<'_>>,
        parallel: usize,
        counters: &Counters,
    ) -> Result<Vec<Done>, Error> {
        futures::stream::iter(jobs.into_iter().map(|job| self.one(job, counters)))
            .buffer_unordered(parallel.max(1))
            .try_collect()
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
                _ = ticks.tick() => self.run.progress(Progress {
                    uploaded: Tally {
                        files: counters.uploaded_files.load(Ordering::Relaxed),
                        bytes: counters.uploaded_bytes.load(Ordering::Relaxed),
                    },
                    touched: counters.touched.load(Ordering::Relaxed),
                    ..start
                }),
            }
        }
    }

    async fn one(&self, job: Job<'_>, counters: &Counters) -> Result<Done, Error> {
        let Job {
            place,
            item,
            hash: known,
            action,
        } = job;
        let mut upload = action == Action::Upload;
        if action == Action::Touch {
            match self.store.touch(&item.key, item.size()).await {
                Ok(()) => {
                    counters.touched.fetch_add(1, Ordering::Relaxed);
                }
                // An external cleanup was faster.
                Err(store::Error::NotFound { .. }) => upload = true,
                Err(error) => return Err(error.into()),
            }
        }
        let stored = if upload {
            self.upload(item, known, counters).await
        } else {
            match known {
                Some(hash) => Ok((None, hash)),
                None => self.files.hash(item).await.map(|hash| (None, hash)),
            }
        };
        match stored {
            Ok((uploaded, hash)) => Ok(Done {
                place,
                uploaded,
                hash: Some(hash),
            }),
            Err(failed) if self.allow_corrupt && error::corrupt(&failed).is_some() => {
                self.run.warn(Reason::SSTableLeftOut, failed.to_string());
                Ok(Done {
                    place,
                    uploaded: None,
                    hash: None,
                })
            }
            Err(failed) => Err(failed),
        }
    }

    async fn upload(
        &self,
        item: &Item,
        known: Option<blake3::Hash>,
        counters: &Counters,
    ) -> Result<(Option<u64>, blake3::Hash), Error> {
        let read_at = SystemTime::now();
        let bytes = counters.uploaded_bytes.clone();
        let mut source = self.files.open(item, bytes)?;
        let outcome = self
            .store
            .upload(&item.key, item.size(), source.as_mut())
            .await?;
        let uploaded = (outcome == Outcome::Stored).then(|| item.size());
        if uploaded.is_some() {
            counters.uploaded_files.fetch_add(1, Ordering::Relaxed);
        }
        let hash = match source.hash().or(known) {
            Some(hash) => hash,
            // The object was there before and the file was not read for it.
            None => self.files.hash(item).await?,
        };
        self.files.read(item, hash, read_at);
        Ok((uploaded, hash))
    }
}

/// The plan, object by object; a key that a purge wants or that has another size is an error.
fn jobs<'i>(
    inventory: &'i Inventory,
    storage: &Storage,
    earlier: &Earlier,
) -> Result<Vec<Job<'i>>, Error> {
    let mut jobs = Vec::new();
    let mut add = |place, item: &'i Item, hash: Option<blake3::Hash>| {
        let action = storage.decide(item.key.as_str(), item.size());
        match action {
            Action::Wait => return Err(Error::Purge(item.key.to_string())),
            Action::Conflict { found } => {
                let (key, expected) = (item.key.to_string(), item.size());
                return Err(Error::Conflict {
                    key,
                    expected,
                    found,
                });
            }
            Action::Upload | Action::Touch | Action::Keep => {}
        }
        jobs.push(Job {
            place,
            item,
            hash,
            action,
        });
        Ok(())
    };
    for (t, table) in inventory.tables.iter().enumerate() {
        if let Some(item) = &table.schema {
            add(
                Place {
                    table: t,
                    file: None,
                },
                item,
                item.hash,
            )?;
        }
        let directory = format!("{}/{}", table.keyspace, table.directory);
        for (s, sstable) in table.sstables.iter().enumerate() {
            for (f, item) in sstable.items.iter().enumerate() {
                let known = item
                    .hash
                    .or_else(|| earlier.hash(&directory, sstable, &item.file.name));
                add(
                    Place {
                        table: t,
                        file: Some((s, f)),
                    },
                    item,
                    known,
                )?;
            }
        }
    }
    Ok(jobs)
}

fn figures(jobs: &[Job<'_>]) -> Progress {
    let mut progress = Progress::default();
    for job in jobs {
        progress.total.add(job.item.size());
        match job.action {
            Action::Upload => progress.to_upload.add(job.item.size()),
            _ => progress.reused.add(job.item.size()),
        }
    }
    progress
}

/// Puts hashes into the inventory, counts, and takes out what is left out.
fn apply(
    inventory: &mut Inventory,
    done: impl Iterator<Item = Done>,
    progress: &mut Progress,
) -> Vec<String> {
    let mut damaged = Vec::new();
    progress.uploaded = Tally::default();
    for Done {
        place,
        uploaded,
        hash,
    } in done
    {
        let table = &mut inventory.tables[place.table];
        if let Some(bytes) = uploaded {
            progress.uploaded.add(bytes);
        }
        match (place.file, hash) {
            (Some((s, f)), Some(_)) => table.sstables[s].items[f].hash = hash,
            (Some((s, _)), None) => damaged.push((place.table, s)),
            (None, _) => {
                if let Some(item) = &mut table.schema {
                    item.hash = hash;
                }
            }
        }
    }
    damaged.sort();
    damaged.dedup();
    let mut left_out = Vec::new();
    for (t, s) in damaged.into_iter().rev() {
        let table = &mut inventory.tables[t];
        let sstable = table.sstables.remove(s);
        left_out.push(format!(
            "{}/{}/{}",
            table.keyspace,
            table.directory,
            sstable.dir.as_str()
        ));
    }
    // What was there already, or came there meanwhile, is reused, not uploaded.
    progress.total = Tally::default();
    for item in inventory.items() {
        progress.total.add(item.size());
    }
    progress.reused = Tally {
        files: progress.total.files.saturating_sub(progress.uploaded.files),
        bytes: progress.total.bytes.saturating_sub(progress.uploaded.bytes),
    };
    progress.to_upload = progress.uploaded;
    left_out
}

/// Reads the newest manifest only where a hash is not known otherwise.
pub async fn earlier(
    store: &dyn Store,
    layout: &manifest::NodeLayout,
    inventory: &Inventory,
    storage: &Storage,
) -> Result<Earlier, Error> {
    let unknown = |item: &Item| item.hash.is_none() && storage.has(item.key.as_str());
    if inventory.items().any(unknown) {
        Earlier::read(store, layout).await
    } else {
        Ok(Earlier::default())
    }
}
