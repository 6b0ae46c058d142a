//! Restore into a cluster that is up, a node at a time: the schema, then the SSTables by Cassandra's own
//! import, then indexes and views.
//!
//! The first and the last are done once for a cluster, the import on each of its nodes. Nothing that
//! exists is changed without being asked for, and Cassandra serves all the time.

mod batch;
mod error;
mod journal;
mod load;
mod node;
mod plan;
mod ranges;
mod ring;
mod selection;
mod source;
mod survey;

use jiff::Timestamp;
use jmx::cassandra::{Entities, SnapshotOptions, Tag};
use manifest::{BackupName, ClusterId};
use protocol::{CqlAccess, JmxAccess};
use serde::Serialize;
use store::Store;

use self::journal::{Entry, Journal};
use self::load::Load;
use self::node::{Node, jmx_table};
use self::source::Source;
use super::hold::Hold;
use super::schema::{self, Kind, SchemaPlan, Settings};
use super::{Done, Seen, Which};
use crate::bandwidth::Bandwidth;

pub use error::OnlineError;
pub use selection::{Rename, Selection, TableName, is_name};
pub use survey::{Plan, TablePlan};

/// How long a snapshot before a truncation may take.
const SNAPSHOT: std::time::Duration = std::time::Duration::from_secs(3600);

/// What becomes of the rows that a table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// They stay, and the newer of two writes counts.
    Merge,
    /// They go, after a snapshot.
    Replace,
}

/// What is done of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// All, for a ring of one node.
    All,
    /// The schema, and with [`Mode::Replace`] the truncation: once for the cluster, first.
    Prepare,
    /// The import: on every node.
    Load,
    /// Indexes and views: once for the cluster, last.
    Finish,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Order {
    /// Which backup.
    pub which: Which,
    /// Which tables, and their names.
    pub selection: Selection,
    /// What becomes of the rows that are there.
    pub mode: Mode,
    /// What is done of it.
    pub step: Step,
    /// Whether it is done although replicas are missing in the backup.
    pub allow_degraded: bool,
    /// Files that are fetched at the same time.
    pub concurrency: usize,
    /// Bytes per second that are fetched at most.
    pub bandwidth: Option<u64>,
}

/// A restore that is ready to be done: all was looked at, and nothing changed.
pub struct Ready<'a> {
    store: &'a dyn Store,
    cluster: ClusterId,
    order: Order,
    source: Source,
    node: Node,
    /// What is imported into the node.
    pub plan: Plan,
    /// What is made of the schema.
    pub schema: SchemaPlan,
    settings: Settings,
    /// Tables that have rows, so that these stay and count where they are newer.
    pub not_empty: Vec<TableName>,
    /// Whether this restore was begun on this node, and cut off.
    pub resumes: bool,
    id: String,
}

impl<'a> Ready<'a> {
    /// Looks at the backup and at the node, and makes sure that what is asked for can be done.
    pub async fn look(
        store: &'a dyn Store,
        cluster: &ClusterId,
        order: Order,
        jmx: &JmxAccess,
        cql: &CqlAccess,
    ) -> Result<Self, OnlineError> {
        let source = Source::read(store, cluster, &order.which, &order.selection).await?;
        let node = Node::read(jmx, cql).await?;
        if source.partitioner != node.partitioner {
            return Err(OnlineError::OtherPartitioner {
                backup: source.partitioner,
                target: node.partitioner,
            });
        }
        let plan = Plan::make(store, &source, &node, &order.selection).await?;
        let id = id(cluster, &source.backup, &order);
        let begun = Journal::home(node.data_directory(), &id).exists();
        let mut there = node.schema.clone();
        if order.step == Step::Finish || (order.step == Step::All && begun) {
            // The last time may have made some of the views.
            there.retain(|it| it.kind != Kind::View);
        }
        let schema = schema::plan(&source.schema, &there, &plan.wanted())?;
        let settings = schema::settings(&node.session).await?;
        let mut ready = Self {
            store,
            cluster: cluster.clone(),
            order,
            source,
            node,
            plan,
            schema,
            settings,
            not_empty: Vec::new(),
            resumes: begun,
            id,
        };
        ready.check().await?;
        Ok(ready)
    }

    /// The backup.
    pub fn backup(&self) -> &BackupName {
        &self.source.backup
    }

    /// When its first snapshot was taken.
    pub fn taken(&self) -> Option<Timestamp> {
        self.source.taken
    }

    /// The first data directory, whose owner the files are to belong to.
    pub fn data_directory(&self) -> &std::path::Path {
        self.node.data_directory()
    }

    /// Whether SSTables are imported.
    pub fn loads(&self) -> bool {
        matches!(self.order.step, Step::All | Step::Load)
    }

