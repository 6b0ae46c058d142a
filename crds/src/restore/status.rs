//! What is known about a restore while it runs and after.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::status::{Amount, NodeWarning, RingStatus};
use crate::verify::RehearsedStatus;

/// The live truth about a restore and each of its nodes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CassandraRestoreStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the restore is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<RestorePhase>,
    /// Name of the backup in the storage, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_name: Option<String>,
    /// When the backup's first snapshot was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_time: Option<Time>,
    /// When the work began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How long it has taken, such as `1m2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Nodes that are done with the present step, of all that take part in it: `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_done: Option<String>,
    /// What is restored, over all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RestorePlanStatus>,
    /// Fetched so far, over all nodes; what an earlier attempt has fetched counts too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<Amount>,
    /// What was found in a rehearsal that went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsed: Option<RehearsedStatus>,
    /// Cassandra's ring, compared with the selected pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<RingStatus>,
    /// Each node's share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<RestoreNodeStatus>,
    /// What should be known although it did not stop the restore; the first ones only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<NodeWarning>,
    /// `Complete` says whether all is restored, and if not, why. `Reconciling` and `Stalled` are as
    /// kstatus wants them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where a restore is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestorePhase {
    /// Waits for what it needs.
    Pending,
    /// Each node finds out what it would import. Nothing is changed.
    Planning,
    /// One node makes the schema and, with mode `Replace`, empties the tables.
    Preparing,
    /// Each node fetches its SSTables and has Cassandra import them.
    Loading,
    /// One node makes indexes and views.
    Finishing,
    /// A dry run has ended: the plan is known, and nothing was changed.
    Planned,
    /// All is restored.
    Succeeded,
    /// Not all is restored.
    Failed,
    /// Cancelled on request.
    Cancelled,
}

impl RestorePhase {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Planned | Self::Succeeded | Self::Failed | Self::Cancelled
        )
    }
}

/// One node's share of a restore.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreNodeStatus {
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod that the run was last seen in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Id of the container that the run was last seen in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Cassandra's host id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_id: Option<String>,
    /// Datacenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// Rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Release of Cassandra, such as `5.0.9`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cassandra_version: Option<String>,
    /// The step that the node took last, or takes.
    pub step: RestoreStep,
    /// How far the node is with it.
    pub phase: RestoreNodePhase,
    /// Why it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Names the thing, the cause and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Which attempt of the step, counted from 1.
    pub attempt: i32,
    /// How many of the step's attempts found another run at work on the node and did nothing. They do not count for
    /// `retry.limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turned_away: Option<i32>,
    /// Id of the run of this step, the same for all attempts.
    pub run_id: String,
    /// What the node imports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<RestorePlanStatus>,
    /// Fetched so far; what an earlier attempt has fetched counts too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<Amount>,
    /// When the first attempt of the step began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the last attempt of the step ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Number of the last event of the step's run that this status contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<i64>,
}

/// A part of a restore.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum RestoreStep {
    /// The node finds out what it would import.
    Plan,
    /// It makes the schema and, with mode `Replace`, empties the tables: on one node for all.
    Prepare,
    /// It fetches its SSTables and has Cassandra import them.
    Load,
    /// It makes indexes and views: on one node for all.
    Finish,
}

/// How far a node is with a step.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestoreNodePhase {
    /// It has not begun.
    Pending,
    /// Waits for the pod, or for the next attempt; the reason says why.
    Waiting,
    /// The agent is at work.
    Running,
    /// The step is done.
    Succeeded,
    /// The step is not done.
    Failed,
    /// Cancelled on request.
    Cancelled,
}

impl RestoreNodePhase {
    /// Whether nothing more will happen in this step.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// Bytes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Size {
    /// How many.
    pub bytes: i64,
    /// The same for people, such as `1.2 GiB`.
    pub size: String,
}

/// What is restored.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlanStatus {
    /// Tables that are restored.
    pub tables: i64,
    /// SSTables that are imported. Where the rings differ, an SSTable that several nodes need
    /// counts for each of them.
    pub sstables: i64,
    /// Their files.
    pub total: Amount,
    /// What the data directories need at the worst moment; over all nodes, of the one that needs
    /// most.
    pub peak: Size,
    /// What they have.
    pub free: Size,
    /// Statements that make what the schema lacks, indexes and views.
    pub statements: i64,
    /// Token ranges that a node of the backup had which has no manifest.
    pub degraded_ranges: i64,
    /// Tables that have rows, as `keyspace.table`; the first ones only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_empty: Vec<String>,
}
