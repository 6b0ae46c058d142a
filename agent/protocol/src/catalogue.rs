use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{NodeIdentity, Scope, SnapshotTimes, StorageAccess};

/// Tell which backups a cluster has in a storage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogueRequest {
    /// Which storage.
    pub storage: StorageAccess,
    /// Cluster id in the storage.
    pub cluster: String,
    /// Backups that the caller knows already, and wants to hear no more of than their names.
    #[serde(default)]
    pub known: Vec<String>,
}

/// The backups of a cluster, without those that an attempt may be at work on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Catalogue {
    /// The names of all of which a manifest is there, those at work included.
    pub names: Vec<String>,
    /// Those that the caller does not know, the newest first, and not more than a line should hold.
    pub found: Vec<BackupFound>,
    /// How many more the caller does not know.
    pub left_out: u64,
    /// Backups without a manifest that can be believed.
    pub unreadable: Vec<String>,
}

/// A backup in a storage, as its manifests tell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupFound {
    /// Its name.
    pub backup: String,
    /// The schedule that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// What it covers.
    pub scope: Scope,
    /// Its nodes with a manifest that can be read.
    pub nodes: Vec<NodeFound>,
    /// Host ids of its nodes without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Uuid>,
}

/// A node's share of a backup in a storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFound {
    /// Who it was.
    pub node: NodeIdentity,
    /// The pod that it ran in, if it ran in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The run that made it.
    pub run_id: Uuid,
    /// When its snapshot was taken.
    pub snapshot: SnapshotTimes,
    /// Key of the manifest below the storage's root.
    pub manifest: String,
}
