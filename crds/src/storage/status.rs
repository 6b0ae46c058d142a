//! What is known about a storage.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known about the storage.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupStorageStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Kind of storage: `File`, `S3`, `GCS` or `Azure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Where backups are kept, such as `s3://bucket/prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// When the storage was last probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Time>,
    /// The secrets and config maps that the last probe used. When one changes, the storage is probed
    /// at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceVersion>,
    /// The clusters that have a backup in the storage, by name, with the times to which they can be
    /// brought back, as they were when `Surveyed` was last true, or when they were looked into since; the first
    /// hundred only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["cluster"]))]
    pub clusters: Vec<StoredCluster>,
    /// `Ready` says whether backups can be made, and if not, why. `Readable`, `Writable`,
    /// `CreateOnly`, `Touchable` and `Deletable` say what the last probe saw, `KeepsVersions`
    /// whether touching costs, `Shared` whether all pods see one directory, `Surveyed` whether
    /// `clusters` is what is in it, and `Imported` whether all of that has resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A cluster that has a backup in the storage.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StoredCluster {
    /// Its cluster id.
    pub cluster: String,
    /// How many backups it has.
    pub backups: i64,
    /// How many of them are complete: each of their nodes has its share there.
    pub complete: i64,
    /// By the oldest complete backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_restorable: Option<RestorablePoint>,
    /// By the newest complete backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_restorable: Option<RestorablePoint>,
}

/// A time to which a cluster can be brought back.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RestorablePoint {
    /// When the first of the backup's snapshots was taken: what was written before is in it, as far
    /// as the backup's keyspaces, tables and datacenters go.
    pub time: Time,
    /// Name of the backup in the storage.
    pub backup: String,
}

/// A Secret or ConfigMap, as it was when it was used.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SourceVersion {
    /// Whether it is a Secret or a ConfigMap.
    pub kind: SourceKind,
    /// Its name.
    pub name: String,
    /// Its version; none if it does not exist or may not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

/// What a source is.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum SourceKind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}
