//! Backs up one Cassandra node.
//!
//! [`backup`] is what the program exists for; [`serve`] puts a request into a run with a journal,
//! so that it survives its caller; `cli` is what people type. Nothing here knows Kubernetes.

mod backup;
mod bandwidth;
pub mod catalogue;
pub mod check;
pub mod cli;
pub mod control;
mod coverage;
mod cql;
pub mod expiry;
mod field;
mod gentle;
pub mod lease;
mod named;
pub mod neighbour;
pub mod node_lock;
pub mod order;
pub mod probe;
pub mod purge;
pub mod read;
pub mod restore;
pub mod retention;
pub mod run_context;
mod schema;
pub mod serve;
mod source;
mod spool;
pub mod state;
mod storage;
pub mod sweep;
pub mod verify;

pub use backup::error::chain;
pub use backup::run as back_up;

/// The part of a backup that shares the storage with purges, for the model of that, and for tests
/// of how a plan is carried out and of what memory it takes.
#[cfg(feature = "testing")]
pub mod testing {
    pub use crate::backup::error::Error;
    pub use crate::backup::exchange::{Closing, Exchange, WholeSchema};
    pub use crate::backup::files::{Content, Files, NodeFiles};
    pub use crate::backup::hashes::HashCache;
    pub use crate::backup::inventory::{Inventory, InventorySsTable, InventoryTable, Item, Maker};
    pub use crate::backup::plan::{Storage, Stored};
    pub use crate::backup::remote::Earlier;
    pub use crate::backup::scan::{SnapshotFile, Stat, scan};
    pub use crate::backup::transfer::{Transfer, Transferred};
    pub use crate::bandwidth::Bandwidth;
    pub use crate::named::digest;
    pub use crate::restore::hold::{Hold, LIFETIME as HELD_FOR};
}
