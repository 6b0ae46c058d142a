//! The library's client, and what all requests of one storage share.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gcloud_storage::client::google_cloud_auth::credentials::CredentialsFile;
use gcloud_storage::client::google_cloud_auth::project::Config as AuthConfig;
use gcloud_storage::client::google_cloud_auth::token::DefaultTokenSourceProvider;
use gcloud_storage::client::{Client as Sdk, ClientConfig};
use gcloud_storage::http;
use gcloud_storage::http::objects::list::ListObjectsRequest;
use gcloud_storage::http::storage_client::SCOPES;
use reqwest::header::{AUTHORIZATION, HeaderValue, RANGE};
use reqwest::{Response, Url};
use token_source::{TokenSource, TokenSourceProvider};

use super::clock::Clock;
use super::config::{GcsConfig, GcsCredentials, GcsTouch};
use super::error::{Answer, Failure};
use crate::bucket;
use crate::budget::{Budget, Share};
use crate::{At, Error, Key, tls};

/// How long the server may take to answer, the sending of a part included.
const ANSWER: Duration = Duration::from_secs(180);
/// How long nothing that was sent may be acknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Pauses between attempts; each is up to half as long again, so that nodes do not go in step.
pub(super) const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_millis(2_400),
    Duration::from_secs(6),
];

/// How often, and how long, a request is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pauses: &'static [Duration],
    answer: Duration,
}

/// For requests that move something.
pub(super) const NORMAL: Patience = Patience {
    pauses: &PAUSES,
    answer: Duration::from_secs(15 * 60),
};
/// For a request that asks whether the storage is there: whoever asks is waiting.
pub(super) const BRIEF: Patience = Patience {
    pauses: PAUSES.split_at(2).0,
    answer: Duration::from_secs(10),
};

/// A bucket, and how its objects are named and kept.
pub(super) struct Client {
    pub sdk: Sdk,
    pub bucket: String,
    pub name: Arc<str>,
    pub storage_class: Option<String>,
    pub touch: GcsTouch,
    /// The size of a part, which fits into memory.
    pub part: u64,
    http: reqwest::Client,
    tokens: Option<Arc<dyn TokenSource>>,
    address: String,
    prefix: String,
    budget: Budget,
    clock: Clock,
}

/// What became of a request that was sent once or more.
pub(super) struct Sent<T> {
    pub result: Result<T, Error>,
    /// An earlier attempt may have done what the last one answered.
    pub retried: bool,
}

