//! What a node is to import of a backup: the plan, from all manifests, with its reasons and bytes.

use std::collections::{BTreeMap, BTreeSet};

use manifest::{Line, SsTable, Table};
use serde::Serialize;
use store::Store;
use uuid::Uuid;

use super::batch::Batches;
use super::error::OnlineError;
use super::files::{imported, is_readable};
use super::node::Facts;
use super::plan::{KeyspacePlan, Question, Why};
use super::ring;
use super::selection::Selection;
use super::source::Source;
use crate::read::ManifestStream;
use crate::restore::names::{TableName, is_name};
use crate::restore::path::{directory, plain};
use crate::restore::schema;

/// What is to be imported into a node.
#[derive(Debug, Default)]
pub struct Plan {
    /// By keyspace as it was and as it is to be.
    pub keyspaces: BTreeMap<(String, String), KeyspacePlan>,
    /// Tables, in order of their names.
    pub tables: BTreeMap<TableName, TablePlan>,
    /// Views of the backup, which are built anew.
    pub views: BTreeSet<TableName>,
    /// Damaged SSTables that the backup does not have.
    pub left_out: Vec<String>,
    /// Bytes that the data directories need at the worst moment.
    pub peak: u64,
    /// Bytes that they have.
    pub free: u64,
    /// Whether Cassandra has to copy what is staged, since it cannot move it.
    pub copies: bool,
}

/// What is to be imported into a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TablePlan {
    /// Its name in the target.
    pub into: TableName,
    /// SSTables that are imported.
    pub sstables: u64,
    /// Their files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// SSTables that are imported since the node of the source with the same place had them.
    pub same_place: u64,
    /// SSTables that are imported since they have tokens which the node replicates, or may have.
    pub overlapping: u64,
    /// SSTables of the backup that are not for this node.
    pub not_for_node: u64,
}

impl Plan {
    /// Reads all manifests, and changes nothing.
    pub async fn make(
        store: &dyn Store,
        source: &Source,
        node: &Facts,
        selection: &Selection,
        batch: Option<u64>,
    ) -> Result<Self, OnlineError> {
        let (free, copies) = node.room()?;
        let batches = Batches::new(free, copies, batch);
        let mut survey = Survey::begin(source, node, selection, batches);
        (survey.plan.free, survey.plan.copies) = (free, copies);
        for (host_id, key) in &source.manifests {
            let mut lines = ManifestStream::open(store, key).await?;
            while let Some(line) = lines.next().await? {
                survey.add(*host_id, line)?;
            }
            survey.end_batch();
            let left_out = lines.end()?.left_out.into_iter();
            let left_out = left_out.filter(|it| survey.plan.has_table_of(it));
            let left_out: Vec<_> = left_out.collect();
            survey.plan.left_out.extend(left_out);
        }
        let mut plan = survey.plan;
        plan.peak = survey.batches.peak();
        plan.has_all_that_was_named(source, selection)?;
        Ok(plan)
    }

    fn has_all_that_was_named(
        &self,
        source: &Source,
        selection: &Selection,
    ) -> Result<(), OnlineError> {
        let table = |name: &&TableName| !self.tables.contains_key(name);
        let keyspace = |name: &&String| !self.tables.keys().any(|table| table.keyspace == **name);
        let mut names: Vec<String> = selection
            .named()
            .filter(table)
            .map(|it| it.to_string())
            .collect();
        names.extend(selection.keyspaces().iter().filter(keyspace).cloned());
        if names.is_empty() {
            return Ok(());
        }
        Err(OnlineError::NotInBackup {
            backup: source.backup.clone(),
            names,
        })
    }

    /// Hash of what makes rows a node's: the ring, and the replication that the keyspaces have, or get.
    pub fn ring(&self, source: &Source, node: &Facts) -> String {
        let replications: Vec<_> = self
            .keyspaces
            .keys()
            .map(|(from, into)| {
                let there = node.cluster.replication.get(into);
                (into, there.or(source.cluster.replication.get(from)))
            })
            .collect();
        let hashed = format!("{} {replications:?}", node.ring);
        blake3::hash(hashed.as_bytes()).to_hex().to_string()
    }

    /// Whether an SSTable of a node of the source is imported, and into which table.
    pub fn takes(
        &self,
        selection: &Selection,
        source: Uuid,
        table: &TableName,
        sstable: &SsTable,
    ) -> Option<TableName> {
        if sstable.index.is_some() || !self.tables.contains_key(table) {
            return None;
        }
        let into = selection.target(table);
        let pair = (table.keyspace.clone(), into.keyspace.clone());
        let plan = self.keyspaces.get(&pair)?;
        plan.choose(source, sstable).is_ok().then_some(into)
    }

    /// The ranges of the node that a replica without a manifest had, over all keyspaces.
    pub fn degraded(&self) -> usize {
        self.keyspaces.values().map(|it| it.degraded.len()).sum()
    }

    /// Whether an SSTable, as `keyspace/directory/sstable`, is of a table that is restored.
    fn has_table_of(&self, sstable: &str) -> bool {
        let mut parts = sstable.split('/');
        let keyspace = parts.next().unwrap_or_default();
        let directory = parts.next().unwrap_or_default();
        let table = directory.split('-').next().unwrap_or_default();
        let mut tables = self.tables.keys();
        tables.any(|it| it.keyspace == keyspace && it.table == table)
    }

    /// The keyspaces as they were.
    pub fn keyspaces(&self) -> impl Iterator<Item = &str> {
        self.keyspaces.keys().map(|(from, _)| from.as_str())
    }

