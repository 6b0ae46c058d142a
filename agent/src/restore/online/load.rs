//! Staging SSTables beside the data and having Cassandra import them, batch after batch.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use jmx::cassandra::ImportOptions;
use manifest::{ClusterId, ClusterLayout, Line, ObjectKeys, SsTable};
use store::Store;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::batch::Batches;
use super::error::OnlineError;
use super::files::imported;
use super::journal::Journal;
use super::node::{Node, PATIENCE, jmx_table};
use super::selection::Selection;
use super::source::Source;
use super::stage::{self, Batch, Item, Stage, Whole};
use super::state::Entry;
use super::survey::{Plan, name_of};
use crate::bandwidth::Bandwidth;
use crate::read::ManifestStream;
use crate::restore::fetch::Wanted;
use crate::restore::path::plain;
use crate::restore::progress::Told;
use crate::restore::target::file;
use crate::restore::{Done, Seen, TableName};

/// A restore of a node at work.
pub(super) struct Load<'a> {
    pub(super) store: &'a dyn Store,
    pub(super) cluster: &'a ClusterId,
    pub(super) source: &'a Source,
    pub(super) node: &'a Node,
    pub(super) plan: &'a Plan,
    pub(super) selection: &'a Selection,
    pub(super) id: &'a str,
    /// Who asks.
    pub(super) run: Option<Uuid>,
    /// Bytes that are staged before an import; by default it follows from what is free.
    pub(super) batch: Option<u64>,
    /// Whether Cassandra reads every row before it takes an SSTable.
    pub(super) read_all: bool,
    pub(super) concurrency: usize,
    pub(super) bandwidth: &'a Bandwidth,
    pub(super) seen: &'a (dyn Fn(Seen) + Sync),
    /// Says what Cassandra is at, which may take long.
    pub(super) say: &'a (dyn Fn(String) + Sync),
}

