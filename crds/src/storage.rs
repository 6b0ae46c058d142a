//! `BackupStorage`: a place to keep backups.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rules::{exactly_one, unchanged};

/// Half of a backup must not end up elsewhere, and what is kept must not be lost sight of.
const PLACE_IS_FIXED: &str =
    "the place of a storage cannot be changed: make a new BackupStorage instead";

/// A place to keep backups: a directory that all Cassandra pods mount, or a bucket.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "cassandrabackup.io",
    version = "v1alpha1",
    kind = "BackupStorage",
    doc = "A place to keep backups of Cassandra: a directory that all Cassandra pods mount, or a bucket.",
    namespaced,
    status = "BackupStorageStatus",
    derive = "PartialEq",
    category = "cassandra-backup",
    printcolumn(name = "Kind", type_ = "string", json_path = ".status.kind"),
    printcolumn(name = "Location", type_ = "string", json_path = ".status.location"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(
    validation = exactly_one(&["file", "s3"], "name exactly one kind of storage: file or s3"),
    validation = Rule::new("has(self.file) == has(oldSelf.file)").message(PLACE_IS_FIXED)
)]
#[serde(rename_all = "camelCase")]
pub struct BackupStorageSpec {
    /// A directory on a volume that every Cassandra pod mounts, such as NFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileStorage>,
    /// A bucket of S3, or of a server that speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Storage>,
}

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

/// A bucket of S3, or of a server that speaks its protocol.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = unchanged(&["bucket"], &["prefix"], PLACE_IS_FIXED))]
#[serde(rename_all = "camelCase")]
pub struct S3Storage {
    /// Name of the bucket. It must exist.
    #[schemars(length(max = 255))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$')")
        .message("bucket must be the name of a bucket, 3 to 255 characters: no URL and no path"))]
    pub bucket: String,
    /// Path inside the bucket below which everything is kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = Rule::new("!self.startsWith('/') && !self.endsWith('/') && !self.split('/').exists(part, part == '..')")
        .message("prefix must not begin or end with '/' and must not contain '..'"))]
    pub prefix: String,
    /// Region of the bucket. Servers other than AWS mostly do not care.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// URL of the server, for others than AWS, such as `https://minio.example.org:9000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@ ]+/?$')")
        .message("endpoint must be a URL such as https://minio.example.org:9000, without path or credentials"))]
    pub endpoint: Option<String>,
    /// Put the bucket's name into the path instead of the host name, as most servers other than
    /// AWS want it.
    #[serde(default)]
    pub path_style: bool,
    /// Certificate authorities in PEM to trust besides the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<CaCertificateSource>,
    /// Storage class of data objects, such as `STANDARD_IA`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub storage_class: Option<String>,
    /// Where the keys are. Without it, the Cassandra pods use the identity of their environment,
    /// such as a role bound to their service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<S3CredentialSource>,
}

/// A secret with the keys of an S3 account.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct S3CredentialSource {
    /// Name of a Secret in the namespace of the BackupStorage.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Under which keys the Secret holds what.
    #[serde(default)]
    pub keys: S3CredentialKeys,
}

/// Keys of a secret that holds S3 credentials.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct S3CredentialKeys {
    /// Key of the access key id.
    #[schemars(length(min = 1, max = 253))]
    pub access_key_id: String,
    /// Key of the secret access key.
    #[schemars(length(min = 1, max = 253))]
    pub secret_access_key: String,
    /// Key of the session token of temporary credentials; the Secret need not have it.
    #[schemars(length(min = 1, max = 253))]
    pub session_token: String,
}

impl Default for S3CredentialKeys {
    fn default() -> Self {
        Self {
            access_key_id: "AWS_ACCESS_KEY_ID".into(),
            secret_access_key: "AWS_SECRET_ACCESS_KEY".into(),
            session_token: "AWS_SESSION_TOKEN".into(),
        }
    }
}

/// A Secret or ConfigMap with certificates in PEM.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = exactly_one(&["secretName", "configMapName"], "name exactly one of secretName and configMapName"))]
#[serde(rename_all = "camelCase")]
pub struct CaCertificateSource {
    /// Name of a Secret in the namespace of the BackupStorage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// Name of a ConfigMap in the namespace of the BackupStorage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub config_map_name: Option<String>,
    /// Key of it.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".into()
}

/// What is known about the storage.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct BackupStorageStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Kind of storage: `File` or `S3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Where backups are kept, such as `s3://bucket/prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// When the storage was last probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probe_time: Option<Time>,
    /// `Ready` says whether the storage can be used, and if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
