//! What Azure needs to know, and whether it can work at all.

use std::fmt;

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use crate::bucket;

/// A container as a storage, in Azure Blob Storage or in a server that speaks its protocol.
#[derive(Debug, Clone)]
pub struct AzureConfig {
    /// The storage account; if empty, `AZURE_STORAGE_ACCOUNT_NAME` of the environment, which is
    /// looked at with [`AzureCredentials::Ambient`] only.
    pub account: String,
    /// The container, which has to exist.
    pub container: String,
    /// What all keys begin with, without slashes at its ends; empty for none.
    pub prefix: String,
    /// Another server than `https://<account>.blob.core.windows.net`: a private cloud, or for the
    /// emulator and others that have accounts in the path `http://host:port/account`.
    pub endpoint: Option<String>,
    /// Who we are.
    pub credentials: AzureCredentials,
    /// Certificates, as PEM, to trust besides the system's and the bundled ones.
    pub ca_pem: Option<String>,
    /// How many bytes of all uploads together may be in memory.
    pub max_in_flight: u64,
    /// The size above which objects go in blocks, and the size of a block, at most
    /// `max_in_flight`. It grows for objects that would have more than 50,000 blocks.
    pub block_size: u64,
}

/// Where the identity comes from.
#[derive(Clone)]
pub enum AzureCredentials {
    /// A key of the account, in base64. It may do everything in the account.
    AccountKey(String),
    /// A shared access signature: `sv=…&sig=…`. For backups it needs the permissions read, create,
    /// write and list, for purge also delete.
    Sas(String),
    /// An application of Entra ID with its secret.
    ServicePrincipal {
        /// The directory's id.
        tenant: String,
        /// The application's id.
        client_id: String,
        /// One of its secrets.
        client_secret: String,
        /// Where tokens are, if not at `https://login.microsoftonline.com`.
        authority: Option<String>,
    },
    /// What the environment has, in this order: `AZURE_STORAGE_ACCOUNT_KEY`, workload identity
    /// (`AZURE_FEDERATED_TOKEN_FILE`, `AZURE_CLIENT_ID`, `AZURE_TENANT_ID`), a service principal
    /// (`AZURE_CLIENT_SECRET`), `AZURE_STORAGE_SAS_TOKEN`, the machine's managed identity.
    Ambient,
}

impl AzureConfig {
    /// The container `container` with the defaults: no prefix, 24 MiB in flight, 6 MiB a block: the
    /// library holds more besides than those of the other storages.
    pub fn new(
        account: impl Into<String>,
        container: impl Into<String>,
        credentials: AzureCredentials,
    ) -> Self {
        Self {
            account: account.into(),
            container: container.into(),
            prefix: String::new(),
            endpoint: None,
            credentials,
            ca_pem: None,
            max_in_flight: 24 * 1024 * 1024,
            block_size: 6 * 1024 * 1024,
        }
    }

    /// Takes account and endpoint from the environment, if the identity is there and they are not
    /// given, and tells the library who we are.
    pub(super) fn resolve(&mut self) -> MicrosoftAzureBuilder {
        let builder = match &self.credentials {
            AzureCredentials::AccountKey(key) => {
                MicrosoftAzureBuilder::new().with_access_key(key.trim())
            }
            AzureCredentials::Sas(sas) => {
                MicrosoftAzureBuilder::new().with_config(AzureConfigKey::SasKey, sas.trim())
            }
            AzureCredentials::ServicePrincipal {
                tenant,
                client_id,
                client_secret,
                authority,
            } => {
                let builder = MicrosoftAzureBuilder::new().with_client_secret_authorization(
                    client_id.trim(),
                    client_secret.trim(),
                    tenant.trim(),
                );
                match authority {
                    Some(authority) => builder.with_authority_host(authority),
                    None => builder,
                }
            }
            AzureCredentials::Ambient => {
                let builder = MicrosoftAzureBuilder::from_env();
                if self.account.is_empty() {
                    let account = builder.get_config_value(&AzureConfigKey::AccountName);
                    self.account = account.unwrap_or_default();
                }
                if self.endpoint.is_none() {
                    self.endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
                }
                builder
            }
        };
        builder
            .with_account(&self.account)
            .with_container_name(&self.container)
            .with_endpoint(self.service())
    }

