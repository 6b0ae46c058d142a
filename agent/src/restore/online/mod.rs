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
mod request;
mod ring;
mod selection;
mod source;
mod survey;

use jiff::Timestamp;
use jmx::cassandra::{Entities, SnapshotOptions, Tag};
use manifest::{BackupName, ClusterId};
use protocol::{CqlAccess, JmxAccess};
use store::Store;
use uuid::Uuid;

use self::journal::{Entry, Journal, State};
use self::load::Load;
use self::node::{Node, jmx_table};
use self::source::Source;
use super::hold::Hold;
use super::schema::{self, Kind, SchemaPlan, Settings};
use super::{Done, Seen, Which};
use crate::bandwidth::Bandwidth;

pub use error::OnlineError;
pub use protocol::{RestoreMode as Mode, RestoreStep as Step};
pub use request::run;
pub use selection::{Rename, Selection, TableName};
pub use survey::{Plan, TablePlan};

/// How long a snapshot before a truncation may take.
const SNAPSHOT: std::time::Duration = std::time::Duration::from_secs(3600);

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
    /// Whether it is only said what would be done.
    pub dry_run: bool,
    /// Files that are fetched at the same time.
    pub concurrency: usize,
    /// Bytes per second that are fetched at most.
    pub bandwidth: Option<u64>,
}

