//! The pod in which the operator looks after a storage with the identity of a service account.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A short-lived pod for what the operator does itself: probe, purge, delete. It runs the agent of the
/// operator's own image, in the namespace of the BackupStorage, and goes when that is done.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MaintenancePod {
    /// The service account whose identity is used, such as one that is bound to a role of the cloud
    /// with the right to delete. It must exist.
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: String,
    /// Labels of the pod, besides the operator's own. `azure.workload.identity/use: "true"` is set
    /// where the storage is one of Azure.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    /// Labels of the nodes that it may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that it may run on nevertheless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Names of Secrets of this namespace to pull the operator's image with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 253)))]
    pub image_pull_secrets: Vec<String>,
}
