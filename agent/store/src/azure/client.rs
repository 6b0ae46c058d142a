//! The HTTP client and the identity, which all requests of one storage share.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::azure::{AzureConfigKey, AzureCredentialProvider};
use object_store::client::{
    Certificate, ClientOptions, HttpClient, HttpConnector, ReqwestConnector,
};
use object_store::{BackoffConfig, RetryConfig};

use super::config::{AzureConfig, AzureCredentials};
use crate::budget::Budget;
use crate::{At, Error, Key, tls};

/// The longest name of a blob, prefix included, in characters.
const MAX_NAME_CHARS: usize = 1024;
/// How long a body may stand still.
const STALLED: Duration = Duration::from_secs(60);
/// How long the service that gives tokens may take.
const TOKEN: Duration = Duration::from_secs(30);

/// A container, and how its objects are named.
pub(super) struct Client {
    pub http: HttpClient,
    pub credentials: AzureCredentialProvider,
    /// Whether the identity is a token that comes over the network from elsewhere.
    pub tokens_from_afar: bool,
    pub account: String,
    pub name: Arc<str>,
    pub block_size: u64,
    pub max_in_flight: u64,
    pub budget: Budget,
    /// Whether writes make versions, as soon as the answer to one has shown it.
    pub versions: OnceLock<bool>,
    account_url: String,
    url: String,
    prefix: String,
}

impl Client {
    pub fn connect(mut config: AzureConfig) -> Result<Self, Error> {
        let builder = config.resolve();
        let name: Arc<str> = config.name().into();
        let invalid = |reason| {
            let at = At {
                storage: Arc::clone(&name),
                key: None,
            };
            Error::Invalid { at, reason }
        };
        if let Some(fault) = config.fault() {
            return Err(invalid(fault));
        }
        let options = options(&config).map_err(invalid)?;
        let tokens_from_afar = match config.credentials {
            AzureCredentials::AccountKey(_) | AzureCredentials::Sas(_) => false,
            AzureCredentials::ServicePrincipal { .. } => true,
            // Without a tenant the tokens are the machine's, and where there are none nobody
            // answers: that is no fault of the network.
            AzureCredentials::Ambient => builder
                .get_config_value(&AzureConfigKey::AuthorityId)
                .is_some(),
        };
        let http = ReqwestConnector::default()
            .connect(&options)
            .map_err(|error| invalid(error.to_string()))?;
        let library = builder
            .with_client_options(options.with_timeout(TOKEN))
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: 3,
                retry_timeout: TOKEN,
            })
            .build()
            .map_err(|error| invalid(error.to_string()))?;
        let prefix = match config.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self {
            http,
            credentials: Arc::clone(library.credentials()),
            tokens_from_afar,
            block_size: config.block_size.min(config.max_in_flight),
            max_in_flight: config.max_in_flight,
            budget: Budget::new(config.max_in_flight),
            versions: OnceLock::new(),
            account_url: format!("{}/", config.service()),
            url: format!("{}/{}", config.service(), config.container),
            account: config.account,
            prefix,
            name,
        })
    }

    /// This storage, and an object in it.
    pub fn at(&self, key: Option<&Key>) -> At {
        At {
            storage: Arc::clone(&self.name),
            key: key.cloned(),
        }
    }

    /// The account's URL.
    pub fn account_url(&self) -> &str {
        &self.account_url
    }

    /// The container's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The object's URL.
    pub fn object_url(&self, key: &Key) -> Result<String, Error> {
        let name = format!("{}{key}", self.prefix);
        let invalid = |reason| Error::Invalid {
            at: self.at(Some(key)),
            reason,
        };
        if name.chars().count() > MAX_NAME_CHARS {
            return Err(invalid(format!(
                "with its prefix the key has more than {MAX_NAME_CHARS} characters"
            )));
        }
        // Lists are XML, which has no such characters.
        if name.contains(['\u{fffe}', '\u{ffff}']) {
            return Err(invalid(
                "Azure's lists cannot tell U+FFFE and U+FFFF: use another name".to_owned(),
            ));
        }
        Ok(format!("{}/{}", self.url, encoded(&name)))
    }

    /// What the names in the container begin with; empty, or ending in a slash.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The library prints keys.
        f.debug_struct("Client")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// `text`, percent-encoded but for letters, digits, `-_.~` and slashes.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn options(config: &AzureConfig) -> Result<ClientOptions, String> {
    let mut roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.to_vec();
    if let Some(pem) = &config.ca_pem {
        roots.extend(tls::certificates(pem)?);
    }
    let options = ClientOptions::new()
        .with_allow_http(config.service().starts_with("http://"))
        .with_connect_timeout(Duration::from_secs(10))
        .with_timeout_disabled()
        .with_read_timeout(STALLED);
    roots.iter().try_fold(options, |options, root| {
        let root = Certificate::from_der(root).map_err(|error| error.to_string())?;
        Ok(options.with_root_certificate(root))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> AzureConfig {
        let key = AzureCredentials::AccountKey("aHVzaA==".to_owned());
        AzureConfig::new("account", "backups", key)
    }

    #[test]
    fn a_url_has_every_name_encoded_once() {
        let mut config = config();
        config.prefix = "p q".to_owned();
        let client = Client::connect(config).unwrap();
        for (key, url) in [
            ("a/b", "a/b"),
            ("100%/%2F", "100%25/%252F"),
            ("é+ü?#", "%C3%A9%2B%C3%BC%3F%23"),
        ] {
            let expected = format!("https://account.blob.core.windows.net/backups/p%20q/{url}");
            let key = Key::parse(key).unwrap();
            assert_eq!(client.object_url(&key).unwrap(), expected);
        }
    }

    #[test]
    fn a_name_that_azure_does_not_take_is_refused() {
        let mut config = config();
        config.prefix = "p".repeat(24);
        let client = Client::connect(config).unwrap();
        let key = |last: usize| {
            let long = "k".repeat(249);
            Key::parse(&format!("{long}/{long}/{long}/{}", "k".repeat(last))).unwrap()
        };
        assert!(client.object_url(&key(249)).is_ok());
        let odd = Key::parse("a\u{ffff}").unwrap();
        for refused in [key(250), odd] {
            let refused = client.object_url(&refused);
            assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
        }
    }

    #[test]
    fn certificates_and_keys_that_cannot_be_read_are_told() {
        let mut bad_pem = config();
        bad_pem.ca_pem = Some("no certificate".to_owned());
        let mut bad_key = config();
        bad_key.credentials = AzureCredentials::AccountKey("no base64".to_owned());
        let mut bad_sas = config();
        bad_sas.credentials = AzureCredentials::Sas("signature".to_owned());
        for bad in [bad_pem, bad_key, bad_sas] {
            let refused = Client::connect(bad);
            assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_client_does_not_print_its_key() {
        let printed = format!("{:?}", Client::connect(config()).unwrap());
        assert_eq!(printed, r#"Client { name: "azure://account/backups", .. }"#);
    }
}
