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
pub mod neighbour;
pub mod node_lock;
pub mod probe;
pub mod retention;
pub mod run_context;
mod schema;
pub mod serve;
mod source;
pub mod state;
mod storage;
pub mod sweep;
pub mod verify;

pub use backup::run as back_up;