impl Client {
    pub async fn connect(config: GcsConfig) -> Result<Self, Error> {
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
        let http = http_client(config.ca_pem.as_deref()).map_err(invalid)?;
        let address = config.address().to_owned();
        let mut client = Self {
            sdk: sdk(&http, &address, None),
            name: Arc::clone(&name),
            part: config.part(),
            budget: Budget::new(config.max_in_flight),
            prefix: match config.prefix.as_str() {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            bucket: config.bucket,
            storage_class: config.storage_class,
            touch: config.touch,
            clock: Clock::default(),
            http,
            address,
            tokens: None,
        };
        if let Some(provider) = client.identity(&config.credentials).await? {
            client.tokens = Some(provider.token_source());
            client.sdk = sdk(&client.http, &client.address, Some(provider));
        }
        Ok(client)
    }

    /// Finds out who we are, and gets the first token.
    async fn identity(
        &self,
        credentials: &GcsCredentials,
    ) -> Result<Option<DefaultTokenSourceProvider>, Error> {
        let explicit = match credentials {
            GcsCredentials::Anonymous => return Ok(None),
            GcsCredentials::Ambient => None,
            GcsCredentials::Explicit(json) => Some(self.parse(json)?),
        };
        // The library asks for tokens by a client of its own, which trusts the system's roots
        // only, and panics where there are none.
        if rustls_native_certs::load_native_certs().certs.is_empty() {
            let reason = "Google's tokens need the system's CA certificates, and there are none: \
                          install ca-certificates, or name a file of them in SSL_CERT_FILE";
            return Err(self.invalid(reason.to_owned()));
        }
        let provider = || async {
            let config = AuthConfig::default().with_scopes(&SCOPES);
            let provider = match &explicit {
                None => DefaultTokenSourceProvider::new(config).await,
                Some(file) => {
                    DefaultTokenSourceProvider::new_with_credentials(config, file.clone()).await
                }
            };
            provider.map_err(|error| http::Error::TokenSource(Box::new(error)))
        };
        self.send(None, NORMAL, provider).await.result.map(Some)
    }

    /// The message of the JSON parser would quote the secret.
    fn parse(&self, json: &str) -> Result<Box<CredentialsFile>, Error> {
        serde_json::from_str(json).map(Box::new).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            self.invalid(format!(
                "the credentials are not the JSON of a service account's key or a federation \
                 (line {line}, column {column})"
            ))
        })
    }

    /// Does a request, and again after a pause where it may succeed then.
    pub async fn send<T, E, F>(
        &self,
        key: Option<&Key>,
        patience: Patience,
        request: impl Fn() -> F,
    ) -> Sent<T>
    where
        E: Into<Failure>,
        F: Future<Output = Result<T, E>>,
    {
        let mut pauses = patience.pauses.iter();
        let mut retried = false;
        loop {
            let result = match tokio::time::timeout(patience.answer, request()).await {
                Ok(answered) => answered.map_err(|error| self.failed(key, error.into())),
                Err(late) => Err(Error::Unavailable {
                    at: self.at(key),
                    source: Box::new(late),
                }),
            };
            match (&result, pauses.next()) {
                (Err(error), Some(pause)) if error.is_temporary() => sleep(*pause).await,
                _ => return Sent { result, retried },
            }
            retried = true;
        }
    }

    /// The same for an object that should be there: the server answers alike if the bucket is not.
    pub async fn send_to<T, E, F>(&self, key: &Key, request: impl Fn() -> F) -> Result<T, Error>
    where
        E: Into<Failure>,
        F: Future<Output = Result<T, E>>,
    {
        let result = self.send(Some(key), NORMAL, request).await.result;
        match result {
            Err(Error::NotFound { .. }) => Err(self.missing(key).await),
            result => result,
        }
    }

    /// What a 404 means: the object or the whole bucket. Whoever may not list hears of the object.
    pub async fn missing(&self, key: &Key) -> Error {
        match self.reach(NORMAL).await {
            Err(missing @ Error::StorageMissing { .. }) => missing,
            _ => Error::NotFound {
                at: self.at(Some(key)),
            },
        }
    }

    /// Makes sure that the bucket is there and that we may list what is ours.
    pub async fn reach(&self, patience: Patience) -> Result<(), Error> {
        let request = ListObjectsRequest {
            bucket: self.bucket.clone(),
            prefix: Some(self.prefix.clone()),
            max_results: Some(1),
            ..Default::default()
        };
        let listed = self.send(None, patience, || self.sdk.list_objects(&request));
        listed.await.result.map(|_| ())
    }

    /// The address of what the library cannot do, by `segments` of the JSON API.
    pub fn url(&self, segments: &[&str]) -> Result<Url, Error> {
        let mut url = Url::parse(&self.address)
            .map_err(|error| self.invalid(format!("the endpoint is no URL: {error}")))?;
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(["storage", "v1", "b", &self.bucket]);
            path.extend(segments);
        }
        Ok(url)
    }

    /// Gets it as who we are.
    pub async fn get(&self, url: Url, range: Option<HeaderValue>) -> Result<Response, Failure> {
        let mut request = self.http.get(url);
        if let Some(tokens) = &self.tokens {
            let token = tokens.token().await.map_err(http::Error::TokenSource)?;
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        let response = request.send().await?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let content = response.bytes().await.unwrap_or_default();
            return Err(Failure::Answer(Answer::read(status.as_u16(), &content)));
        }
        Ok(response)
    }

    /// Gets it as nobody, and takes every answer but that of a server which fails.
    pub async fn get_anyhow(&self, url: Url) -> Result<Response, Failure> {
        let response = self.http.get(url).send().await?;
        match response.status().as_u16() {
            status @ 500.. => {
                let content = response.bytes().await.unwrap_or_default();
                Err(Failure::Answer(Answer::read(status, &content)))
            }
            _ => Ok(response),
        }
    }

    /// What customTime is to be set to, where that renews the times of objects.
    pub async fn custom_time(&self) -> Result<Option<SystemTime>, Error> {
        match self.touch {
            GcsTouch::Rewrite => Ok(None),
            GcsTouch::CustomTime => self.clock.now(self).await.map(Some),
        }
    }

    /// This storage, and an object in it.
    pub fn at(&self, key: Option<&Key>) -> At {
        At {
            storage: Arc::clone(&self.name),
            key: key.cloned(),
        }
    }

    fn invalid(&self, reason: String) -> Error {
        let at = self.at(None);
        Error::Invalid { at, reason }
    }

    /// The object's name in the bucket.
    pub fn path(&self, key: &Key) -> Result<String, Error> {
        bucket::name_of(&self.prefix, key, || self.at(Some(key)))
    }

    /// What the keys in the bucket begin with; empty, or ending in a slash.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Waits until `bytes` more may be in memory.
    pub async fn share(&self, bytes: u64) -> Share {
        self.budget.share(bytes).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish()
    }
}

