//! A container of Azure Blob Storage.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PLACE_IS_FIXED;
use crate::rules::{inner_path, unchanged};
use crate::tls::CaCertificateSource;

/// A container of Azure Blob Storage, or of a server that speaks its protocol.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = unchanged(&["account", "container"], &["prefix"], PLACE_IS_FIXED))]
#[serde(rename_all = "camelCase")]
pub struct AzureStorage {
    /// Name of the storage account.
    #[schemars(length(max = 24))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]{3,24}$')")
        .message("account must be the name of a storage account: 3 to 24 small letters and digits"))]
    pub account: String,
    /// Name of the container. It must exist.
    #[schemars(length(min = 3, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9](-?[a-z0-9])+$')")
        .message("container must be the name of a container: small letters, digits and single '-', no URL and no path"))]
    pub container: String,
    /// Path inside the container below which everything is kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = inner_path())]
    pub prefix: String,
    /// URL of the server, for others than `https://<account>.blob.core.windows.net`; with the
    /// account in its path where the server has it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@ ]+(/[^/?#@ ]+)?/?$')")
        .message("endpoint must be a URL such as https://host or http://host:10000/account, without credentials"))]
    pub endpoint: Option<String>,
    /// Certificate authorities in PEM to trust besides the usual ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_certificate: Option<CaCertificateSource>,
    /// Where a key, a signature or an application's secret is. Without it, the Cassandra pods use
    /// the identity of their environment, such as workload identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<AzureCredentialSource>,
    /// Other credentials for what the operator does itself: probe, purge, delete. With them,
    /// `credentials` need no right to delete. By default `credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_credentials: Option<AzureCredentialSource>,
}

/// A secret with exactly one of: a key of the account, a shared access signature, an application
/// of Entra ID.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AzureCredentialSource {
    /// Name of a Secret in the namespace of the BackupStorage.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Under which keys the Secret holds what.
    #[serde(default)]
    pub keys: AzureCredentialKeys,
}

/// Keys of a secret that holds Azure credentials. What the Secret has decides which are used.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct AzureCredentialKeys {
    /// Key of the storage account's key.
    #[schemars(length(min = 1, max = 253))]
    pub account_key: String,
    /// Key of the shared access signature.
    #[schemars(length(min = 1, max = 253))]
    pub sas_token: String,
    /// Key of the id of the application's directory.
    #[schemars(length(min = 1, max = 253))]
    pub tenant_id: String,
    /// Key of the application's id.
    #[schemars(length(min = 1, max = 253))]
    pub client_id: String,
    /// Key of the application's secret.
    #[schemars(length(min = 1, max = 253))]
    pub client_secret: String,
    /// Key of the URL that tokens come from, for other clouds than the public one; the Secret need
    /// not have it.
    #[schemars(length(min = 1, max = 253))]
    pub authority: String,
}

impl Default for AzureCredentialKeys {
    fn default() -> Self {
        Self {
            account_key: "AZURE_STORAGE_ACCOUNT_KEY".into(),
            sas_token: "AZURE_STORAGE_SAS_TOKEN".into(),
            tenant_id: "AZURE_TENANT_ID".into(),
            client_id: "AZURE_CLIENT_ID".into(),
            client_secret: "AZURE_CLIENT_SECRET".into(),
            authority: "AZURE_AUTHORITY_HOST".into(),
        }
    }
}
