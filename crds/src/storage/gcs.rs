//! A bucket of Google Cloud Storage.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PLACE_IS_FIXED;
use crate::rules::{bucket_name, inner_path, server_url, unchanged};
use crate::tls::CaCertificateSource;

/// A bucket of Google Cloud Storage, or of a server that speaks its JSON API.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = unchanged(&["bucket"], &["prefix"], PLACE_IS_FIXED),
    validation = Rule::new("!has(self.anonymous) || !self.anonymous || (has(self.endpoint) && !has(self.credentials) && !has(self.maintenanceCredentials))")
        .message("anonymous is for a server at endpoint, and without credentials")
)]
#[serde(rename_all = "camelCase")]
pub struct GcsStorage {
    /// Name of the bucket. It must exist.
    #[schemars(length(max = 255))]
    #[x_kube(validation = bucket_name())]
    pub bucket: String,
    /// Path inside the bucket below which everything is kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = inner_path())]
    pub prefix: String,
    /// URL of a private endpoint or of another server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = server_url())]
    pub endpoint: Option<String>,
    /// Certificate authorities in PEM to trust besides the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<CaCertificateSource>,
    /// Storage class of data objects, such as `NEARLINE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub storage_class: Option<String>,
    /// How the times of objects are renewed, by which a lifecycle rule may delete what no backup
    /// uses any more: `Rewrite` for rules with the condition `age`, `CustomTime` for
    /// `daysSinceCustomTime`. CustomTime needs the right `storage.objects.update` instead of
    /// `storage.objects.delete`, and costs nothing in NEARLINE, COLDLINE and ARCHIVE, nor with soft
    /// delete or versioning.
    #[serde(default)]
    pub touch: GcsTouch,
    /// Where the service account's key is. Without it, the Cassandra pods use the identity of their
    /// environment, such as workload identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<GcsCredentialSource>,
    /// Another account for what the operator does itself: probe, purge, delete. By default
    /// `credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_credentials: Option<GcsCredentialSource>,
    /// Use no identity at all; for a server at `endpoint` that asks for none.
    #[serde(default)]
    pub anonymous: bool,
}

/// How the time of an object is renewed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GcsTouch {
    /// The server rewrites it onto itself.
    #[default]
    Rewrite,
    /// Its custom time is set.
    CustomTime,
}

/// A secret with credentials of Google Cloud.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GcsCredentialSource {
    /// Name of a Secret in the namespace of the BackupStorage.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Key of the JSON file in it: a service account's key, or a workload identity federation.
    #[serde(default = "key_file")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn key_file() -> String {
    "key.json".into()
}
