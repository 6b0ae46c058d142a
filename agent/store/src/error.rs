//! What can go wrong with a storage, by what it means to the caller.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::Key;

/// What lies below an [`Error`]: the answer of the operating system, server or library.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// The storage, and where one is concerned the object, that an error is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The storage as users know it: `/backup`, `s3://bucket/prefix`.
    pub storage: Arc<str>,
    /// The object or, for lists, the prefix.
    pub key: Option<Key>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key} in {}", self.storage),
            None => f.write_str(&self.storage),
        }
    }
}

/// An operation on a storage that was not done.
///
/// The variants are what callers decide by; [`std::error::Error::source`] has the details.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such object.
    #[error("{at} does not exist")]
    NotFound {
        /// Where.
        at: At,
    },
    /// Create-only met an object; nothing was changed.
    #[error("{at} already exists and is never overwritten")]
    AlreadyExists {
        /// Where.
        at: At,
    },
    /// Data met an object of the same key that has another size; nothing was changed.
    #[error(
        "{at} already exists with {found} bytes where {expected} were expected: \
         verify the backup, and remove the object if its content is wrong"
    )]
    Differs {
        /// Where.
        at: At,
        /// The size that the caller has, in bytes.
        expected: u64,
        /// The size in the storage, in bytes.
        found: u64,
    },
    /// Wrong credentials or missing permissions.
    #[error("access to {at} was denied: check the credentials and their permissions")]
    Denied {
        /// Where.
        at: At,
        /// The storage's answer.
        source: Cause,
    },
    /// The storage or the quota is full.
    #[error("no space is left for {at}: free some or enlarge the storage or its quota")]
    NoSpace {
        /// Where.
        at: At,
        /// The storage's answer.
        source: Cause,
    },
    /// The storage asks for fewer requests.
    #[error("{at}: the storage asks to slow down: try again later or with less concurrency")]
    Throttled {
        /// Where.
        at: At,
        /// The storage's answer.
        source: Cause,
    },
    /// The storage cannot be reached, or fails inside.
    #[error("{at}: the storage cannot be reached or does not answer: check address and network")]
    Unavailable {
        /// Where.
        at: At,
        /// The storage's answer, or why there is none.
        source: Cause,
    },
    /// The bucket or the root directory is not there.
    #[error("the storage {at} does not exist: check its name, mount or create it")]
    StorageMissing {
        /// Where.
        at: At,
        /// The storage's answer.
        source: Cause,
    },
    /// What was to be uploaded could not be read, or had another size than announced.
    #[error("the content for {at} could not be read; nothing was stored")]
    Source {
        /// Where.
        at: At,
        /// The source's own error.
        source: io::Error,
    },
    /// A configuration that cannot work.
    #[error("the configuration of the storage {at} is wrong: {reason}")]
    Invalid {
        /// Where.
        at: At,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The storage gave or holds something else than was written.
    #[error("{at} is damaged: {reason}")]
    Corrupt {
        /// Where.
        at: At,
        /// What was seen.
        reason: String,
    },
    /// An object larger than the caller wants in memory.
    #[error("{at} has {size} bytes, more than the {limit} that are read at once")]
    TooLarge {
        /// Where.
        at: At,
        /// The object's size, in bytes.
        size: u64,
        /// The caller's limit, in bytes.
        limit: u64,
    },
    /// The storage cannot do what was asked of it.
    #[error("the storage refused a request for {at}")]
    Refused {
        /// Where.
        at: At,
        /// The storage's answer.
        source: Cause,
    },
}

impl Error {
    /// Whether the same call may succeed later with nobody changing anything.
    ///
    /// A full storage is not temporary: someone has to act.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable { .. })
    }

    /// The variant's name, for reasons, events and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "NotFound",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Differs { .. } => "Differs",
            Self::Denied { .. } => "Denied",
            Self::NoSpace { .. } => "NoSpace",
            Self::Throttled { .. } => "Throttled",
            Self::Unavailable { .. } => "Unavailable",
            Self::StorageMissing { .. } => "StorageMissing",
            Self::Source { .. } => "Source",
            Self::Invalid { .. } => "Invalid",
            Self::Corrupt { .. } => "Corrupt",
            Self::TooLarge { .. } => "TooLarge",
            Self::Refused { .. } => "Refused",
        }
    }

    /// Where it happened.
    pub fn at(&self) -> &At {
        match self {
            Self::NotFound { at }
            | Self::AlreadyExists { at }
            | Self::Differs { at, .. }
            | Self::Denied { at, .. }
            | Self::NoSpace { at, .. }
            | Self::Throttled { at, .. }
            | Self::Unavailable { at, .. }
            | Self::StorageMissing { at, .. }
            | Self::Source { at, .. }
            | Self::Invalid { at, .. }
            | Self::Corrupt { at, .. }
            | Self::TooLarge { at, .. }
            | Self::Refused { at, .. } => at,
        }
    }
}

/// A source that ended early or went on; the content of [`Error::Source`].
pub(crate) fn wrong_size(expected: u64, found: Found) -> io::Error {
    let (kind, text) = match found {
        Found::Only(bytes) => (
            io::ErrorKind::UnexpectedEof,
            format!("the content ended after {bytes} of {expected} bytes"),
        ),
        Found::More => (
            io::ErrorKind::InvalidData,
            format!("the content goes on after the {expected} bytes that were announced"),
        ),
    };
    io::Error::new(kind, text)
}

/// How a source's size is wrong.
pub(crate) enum Found {
    /// Fewer bytes.
    Only(u64),
    /// More bytes than announced.
    More,
}

/// The first error of type `C` among `error` and its causes. [`io::Error::source`] leaves out
/// what the error was made of, so that is looked at instead.
pub(crate) fn cause<'e, C: StdError + 'static>(
    error: &'e (dyn StdError + 'static),
) -> Option<&'e C> {
    let next = |error: &&'e (dyn StdError + 'static)| -> Option<_> {
        match error.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as _),
            None => (*error).source(),
        }
    };
    std::iter::successors(Some(error), next).find_map(|error| error.downcast_ref())
}

/// What to say of a certificate that is not trusted, if that is why a request failed.
pub(crate) fn untrusted(error: &(dyn StdError + 'static)) -> Option<String> {
    match cause(error) {
        Some(rustls::Error::InvalidCertificate(why)) => Some(format!(
            "the server's certificate is not accepted: {why:?}; give the certificate of the \
             authority that issued it, or the name that it was issued for"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_found_below_any_number_of_io_errors() {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = io::Error::other(io::Error::other(unknown));
        assert!(cause::<rustls::Error>(&wrapped).is_some());
        assert!(cause::<std::fmt::Error>(&wrapped).is_none());
        assert!(cause::<rustls::Error>(&io::Error::from_raw_os_error(2)).is_none());
    }
}
