//! A bucket of S3, or of a server that speaks its protocol.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PLACE_IS_FIXED;
use crate::rules::{bucket_name, inner_path, server_url, unchanged};
use crate::tls::CaCertificateSource;

/// A bucket of S3, or of a server that speaks its protocol.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = unchanged(&["bucket"], &["prefix"], PLACE_IS_FIXED))]
#[serde(rename_all = "camelCase")]
pub struct S3Storage {
    /// Name of the bucket. It must exist.
    #[schemars(length(max = 255))]
    #[x_kube(validation = bucket_name())]
    pub bucket: String,
    /// Path inside the bucket below which everything is kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = inner_path())]
    pub prefix: String,
    /// Region of the bucket. Servers other than AWS mostly do not care.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// URL of the server, for others than AWS, such as `https://minio.example.org:9000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = server_url())]
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
    /// How the server encrypts what it keeps; as the bucket is set up by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<S3Encryption>,
    /// Where the keys are. Without it, the Cassandra pods use the identity of their environment,
    /// such as a role bound to their service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<S3CredentialSource>,
    /// Other keys for what the operator does itself: probe, purge, delete. With them, `credentials`
    /// need no right to delete. By default `credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_credentials: Option<S3CredentialSource>,
}

/// Encryption by the server.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.keyId) || self.type == 'SSE-KMS'")
    .message("keyId is the key of SSE-KMS: set type to SSE-KMS or leave keyId out"))]
#[serde(rename_all = "camelCase")]
pub struct S3Encryption {
    /// `SSE-S3` with keys of S3, `SSE-KMS` with a key of KMS.
    #[serde(rename = "type")]
    pub type_: S3EncryptionType,
    /// Id or ARN of the key; the account's own for S3 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub key_id: Option<String>,
}

/// Whose keys encrypt.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3EncryptionType {
    /// Those of S3.
    #[serde(rename = "SSE-S3")]
    S3,
    /// Those of KMS.
    #[serde(rename = "SSE-KMS")]
    Kms,
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
