//! Reading objects, and what the server knows of them.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, Method};
use object_store::client::HttpError;

use super::client::Client;
use super::error::no_answer;
use super::request::Request;
use crate::bucket;
use crate::crc::Crc;
use crate::{Content, Error, Key, Object};

/// Asks for an object's size and time.
pub(super) async fn stat(client: &Client, key: &Key) -> Result<Object, Error> {
    let head = Request::object(client, Method::HEAD, key)?.send().await;
    let headers = head
        .map_err(|failure| failure.meaning(client, Some(key)))?
        .headers;
    Ok(Object {
        key: key.clone(),
        size: number(&headers, &CONTENT_LENGTH)
            .ok_or_else(|| bucket::no_length(client.at(Some(key))))?,
        // A time that is missing is the oldest, which is never taken for fresh.
        modified: time(&headers, &LAST_MODIFIED).unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

/// Reads an object and tells its checksum and size.
pub(super) async fn checksum(client: &Arc<Client>, key: &Key) -> Result<Crc, Error> {
    let mut chunks = get(client, key, None).await?.chunks;
    let mut crc = Crc::of(&[]);
    while let Some(chunk) = chunks.next().await {
        crc = crc.then(Crc::of(&[chunk?]));
    }
    Ok(crc)
}

/// Reads `range` of an object.
pub(super) async fn get(
    client: &Arc<Client>,
    key: &Key,
    range: Option<Range<u64>>,
) -> Result<Content, Error> {
    if range.as_ref().is_some_and(Range::is_empty) {
        return Ok(bucket::beyond_the_end(stat(client, key).await?.size, range));
    }
    let mut request = Request::object(client, Method::GET, key)?;
    if let Some(range) = &range {
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        request = request.header("x-ms-range", &bytes);
    }
    let got = match request.send().await {
        Ok(got) => got,
        Err(failure) if failure.status() == Some(416) => {
            return Ok(bucket::beyond_the_end(stat(client, key).await?.size, range));
        }
        Err(failure) => return Err(failure.meaning(client, Some(key))),
    };
    // Without it, an answer that ends early could not be told from a whole one.
    let length = number(&got.headers, &CONTENT_LENGTH);
    let length = length.ok_or_else(|| bucket::no_length(client.at(Some(key))))?;
    let start = range.map_or(0, |range| range.start);
    let size = match got.headers.get(CONTENT_RANGE) {
        Some(header) => {
            let header = header.to_str().unwrap_or_default();
            total(header).ok_or_else(|| Error::Corrupt {
                at: client.at(Some(key)),
                reason: format!("the server answers with the range {header:?}"),
            })?
        }
        // A server that ignores the range sends everything from the start.
        None if start > 0 => {
            let reason = "the server does not read parts of objects".to_owned();
            return Err(Error::Invalid {
                at: client.at(Some(key)),
                reason,
            });
        }
        None => length,
    };
    let state = Reading {
        client: Arc::clone(client),
        key: key.clone(),
        body: got.body.bytes_stream(),
        left: length,
    };
    let chunks = stream::unfold(Some(state), |state| async move { state?.next().await }).boxed();
    Ok(Content {
        size,
        range: start..start + length,
        chunks,
    })
}

struct Reading {
    client: Arc<Client>,
    key: Key,
    body: BoxStream<'static, Result<Bytes, HttpError>>,
    left: u64,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<Bytes, Error>, Option<Self>)> {
        match self.body.next().await {
            Some(Ok(chunk)) => {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                Some((Ok(chunk), Some(self)))
            }
            Some(Err(error)) => {
                let broken = no_answer(&self.client, Some(&self.key), error);
                Some((Err(broken), None))
            }
            None if self.left > 0 => {
                let early = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                let broken = Error::Unavailable {
                    at: self.client.at(Some(&self.key)),
                    source: Box::new(early),
                };
                Some((Err(broken), None))
            }
            None => None,
        }
    }
}

/// The size in `bytes 0-9/4711`.
fn total(header: &str) -> Option<u64> {
    header.rsplit_once('/')?.1.parse().ok()
}

/// The server's time.
pub(super) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    time(headers, &DATE)
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

fn time(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    http_date(headers.get(name)?.to_str().ok()?)
}

/// A time as HTTP writes it, and Azure in its lists.
pub(super) fn http_date(text: &str) -> Option<SystemTime> {
    let date = DateTime::from_str(text, Format::HttpDate).ok()?;
    SystemTime::try_from(date).ok()
}
