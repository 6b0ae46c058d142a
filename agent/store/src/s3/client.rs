//! The SDK's client, and what all requests of one storage share.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, ConfigBag, Intercept, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, RuntimeComponents, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;

use super::config::{AtRest, Credentials, S3Config};
use super::connection;
use super::touch::SelfCopy;
use crate::bucket;
use crate::budget::{Budget, Share};
use crate::{At, Error, Key};

/// Where nobody names a region; servers other than AWS mostly do not care.
const DEFAULT_REGION: &str = "us-east-1";
/// How often one request is sent at most, with growing pauses.
const ATTEMPTS: u32 = 5;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may take to begin its answer. Slow operations have [`SLOW_ANSWER`].
pub(super) const ANSWER: Duration = Duration::from_secs(60);
/// The same for completing an upload and for copies, which take time by the size.
const SLOW_ANSWER: Duration = Duration::from_secs(15 * 60);
/// How long a body may stand still in either direction.
const STALLED: Duration = Duration::from_secs(30);

/// Up to it, in bytes, an object is read before it is sent: then it can be sent again without
/// being read again, and its checksum goes first. Larger ones would only use memory for that.
const IN_MEMORY: u64 = 1024 * 1024;

/// A bucket, and how its objects are named and kept.
#[derive(Debug)]
pub(super) struct Client {
    pub sdk: aws_sdk_s3::Client,
    pub bucket: String,
    pub name: Arc<str>,
    pub at_rest: AtRest,
    pub part_size: u64,
    pub max_in_flight: u64,
    pub single_limit: u64,
    /// Objects up to it, in bytes, are in memory while they are sent.
    pub in_memory: u64,
    pub copy_limit: u64,
    /// The server refused or ignored the condition on completing a multipart upload.
    pub unconditional_completion: AtomicBool,
    /// The server refused or misunderstood the condition that an object is still the one seen.
    pub unconditional_touch: AtomicBool,
    /// The server does not know checksums that follow the content.
    pub no_trailers: AtomicBool,
    pub self_copy: SelfCopy,
    /// Where requests go, as users know it.
    pub server: Arc<str>,
    prefix: String,
    budget: Budget,
}

impl Client {
    pub async fn connect(config: S3Config) -> Result<Self, Error> {
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
        let sdk = sdk_client(&config).await.map_err(invalid)?;
        let server = config.endpoint.clone().unwrap_or_else(|| {
            let region = sdk.config().region().map_or(DEFAULT_REGION, Region::as_ref);
            format!("S3 in region {region}")
        });
        let prefix = match config.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self {
            sdk,
            at_rest: config.at_rest(),
            bucket: config.bucket,
            part_size: config.part_size,
            max_in_flight: config.max_in_flight,
            in_memory: IN_MEMORY.min(config.part_size).min(config.max_in_flight),
            single_limit: config.single_limit,
            copy_limit: config.copy_limit,
            unconditional_completion: AtomicBool::new(false),
            unconditional_touch: AtomicBool::new(false),
            no_trailers: AtomicBool::new(false),
            self_copy: SelfCopy::default(),
            server: server.into(),
            budget: Budget::new(config.max_in_flight),
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

/// For one request: time for work that the server does by the object's size.
pub(super) fn slow() -> aws_sdk_s3::config::Builder {
    let timeouts = TimeoutConfig::builder().read_timeout(SLOW_ANSWER).build();
    aws_sdk_s3::config::Builder::new().timeout_config(timeouts)
}

/// For a request whose content is sent while it is read ([`stream::both`](super::stream::both)):
/// once, as long as that takes, with the checksum behind the content.
pub(super) fn streaming() -> aws_sdk_s3::config::Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .disable_read_timeout()
        .build();
    aws_sdk_s3::config::Builder::new()
        .timeout_config(timeouts)
        .retry_config(RetryConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenSupported)
}

/// For a request that asks whether the storage is there: whoever asks is waiting.
pub(super) fn brief() -> aws_sdk_s3::config::Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_secs(10))
        .build();
    aws_sdk_s3::config::Builder::new()
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
}

async fn sdk_client(config: &S3Config) -> Result<aws_sdk_s3::Client, String> {
    let trust = connection::trust(config.ca_pem.as_deref())?;
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(ANSWER);
    let builder = match &config.credentials {
        Credentials::Explicit {
            access_key,
            secret_key,
            session_token,
        } => {
            let credentials = aws_sdk_s3::config::Credentials::new(
                access_key.trim(),
                secret_key.trim(),
                session_token
                    .as_deref()
                    .map(|token| token.trim().to_owned()),
                None,
                "configuration",
            );
            let region = config
                .region
                .clone()
                .unwrap_or_else(|| DEFAULT_REGION.to_owned());
            aws_sdk_s3::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(region))
                .credentials_provider(credentials)
        }
        Credentials::Ambient => {
            let mut loader = aws_config::defaults(BehaviorVersion::latest())
                .http_client(connection::to_identities(trust.clone()));
            if let Some(region) = &config.region {
                loader = loader.region(Region::new(region.clone()));
            }
            let ambient = loader.load().await;
            let region = ambient.region().cloned();
            aws_sdk_s3::config::Builder::from(&ambient)
                .region(region.unwrap_or(Region::from_static(DEFAULT_REGION)))
        }
    };
    let mut builder = builder
        .http_client(connection::to_storage(trust))
        .force_path_style(config.path_style)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts.build())
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .grace_period(STALLED)
                .build(),
        )
        // Our own checksum of the whole object goes with every upload instead.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Ok(aws_sdk_s3::Client::from_conf(builder.build()))
}

/// What outputs do not tell: how often a request was sent, and the server's time.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    attempts: AtomicU32,
    date: Mutex<Option<SystemTime>>,
}

impl Watch {
    /// Whether an earlier attempt may have done what the last one answered.
    pub fn retried(&self) -> bool {
        self.0.attempts.load(Ordering::Relaxed) > 1
    }

    /// The last answer's `Date`.
    pub fn date(&self) -> Option<SystemTime> {
        *self.0.date.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.attempts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context
            .response()
            .headers()
            .get("date")
            .and_then(|date| DateTime::from_str(date, Format::HttpDate).ok())
            .and_then(|date| SystemTime::try_from(date).ok());
        if date.is_some() {
            *self.0.date.lock().unwrap_or_else(PoisonError::into_inner) = date;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> S3Config {
        let credentials = Credentials::Explicit {
            access_key: "id".to_owned(),
            secret_key: "secret".to_owned(),
            session_token: None,
        };
        S3Config::new("bucket", credentials)
    }

    #[tokio::test]
    async fn certificates_that_cannot_be_read_are_told_and_do_not_panic() {
        let pem = |text: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
        };
        let connect = async |ca_pem: &str| {
            let mut config = config();
            config.ca_pem = Some(ca_pem.to_owned());
            Client::connect(config).await.map(|_| ())
        };
        for bad in ["", "no certificate", &pem("AAAA"), &pem("???")] {
            let refused = connect(bad).await;
            assert!(
                matches!(refused, Err(Error::Invalid { .. })),
                "{bad}: {refused:?}"
            );
        }
        let root = aws_smithy_types::base64::encode(&webpki_root_certs::TLS_SERVER_ROOT_CERTS[0]);
        connect(&pem(&root)).await.unwrap();
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
}
