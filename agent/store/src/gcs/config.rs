//! What Google Cloud Storage needs to know, and whether it can work at all.

use std::fmt;

use crate::bucket;

/// What all parts but the last one are a multiple of, in bytes.
pub(super) const PART_STEP: u64 = 256 * 1024;
/// Google's own address.
pub(super) const GOOGLE: &str = "https://storage.googleapis.com";

/// A bucket as a storage, in Google Cloud Storage or in a server that speaks its JSON API.
#[derive(Debug, Clone)]
pub struct GcsConfig {
    /// The bucket, which has to exist.
    pub bucket: String,
    /// What all keys begin with, without slashes at its ends; empty for none.
    pub prefix: String,
    /// A private endpoint or another server: `https://host[:port]`.
    pub endpoint: Option<String>,
    /// Who we are.
    pub credentials: GcsCredentials,
    /// Certificates, as PEM, to trust besides the system's and the bundled ones.
    pub ca_pem: Option<String>,
    /// The storage class of new and touched objects (`NEARLINE`); the bucket's if absent.
    pub storage_class: Option<String>,
    /// How the times of objects are renewed.
    pub touch: GcsTouch,
    /// How many bytes of all uploads together may be in memory.
    pub max_in_flight: u64,
    /// The size above which objects go in parts, and the size of a part: a multiple of 256 KiB.
    pub part_size: u64,
}

/// How the time of an object is renewed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GcsTouch {
    /// The server rewrites it onto itself, which moves `timeCreated`: what the condition `age` of a
    /// lifecycle rule goes by. Replacing needs `storage.objects.delete`, leaves a copy where the
    /// bucket has versioning or soft delete, and costs early deletion in classes that have it.
    #[default]
    Rewrite,
    /// Its `customTime` is set, from its creation on: what the condition `daysSinceCustomTime`
    /// goes by. Needs `storage.objects.update`, and leaves and costs nothing besides the request.
    /// <https://cloud.google.com/storage/docs/metadata#custom-time>
    CustomTime,
}

/// Where the identity comes from.
#[derive(Clone)]
pub enum GcsCredentials {
    /// This JSON, of a service account's key or a workload identity federation, and nothing else.
    Explicit(String),
    /// What the environment has: the file in `GOOGLE_APPLICATION_CREDENTIALS` (a key or a
    /// federation), gcloud's own, or the metadata server, which is workload identity on GKE.
    Ambient,
    /// Nobody, for emulators: only together with an endpoint.
    Anonymous,
}

impl GcsConfig {
    /// The bucket `bucket` of Google with the defaults: no prefix, 32 MiB in flight, 8 MiB a part.
    pub fn new(bucket: impl Into<String>, credentials: GcsCredentials) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            credentials,
            ca_pem: None,
            storage_class: None,
            touch: GcsTouch::default(),
            max_in_flight: 32 * 1024 * 1024,
            part_size: 8 * 1024 * 1024,
        }
    }

    /// Why this cannot work, if it cannot.
    pub(super) fn fault(&self) -> Option<String> {
        let fault = bucket::fault(&self.bucket, &self.prefix, self.endpoint.as_deref());
        if fault.is_some() {
            return fault;
        }
        if self.endpoint.is_none() && matches!(self.credentials, GcsCredentials::Anonymous) {
            return Some(
                "Google's own storage is not used anonymously: give an endpoint".to_owned(),
            );
        }
        if self.part_size == 0 || !self.part_size.is_multiple_of(PART_STEP) {
            return Some(format!("a part is a multiple of {PART_STEP} bytes"));
        }
        if self.max_in_flight < PART_STEP {
            return Some(format!("at least {PART_STEP} bytes have to be in flight"));
        }
        None
    }

    /// The storage as users know it.
    pub(super) fn name(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        format!("gs://{}{slash}{}", self.bucket, self.prefix)
    }

    /// Where requests go, without a slash at its end.
    pub(super) fn address(&self) -> &str {
        let endpoint = self.endpoint.as_deref().unwrap_or(GOOGLE);
        endpoint.strip_suffix('/').unwrap_or(endpoint)
    }

    /// The size of a part that fits into memory.
    pub(super) fn part(&self) -> u64 {
        let most = self.max_in_flight / PART_STEP * PART_STEP;
        self.part_size.min(most)
    }
}

impl fmt::Debug for GcsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Explicit(_) => "Explicit(..)",
            Self::Ambient => "Ambient",
            Self::Anonymous => "Anonymous",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GcsConfig {
        GcsConfig::new("b", GcsCredentials::Explicit("hush-hush".to_owned()))
    }

    #[test]
    fn no_secret_is_printed() {
        let printed = format!("{:?}", config());
        assert!(!printed.contains("hush"), "{printed}");
    }

    #[test]
    fn what_cannot_work_is_told_before_the_first_request() {
        assert_eq!(config().fault(), None);
        let faulty: [fn(&mut GcsConfig); 9] = [
            |c| c.bucket.clear(),
            |c| c.bucket.push_str("/x"),
            |c| c.prefix = "a/../b".to_owned(),
            |c| c.prefix = "/a".to_owned(),
            |c| c.endpoint = Some("host:9000".to_owned()),
            |c| c.endpoint = Some("http://user:pass@host".to_owned()),
            |c| c.credentials = GcsCredentials::Anonymous,
            |c| c.part_size = PART_STEP + 1,
            |c| c.max_in_flight = PART_STEP - 1,
        ];
        for (i, spoil) in faulty.into_iter().enumerate() {
            let mut config = config();
            spoil(&mut config);
            assert!(config.fault().is_some(), "{i}");
        }
        let mut config = config();
        config.endpoint = Some("http://127.0.0.1:9000/".to_owned());
        config.credentials = GcsCredentials::Anonymous;
        assert_eq!(config.fault(), None);
        assert_eq!(config.address(), "http://127.0.0.1:9000");
    }

    #[test]
    fn a_part_fits_into_the_memory_that_is_given() {
        let mut config = config();
        assert_eq!(config.part(), 32 * PART_STEP);
        config.max_in_flight = 3 * PART_STEP - 1;
        assert_eq!(config.part(), 2 * PART_STEP);
    }
}
