//! Reading objects, and what the server knows of them.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use futures::{StreamExt, stream};
use gcloud_storage::http::objects::Object as Known;
use gcloud_storage::http::objects::get::GetObjectRequest;
use reqwest::Response;
use reqwest::header::{CONTENT_RANGE, DATE, HeaderValue};

use super::client::{Client, NORMAL, Patience};
use super::error::{Answer, Failure};
use crate::bucket;
use crate::{Content, Error, Key, Object};

/// How often a read goes on after its connection broke, unless much came in between.
const RESUMES: u32 = 3;
/// How many bytes are much.
const MUCH: u64 = 1024 * 1024;

/// Size and time of an object.
pub(super) async fn stat(client: &Client, key: &Key) -> Result<Object, Error> {
    let request = GetObjectRequest {
        bucket: client.bucket.clone(),
        object: client.path(key)?,
        ..Default::default()
    };
    let known = client.send_to(key, || client.sdk.get_object(&request));
    Ok(object(key.clone(), &known.await?))
}

/// An object as the library gives it. A time that is missing is the oldest, which is never taken
/// for fresh. Its customTime counts whoever asks: purge has to see what another configuration renewed.
pub(super) fn object(key: Key, known: &Known) -> Object {
    let renewed = known.time_created.max(known.custom_time);
    Object {
        key,
        size: size(known),
        modified: renewed.map_or(SystemTime::UNIX_EPOCH, SystemTime::from),
    }
}

/// An object's size as the library gives it.
pub(super) fn size(known: &Known) -> u64 {
    u64::try_from(known.size).unwrap_or_default()
}

/// Makes sure that the server has an object of the size that it should have.
pub(super) fn expect(client: &Client, key: &Key, expected: u64, found: u64) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Differs {
        at: client.at(Some(key)),
        expected,
        found,
    })
}

/// Whether the object is `body`.
pub(super) async fn has_content(
    client: &Arc<Client>,
    key: &Key,
    body: &Bytes,
) -> Result<bool, Error> {
    let Content {
        size, mut chunks, ..
    } = get(client, key, None).await?;
    if size != body.len() as u64 {
        return Ok(false);
    }
    let mut content = Vec::new();
    while let Some(chunk) = chunks.next().await {
        content.extend_from_slice(&chunk?);
    }
    Ok(content == *body)
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
    let opened = match open(client, key, range.clone()).await {
        Err(Error::NotFound { .. }) => return Err(client.missing(key).await),
        opened => opened?,
    };
    let Opened::Some { body, size, range } = opened else {
        return Ok(bucket::beyond_the_end(stat(client, key).await?.size, range));
    };
    let state = Reading {
        client: Arc::clone(client),
        key: key.clone(),
        body,
        left: range.clone(),
        resumes: RESUMES,
        since: 0,
    };
    let chunks = stream::unfold(Some(state), |state| async move { state?.next().await }).boxed();
    Ok(Content {
        size,
        range,
        chunks,
    })
}

/// An answer to a read.
enum Opened {
    Some {
        body: Response,
        /// Of the whole object.
        size: u64,
        range: Range<u64>,
    },
    /// The object has no byte of the range.
    Nothing,
}

/// The library keeps the size of the whole object to itself, and its streams cannot be kept.
async fn open(client: &Client, key: &Key, range: Option<Range<u64>>) -> Result<Opened, Error> {
    let mut url = client.url(&["o", &client.path(key)?])?;
    url.set_query(Some("alt=media"));
    let header = range.as_ref().and_then(|range| {
        let header = format!("bytes={}-{}", range.start, range.end - 1);
        header.parse::<HeaderValue>().ok()
    });
    let get = || async {
        match client.get(url.clone(), header.clone()).await {
            Ok(body) => Ok(Some(body)),
            Err(Failure::Answer(Answer { status: 416, .. })) => Ok(None),
            Err(failure) => Err(failure),
        }
    };
    let Some(body) = client.send(Some(key), NORMAL, get).await.result? else {
        return Ok(Opened::Nothing);
    };
    let unclear = |reason: String| Error::Corrupt {
        at: client.at(Some(key)),
        reason,
    };
    let length = body
        .content_length()
        .ok_or_else(|| unclear("the server does not say how long its answer is".to_owned()))?;
    let start = range.map_or(0, |range| range.start);
    let size = match body.headers().get(CONTENT_RANGE) {
        Some(header) => total(header)
            .ok_or_else(|| unclear(format!("the server answers with the range {header:?}")))?,
        // A server that ignores the range sends everything from the start.
        None if start > 0 => {
            return Err(unclear(
                "the server does not read parts of objects".to_owned(),
            ));
        }
        None => length,
    };
    Ok(Opened::Some {
        body,
        size,
        range: start..start + length,
    })
}

struct Reading {
    client: Arc<Client>,
    key: Key,
    body: Response,
    left: Range<u64>,
    resumes: u32,
    /// How many bytes this connection brought.
    since: u64,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<Bytes, Error>, Option<Self>)> {
        loop {
            let broken = match self.body.chunk().await {
                Ok(Some(chunk)) if chunk.is_empty() => continue,
                Ok(Some(chunk)) => {
                    self.left.start += chunk.len() as u64;
                    self.since += chunk.len() as u64;
                    return Some((Ok(chunk), Some(self)));
                }
                Ok(None) if self.left.is_empty() => return None,
                Ok(None) => std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into(),
                Err(error) => Box::new(error).into(),
            };
            if let Err(error) = self.resume(broken).await {
                return Some((Err(error), None));
            }
        }
    }

    /// Goes on where the connection broke: the same key is the same content.
    async fn resume(&mut self, broken: crate::Cause) -> Result<(), Error> {
        let broken = Error::Unavailable {
            at: self.client.at(Some(&self.key)),
            source: broken,
        };
        if std::mem::take(&mut self.since) >= MUCH {
            self.resumes = RESUMES;
        }
        if self.resumes == 0 || self.left.is_empty() {
            return Err(broken);
        }
        self.resumes -= 1;
        match open(&self.client, &self.key, Some(self.left.clone())).await? {
            Opened::Some { body, range, .. } if range == self.left => {
                self.body = body;
                Ok(())
            }
            _ => Err(broken),
        }
    }
}

/// The server's clock. Any answer tells it, a refusal as well, so it is asked as nobody.
pub(super) async fn now(client: &Client, patience: Patience) -> Result<SystemTime, Error> {
    let url = client.url(&[])?;
    let asked = client.send(None, patience, || client.get_anyhow(url.clone()));
    let answer = asked.await.result?;
    let date = answer.headers().get(DATE);
    date.and_then(|date| DateTime::from_str(date.to_str().ok()?, Format::HttpDate).ok())
        .and_then(|date| SystemTime::try_from(date).ok())
        .ok_or_else(|| Error::Corrupt {
            at: client.at(None),
            reason: "the server's answers have no Date, which is its clock".to_owned(),
        })
}

/// The size in `bytes 0-9/4711`.
fn total(header: &HeaderValue) -> Option<u64> {
    header.to_str().ok()?.rsplit_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_time_of_an_object_is_the_later_of_its_two() {
        let at = |seconds| Some((SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into());
        for (created, custom, expected) in [
            (None, None, 0),
            (at(5), None, 5),
            (at(5), at(7), 7),
            (at(7), at(5), 7),
        ] {
            let known = Known {
                time_created: created,
                custom_time: custom,
                ..Known::default()
            };
            let key = Key::parse("c/x").unwrap();
            let modified = object(key, &known).modified;
            let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(since, Duration::from_secs(expected));
        }
    }
}
