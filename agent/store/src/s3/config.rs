//! What S3 needs to know, and whether it can work at all.

use std::fmt;

use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};

use crate::bucket;

/// The largest object that S3 takes in one request.
const MAX_SINGLE_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// The smallest part that S3 accepts, but for the last one.
const MIN_PART_BYTES: u64 = 5 * 1024 * 1024;

/// A bucket as a storage, in S3 or in a server that speaks its protocol.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The bucket, which has to exist.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; empty for none.
    pub prefix: String,
    /// The region. If absent, that of the environment where the credentials are from there too; else
    /// `us-east-1`.
    pub region: Option<String>,
    /// Another server than AWS: `https://host[:port]`.
    pub endpoint: Option<String>,
    /// The bucket in the path rather than in the host name, as most servers other than AWS need.
    pub path_style: bool,
    /// Who we are.
    pub credentials: Credentials,
    /// Certificates, as PEM, to trust besides the system's and the bundled ones.
    pub ca_pem: Option<String>,
    /// The storage class of new and touched objects (`STANDARD_IA`); the bucket's if absent.
    pub storage_class: Option<String>,
    /// How the server encrypts new and touched objects.
    pub encryption: Encryption,
    /// How many bytes of all uploads together may be in memory. Parts that are larger are sent
    /// while they are read, one after the other.
    pub max_in_flight: u64,
    /// The size above which objects go in parts. Up to it one request does what takes three and
    /// one for each part otherwise.
    pub single_limit: u64,
    /// The size of a part. It grows for objects that would have more than 10,000 parts.
    pub part_size: u64,
    /// The largest object that the server copies in one request. A touch of a larger one has it
    /// copied in parts of at most this size, at least 5 MiB.
    pub copy_limit: u64,
}

/// Where the identity comes from.
#[derive(Clone)]
pub enum Credentials {
    /// These and no others; nothing in the environment is looked at.
    Explicit {
        /// The access key's id.
        access_key: String,
        /// The secret access key.
        secret_key: String,
        /// For temporary credentials.
        session_token: Option<String>,
    },
    /// What the SDK finds: environment, profile, web identity, container, instance.
    Ambient,
}

/// Encryption at rest by the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket is set up.
    #[default]
    BucketDefault,
    /// With keys of S3 (SSE-S3).
    S3,
    /// With a key of KMS: the named one, else the account's for S3.
    Kms {
        /// The key's id or ARN.
        key_id: Option<String>,
    },
}

impl S3Config {
    /// The bucket `bucket` of AWS with the defaults: no prefix, 32 MiB in flight, parts of 8 MiB
    /// for objects over 64 MiB.
    pub fn new(bucket: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            region: None,
            endpoint: None,
            path_style: false,
            credentials,
            ca_pem: None,
            storage_class: None,
            encryption: Encryption::default(),
            max_in_flight: 32 * 1024 * 1024,
            single_limit: 64 * 1024 * 1024,
            part_size: 8 * 1024 * 1024,
            copy_limit: 5 * 1024 * 1024 * 1024,
        }
    }

    /// Why this cannot work, if it cannot.
    pub(super) fn fault(&self) -> Option<String> {
        let fault = bucket::fault(&self.bucket, &self.prefix, self.endpoint.as_deref());
        if fault.is_some() {
            return fault;
        }
        if let Credentials::Explicit {
            access_key,
            secret_key,
            ..
        } = &self.credentials
            && (access_key.trim().is_empty() || secret_key.trim().is_empty())
        {
            return Some("the access key or the secret key is empty".to_owned());
        }
        if self.part_size < MIN_PART_BYTES || self.copy_limit < MIN_PART_BYTES {
            return Some(format!("a part has at least {MIN_PART_BYTES} bytes"));
        }
        if self.single_limit > MAX_SINGLE_BYTES {
            return Some(format!(
                "one request takes at most {MAX_SINGLE_BYTES} bytes"
            ));
        }
        None
    }

    /// The storage as users know it.
    pub(super) fn name(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        format!("s3://{}{slash}{}", self.bucket, self.prefix)
    }

    /// What every request that writes an object states.
    pub(super) fn at_rest(&self) -> AtRest {
        let (encryption, kms_key) = match &self.encryption {
            Encryption::BucketDefault => (None, None),
            Encryption::S3 => (Some(ServerSideEncryption::Aes256), None),
            Encryption::Kms { key_id } => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
        };
        let class = self.storage_class.as_deref().map(StorageClass::from);
        AtRest {
            class,
            encryption,
            kms_key,
        }
    }
}

/// How an object is kept, in the SDK's words.
#[derive(Debug, Clone)]
pub(super) struct AtRest {
    pub class: Option<StorageClass>,
    pub encryption: Option<ServerSideEncryption>,
    pub kms_key: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Explicit { .. } => "Explicit(..)",
            Self::Ambient => "Ambient",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> S3Config {
        let (access_key, secret_key) = ("AKIDVISIBLE".to_owned(), "hush-hush".to_owned());
        let session_token = Some("hush-token".to_owned());
        S3Config::new(
            "b",
            Credentials::Explicit {
                access_key,
                secret_key,
                session_token,
            },
        )
    }

    #[test]
    fn no_secret_is_printed() {
        let printed = format!("{:?}", config());
        assert!(!printed.contains("hush"), "{printed}");
    }

    #[test]
    fn what_cannot_work_is_told_before_the_first_request() {
        assert_eq!(config().fault(), None);
        let faulty: [fn(&mut S3Config); 9] = [
            |c| c.bucket.clear(),
            |c| c.bucket.push_str("/x"),
            |c| c.prefix = "a/../b".to_owned(),
            |c| c.prefix = "/a".to_owned(),
            |c| c.endpoint = Some("host:9000".to_owned()),
            |c| c.endpoint = Some("http://user:pass@host".to_owned()),
            |c| c.part_size = 1,
            |c| c.copy_limit = 1,
            |c| c.single_limit = u64::MAX,
        ];
        for (i, spoil) in faulty.into_iter().enumerate() {
            let mut config = config();
            spoil(&mut config);
            assert!(config.fault().is_some(), "{i}");
        }
        let mut config = config();
        config.endpoint = Some("http://127.0.0.1:9000/".to_owned());
        assert_eq!(config.fault(), None);
    }
}
