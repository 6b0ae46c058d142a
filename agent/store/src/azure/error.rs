//! What Azure's codes mean to a storage.

use std::fmt;
use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use object_store::client::HttpError;
use serde::Deserialize;

use super::client::Client;
use super::read;
use super::request::{Failure, FailureCause};
use crate::bucket;
use crate::error::{cause, untrusted};
use crate::{Cause, Error, Key};

/// The server's answer in one line: what its operator looks for in the logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    pub code: Option<String>,
    pub date: Option<SystemTime>,
    message: Option<String>,
    request_id: Option<String>,
}

/// The body of a refusal.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refusal {
    code: Option<String>,
    message: Option<String>,
    /// What is wrong with a signature or a clock.
    authentication_error_detail: Option<String>,
}

impl Answer {
    pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        // The byte order mark that Azure begins with is no XML to some.
        let body = String::from_utf8_lossy(body);
        let body = body.trim_start_matches('\u{feff}');
        let refusal = quick_xml::de::from_str::<Refusal>(body).ok();
        let (code, message, detail) = match refusal {
            Some(refusal) => (
                refusal.code,
                refusal.message,
                refusal.authentication_error_detail,
            ),
            None => (None, None, None),
        };
        // The other lines of a message are the request's id, again, and the time.
        let first = |text: String| text.lines().next().map(str::to_owned);
        let message = [message.and_then(first), detail.and_then(first)];
        let message: Vec<_> = message.into_iter().flatten().collect();
        Self {
            status: status.as_u16(),
            code: text("x-ms-error-code").or(code),
            date: read::date(headers),
            message: (!message.is_empty()).then(|| message.join(" ")),
            request_id: text("x-ms-request-id"),
        }
    }

    fn kind(&self) -> Kind {
        // No code tells it from a wrong key.
        let message = self.message.as_deref().unwrap_or_default();
        if self.status == 403 && message.contains("Request date header too old") {
            return Kind::WrongClock;
        }
        kind(self.status, self.code.as_deref())
    }
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

impl FailureCause {
    /// Whether the same request may succeed soon.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Answer(answer) => {
                matches!(answer.kind(), Kind::Throttled | Kind::Unavailable)
            }
            Self::Http(error) => untrusted(error).is_none(),
            // The library has tried several times.
            Self::Identity(_) => false,
        }
    }
}

impl Failure {
    /// What a failed request means.
    pub fn meaning(self, client: &Client, key: Option<&Key>) -> Error {
        let at = client.at(key);
        match self.cause {
            FailureCause::Answer(answer) => meaning(client, key, answer),
            FailureCause::Http(error) => no_answer(client, key, error),
            FailureCause::Identity(error) => {
                let unreachable = client.tokens_from_afar && cause::<HttpError>(&error).is_some();
                let source: Cause = Box::new(error);
                if unreachable {
                    Error::Unavailable { at, source }
                } else {
                    Error::Denied { at, source }
                }
            }
        }
    }
}

/// What the end of a connection means.
pub(super) fn no_answer(client: &Client, key: Option<&Key>, error: HttpError) -> Error {
    match untrusted(&error) {
        Some(reason) => Error::Invalid {
            at: client.at(None),
            reason,
        },
        None => Error::Unavailable {
            at: client.at(key),
            source: Box::new(error),
        },
    }
}

