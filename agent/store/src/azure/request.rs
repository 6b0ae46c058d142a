//! One request: signed, sent, and sent again when that may help.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use object_store::PutPayload;
use object_store::azure::AzureAuthorizer;
use object_store::client::{
    HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponseBody,
};

use super::client::Client;
use super::error::Answer;
use crate::{Error, Key};

/// Pauses between the attempts of a request, of which there is one more: together longer than a
/// server takes to start.
const PAUSES: &[Duration] = &[
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(10),
    Duration::from_secs(20),
];

/// How long the server may take to begin its answer.
const ANSWER: Duration = Duration::from_secs(60);

/// A request that is not sent yet.
pub(super) struct Request<'c> {
    client: &'c Client,
    key: Option<&'c Key>,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Option<PutPayload>,
    pauses: &'static [Duration],
    patience: Duration,
}

/// A good answer.
pub(super) struct Reply {
    pub headers: HeaderMap,
    pub body: HttpResponseBody,
}

/// A request that failed for good.
#[derive(Debug)]
pub(super) struct Failure {
    pub cause: FailureCause,
    /// Whether an earlier attempt may have done what the last one answered.
    pub retried: bool,
}

/// Why it failed.
#[derive(Debug)]
pub(super) enum FailureCause {
    /// The server said so.
    Answer(Answer),
    /// There is no answer.
    Http(HttpError),
    /// There is no identity to send it with.
    Identity(object_store::Error),
}

impl<'c> Request<'c> {
    /// A request for an object.
    pub fn object(client: &'c Client, method: Method, key: &'c Key) -> Result<Self, Error> {
        let url = client.object_url(key)?;
        Ok(Self::new(client, method, Some(key), url))
    }

    /// A request for the container.
    pub fn container(client: &'c Client, method: Method) -> Self {
        Self::new(client, method, None, client.url().to_owned())
    }

    /// A request for the account.
    pub fn account(client: &'c Client, method: Method) -> Self {
        Self::new(client, method, None, client.account_url().to_owned())
    }

    fn new(client: &'c Client, method: Method, key: Option<&'c Key>, url: String) -> Self {
        Self {
            client,
            key,
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            pauses: PAUSES,
            patience: ANSWER,
        }
    }

    /// Adds to the query; the text is encoded already.
    pub fn query(mut self, query: &str) -> Self {
        self.url
            .push(if self.url.contains('?') { '&' } else { '?' });
        self.url.push_str(query);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        // All values are made by us, of ASCII.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Sends this content.
    pub fn body(mut self, body: PutPayload) -> Self {
        self.body = Some(body);
        self
    }

    /// For a request that asks whether the storage is there: whoever asks is waiting.
    pub fn brief(mut self) -> Self {
        self.pauses = &PAUSES[..2];
        self.patience = Duration::from_secs(10);
        self
    }

    /// Sends it; the answer has nothing that we need.
    pub async fn done(self) -> Result<(), Error> {
        let (client, key) = (self.client, self.key);
        match self.send().await {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.meaning(client, key)),
        }
    }

    /// Sends it.
    pub async fn send(self) -> Result<Reply, Failure> {
        let mut pauses = self.pauses.iter();
        let mut retried = false;
        loop {
            let cause = match self.attempt().await {
                Ok(reply) => return Ok(reply),
                Err(cause) => cause,
            };
            match pauses.next() {
                Some(pause) if cause.may_pass() => tokio::time::sleep(*pause).await,
                _ => return Err(Failure { cause, retried }),
            }
            retried = true;
        }
    }

    async fn attempt(&self) -> Result<Reply, FailureCause> {
        let request = self.signed().await.map_err(FailureCause::Identity)?;
        let answer = self.client.http.execute(request);
        let answer = tokio::time::timeout(self.patience, answer).await;
        let answer =
            answer.unwrap_or_else(|late| Err(HttpError::new(HttpErrorKind::Timeout, late)));
        let (head, body) = answer.map_err(FailureCause::Http)?.into_parts();
        if head.status.is_success() {
            return Ok(Reply {
                headers: head.headers,
                body,
            });
        }
        let text = body.bytes().await.unwrap_or_default();
        Err(FailureCause::Answer(Answer::read(
            head.status,
            &head.headers,
            &text,
        )))
    }

    async fn signed(&self) -> Result<HttpRequest, object_store::Error> {
        let credential = self.client.credentials.get_credential().await?;
        let (body, length) = match &self.body {
            Some(payload) if payload.content_length() > 0 => (
                HttpRequestBody::from(payload.clone()),
                payload.content_length(),
            ),
            _ => (HttpRequestBody::empty(), 0),
        };
        let mut request = HttpRequest::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url.parse().map_err(|source: http::uri::InvalidUri| {
            object_store::Error::Generic {
                store: "Azure",
                source: Box::new(source),
            }
        })?;
        *request.headers_mut() = self.headers.clone();
        // The signature covers it, so it is there before the client would add it.
        if self.method == Method::PUT {
            let length = HeaderValue::from(length);
            request.headers_mut().insert(CONTENT_LENGTH, length);
        }
        AzureAuthorizer::new(&credential, &self.client.account).try_authorize(&mut request)?;
        Ok(request)
    }
}

impl Reply {
    /// The whole body of an answer that is small.
    pub async fn bytes(self) -> Result<Bytes, HttpError> {
        self.body.bytes().await
    }
}

impl Failure {
    /// The server's code, if it answered with one.
    pub fn code(&self) -> Option<&str> {
        match &self.cause {
            FailureCause::Answer(answer) => answer.code.as_deref(),
            _ => None,
        }
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match &self.cause {
            FailureCause::Answer(answer) => Some(answer.status),
            _ => None,
        }
    }

    /// The server's time, if it answered.
    pub fn date(&self) -> Option<SystemTime> {
        match &self.cause {
            FailureCause::Answer(answer) => answer.date,
            _ => None,
        }
    }
}
