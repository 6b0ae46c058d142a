//! Reading objects, and what the server knows of them.

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use aws_sdk_s3::types::{ChecksumMode, ChecksumType};
use aws_smithy_types::DateTime;
use futures::{StreamExt, stream};

use super::body::Body;
use super::client::Client;
use super::error::answer;
use crate::bucket;
use crate::crc::Crc;
use crate::{Content, Error, Key, Object};

/// What HEAD tells.
pub(super) struct Stat {
    pub object: Object,
    /// What the server calls this content, and no other, in conditions.
    pub etag: Option<String>,
    /// It has tags, and we may read them.
    pub tagged: bool,
    /// The checksum of the whole object, in base64, where the server keeps one.
    crc: Option<String>,
}

impl Stat {
    /// Whether the server's checksum, if there is one, says that the content is another.
    pub fn contradicts(&self, crc: Crc) -> bool {
        self.crc
            .as_ref()
            .is_some_and(|found| *found != crc.base64())
    }
}

/// Asks for an object's size, time and checksum.
pub(super) async fn stat(client: &Client, key: &Key) -> Result<Stat, Error> {
    let head = client
        .sdk
        .head_object()
        .bucket(&client.bucket)
        .key(client.path(key)?)
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .map_err(|e| client.failed(Some(key), e))?;
    let whole = head
        .checksum_type()
        .is_none_or(|kind| *kind == ChecksumType::FullObject);
    Ok(Stat {
        etag: head.e_tag().map(str::to_owned),
        tagged: head.tag_count().is_some_and(|count| count > 0),
        crc: head
            .checksum_crc64_nvme()
            .filter(|_| whole)
            .map(str::to_owned),
        object: Object {
            key: key.clone(),
            size: size(head.content_length()),
            modified: time(head.last_modified()),
        },
    })
}

/// Whether the object is `body`.
pub(super) async fn has_content(
    client: &Arc<Client>,
    key: &Key,
    body: &Body,
) -> Result<bool, Error> {
    let Content {
        size, mut chunks, ..
    } = get(client, key, None).await?;
    if size != body.len() {
        return Ok(false);
    }
    let mut content = Vec::new();
    while let Some(chunk) = chunks.next().await {
        content.extend_from_slice(&chunk?);
    }
    Ok(body.is(&content))
}

/// Reads `range` of an object.
pub(super) async fn get(
    client: &Arc<Client>,
    key: &Key,
    range: Option<Range<u64>>,
) -> Result<Content, Error> {
    if range.as_ref().is_some_and(Range::is_empty) {
        return Ok(bucket::beyond_the_end(
            stat(client, key).await?.object.size,
            range,
        ));
    }
    let header = range
        .as_ref()
        .map(|range| format!("bytes={}-{}", range.start, range.end - 1));
    let request = client
        .sdk
        .get_object()
        .bucket(&client.bucket)
        .key(client.path(key)?)
        .set_range(header);
    let got = match request.send().await {
        Ok(got) => got,
        Err(error) if answer(&error).is_some_and(|answer| answer.status == 416) => {
            return Ok(bucket::beyond_the_end(
                stat(client, key).await?.object.size,
                range,
            ));
        }
        Err(error) => return Err(client.failed(Some(key), error)),
    };
    // Without it, an answer that ends early could not be told from a whole one.
    let length = got.content_length().and_then(|it| u64::try_from(it).ok());
    let length = length.ok_or_else(|| bucket::no_length(client.at(Some(key))))?;
    let start = range.map_or(0, |range| range.start);
    let size = match got.content_range() {
        Some(header) => total(header).ok_or_else(|| Error::Corrupt {
            at: client.at(Some(key)),
            reason: format!("the server answers with the range {header:?}"),
        })?,
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
    let end = start + length;
    let state = Reading {
        client: Arc::clone(client),
        key: key.clone(),
        body: got.body,
        left: length,
    };
    let chunks = stream::unfold(Some(state), |state| async move { state?.next().await }).boxed();
    Ok(Content {
        size,
        range: start..end,
        chunks,
    })
}

struct Reading {
    client: Arc<Client>,
    key: Key,
    body: aws_sdk_s3::primitives::ByteStream,
    left: u64,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<bytes::Bytes, Error>, Option<Self>)> {
        let broken = |source| Error::Unavailable {
            at: self.client.at(Some(&self.key)),
            source,
        };
        match self.body.next().await {
            Some(Ok(chunk)) => {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                Some((Ok(chunk), Some(self)))
            }
            Some(Err(error)) => Some((Err(broken(Box::new(error))), None)),
            None if self.left > 0 => {
                let early = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                Some((Err(broken(Box::new(early))), None))
            }
            None => None,
        }
    }
}

/// The size in `bytes 0-9/4711`.
fn total(header: &str) -> Option<u64> {
    header.rsplit_once('/')?.1.parse().ok()
}

/// A size as the SDK gives it; one that is missing is none.
pub(super) fn size(length: Option<i64>) -> u64 {
    length
        .and_then(|length| u64::try_from(length).ok())
        .unwrap_or(0)
}

/// A time as the SDK gives it; one that is missing is the oldest, which is never taken for fresh.
pub(super) fn time(time: Option<&DateTime>) -> SystemTime {
    time.and_then(|time| SystemTime::try_from(*time).ok())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
