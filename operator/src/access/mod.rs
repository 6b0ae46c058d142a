//! Storage and passwords as the agent needs them: the only place where secrets are read. They stay
//! in memory, and go nowhere but into a request.

mod cassandra;
mod error;
mod secrets;
mod storage;
#[cfg(test)]
mod tests;

pub(crate) use cassandra::{jmx, password};
pub(crate) use error::AccessError;
pub(crate) use storage::{has_identity, keeper_storage, maintenance_storage, storage};
