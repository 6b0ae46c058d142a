//! `CassandraRestore`: one restore of a backup into one cluster that is up.

mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::{AgentSource, CassandraAccess, Retry, StorageRef};
use crate::rules::{
    bandwidth, exactly_one, keyspaces, only_once, storage_name, table, tables, unchanged,
};

pub use status::{
    CassandraRestoreStatus, RestoreNodePhase, RestoreNodeStatus, RestorePhase, RestorePlanStatus,
    RestoreStep, Size,
};

/// One restore of a backup into one Cassandra cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "cassandrabackup.io",
    version = "v1alpha1",
    kind = "CassandraRestore",
    doc = "One restore of a backup into a Cassandra cluster that is up. Its spec cannot be changed, except that `cancel` can be set.",
    namespaced,
    status = "CassandraRestoreStatus",
    derive = "PartialEq",
    category = "cassandra-backup",
    shortname = "crestore",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(
        name = "Backup",
        type_ = "string",
        json_path = ".status.backupName",
        description = "Name of the backup in the storage"
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Nodes",
        type_ = "string",
        json_path = ".status.nodesDone",
        description = "Nodes that are done with the present step, of all"
    ),
    printcolumn(name = "Fetched", type_ = "string", json_path = ".status.fetched.size"),
    printcolumn(
        name = "Total",
        type_ = "string",
        json_path = ".status.plan.total.size"
    ),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Complete\")].reason"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(
    validation = unchanged(
        &[
            "cluster", "storage", "backup", "cassandra", "mode", "keyspaces", "tables", "renames",
            "allowDegraded", "dryRun", "agent", "retry",
        ],
        &["bandwidthPerNode", "activeDeadlineSeconds"],
        "the spec of a restore cannot be changed, except for cancel: make a new CassandraRestore instead"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct CassandraRestoreSpec {
    /// Cluster id of the backup in the storage. It may be another cluster than the one that is
    /// restored into.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = storage_name("cluster"))]
    pub cluster: String,
    /// Where the backup is kept.
    pub storage: StorageRef,
    /// Which backup.
    pub backup: BackupChoice,
    /// Which pods run the Cassandra that is restored into, and how to reach it inside them: all
    /// members of its ring.
    pub cassandra: CassandraAccess,
    /// What becomes of the rows that the tables have.
    pub mode: RestoreMode,
    /// Keyspaces to restore. Without keyspaces, tables and renames: all that the backup has, except
    /// Cassandra's own.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 48)))]
    #[x_kube(validation = keyspaces())]
    pub keyspaces: Vec<String>,
    /// Tables to restore, as `keyspace.table`.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 280)))]
    #[x_kube(validation = tables())]
    pub tables: Vec<String>,
    /// Tables to restore under another name.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub renames: Vec<TableRename>,
    /// Go on where nodes of the backup have no manifest: what only these had, writes and deletions,
    /// is then missing.
    #[serde(default)]
    pub allow_degraded: bool,
    /// Only look: the plan is put into the status, and nothing is changed.
    #[serde(default)]
    pub dry_run: bool,
    /// Bytes per second that each node may fetch, as a quantity such as `100Mi`; without it, as fast
    /// as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = bandwidth())]
    pub bandwidth_per_node: Option<String>,
    /// How the agent gets into the pods.
    #[serde(default)]
    pub agent: AgentSource,
    /// What happens when a node fails for a reason that may pass.
    #[serde(default)]
    pub retry: Retry,
    /// Seconds after which the restore is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i64>,
    /// Set it to true to cancel the restore. It cannot be set back. What was imported stays.
    #[serde(default)]
    #[x_kube(validation = only_once("restore", "CassandraRestore"))]
    pub cancel: bool,
}

/// Which backup: exactly one of the fields.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = exactly_one(
    &["resource", "name", "latest", "before"],
    "say which backup by one of resource, name, latest and before"
))]
#[x_kube(validation = Rule::new("!has(self.latest) || self.latest")
    .message("latest must be true, or be left out"))]
#[serde(rename_all = "camelCase")]
pub struct BackupChoice {
    /// Name of a CassandraBackup in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub resource: Option<String>,
    /// Name of a backup in the storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = storage_name("name"))]
    pub name: Option<String>,
    /// The newest backup that is complete and has what is to be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<bool>,
    /// The newest such that was begun before this time, such as `2026-11-26T03:00:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Time>,
}

/// What becomes of the rows that a table has.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreMode {
    /// They stay, and the newer of two writes counts: what was deleted or overwritten since the
    /// backup stays so.
    Merge,
    /// They go, after a snapshot that stays on the nodes.
    Replace,
    /// There are none: it is a rehearsal, into a Cassandra of one node that is there for nothing else.
    /// Each keyspace has one replica there, and what Cassandra has in the end is compared with what the
    /// backup recorded.
    Rehearse,
}

/// A table that is restored under another name.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TableRename {
    /// As it is in the backup, as `keyspace.table`.
    #[schemars(length(max = 280))]
    #[x_kube(validation = table("from"))]
    pub from: String,
    /// As it is to be, as `keyspace.table`; the keyspace must be there, or be in the backup.
    #[schemars(length(max = 280))]
    #[x_kube(validation = table("to"))]
    pub to: String,
}
