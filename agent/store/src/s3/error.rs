//! What S3's codes mean to a storage.

use std::fmt;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::{RequestId, RequestIdExt};

use super::client::Client;
use crate::bucket;
use crate::error::{cause, untrusted};
use crate::{Cause, Error, Key};

/// The server's answer in one line: what its operator looks for in the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    pub code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{code} (HTTP {})", self.status)?,
            None => write!(f, "HTTP {}", self.status)?,
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        match &self.request_id {
            Some(id) => write!(f, " [request {id}]"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Answer {}

/// The server's answer, if there is one.
pub(super) fn answer<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<Answer> {
    let SdkError::ServiceError(context) = error else {
        return None;
    };
    let meta = context.err().meta();
    Some(Answer {
        status: context.raw().status().as_u16(),
        code: meta.code().map(str::to_owned),
        message: meta.message().map(str::to_owned),
        request_id: meta
            .request_id()
            .or(meta.extended_request_id())
            .map(str::to_owned),
    })
}

/// The server's answer inside an error of ours, if there is one.
pub(super) fn answer_in(error: &Error) -> Option<&Answer> {
    match error {
        Error::Refused { source, .. } | Error::Unavailable { source, .. } => source.downcast_ref(),
        _ => None,
    }
}

impl Answer {
    /// Whether it has this code.
    pub fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether the server does not know the upload that a part was for.
    pub fn is_unknown_upload(&self) -> bool {
        self.has_code("NoSuchUpload")
    }

    /// Whether the server does not know what was asked for, such as a condition.
    pub fn is_unimplemented(&self) -> bool {
        self.status == 501 || self.has_code("NotImplemented")
    }
}

/// A request that came to no answer. The SDK does not say where it was sent.
#[derive(Debug, thiserror::Error)]
#[error("a request to {server} failed")]
struct Unanswered {
    server: Arc<str>,
    source: Cause,
}

impl Client {
    /// What a failed request means.
    pub fn failed<E>(&self, key: Option<&Key>, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if let Some(answer) = answer(&error) {
            return self.meaning(key, answer);
        }
        if let Some(reason) = untrusted(&error) {
            return Error::Invalid {
                at: self.at(None),
                reason,
            };
        }
        let at = self.at(key);
        let without_credentials = cause::<CredentialsError>(&error).is_some();
        let unsent = matches!(error, SdkError::ConstructionFailure(_));
        let source: Cause = Box::new(error);
        if without_credentials {
            return Error::Denied { at, source };
        }
        if unsent {
            return Error::Refused { at, source };
        }
        let source = Box::new(Unanswered {
            server: Arc::clone(&self.server),
            source,
        });
        Error::Unavailable { at, source }
    }

    /// What an answer means. Answers to HEAD have no code, only a status.
    pub fn meaning(&self, key: Option<&Key>, answer: Answer) -> Error {
        let (at, kind) = (self.at(key), kind(answer.status, answer.code.as_deref()));
        let text = answer.to_string();
        let source: Cause = Box::new(answer);
        match kind {
            Kind::NotFound => Error::NotFound { at },
            Kind::AlreadyExists => Error::AlreadyExists { at },
            Kind::StorageMissing => Error::StorageMissing {
                at: self.at(None),
                source,
            },
            Kind::Denied => Error::Denied { at, source },
            Kind::NoSpace => Error::NoSpace { at, source },
            Kind::Throttled => Error::Throttled { at, source },
            Kind::Unavailable => Error::Unavailable { at, source },
            Kind::WrongPlace => Error::Invalid {
                at: self.at(None),
                reason: format!(
                    "the bucket is in another region or at another endpoint; correct the region: {text}"
                ),
            },
            Kind::WrongClock => bucket::wrong_clock(self.at(None), &text),
            Kind::Refused => Error::Refused { at, source },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    NotFound,
    AlreadyExists,
    StorageMissing,
    Denied,
    NoSpace,
    Throttled,
    Unavailable,
    WrongPlace,
    WrongClock,
    Refused,
}

/// Codes first: servers choose the same status for different things, and differ in it.
/// From the S3 API reference, "Error responses", and cmd/api-errors.go of MinIO.
fn kind(status: u16, code: Option<&str>) -> Kind {
    match (code.unwrap_or_default(), status) {
        ("NoSuchKey" | "NotFound" | "NoSuchVersion", _) => Kind::NotFound,
        ("NoSuchBucket", _) => Kind::StorageMissing,
        ("PreconditionFailed", _) => Kind::AlreadyExists,
        (
            "AccessDenied"
            | "AccessDeniedException"
            | "AllAccessDisabled"
            | "AccountProblem"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidAccessKeyId"
            | "InvalidSecurity"
            | "InvalidToken"
            | "InvalidTokenId"
            | "InvalidClientTokenId"
            | "NotSignedUp"
            | "SignatureDoesNotMatch"
            | "TokenRefreshRequired"
            | "UnauthorizedAccess"
            | "UnauthorizedAccessError"
            | "KMS.DisabledException"
            | "KMS.NotFoundException"
            | "KMS.InvalidStateException"
            | "XMinioAccessKeyDisabled"
            | "MethodNotAllowed",
            _,
        ) => Kind::Denied,
        (
            "InsufficientCapacity"
            | "InsufficientStorage"
            | "QuotaExceeded"
            | "XMinioStorageFull"
            | "XMinioAdminBucketQuotaExceeded"
            | "ServiceQuotaExceeded",
            _,
        )
        | (_, 507) => Kind::NoSpace,
        (
            "SlowDown"
            | "SlowDownRead"
            | "SlowDownWrite"
            | "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequests"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "BandwidthLimitExceeded"
            | "EC2ThrottledException",
            _,
        )
        | (_, 429) => Kind::Throttled,
        (
            // Of these every one passes: a lost race, an upload that someone ended, bytes that
            // changed on their way.
            "ConditionalRequestConflict"
            | "OperationAborted"
            | "NoSuchUpload"
            | "BadDigest"
            | "XAmzContentChecksumMismatch"
            | "XAmzContentSHA256Mismatch"
            | "IncompleteBody"
            | "RequestTimeout"
            | "RequestTimeoutException"
            | "InternalError"
            | "ServiceUnavailable",
            _,
        ) => Kind::Unavailable,
        ("RequestTimeTooSkewed" | "RequestExpired", _) => Kind::WrongClock,
        (
            "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "InvalidBucketName",
            _,
        )
        | (_, 301 | 307) => Kind::WrongPlace,
        (_, 401 | 403) => Kind::Denied,
        (_, 404) => Kind::NotFound,
        (_, 412) => Kind::AlreadyExists,
        (_, 408 | 500 | 502..=599) => Kind::Unavailable,
        _ => Kind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_code_and_else_by_status() {
        for (status, code, expected) in [
            (404, Some("NoSuchKey"), Kind::NotFound),
            (404, None, Kind::NotFound),
            (404, Some("NoSuchBucket"), Kind::StorageMissing),
            (412, Some("PreconditionFailed"), Kind::AlreadyExists),
            (409, Some("ConditionalRequestConflict"), Kind::Unavailable),
            (403, Some("InvalidAccessKeyId"), Kind::Denied),
            (403, Some("SignatureDoesNotMatch"), Kind::Denied),
            (400, Some("ExpiredToken"), Kind::Denied),
            (403, Some("RequestTimeTooSkewed"), Kind::WrongClock),
            (403, None, Kind::Denied),
            (503, Some("SlowDown"), Kind::Throttled),
            (503, Some("SlowDownWrite"), Kind::Throttled),
            (429, None, Kind::Throttled),
            (503, Some("ServiceUnavailable"), Kind::Unavailable),
            (503, None, Kind::Unavailable),
            (507, None, Kind::NoSpace),
            (507, Some("XMinioStorageFull"), Kind::NoSpace),
            (400, Some("XMinioAdminBucketQuotaExceeded"), Kind::NoSpace),
            (301, Some("PermanentRedirect"), Kind::WrongPlace),
            (400, Some("AuthorizationHeaderMalformed"), Kind::WrongPlace),
            (501, Some("NotImplemented"), Kind::Refused),
            (400, Some("InvalidStorageClass"), Kind::Refused),
        ] {
            assert_eq!(kind(status, code), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn an_answer_says_code_status_message_and_request() {
        let answer = Answer {
            status: 403,
            code: Some("AccessDenied".to_owned()),
            message: Some("Access Denied.".to_owned()),
            request_id: Some("17A".to_owned()),
        };
        assert_eq!(
            answer.to_string(),
            "AccessDenied (HTTP 403): Access Denied. [request 17A]"
        );
    }
}
