//! Watches the resources, runs the agent in the pods, writes status.
//!
//! It knows no cloud: what talks to a storage is the agent, as a process in a pod or as a child
//! of this one.

mod access;
mod agent_binary;
mod answer;
mod arguments;
mod backup;
mod cluster;
mod conditions;
mod context;
mod cron;
mod election;
mod exclusion;
mod exec;
mod generate;
mod guarded;
mod http;
mod humane;
mod inject;
mod lease;
mod logs;
mod maintenance;
mod metrics;
mod names;
mod node;
#[cfg(test)]
mod played;
mod pod;
mod prerequisites;
mod publish;
mod registry;
mod rehearsal;
mod restore;
mod retention;
mod ring;
mod run;
mod startup;
mod storage;
mod throttle;

pub use arguments::Arguments;
pub use run::run;

/// Name under which the operator writes and reports.
const FIELD_MANAGER: &str = "cassandra-backup-operator";
