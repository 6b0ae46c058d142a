//! Restore into a cluster that is up, a node at a time: the schema, then the SSTables by Cassandra's own
//! import, then indexes and views.
//!
//! The first and the last are done once for a cluster, the import on each of its nodes. Nothing that
//! exists is changed without being asked for, and Cassandra serves all the time.

mod batch;
mod check;
mod error;
mod files;
mod journal;
mod load;
mod node;
mod plan;
mod ranges;
mod rehearse;
mod request;
mod ring;
mod selection;
mod source;
mod stage;
mod state;
mod steps;
mod survey;

use jiff::Timestamp;
use manifest::{BackupName, ClusterId};
use protocol::{CqlAccess, JmxAccess, NodeIdentity, RingMember};
use store::Store;
use uuid::Uuid;

use self::journal::Journal;
use self::node::Node;
use self::source::Source;
use self::state::State;
use super::schema::{self, Kind, SchemaPlan, Settings};
use super::{TableName, Which};
use crate::catalogue::Unreadable;

pub use error::OnlineError;
pub use protocol::{RestoreMode as Mode, RestoreStep as Step};
pub use request::run;
pub use selection::{Rename, Selection};
pub use steps::Tell;
pub use survey::{Plan, TablePlan};

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
    /// Whether it begins anew where it was begun before, so that tables are emptied again, and other
    /// restores that did not end are given up.
    pub anew: bool,
    /// Who asks: what a run has done, it does not do twice.
    pub run: Option<Uuid>,
    /// Whether it is only said what would be done.
    pub dry_run: bool,
    /// Files that are fetched at the same time.
    pub concurrency: usize,
    /// Bytes that are staged before an import; by default it follows from what is free.
    pub batch: Option<u64>,
    /// Bytes per second that are fetched at most.
    pub bandwidth: Option<u64>,
}

impl Order {
    /// Whether what was begun of this very restore counts no more. A load goes on with it, and so does a
    /// rehearsal: what is imported twice would be counted twice.
    fn begins_anew(&self) -> bool {
        self.anew && self.step != Step::Load && self.mode != Mode::Rehearse
    }
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
    /// Restores that did not end on this node and are given up: of which backup, and what becomes of it.
    pub gives_up: Vec<(String, String)>,
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
        let mut source = Source::read(store, cluster, &order.which, &order.selection).await?;
        let mut node = Node::read(jmx, cql).await?;
        if order.mode == Mode::Rehearse {
            rehearse::arrange(&mut source, &mut node.facts);
        }
        if source.partitioner != node.facts.partitioner {
            return Err(OnlineError::OtherPartitioner {
                backup: source.partitioner,
                target: node.facts.partitioner,
            });
        }
        let plan = Plan::make(store, &source, &node.facts, &order.selection, order.batch).await?;
        node.facts.ring = plan.ring(&source, &node.facts);
        let id = id(cluster, &source.backup, &order);
        let state = Journal::peek(node.facts.data_directory(), &id)?;
        wait_for_imports(&node, &id, &state, &order).await?;
        let mut there = node.facts.schema.clone();
        if order.step == Step::Finish
            || (order.step == Step::All && state.loaded.is_some() && !order.begins_anew())
        {
            // The last time may have made some of the views.
            there.retain(|it| it.kind != Kind::View);
        }
        let schema = schema::plan(&source.schema, &there, &plan.wanted())?;
        let settings = schema::settings(&node.session).await?;
        let resumes = state.is_begun() && !order.begins_anew();
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
            resumes,
            gives_up: Vec::new(),
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

    /// The node, as callers are told of it.
    pub fn identity(&self) -> Option<NodeIdentity> {
        self.node.facts.identity.clone()
    }

    /// Its ring.
    pub fn ring(&self) -> Vec<RingMember> {
        self.node.facts.members.clone()
    }

    /// The backup.
    pub fn backup(&self) -> &BackupName {
        &self.source.backup
    }

    /// Manifests of newer backups, which were not taken for that.
    pub fn passed_over(&self) -> &[Unreadable] {
        &self.source.passed_over
    }

    /// When its first snapshot was taken.
    pub fn taken(&self) -> Option<Timestamp> {
        self.source.taken
    }

    /// The first data directory, whose owner the files are to belong to.
    pub fn data_directory(&self) -> &std::path::Path {
        self.node.facts.data_directory()
    }

    /// Ends the session with the node.
    pub async fn close(self) {
        let _ = self.node.cassandra.close().await;
    }

    /// Whether SSTables are imported.
    pub fn loads(&self) -> bool {
        matches!(self.order.step, Step::All | Step::Load)
    }
}

/// Waits for imports that were cut off, of this restore and of those that are given up: what Cassandra
/// imports yet is in no table that can be looked at, and would come after a truncation.
async fn wait_for_imports(
    node: &Node,
    id: &str,
    state: &State,
    order: &Order,
) -> Result<(), OnlineError> {
    let data = node.facts.data_directory();
    if Journal::is_at_work(data)? {
        return Ok(());
    }
    let home = Journal::home(data, id);
    for table in state.at_import() {
        let into = order.selection.target(table);
        node.wait_for_import(&into, &home).await?;
    }
    if !order.anew {
        return Ok(());
    }
    for other in Journal::others(data, id)? {
        if other.state.at_import().next().is_none() {
            continue;
        }
        // Those at which it was have other names there, where it renamed them; these are as they are.
        for into in other.state.kept() {
            node.wait_for_import(&into, &other.home).await?;
        }
    }
    Ok(())
}

/// Names a restore by what it is: the same command is the same restore.
fn id(cluster: &ClusterId, backup: &BackupName, order: &Order) -> String {
    let of = (cluster, backup, &order.selection, order.mode);
    let text = serde_json::to_vec(&of).unwrap_or_default();
    blake3::hash(&text).to_hex()[..16].to_owned()
}
