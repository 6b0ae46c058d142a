//! The schema that an online restore needs: what the backup's schema has and the target lacks is
//! made, and what is there and differs is refused before anything is changed.
//!
//! Nothing here reads a storage. `plan` decides and touches nothing; `apply` only runs.

mod apply;
mod catalog;
mod keyspace;
mod lex;
mod plan;
mod problem;
mod settings;
mod statements;
mod table;
#[cfg(test)]
mod tests;

pub(super) use apply::AGREEMENT;
pub use apply::{ApplyError, apply, truncate};
pub use keyspace::{Replication, replication, single, with_single_replicas};
pub use plan::{SchemaPlan, Wanted, plan, views};
pub use problem::SchemaProblems;
pub use settings::{Settings, host_id, settings, truncations, without_auto_snapshot};
pub use statements::{Kind, Statement, split};