impl Load<'_> {
    /// Imports all that is planned and not done yet. Meanwhile tombstones are kept: one may come
    /// before the row that it deletes, and a compaction or a cleanup that sees no such row would drop
    /// it.
    pub(super) async fn run(&self, journal: &mut Journal) -> Result<Done, OnlineError> {
        self.keep_tombstones(journal).await?;
        let done = self.import_all(journal).await?;
        // Not where it failed: the row may come with the next attempt.
        self.node.drop_tombstones_again(&journal.state).await?;
        Ok(done)
    }

    async fn keep_tombstones(&self, journal: &mut Journal) -> Result<(), OnlineError> {
        let failed = OnlineError::jmx("cannot have Cassandra keep tombstones, over JMX");
        let cassandra = &self.node.cassandra;
        let mut changed = Vec::new();
        for from in self.plan.tables.keys() {
            let into = self.selection.target(from);
            let kept = cassandra.keeps_tombstones(&jmx_table(&into)).await;
            if !kept.map_err(&failed)? {
                changed.push(into);
            }
        }
        journal.write(Entry::KeepsTombstones {
            tables: changed.clone(),
        })?;
        for into in changed.iter().map(jmx_table) {
            let keep = cassandra.keep_tombstones(&into, true);
            keep.await.map_err(&failed)?;
        }
        Ok(())
    }

    async fn import_all(&self, journal: &mut Journal) -> Result<Done, OnlineError> {
        self.clean_up(journal).await?;
        let mut batches = Batches::new(self.plan.free, self.plan.copies, self.batch);
        let told = Told::default();
        let mut done = Done::default();
        for (host_id, key) in &self.source.manifests {
            let mut lines = ManifestStream::open(self.store, key).await?;
            let mut keys = ObjectKeys::new(*host_id);
            let mut batch: Vec<Item> = Vec::new();
            let mut table = None;
            while let Some(line) = lines.next().await? {
                let mut of_line = Vec::new();
                let layout = ClusterLayout::new(self.cluster.clone());
                keys.of(&line, |key| of_line.push(layout.key_in_cluster(key)));
                match line {
                    Line::Table(next) => table = Some(next),
                    Line::SsTable(sstable) => {
                        let Some(table) = &table else { continue };
                        let item = self.item(*host_id, table, &sstable, of_line)?;
                        let Some(item) = item else { continue };
                        if journal.state.has(*host_id, &item.table, &item.sstable) {
                            told.add(item.files.len() as u64, item.bytes());
                            continue;
                        }
                        let bytes = item.bytes();
                        let other = |it: &Item| it.table.keyspace != item.table.keyspace;
                        if batch.first().is_some_and(other) || batches.is_full(bytes) {
                            self.batch(std::mem::take(&mut batch), journal, &told, &mut done)
                                .await?;
                            batches.end(false);
                        }
                        batches.add(bytes, bytes);
                        batch.push(item);
                    }
                    Line::Header(_) | Line::Footer(_) => {}
                }
            }
            lines.end()?;
            self.batch(batch, journal, &told, &mut done).await?;
            batches.end(false);
        }
        Ok(done)
    }

    /// An SSTable, if it is for this node.
    fn item(
        &self,
        source: Uuid,
        table: &manifest::Table,
        sstable: &SsTable,
        keys: Vec<String>,
    ) -> Result<Option<Item>, OnlineError> {
        let name = name_of(table);
        let takes = self.plan.takes(self.selection, source, &name, sstable);
        let Some(into) = takes else {
            return Ok(None);
        };
        let wrong = |name| self.source.wrong_name(name);
        // Cassandra takes the directory of a table by its form only, an id of 32 hex digits.
        let id = &blake3::hash(table.directory.as_bytes()).to_hex()[..32];
        let directories = &self.node.facts.directories;
        let data = &directories[sstable.data_directory % directories.len()];
        let folder = Journal::home(data, self.id)
            .join(source.to_string())
            .join(&into.keyspace)
            .join(format!("{}-{id}", into.table));
        let all: BTreeMap<&str, &String> = sstable
            .components
            .iter()
            .map(|it| it.name.as_str())
            .zip(&keys)
            .collect();
        let mut files = Vec::new();
        for component in imported(sstable) {
            let name = plain(&component.name).map_err(wrong)?;
            files.push(Wanted {
                key: all.get(name).map(|it| (*it).clone()).unwrap_or_default(),
                path: folder.join(name),
                bytes: component.bytes,
                blake3: component.blake3.clone(),
            });
        }
        Ok(Some(Item {
            source,
            table: name,
            sstable: sstable.sstable.clone(),
            folder,
            files,
        }))
    }

    /// Stages, imports and cleans up SSTables of one keyspace from one node of the source. What is whole
    /// of a table is imported while the others are fetched.
    async fn batch(
        &self,
        items: Vec<Item>,
        journal: &mut Journal,
        told: &Told,
        done: &mut Done,
    ) -> Result<(), OnlineError> {
        if items.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for item in items {
            batch.entry(item.table.clone()).or_default().push(item);
        }
        let stage = Stage {
            store: self.store,
            concurrency: self.concurrency,
            bandwidth: self.bandwidth,
            seen: self.seen,
        };
        let (whole, mut staged) = mpsc::unbounded_channel();
        let import = async {
            let mut tables = Vec::new();
            // Those that became whole during the last import go together.
            while staged.recv_many(&mut tables, usize::MAX).await > 0 {
                self.import_tables(std::mem::take(&mut tables), journal)
                    .await?;
            }
            Ok(())
        };
        // What Cassandra has begun to import it ends; so where a fetch fails, that is waited for.
        let fetch = async { Ok::<_, OnlineError>(stage.run(&batch, whole, told, done).await) };
        let (fetched, ()) = tokio::try_join!(fetch, import)?;
        fetched?;
        self.clean_up(journal).await
    }

    async fn import_tables(
        &self,
        tables: Vec<Whole<'_>>,
        journal: &mut Journal,
    ) -> Result<(), OnlineError> {
        let directories = &self.node.facts.directories;
        stage::settle(directories).await?;
        let (mut imported, mut failed) = (Vec::new(), None);
        for (table, items) in tables {
            stage::forget_pages(items).await?;
            journal.write(Entry::Importing {
                table: table.clone(),
                at: Timestamp::now(),
                run: self.run,
            })?;
            match self.import(table, items).await {
                Ok(()) => imported.push((table, items)),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        // Cassandra writes Statistics.db anew, and copies between file systems, without fsync.
        stage::settle(directories).await?;
        for (table, items) in imported {
            // What was copied, and the folders themselves.
            for folder in folders(items) {
                fs::remove_dir_all(folder).map_err(|source| file(folder, source))?;
            }
            journal.write(Entry::Imported {
                source: items[0].source,
                table: table.clone(),
                sstables: items.iter().map(|it| it.sstable.clone()).collect(),
            })?;
        }
        failed.map_or(Ok(()), Err)
    }

    async fn import(&self, table: &TableName, items: &[Item]) -> Result<(), OnlineError> {
        let into = self.selection.target(table);
        let staged: Vec<_> = folders(items).into_iter().collect();
        let cassandra = &self.node.cassandra;
        let copies = self.plan.copies;
        (self.say)(format!("imports {} SSTables into {into}", items.len()));
        let into = jmx_table(&into);
        let how = ImportOptions {
            copy: copies,
            read_all: self.read_all,
        };
        let failed = cassandra.import(&into, &staged, how, PATIENCE);
        let failed = failed.await;
        let failed = failed.map_err(OnlineError::jmx("cannot import SSTables over JMX"))?;
        if !failed.is_empty() {
            return Err(OnlineError::Import {
                directories: failed,
            });
        }
        let left = |folder: &&Path| !copies && has_data(folder);
        let left: Vec<String> = staged
            .iter()
            .copied()
            .filter(left)
            .map(|it| it.display().to_string())
            .collect();
        match left.is_empty() {
            true => Ok(()),
            false => Err(OnlineError::Import { directories: left }),
        }
    }

    /// Removes what the node does not replicate from tables that were imported into.
    async fn clean_up(&self, journal: &mut Journal) -> Result<(), OnlineError> {
        let mut by_keyspace: BTreeMap<String, Vec<(TableName, TableName)>> = BTreeMap::new();
        for from in journal.state.unclean() {
            let into = self.selection.target(&from);
            let pair = (from.keyspace.clone(), into.keyspace.clone());
            let plan = self.plan.keyspaces.get(&pair);
            if plan.is_some_and(|it| it.needs_cleanup()) {
                let of_keyspace = by_keyspace.entry(into.keyspace.clone()).or_default();
                of_keyspace.push((from, into));
            }
        }
        for (keyspace, tables) in by_keyspace {
            let names: Vec<&str> = tables.iter().map(|(_, into)| into.table.as_str()).collect();
            (self.say)(format!("cleans up {} tables of {keyspace}", names.len()));
            let cleaned = self.node.cassandra.cleanup(&keyspace, &names, PATIENCE);
            let cleaned = cleaned.await;
            if !cleaned.map_err(OnlineError::jmx("cannot clean up a keyspace over JMX"))? {
                return Err(OnlineError::Cleanup { keyspace });
            }
            journal.write(Entry::Cleaned {
                tables: tables.into_iter().map(|(from, _)| from).collect(),
            })?;
        }
        Ok(())
    }
}

/// Where SSTables are staged.
fn folders(items: &[Item]) -> BTreeSet<&Path> {
    items.iter().map(|it| it.folder.as_path()).collect()
}

/// Whether Cassandra has left a data file where it was staged.
fn has_data(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().ends_with("-Data.db"))
}