fn meaning(client: &Client, key: Option<&Key>, answer: Answer) -> Error {
    let (at, kind, text) = (client.at(key), answer.kind(), answer.to_string());
    let source: Cause = Box::new(answer);
    match kind {
        Kind::NotFound => Error::NotFound { at },
        Kind::AlreadyExists => Error::AlreadyExists { at },
        Kind::StorageMissing => Error::StorageMissing {
            at: client.at(None),
            source,
        },
        Kind::Denied => Error::Denied { at, source },
        Kind::NoSpace => Error::NoSpace { at, source },
        Kind::Throttled => Error::Throttled { at, source },
        Kind::Unavailable => Error::Unavailable { at, source },
        Kind::WrongClock => bucket::wrong_clock(client.at(None), &text),
        Kind::Refused => Error::Refused { at, source },
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
    WrongClock,
    Refused,
}

/// Codes first: one status stands for different things. From "Common REST API error codes" and
/// "Blob service error codes" of Azure's reference.
fn kind(status: u16, code: Option<&str>) -> Kind {
    match (code.unwrap_or_default(), status) {
        ("BlobNotFound", _) => Kind::NotFound,
        ("ContainerNotFound" | "ContainerDisabled", _) => Kind::StorageMissing,
        // The last: a signature that may create and not write meets an object.
        ("BlobAlreadyExists" | "ConditionNotMet" | "UnauthorizedBlobOverwrite", _) => {
            Kind::AlreadyExists
        }
        (
            "BlobImmutableDueToPolicy"
            | "InvalidAuthenticationInfo"
            | "NoAuthenticationInformation"
            | "LeaseIdMissing"
            | "PublicAccessNotPermitted"
            | "SnapshotsPresent",
            _,
        ) => Kind::Denied,
        ("AccountLimitExceeded" | "InsufficientStorage", _) | (_, 507) => Kind::NoSpace,
        ("ServerBusy" | "TooManyRequests", _) | (_, 429) => Kind::Throttled,
        (
            // Of these every one passes: a container that is being deleted is soon gone, and
            // bytes that changed on their way are sent again.
            "ContainerBeingDeleted"
            | "Crc64Mismatch"
            | "InternalError"
            | "Md5Mismatch"
            | "OperationTimedOut",
            _,
        ) => Kind::Unavailable,
        (_, 401 | 403) => Kind::Denied,
        (_, 404) => Kind::NotFound,
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
            (404, Some("BlobNotFound"), Kind::NotFound),
            (404, None, Kind::NotFound),
            (404, Some("ContainerNotFound"), Kind::StorageMissing),
            (409, Some("BlobAlreadyExists"), Kind::AlreadyExists),
            (412, Some("ConditionNotMet"), Kind::AlreadyExists),
            (403, Some("UnauthorizedBlobOverwrite"), Kind::AlreadyExists),
            (403, Some("AuthenticationFailed"), Kind::Denied),
            (403, Some("AuthorizationPermissionMismatch"), Kind::Denied),
            (400, Some("InvalidAuthenticationInfo"), Kind::Denied),
            (401, None, Kind::Denied),
            (409, Some("BlobImmutableDueToPolicy"), Kind::Denied),
            (412, Some("LeaseIdMissing"), Kind::Denied),
            (503, Some("ServerBusy"), Kind::Throttled),
            (429, None, Kind::Throttled),
            (500, Some("OperationTimedOut"), Kind::Unavailable),
            (400, Some("Crc64Mismatch"), Kind::Unavailable),
            (409, Some("ContainerBeingDeleted"), Kind::Unavailable),
            (503, None, Kind::Unavailable),
            (507, None, Kind::NoSpace),
            (400, Some("InvalidBlockList"), Kind::Refused),
            (409, Some("BlobArchived"), Kind::Refused),
            (501, None, Kind::Refused),
        ] {
            assert_eq!(kind(status, code), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn a_request_that_was_signed_too_early_is_no_wrong_key() {
        let answer = |detail: &str| {
            let body = format!(
                "<Error><Code>AuthenticationFailed</Code><Message>Server failed to authenticate.\
                 </Message><AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>"
            );
            Answer::read(StatusCode::FORBIDDEN, &HeaderMap::new(), body.as_bytes()).kind()
        };
        let late = "Request date header too old: 'Tue, 05 Dec 2023 21:31:10 GMT'";
        assert_eq!(answer(late), Kind::WrongClock);
        let forged = "The MAC signature found in the HTTP request is not the same";
        assert_eq!(answer(forged), Kind::Denied);
    }

    #[test]
    fn an_answer_says_code_status_message_detail_and_request() {
        let mut headers = HeaderMap::new();
        headers.insert("x-ms-request-id", "17a".parse().unwrap());
        let body = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error>\
            <Code>AuthenticationFailed</Code><Message>Server failed to authenticate.\n\
            RequestId:17a\nTime:2026-11-25T12:00:00Z</Message>\
            <AuthenticationErrorDetail>Request date header too old.</AuthenticationErrorDetail>\
            </Error>";
        let answer = Answer::read(StatusCode::FORBIDDEN, &headers, body.as_bytes());
        assert_eq!(
            answer.to_string(),
            "AuthenticationFailed (HTTP 403): Server failed to authenticate. Request date header \
             too old. [request 17a]"
        );
        // An answer to HEAD has nothing but its headers.
        headers.insert("x-ms-error-code", "BlobNotFound".parse().unwrap());
        let answer = Answer::read(StatusCode::NOT_FOUND, &headers, b"");
        assert_eq!(answer.to_string(), "BlobNotFound (HTTP 404) [request 17a]");
    }
}