    /// The tables as the schema is asked for them.
    pub fn wanted(&self) -> Vec<schema::Wanted> {
        let wanted = |(from, plan): (&TableName, &TablePlan)| schema::Wanted {
            from: from.clone(),
            into: plan.into.clone(),
        };
        self.tables.iter().map(wanted).collect()
    }

    /// Files and bytes of all tables.
    pub fn sum(&self) -> (u64, u64) {
        let sum = |(files, bytes): (u64, u64), it: &TablePlan| (files + it.files, bytes + it.bytes);
        self.tables.values().fold((0, 0), sum)
    }
}

struct Survey<'a> {
    source: &'a Source,
    node: &'a Facts,
    selection: &'a Selection,
    nodes: BTreeSet<Uuid>,
    batches: Batches,
    /// The keyspace of the batch at hand, and whether it is cleaned up.
    batch_of: Option<(String, bool)>,
    table: Option<Table>,
    plan: Plan,
}

impl<'a> Survey<'a> {
    fn begin(
        source: &'a Source,
        node: &'a Facts,
        selection: &'a Selection,
        batches: Batches,
    ) -> Self {
        let views = schema::views(&source.schema).into_iter();
        Self {
            source,
            node,
            selection,
            nodes: source.nodes(),
            batches,
            batch_of: None,
            table: None,
            plan: Plan {
                views: views.filter(|it| selection.wants(it)).collect(),
                ..Plan::default()
            },
        }
    }

    fn add(&mut self, host_id: Uuid, line: Line) -> Result<(), OnlineError> {
        match line {
            Line::Table(table) => {
                self.table = None;
                let name = name_of(&table);
                for name in [&name.keyspace, &name.table] {
                    if !is_name(name) {
                        return Err(self.source.wrong_name(name.clone()).into());
                    }
                }
                if self.selection.wants(&name) && !self.plan.views.contains(&name) {
                    self.open(&name)?;
                    self.table = Some(table);
                }
            }
            Line::SsTable(sstable) if sstable.index.is_none() => {
                if let Some(table) = self.table.take() {
                    self.sstable(host_id, &table, &sstable)?;
                    self.table = Some(table);
                }
            }
            Line::SsTable(_) | Line::Header(_) | Line::Footer(_) => {}
        }
        Ok(())
    }

    /// Makes the plan of a table's keyspace, and an empty one of the table itself.
    fn open(&mut self, name: &TableName) -> Result<(), OnlineError> {
        let into = self.selection.target(name);
        let table = self.plan.tables.entry(name.clone()).or_default();
        table.into = into.clone();
        let pair = (name.keyspace.clone(), into.keyspace.clone());
        if self.plan.keyspaces.contains_key(&pair) {
            return Ok(());
        }
        let is_there = self.node.cluster.replication.contains_key(&into.keyspace);
        if !is_there && let Some(replication) = self.source.cluster.replication.get(&name.keyspace)
        {
            let members = &self.node.cluster.members;
            let datacenters = ring::foreign_datacenters(members, replication);
            if !datacenters.is_empty() {
                return Err(OnlineError::ForeignDatacenter {
                    keyspace: into.keyspace,
                    datacenters,
                });
            }
        }
        let question = Question {
            source: &self.source.cluster,
            manifests: &self.nodes,
            target: &self.node.cluster,
            node: self.node.host_id,
        };
        let own = self.node.ranges.get(&into.keyspace).cloned();
        let plan = question.keyspace(&name.keyspace, &into.keyspace, own);
        self.plan.keyspaces.insert(pair, plan);
        Ok(())
    }

    fn sstable(
        &mut self,
        host_id: Uuid,
        table: &Table,
        sstable: &SsTable,
    ) -> Result<(), OnlineError> {
        let name = name_of(table);
        let into = self.selection.target(&name);
        let pair = (name.keyspace.clone(), into.keyspace);
        let (Some(of_keyspace), Some(tally)) = (
            self.plan.keyspaces.get(&pair),
            self.plan.tables.get_mut(&name),
        ) else {
            return Ok(());
        };
        match of_keyspace.choose(host_id, sstable) {
            Ok(Why::SamePlace) => tally.same_place += 1,
            Ok(Why::Overlaps | Why::UnknownTokens) => tally.overlapping += 1,
            Err(_) => {
                tally.not_for_node += 1;
                return Ok(());
            }
        }
        let source = self.source;
        let wrong = |name| source.wrong_name(name);
        directory(table, sstable).map_err(wrong)?;
        let (mut files, mut bytes) = (0, 0);
        for component in imported(sstable) {
            plain(&component.name).map_err(wrong)?;
            is_readable(&self.node.version, &component.name)?;
            files += 1;
            bytes = u64::saturating_add(bytes, component.bytes);
        }
        tally.sstables += 1;
        tally.files += files;
        tally.bytes = tally.bytes.saturating_add(bytes);
        let (kept, cleaned) = (
            of_keyspace.kept(sstable, bytes),
            of_keyspace.needs_cleanup(),
        );
        let other = |(keyspace, _): &(String, bool)| *keyspace != pair.0;
        if self.batch_of.as_ref().is_some_and(other) || self.batches.is_full(bytes) {
            self.end_batch();
        }
        self.batch_of = Some((pair.0, cleaned));
        self.batches.add(bytes, kept);
        Ok(())
    }

    fn end_batch(&mut self) {
        if let Some((_, cleaned)) = self.batch_of.take() {
            self.batches.end(cleaned);
        }
    }
}

/// A table by its names.
pub fn name_of(table: &Table) -> TableName {
    TableName::new(&table.keyspace, &table.table)
}

#[cfg(test)]
mod tests;
