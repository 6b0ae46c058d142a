//! What a backup made now would do: its plan, carried out by nobody.

use std::time::Duration;

use protocol::{BackupRequest, NodeIdentity};

use super::error::Error;
use super::inventory::{Inventory, InventoryTable, Item};
use super::plan::Action;
use super::remote::Looking;
use super::session::Session;
use super::snapshot::{self, Memtables, Snapshot};
use super::{Known, lifetime, prepare, take_snapshot};
use crate::order::Order;
use crate::run_context::Run;

/// The plan of a node's backup.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The node.
    pub node: NodeIdentity,
    /// Its files, in order of keyspace and table.
    pub files: Vec<Planned>,
}

/// What would be done with one file.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Keyspace.
    pub keyspace: String,
    /// Table.
    pub table: String,
    /// Key below the storage's root.
    pub key: String,
    /// Size, in bytes.
    pub bytes: u64,
    /// What would be done.
    pub action: Action,
}

/// Plans a backup of this node. Nothing is written to the storage, and nothing is flushed: rows that
/// are in memory only are not in the plan. The snapshot that it is made from is removed again.
pub async fn preview(run: &Run, request: &BackupRequest) -> Result<Preview, Error> {
    let mut known = Known::default();
    let lifetime = lifetime(request);
    let planned = tokio::select! {
        planned = tokio::time::timeout(lifetime, plan(run, request, &mut known)) => {
            planned.unwrap_or(Err(Error::Deadline))
        }
        () = run.cancel.cancelled() => Err(Error::Cancelled),
    };
    if let Some(tag) = known.tag.take() {
        snapshot::clear(run, &request.jmx, &tag, known.snapshot.is_some()).await;
    }
    planned
}

async fn plan(run: &Run, request: &BackupRequest, known: &mut Known) -> Result<Preview, Error> {
    let (prepared, cassandra) = prepare(run, request, known).await?;
    let taking = take_snapshot(run, request, &prepared, cassandra, Memtables::Left, known);
    let Snapshot { tables, .. } = taking.await?;
    let session = Session::new(run, request, &prepared);
    let inventory = session.maker().make(tables).await?;
    let looking = Looking {
        layout: &prepared.layout,
        inventory: &inventory,
        wanted: inventory.items().map(Item::key).collect(),
        touch_after: Duration::from_secs(request.touch_after_seconds),
        order: Order::RIGHT,
    };
    let storage = looking.look(prepared.store.as_ref()).await?;
    // Hashes that were worked out for it are of use to the backup that follows.
    if let Err(error) = session.hashes.save() {
        tracing::debug!(%error, "the hash cache was not saved");
    }
    let decide = |item: &Item| storage.decide(item.key().as_str(), item.size());
    Ok(Preview {
        node: prepared.node.identity.clone(),
        files: planned(&inventory, decide),
    })
}

fn planned(inventory: &Inventory, decide: impl Fn(&Item) -> Action) -> Vec<Planned> {
    let of = |table: &InventoryTable, item: &Item| Planned {
        keyspace: table.keyspace.clone(),
        table: table.table.clone(),
        key: item.key().to_string(),
        bytes: item.size(),
        action: decide(item),
    };
    let tables = inventory.tables.iter();
    tables
        .flat_map(|table| table.items().map(move |item| (table, item)))
        .map(|(table, item)| of(table, item))
        .collect()
}
