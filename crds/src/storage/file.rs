//! A directory on a volume that every Cassandra pod mounts.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::PLACE_IS_FIXED;
use crate::rules::unchanged;

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
}