/// Who is told of a restore that is at work.
pub struct Tell<'a> {
    /// How far it is.
    pub seen: &'a (dyn Fn(Seen) + Sync),
    /// What Cassandra is at, which may take long.
    pub say: &'a (dyn Fn(String) + Sync),
    /// What else is to be known.
    pub warn: &'a (dyn Fn(String) + Sync),
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
    /// How far it is on this node: as it was written, and as it is.
    peeked: State,
    state: State,
    /// Tables, as they were, that somebody has emptied since they were imported.
    emptied: Vec<TableName>,
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
        if source.partitioner != node.facts.partitioner {
            return Err(OnlineError::OtherPartitioner {
                backup: source.partitioner,
                target: node.facts.partitioner,
            });
        }
        let plan = Plan::make(store, &source, &node.facts, &order.selection).await?;
        let id = id(cluster, &source.backup, &order);
        let state = Journal::peek(node.facts.data_directory(), &id)?;
        let mut there = node.facts.schema.clone();
        if order.step == Step::Finish || (order.step == Step::All && state.loaded.is_some()) {
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
            resumes: state.is_begun(),
            peeked: state.clone(),
            state,
            emptied: Vec::new(),
            id,
        };
        ready.check().await?;
        Ok(ready)
    }

    /// The node.
    pub fn host_id(&self) -> Uuid {
        self.node.facts.host_id
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
        self.node.facts.data_directory()
    }

    /// Whether SSTables are imported.
    pub fn loads(&self) -> bool {
        matches!(self.order.step, Step::All | Step::Load)
    }

    /// Refuses what would lose or mix something, before anything is changed.
    async fn check(&mut self) -> Result<(), OnlineError> {
        self.look_for_emptied().await?;
        self.check_journals()?;
        self.check_ring().await?;
        let forbidden = self.settings.forbid(&self.schema);
        if !forbidden.is_empty() {
            return Err(OnlineError::Forbidden(forbidden));
        }
        if self.order.step != Step::Finish {
            self.check_cover()?;
            self.check_truncation()?;
        }
        let cut_off = self.state.is_cut_off();
        if self.loads() && !cut_off && self.plan.peak > self.plan.free {
            return Err(OnlineError::NoSpace {
                free: self.plan.free,
                needed: self.plan.peak,
            });
        }
        self.check_tables().await
    }

    /// What was begun on this node before.
    fn check_journals(&self) -> Result<(), OnlineError> {
        let data = self.data_directory();
        let path = Journal::home(data, &self.id);
        if let Some((path, what)) = Journal::other(data, &self.id)? {
            return Err(OnlineError::OtherRestore { what, path });
        }
        let other_ring = self.state.is_of_other_ring(&self.node.facts.ring);
        if other_ring && self.state.has_imported() {
            return Err(OnlineError::OtherRing { path });
        }
        let began = self.state.prepared.is_some() || self.state.has_imported();
        match (self.order.step, self.order.mode) {
            // It would empty what other nodes may have imported by now.
            (Step::Prepare, Mode::Replace) if began => Err(OnlineError::AlreadyPrepared { path }),
            (Step::Finish, _) if self.state.is_begun() && self.state.loaded.is_none() => {
                Err(OnlineError::NotLoaded)
            }
            _ => Ok(()),
        }
    }

    async fn check_ring(&self) -> Result<(), OnlineError> {
        let facts = &self.node.facts;
        let nodes = facts.cluster.members.len();
        if self.order.step == Step::All && nodes > 1 {
            return Err(OnlineError::Steps { nodes });
        }
        if !facts.moving.is_empty() {
            return Err(OnlineError::Moving {
                nodes: facts.moving.clone(),
            });
        }
        let what = match (self.order.step, self.order.mode) {
            (Step::All | Step::Prepare, Mode::Replace) => Some("a truncation"),
            (Step::Prepare, Mode::Merge) if !self.schema.before.is_empty() => {
                Some("a change of the schema")
            }
            _ => None,
        };
        if let Some(what) = what.filter(|_| !facts.down.is_empty()) {
            return Err(OnlineError::Down {
                nodes: facts.down.clone(),
                what,
            });
        }
        match self.node.agrees().await? {
            true => Ok(()),
            false => Err(OnlineError::Disagreement),
        }
    }

    /// Whether the backup has all that it should: of all nodes, before any is emptied.
    fn check_cover(&self) -> Result<(), OnlineError> {
        if self.order.allow_degraded {
            return Ok(());
        }
        if let Some(first) = self.plan.left_out.first() {
            return Err(OnlineError::LeftOut {
                count: self.plan.left_out.len(),
                first: first.clone(),
            });
        }
        let ranges = match self.loads() {
            true => self.plan.degraded(),
            false => self.source.ranges_without_a_replica(self.plan.keyspaces()),
        };
        if ranges == 0 {
            return Ok(());
        }
        Err(OnlineError::Degraded {
            nodes: self.source.missing.iter().copied().collect(),
            ranges,
        })
    }

    fn check_truncation(&self) -> Result<(), OnlineError> {
        if self.order.mode != Mode::Replace {
            return Ok(());
        }
        if self.order.selection.has_roles() {
            return Err(OnlineError::ReplacesRoles);
        }
        let alone = self.node.facts.cluster.members.len() == 1;
        if alone || self.order.step != Step::Prepare {
            return Ok(());
        }
        let refuse = |what: &str| {
            let what = what.to_owned();
            Err(OnlineError::NoAutoSnapshot { what })
        };
        if self.settings.auto_snapshot() != Some(true) {
            return refuse("tables");
        }
        let exempt = schema::without_auto_snapshot(&self.node.facts.schema);
        let existing = self.schema.existing.iter();
        let mut exempt = existing.filter(|table| exempt.contains(table));
        exempt.next().map_or(Ok(()), |(keyspace, table)| {
            refuse(&format!("{keyspace}.{table}"))
        })
    }

    /// Whether what the journal says of the tables is still so.
    async fn look_for_emptied(&mut self) -> Result<(), OnlineError> {
        for from in self.plan.tables.keys() {
            let Some(since) = self.state.imported_since(from) else {
                continue;
            };
            let into = self.order.selection.target(from);
            let pair = (into.keyspace.clone(), into.table.clone());
            let is_there = self.schema.existing.contains(&pair);
            let truncated = self.node.facts.truncated.get(&into);
            if !is_there
                || truncated.is_some_and(|it| *it > since)
                || self.node.sstables(&into).await? == 0
            {
                self.emptied.push(from.clone());
            }
        }
        self.emptied.iter().for_each(|it| self.state.forget(it));
        Ok(())
    }

    /// What the tables of the target have.
    async fn check_tables(&mut self) -> Result<(), OnlineError> {
        let into_any = self.order.step == Step::Load && !self.order.dry_run;
        for (from, plan) in &self.plan.tables {
            let table = self.order.selection.target(from);
            let pair = (table.keyspace.clone(), table.table.clone());
            if !self.schema.existing.contains(&pair) {
                continue;
            }
            let sstables = self.node.sstables(&table).await?;
            if sstables == 0 {
                continue;
            }
            let ours = self.state.imported_since(from).is_some() || plan.sstables == 0;
            if into_any && self.order.mode == Mode::Replace && !ours {
                let path = Journal::home(self.data_directory(), &self.id);
                return Err(OnlineError::NotTruncated {
                    table,
                    sstables,
                    path,
                });
            }
            self.not_empty.push(table);
        }
        if let Some((keyspace, table)) = self.schema.created.first().filter(|_| into_any) {
            let (keyspace, table) = (keyspace.clone(), table.clone());
            return Err(OnlineError::NotPrepared {
                table: TableName { keyspace, table },
            });
        }
        Ok(())
    }

    /// Fails if somebody has emptied a table while it was imported into.
    async fn check_that_it_stayed(&self, journal: &Journal) -> Result<(), OnlineError> {
        let truncated = node::truncated(&self.node.session).await?;
        let emptied = self.plan.tables.keys().find(|from| {
            let since = journal.state.imported_since(from);
            let at = truncated.get(&self.order.selection.target(from));
            since.is_some_and(|since| at.is_some_and(|at| *at > since))
        });
        match emptied {
            None => Ok(()),
            Some(table) => Err(OnlineError::Emptied {
                table: self.order.selection.target(table),
            }),
        }
    }

    /// Does it, and tells of it.
    pub async fn run(&self, tell: &Tell<'_>) -> Result<Done, OnlineError> {
        let mut hold = Hold::new(
            self.store,
            &self.cluster,
            &self.source.backup,
            self.source.manifests.clone(),
        );
        hold.take(tell.warn).await?;
        tokio::select! {
            done = self.steps(tell) => done,
            never = hold.renew(tell.warn) => match never {},
        }
    }

    async fn steps(&self, tell: &Tell<'_>) -> Result<Done, OnlineError> {
        let (step, data) = (self.order.step, self.data_directory());
        if step == Step::Finish {
            self.finish().await?;
            Journal::end(data, &self.id)?;
            return Ok(Done::default());
        }
        let mut journal = Journal::open(data, &self.id, &self.peeked)?;
        if !self.emptied.is_empty() {
            journal.write(Entry::Emptied {
                tables: self.emptied.clone(),
            })?;
        }
        if step == Step::All && journal.state.loaded.is_some() {
            // Only its end was cut off.
            self.finish().await?;
            Journal::end(data, &self.id)?;
            return Ok(Done::default());
        }
        let ring = self.node.facts.ring.clone();
        // A merge that was done is done again: what was deleted since stays deleted all the same. And
        // what is emptied now has nothing of what was imported before.
        let again = self.order.mode == Mode::Merge && journal.state.loaded.is_some();
        let empties = step != Step::Load && self.empties(&journal);
        if again || empties || !journal.state.is_begun() {
            let what = self.source.backup.to_string();
            journal.write(Entry::Begun { what, ring })?;
        } else if journal.state.is_of_other_ring(&ring) {
            journal.write(Entry::Ring { ring })?;
        }
        if step != Step::Load {
            self.prepare(empties, tell.warn).await?;
            journal.write(Entry::Prepared {
                at: Timestamp::now(),
            })?;
        }
        if step == Step::Prepare {
            return Ok(Done::default());
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
            seen: tell.seen,
            say: tell.say,
        };
        let done = load.run(&mut journal).await?;
        self.check_that_it_stayed(&journal).await?;
        journal.unstage(&self.node.facts.directories, &self.id)?;
        journal.write(Entry::Loaded {
            at: Timestamp::now(),
        })?;
        if step == Step::All {
            self.finish().await?;
            Journal::end(data, &self.id)?;
        }
        Ok(done)
    }

    /// Whether the tables are to be emptied first: not again, once something was imported.
    fn empties(&self, journal: &Journal) -> bool {
        let wanted = self.order.mode == Mode::Replace && !self.schema.existing.is_empty();
        wanted && !journal.state.has_imported()
    }

    /// Makes what the schema lacks, and empties the tables where that is asked for.
    async fn prepare(
        &self,
        empties: bool,
        warn: &(dyn Fn(String) + Sync),
    ) -> Result<(), OnlineError> {
        if empties {
            self.empty(warn).await?;
        }
        let down = self.node.facts.down_addresses();
        Ok(schema::apply(&self.node.session, &self.schema.before, &down).await?)
    }

    async fn empty(&self, warn: &(dyn Fn(String) + Sync)) -> Result<(), OnlineError> {
        let session = &self.node.session;
        let alone = self.node.facts.cluster.members.len() == 1;
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
        let down = self.node.facts.down_addresses();
        Ok(schema::apply(&self.node.session, &self.schema.after, &down).await?)
    }
}

/// Names a restore by what it is: the same command is the same restore.
fn id(cluster: &ClusterId, backup: &BackupName, order: &Order) -> String {
    let of = (cluster, backup, &order.selection, order.mode);
    let text = serde_json::to_vec(&of).unwrap_or_default();
    blake3::hash(&text).to_hex()[..16].to_owned()
}