    /// The URL that the container's name comes after, without a slash at its end.
    pub(super) fn service(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://{}.blob.core.windows.net", self.account),
        }
    }

    /// Why this cannot work, if it cannot.
    pub(super) fn fault(&self) -> Option<String> {
        if self.account.is_empty() {
            return Some("no storage account is given".to_owned());
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '$';
        for (what, name) in [("account", &self.account), ("container", &self.container)] {
            if name.is_empty() || !name.chars().all(is_name) {
                return Some(format!("{name:?} is no name of a storage {what}"));
            }
        }
        if let Some(fault) = bucket::prefix_fault(&self.prefix) {
            return Some(fault);
        }
        let service = self.service();
        let rest = service
            .strip_prefix("https://")
            .or(service.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains(['?', '#', '@', ' '])) {
            return Some(format!(
                "the endpoint {service:?} is not of the form https://host:port or \
                 https://host:port/account"
            ));
        }
        if self.block_size == 0 || self.max_in_flight == 0 {
            return Some("a block has at least one byte".to_owned());
        }
        let given = match &self.credentials {
            AzureCredentials::AccountKey(key) => [key, key, key],
            AzureCredentials::Sas(sas) => [sas, sas, sas],
            AzureCredentials::ServicePrincipal {
                tenant,
                client_id,
                client_secret,
                ..
            } => [tenant, client_id, client_secret],
            AzureCredentials::Ambient => return None,
        };
        given
            .iter()
            .any(|text| text.trim().is_empty())
            .then(|| "a part of the credentials is empty".to_owned())
    }

    /// The storage as users know it.
    pub(super) fn name(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let Self {
            account,
            container,
            prefix,
            ..
        } = self;
        format!("azure://{account}/{container}{slash}{prefix}")
    }
}

impl fmt::Debug for AzureCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccountKey(_) => "AccountKey(..)",
            Self::Sas(_) => "Sas(..)",
            Self::ServicePrincipal { .. } => "ServicePrincipal(..)",
            Self::Ambient => "Ambient",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> AzureConfig {
        AzureConfig::new(
            "account",
            "backups",
            AzureCredentials::AccountKey("aHVzaA==".to_owned()),
        )
    }

    #[test]
    fn no_secret_is_printed() {
        let principal = AzureCredentials::ServicePrincipal {
            tenant: "hush".to_owned(),
            client_id: "hush".to_owned(),
            client_secret: "hush".to_owned(),
            authority: None,
        };
        let sas = AzureCredentials::Sas("sig=hush".to_owned());
        let key = AzureCredentials::AccountKey("hush".to_owned());
        for credentials in [principal, sas, key] {
            let mut config = config();
            config.credentials = credentials;
            let printed = format!("{config:?}");
            assert!(!printed.contains("hush"), "{printed}");
        }
    }

    #[test]
    fn what_cannot_work_is_told_before_the_first_request() {
        assert_eq!(config().fault(), None);
        let faulty: [fn(&mut AzureConfig); 10] = [
            |c| c.account.clear(),
            |c| c.container.clear(),
            |c| c.container.push_str("/x"),
            |c| c.account.push_str(".evil.example"),
            |c| c.prefix = "a/../b".to_owned(),
            |c| c.endpoint = Some("host:10000".to_owned()),
            |c| c.endpoint = Some("http://user:pass@host".to_owned()),
            |c| c.block_size = 0,
            |c| c.credentials = AzureCredentials::AccountKey(" ".to_owned()),
            |c| c.credentials = AzureCredentials::Sas(String::new()),
        ];
        for (i, spoil) in faulty.into_iter().enumerate() {
            let mut config = config();
            spoil(&mut config);
            assert!(config.fault().is_some(), "{i}");
        }
        let mut config = config();
        config.endpoint = Some("http://127.0.0.1:10000/account/".to_owned());
        assert_eq!(config.fault(), None);
        assert_eq!(config.service(), "http://127.0.0.1:10000/account");
    }

    #[test]
    fn the_account_is_in_the_host_name_and_the_name_says_where_backups_are() {
        let mut config = config();
        assert_eq!(config.service(), "https://account.blob.core.windows.net");
        assert_eq!(config.name(), "azure://account/backups");
        config.prefix = "a/b".to_owned();
        assert_eq!(config.name(), "azure://account/backups/a/b");
    }
}