    async fn check(&mut self) -> Result<(), OnlineError> {
        let nodes = self.node.cluster.members.len();
        if self.order.step == Step::All && nodes > 1 {
            return Err(OnlineError::Steps { nodes });
        }
        let what = match (self.order.step, self.order.mode) {
            (Step::All | Step::Prepare, Mode::Replace) => Some("a truncation"),
            (Step::Prepare, Mode::Merge) if !self.schema.before.is_empty() => {
                Some("a change of the schema")
            }
            _ => None,
        };
        if let Some(what) = what.filter(|_| !self.node.down.is_empty()) {
            return Err(OnlineError::Down {
                nodes: self.node.down.clone(),
                what,
            });
        }
        let forbidden = self.settings.forbid(&self.schema);
        if !forbidden.is_empty() {
            return Err(OnlineError::Forbidden(forbidden));
        }
        if !self.node.agrees().await? {
            return Err(OnlineError::Disagreement);
        }
        if self.loads() {
            let ranges = self.plan.degraded();
            if ranges > 0 && !self.order.allow_degraded {
                return Err(OnlineError::Degraded {
                    nodes: self.source.missing.iter().copied().collect(),
                    ranges,
                });
            }
            if self.plan.peak > self.plan.free && !self.resumes {
                return Err(OnlineError::NoSpace {
                    free: self.plan.free,
                    needed: self.plan.peak,
                });
            }
        }
        for (keyspace, table) in self.schema.existing.clone() {
            let table = TableName { keyspace, table };
            let sstables = self.node.sstables(&table).await?;
            if sstables == 0 {
                continue;
            }
            if (self.order.step, self.order.mode) == (Step::Load, Mode::Replace) && !self.resumes {
                return Err(OnlineError::NotTruncated { table, sstables });
            }
            self.not_empty.push(table);
        }
        if self.order.step == Step::Load
            && let Some((keyspace, table)) = self.schema.created.first()
        {
            let (keyspace, table) = (keyspace.clone(), table.clone());
            return Err(OnlineError::NotPrepared {
                table: TableName { keyspace, table },
            });
        }
        Ok(())
    }

    /// Does it, and says how far it is. `warn` says what else is to be known.
    pub async fn run(
        &self,
        seen: &(dyn Fn(Seen) + Sync),
        warn: &(dyn Fn(String) + Sync),
    ) -> Result<Done, OnlineError> {
        let mut hold = Hold::new(
            self.store,
            &self.cluster,
            &self.source.backup,
            self.source.manifests.clone(),
        );
        hold.take(warn).await?;
        tokio::select! {
            done = self.steps(seen, warn) => done,
            never = hold.renew(warn) => match never {},
        }
    }

    async fn steps(
        &self,
        seen: &(dyn Fn(Seen) + Sync),
        warn: &(dyn Fn(String) + Sync),
    ) -> Result<Done, OnlineError> {
        let step = self.order.step;
        let mut done = Done::default();
        if step == Step::Finish {
            self.finish().await?;
            return Ok(done);
        }
        let data = self.data_directory();
        let mut journal = Journal::open(data, &self.id)?;
        if step != Step::Load && !journal.is_prepared() {
            self.prepare(warn).await?;
            journal.write(Entry::Prepared)?;
        }
        if step == Step::Prepare {
            return Ok(done);
        }
        let bandwidth = Bandwidth::new(self.order.bandwidth);
        let load = Load {
            store: self.store,
            cluster: &self.cluster,
            source: &self.source,
            node: &self.node,
            plan: &self.plan,
            selection: &self.order.selection,
            id: &self.id,
            concurrency: self.order.concurrency,
            bandwidth: &bandwidth,
            seen,
        };
        done = load.run(&mut journal).await?;
        if step == Step::All {
            self.finish().await?;
        }
        journal.end(&self.node.directories, &self.id)?;
        Ok(done)
    }

    /// Makes what the schema lacks, and empties the tables where that is asked for.
    async fn prepare(&self, warn: &(dyn Fn(String) + Sync)) -> Result<(), OnlineError> {
        if self.order.mode == Mode::Replace && !self.schema.existing.is_empty() {
            self.empty(warn).await?;
        }
        let down = self.node.down_addresses();
        Ok(schema::apply(&self.node.session, &self.schema.before, &down).await?)
    }

    async fn empty(&self, warn: &(dyn Fn(String) + Sync)) -> Result<(), OnlineError> {
        let session = &self.node.session;
        let alone = self.node.cluster.members.len() == 1;
        if !alone && self.settings.auto_snapshot() == Some(false) {
            return Err(OnlineError::NoAutoSnapshot);
        }
        let name = |(keyspace, table): &(String, String)| TableName {
            keyspace: keyspace.clone(),
            table: table.clone(),
        };
        let tables: Vec<TableName> = self.schema.existing.iter().map(name).collect();
        let tag = format!("before-restore-{}", Timestamp::now().as_second());
        let failed = |_| OnlineError::from(crate::backup::error::Error::Request(tag.clone()));
        let parsed: Tag = tag.parse().map_err(failed)?;
        let entities = Entities::Tables(tables.iter().map(jmx_table).collect());
        let options = SnapshotOptions::default();
        let taken = self
            .node
            .cassandra
            .snapshot(&parsed, &options, &entities, SNAPSHOT);
        taken
            .await
            .map_err(OnlineError::jmx("cannot take a snapshot over JMX"))?;
        warn(format!(
            "what {} had is in snapshot {tag} of this node{}; remove it with `nodetool clearsnapshot -t {tag}`",
            tables
                .iter()
                .map(TableName::to_string)
                .collect::<Vec<_>>()
                .join(", "),
            if alone {
                ""
            } else {
                ", and on the others in the snapshots that Cassandra takes when it truncates"
            },
        ));
        for TableName { keyspace, table } in &tables {
            schema::truncate(session, keyspace, table).await?;
        }
        Ok(())
    }

    /// Makes indexes and views, which Cassandra then builds.
    async fn finish(&self) -> Result<(), OnlineError> {
        let down = self.node.down_addresses();
        Ok(schema::apply(&self.node.session, &self.schema.after, &down).await?)
    }
}

/// Names a restore by what it is: the same command is the same restore.
fn id(cluster: &ClusterId, backup: &BackupName, order: &Order) -> String {
    let of = (cluster, backup, &order.selection, order.mode);
    let text = serde_json::to_vec(&of).unwrap_or_default();
    blake3::hash(&text).to_hex()[..16].to_owned()
}
