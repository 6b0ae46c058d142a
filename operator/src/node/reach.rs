//! How the pods of a resource are reached, and what is reached from them.

use crds::{AgentMode, AgentSource, CassandraAccess, CassandraBackupSpec, CassandraRestoreSpec};

use crate::inject::Placed;

/// How the pods of a resource are reached, and what is reached from them.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    pub(crate) namespace: String,
    /// Name of the BackupStorage.
    pub(crate) storage: String,
    pub(crate) cassandra: CassandraAccess,
    pub(crate) agent: AgentSource,
    /// How many more attempts a node has after its first.
    pub(crate) retries: i32,
}

impl Reach {
    pub(crate) fn of_backup(namespace: &str, spec: &CassandraBackupSpec) -> Self {
        Self {
            namespace: namespace.to_owned(),
            storage: spec.storage.name.clone(),
            cassandra: spec.cassandra.clone(),
            agent: spec.agent.clone(),
            retries: spec.retry.limit,
        }
    }

    pub(crate) fn of_restore(namespace: &str, spec: &CassandraRestoreSpec) -> Self {
        Self {
            namespace: namespace.to_owned(),
            storage: spec.storage.name.clone(),
            cassandra: spec.cassandra.clone(),
            agent: spec.agent.clone(),
            retries: spec.retry.limit,
        }
    }

    /// The container that the agent works in.
    pub(crate) fn container(&self) -> Option<&str> {
        match self.agent.mode {
            AgentMode::Inject => self.cassandra.container.as_deref(),
            AgentMode::Container => self.agent.container.as_deref(),
        }
    }

    /// The agent where the container already has it.
    pub(crate) fn present_agent(&self) -> Option<Placed> {
        match self.agent.mode {
            AgentMode::Inject => None,
            AgentMode::Container => Some(Placed {
                path: self.agent.path.clone(),
                state_directory: self
                    .agent
                    .directories
                    .first()
                    .map(|directory| format!("{directory}/state")),
            }),
        }
    }
}
