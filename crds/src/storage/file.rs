//! A directory on a volume that every Cassandra pod mounts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::PLACE_IS_FIXED;
use crate::rules::{names_labels, unchanged};

/// A directory on a volume that every Cassandra pod mounts.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = unchanged(&["path"], &[], PLACE_IS_FIXED))]
#[serde(rename_all = "camelCase")]
pub struct FileStorage {
    /// Absolute path of the directory, the same in all pods.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.startsWith('/') && self != '/' && !self.split('/').exists(part, part == '..')")
        .message("path must be absolute, not '/', and without '..'"))]
    pub path: String,
    /// Accept a directory on the same device as the root file system or Cassandra's data. Such a
    /// backup is lost together with what it should protect.
    #[serde(default)]
    pub allow_shared_device: bool,
    /// Pods that mount the directory. With them the operator probes it: one pod writes, the others
    /// read, which shows whether all see one place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<FilePods>,
}

/// Pods that mount a directory.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FilePods {
    /// Selects the pods, in the namespace of the BackupStorage.
    #[x_kube(validation = names_labels())]
    pub pod_selector: LabelSelector,
    /// The container that mounts it; by default the only one, or the one named `cassandra`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
}
