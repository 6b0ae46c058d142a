//! What the JSON API's codes mean to a storage.

use std::fmt;

use gcloud_storage::client::google_cloud_auth::error::Error as AuthError;
use gcloud_storage::client::google_cloud_auth::token_source::external_account_source::error::Error as FederationError;
use gcloud_storage::http;

use super::client::Client;
use crate::bucket;
use crate::error::{cause, untrusted};
use crate::{Cause, Error, Key};

/// The server's answer in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    reason: Option<String>,
    message: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "{reason} (HTTP {})", self.status)?,
            None => write!(f, "HTTP {}", self.status)?,
        }
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Answer {}

impl Answer {
    /// From an answer's status and content.
    pub fn read(status: u16, content: &[u8]) -> Self {
        let json: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
        let text = |at: &str| {
            let text = json.pointer(at).and_then(|text| text.as_str());
            text.map(str::to_owned)
        };
        Self {
            status,
            reason: text("/error/errors/0/reason"),
            message: text("/error/message"),
        }
    }
}

/// Why a request was not done.
pub(super) enum Failure {
    /// The server refused it.
    Answer(Answer),
    /// There is no answer, or no token to ask with.
    Unanswered(http::Error),
}

impl From<http::Error> for Failure {
    fn from(error: http::Error) -> Self {
        let status = |error: &reqwest::Error| error.status().map(|status| status.as_u16());
        match error {
            http::Error::Response(response) => Self::Answer(Answer {
                status: response.code,
                reason: response.errors.into_iter().next().map(|item| item.reason),
                message: Some(response.message),
            }),
            http::Error::HttpClient(error) | http::Error::RawResponse(error, _)
                if status(&error).is_some() =>
            {
                Self::Answer(Answer {
                    status: status(&error).unwrap_or_default(),
                    reason: None,
                    message: None,
                })
            }
            // The address of an upload lets everyone write to it.
            http::Error::HttpClient(error) => Self::Unanswered(error.without_url().into()),
            http::Error::RawResponse(error, text) => {
                Self::Unanswered(http::Error::RawResponse(error.without_url(), text))
            }
            error => Self::Unanswered(error),
        }
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        http::Error::from(error).into()
    }
}

impl Client {
    /// What a failed request means.
    pub fn failed(&self, key: Option<&Key>, failure: Failure) -> Error {
        match failure {
            Failure::Answer(answer) => self.meaning(key, answer),
            Failure::Unanswered(http::Error::TokenSource(error)) => self.no_token(error),
            Failure::Unanswered(error) => {
                if let Some(error) = self.bad_certificate(&error) {
                    return error;
                }
                let unsent =
                    cause::<reqwest::Error>(&error).is_some_and(reqwest::Error::is_builder);
                let (at, source): (_, Cause) = (self.at(key), Box::new(error));
                if unsent {
                    return Error::Refused { at, source };
                }
                Error::Unavailable { at, source }
            }
        }
    }

    /// What an answer means.
    pub fn meaning(&self, key: Option<&Key>, answer: Answer) -> Error {
        let (at, kind) = (self.at(key), kind(answer.status, answer.reason.as_deref()));
        let source: Cause = Box::new(answer);
        match kind {
            Kind::NotFound if key.is_some() => Error::NotFound { at },
            Kind::NotFound => Error::StorageMissing { at, source },
            Kind::AlreadyExists => Error::AlreadyExists { at },
            Kind::Denied => Error::Denied { at, source },
            Kind::NoSpace => Error::NoSpace { at, source },
            Kind::Throttled => Error::Throttled { at, source },
            Kind::Unavailable => Error::Unavailable { at, source },
            Kind::Refused => Error::Refused { at, source },
        }
    }

    /// Why there is no token: nobody to ask is one thing, a refusal another.
    pub fn no_token(&self, error: Cause) -> Error {
        if let Some(error) = self.bad_certificate(&*error) {
            return error;
        }
        let at = self.at(None);
        let refused = match error.downcast_ref::<AuthError>() {
            // What a service account signs says from when until when it holds.
            Some(AuthError::TokenErrorResponse {
                error_description, ..
            }) if error_description.contains("in a reasonable timeframe") => {
                return bucket::wrong_clock(at, error_description);
            }
            Some(AuthError::HttpError(error)) => error.status().is_some_and(is_refusal),
            Some(
                AuthError::TokenErrorResponse { status, .. }
                | AuthError::UnexpectedImpersonateTokenResponse(status, _),
            )
            | Some(AuthError::ExternalAccountSource(
                FederationError::UnexpectedStatusOnGetSubjectToken(status, _),
            )) => reqwest::StatusCode::from_u16(*status).is_ok_and(is_refusal),
            _ => true,
        };
        if refused {
            Error::Denied { at, source: error }
        } else {
            Error::Unavailable { at, source: error }
        }
    }

    fn bad_certificate(&self, error: &(dyn std::error::Error + 'static)) -> Option<Error> {
        let at = self.at(None);
        untrusted(error).map(|reason| Error::Invalid { at, reason })
    }
}

fn is_refusal(status: reqwest::StatusCode) -> bool {
    status.is_client_error() && !matches!(status.as_u16(), 408 | 429)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    NotFound,
    AlreadyExists,
    Denied,
    NoSpace,
    Throttled,
    Unavailable,
    Refused,
}

/// From "HTTP status and error codes for JSON" of Google's reference: the status, but for those
/// that mean two things.
fn kind(status: u16, reason: Option<&str>) -> Kind {
    match (status, reason.unwrap_or_default()) {
        (403, "rateLimitExceeded" | "userRateLimitExceeded" | "quotaExceeded") | (429, _) => {
            Kind::Throttled
        }
        (401 | 403 | 407, _) => Kind::Denied,
        (404, _) => Kind::NotFound,
        (412, _) => Kind::AlreadyExists,
        (507, _) => Kind::NoSpace,
        // 409 is another operation on the same object, 410 the end of an upload's session.
        (408 | 409 | 410 | 500..=599, _) => Kind::Unavailable,
        _ => Kind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_status_and_where_that_is_not_enough_by_reason() {
        for (status, reason, expected) in [
            (404, Some("notFound"), Kind::NotFound),
            (412, Some("conditionNotMet"), Kind::AlreadyExists),
            (401, Some("authError"), Kind::Denied),
            (403, Some("forbidden"), Kind::Denied),
            (403, Some("rateLimitExceeded"), Kind::Throttled),
            (403, None, Kind::Denied),
            (429, None, Kind::Throttled),
            (503, Some("backendError"), Kind::Unavailable),
            (500, None, Kind::Unavailable),
            (410, None, Kind::Unavailable),
            (507, None, Kind::NoSpace),
            (400, Some("invalid"), Kind::Refused),
            (416, None, Kind::Refused),
        ] {
            assert_eq!(kind(status, reason), expected, "{status} {reason:?}");
        }
    }

    #[test]
    fn an_answer_says_reason_status_and_message() {
        let content =
            br#"{"error":{"code":403,"message":"no access","errors":[{"reason":"forbidden"}]}}"#;
        let answer = Answer::read(403, content);
        assert_eq!(answer.to_string(), "forbidden (HTTP 403): no access");
        assert_eq!(Answer::read(502, b"<html>").to_string(), "HTTP 502");
    }
}
