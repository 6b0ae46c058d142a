//! How a backup is proven: by a restore into a Cassandra that is there for nothing else.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup::{CqlSettings, JmxSettings};
use crate::rules::{keyspaces, tables};

/// A rehearsal: when the backup is whole, a pod is made in which Cassandra runs, the backup is restored
/// into it, and what Cassandra then has is compared with what the backup recorded. The pod is removed,
/// however it ends.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsal {
    /// Name of a PodTemplate (`v1`) in this namespace: one node of Cassandra, without data, that can read
    /// the backup's format and has room for what is restored. A storage of kind `file` has to be mounted
    /// in it. `restartPolicy` becomes `Never`.
    #[schemars(length(min = 1, max = 253))]
    pub pod_template: String,
    /// The container that runs Cassandra; by default the only one, or the one named `cassandra`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// Its JMX.
    #[serde(default)]
    pub jmx: JmxSettings,
    /// Its native protocol.
    #[serde(default)]
    pub cql: CqlSettings,
    /// Keyspaces to restore. Without keyspaces and tables: all that the backup has, except Cassandra's
    /// own.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 48)))]
    #[x_kube(validation = keyspaces())]
    pub keyspaces: Vec<String>,
    /// Tables to restore, as `keyspace.table`.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 280)))]
    #[x_kube(validation = tables())]
    pub tables: Vec<String>,
    /// Seconds after which it is given up, from the making of the pod.
    #[serde(default = "two_hours")]
    #[schemars(range(min = 60, max = 604_800))]
    pub active_deadline_seconds: i64,
}

fn two_hours() -> i64 {
    7200
}

/// What is known of the proof of a backup.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VerificationStatus {
    /// The rehearsal that this is about: a hash of what was asked for.
    pub request: String,
    /// Name of its CassandraRestore, which tells the details.
    pub restore: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// Its pod is gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cleaned_up: bool,
    /// When the last one ended that went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_time: Option<Time>,
    /// How far that one went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<VerificationLevel>,
    /// What it found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<RehearsedStatus>,
}

/// How far a backup is proven.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerificationLevel {
    /// Cassandra has imported it, read every row, and has what was recorded.
    Restored,
}

/// What Cassandra had after a rehearsal.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RehearsedStatus {
    /// Tables that were restored.
    pub tables: i64,
    /// SSTables that Cassandra has imported and read to their end.
    pub sstables: i64,
    /// Their partitions; those that several SSTables have count for each.
    pub partitions: i64,
    /// Their rows, likewise, those of tombstones included.
    pub rows: i64,
    /// Partition keys that were looked up and found.
    pub keys: i64,
    /// SSTables of tables of which not all was recorded, so that only their number was compared; their
    /// partitions and rows are not counted above.
    pub unrecorded: i64,
}