fn sdk(http: &reqwest::Client, address: &str, who: Option<DefaultTokenSourceProvider>) -> Sdk {
    let config = ClientConfig {
        http: Some(reqwest_middleware::ClientBuilder::new(http.clone()).build()),
        storage_endpoint: address.to_owned(),
        token_source_provider: who.map(|who| Box::new(who) as _),
        ..ClientConfig::default()
    };
    Sdk::new(config)
}

fn http_client(ca_pem: Option<&str>) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(trust(ca_pem)?)
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(ANSWER)
        .tcp_user_timeout(UNACKNOWLEDGED)
        .build()
        .map_err(|error| error.to_string())
}

/// Whom to trust: the system's roots, where there are any, the bundled ones (the program also runs
/// where there is no `/etc/ssl`), and the user's own.
fn trust(ca_pem: Option<&str>) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    if let Some(pem) = ca_pem {
        roots.add_parsable_certificates(tls::certificates(pem)?);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A pause, and up to half of it more.
pub(super) async fn sleep(pause: Duration) {
    // The keys of a hasher are the only random numbers of the standard library.
    let random = RandomState::new().hash_one(0) as u32;
    tokio::time::sleep(pause + pause.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GcsConfig {
        let mut config = GcsConfig::new("bucket", GcsCredentials::Anonymous);
        config.endpoint = Some("http://127.0.0.1:1".to_owned());
        config
    }

    #[tokio::test]
    async fn a_key_that_is_too_long_with_its_prefix_is_refused() {
        let mut config = config();
        config.prefix = "p".repeat(24);
        let client = Client::connect(config).await.unwrap();
        let key = |last: usize| {
            let long = "k".repeat(249);
            Key::parse(&format!("{long}/{long}/{long}/{}", "k".repeat(last))).unwrap()
        };
        assert_eq!(client.path(&key(249)).unwrap().len(), 1024);
        assert!(matches!(client.path(&key(250)), Err(Error::Invalid { .. })));
    }

    #[tokio::test]
    async fn credentials_that_are_none_are_told_without_their_content() {
        for json in ["hush-hush", "{}", r#"{"type": 7, "private_key": "hush"}"#] {
            let mut config = config();
            config.credentials = GcsCredentials::Explicit(json.to_owned());
            let error = Client::connect(config).await.unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
            assert!(!format!("{error:?}").contains("hush"), "{error:?}");
        }
        // A key that cannot sign.
        let mut config = config();
        let json = r#"{"type": "service_account", "client_email": "a@b", "private_key": "hush"}"#;
        config.credentials = GcsCredentials::Explicit(json.to_owned());
        let error = Client::connect(config).await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }), "{error:?}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }

    #[test]
    fn names_of_objects_are_one_segment_of_the_address() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = runtime.block_on(Client::connect(config())).unwrap();
        let url = client.url(&["o", "a/b c%2F#?+"]).unwrap();
        assert_eq!(url.path(), "/storage/v1/b/bucket/o/a%2Fb%20c%252F%23%3F+");
    }
}
