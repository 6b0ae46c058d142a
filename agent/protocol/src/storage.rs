//! Where backups are, and who may use it.

use serde::{Deserialize, Serialize};

use crate::Secret;

/// A storage with what is needed to use it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum StorageAccess {
    /// A directory on a file system that all nodes mount.
    File {
        /// Absolute path of the directory.
        path: String,
    },
    /// A bucket of S3 or of a server that speaks its protocol.
    S3(S3Access),
    /// A bucket of Google Cloud Storage or of a server that speaks its JSON API.
    Gcs(GcsAccess),
    /// A container of Azure Blob Storage or of a server that speaks its protocol.
    Azure(AzureAccess),
}

/// An S3 bucket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct S3Access {
    /// Bucket.
    pub bucket: String,
    /// Key prefix inside the bucket.
    pub prefix: String,
    /// Region; `us-east-1` where a server does not care.
    pub region: Option<String>,
    /// URL of the server, for others than AWS.
    pub endpoint: Option<String>,
    /// Bucket in the path instead of the host name.
    pub path_style: bool,
    /// Certificate authorities in PEM, besides the usual ones.
    pub ca_pem: Option<String>,
    /// Storage class of data objects.
    pub storage_class: Option<String>,
    /// Encryption by the server; by default as the bucket is set up.
    pub encryption: Option<S3Encryption>,
    /// Without them, the identity of the environment is used.
    pub credentials: Option<S3Credentials>,
}

/// How a server encrypts what it keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum S3Encryption {
    /// With keys of S3 (SSE-S3).
    S3,
    /// With a key of KMS (SSE-KMS).
    Kms {
        /// Its id or ARN; the account's own for S3 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_id: Option<String>,
    },
}

/// Keys of an S3 account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Credentials {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: Secret,
    /// Session token of temporary credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Secret>,
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GcsAccess {
    /// Bucket.
    pub bucket: String,
    /// Key prefix inside the bucket.
    pub prefix: String,
    /// URL of a private endpoint or of another server.
    pub endpoint: Option<String>,
    /// Certificate authorities in PEM, besides the usual ones.
    pub ca_pem: Option<String>,
    /// Storage class of data objects.
    pub storage_class: Option<String>,
    /// How the times of objects are renewed.
    pub touch: GcsTouch,
    /// Without them, the identity of the environment is used.
    pub credentials: Option<GcsCredentials>,
}

/// How the time of an object in Google Cloud Storage is renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GcsTouch {
    /// The server rewrites it onto itself.
    #[default]
    Rewrite,
    /// Its customTime is set.
    CustomTime,
}

/// Who uses a bucket of Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GcsCredentials {
    /// The content of a JSON file: a service account's key, or a workload identity federation.
    Json(Secret),
    /// Nobody; only for a server at `endpoint`.
    Anonymous,
}

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AzureAccess {
    /// Storage account; empty for that of the environment, which needs `credentials` to be absent.
    pub account: String,
    /// Container.
    pub container: String,
    /// Key prefix inside the container.
    pub prefix: String,
    /// URL of the server, for others than `https://<account>.blob.core.windows.net`.
    pub endpoint: Option<String>,
    /// Certificate authorities in PEM, besides the usual ones.
    pub ca_pem: Option<String>,
    /// Without them, the identity of the environment is used.
    pub credentials: Option<AzureCredentials>,
}

/// One of the ways into a storage account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum AzureCredentials {
    /// A key of the account, in base64.
    AccountKey(Secret),
    /// A shared access signature.
    SasToken(Secret),
    /// An application of Entra ID.
    ServicePrincipal {
        /// Directory's id.
        tenant_id: String,
        /// Application's id.
        client_id: String,
        /// One of its secrets.
        client_secret: Secret,
        /// URL that tokens come from, for other clouds than the public one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        authority: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gcs_storage_is_written_as_the_protocol_says() {
        let access = |touch: &str, credentials: &str| {
            format!(
                r#"{{"kind":"gcs","bucket":"b","prefix":"p","endpoint":null,"caPem":null,"storageClass":"NEARLINE","touch":"{touch}","credentials":{credentials}}}"#
            )
        };
        for (touch, credentials) in [
            ("rewrite", r#"{"json":"hunter2"}"#),
            ("customTime", r#""anonymous""#),
            ("rewrite", "null"),
        ] {
            let written = access(touch, credentials);
            let read: StorageAccess = serde_json::from_str(&written).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), written);
            assert!(!format!("{read:?}").contains("hunter2"), "{read:?}");
        }
    }

    #[test]
    fn an_azure_storage_is_written_as_the_protocol_says() {
        let access = |credentials: &str| {
            format!(
                r#"{{"kind":"azure","account":"a","container":"c","prefix":"","endpoint":null,"caPem":null,"credentials":{credentials}}}"#
            )
        };
        for credentials in [
            r#"{"accountKey":"hunter2"}"#,
            r#"{"sasToken":"hunter2"}"#,
            r#"{"servicePrincipal":{"tenantId":"t","clientId":"i","clientSecret":"hunter2"}}"#,
            "null",
        ] {
            let written = access(credentials);
            let read: StorageAccess = serde_json::from_str(&written).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), written);
            assert!(!format!("{read:?}").contains("hunter2"), "{read:?}");
        }
    }
}
