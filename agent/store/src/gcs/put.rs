//! Objects in one request, which succeeds only where nothing is.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use gcloud_storage::http::objects::Object;
use gcloud_storage::http::objects::upload::{UploadObjectRequest, UploadType};

use super::client::{Client, NORMAL, Sent};
use super::read;
use crate::feed::Feed;
use crate::{Error, Key, Outcome};

/// What all objects are.
pub(super) const CONTENT_TYPE: &str = "application/octet-stream";

/// CRC32C, which the server keeps of every object.
pub(super) struct Crc(Digest);

impl Crc {
    pub fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// As Google writes it.
    pub fn base64(&self) -> String {
        let value = u32::try_from(self.0.finalize()).unwrap_or_default();
        aws_smithy_types::base64::encode(value.to_be_bytes())
    }
}

/// A small object, or a part of one, in memory.
pub(super) struct Body {
    pub bytes: Bytes,
    crc: String,
}

impl Body {
    pub fn new(bytes: Bytes) -> Self {
        let mut crc = Crc::new();
        crc.update(&bytes);
        Self {
            crc: crc.base64(),
            bytes,
        }
    }
}

/// The next `length` bytes in one piece, so that they can be sent again from any place.
pub(super) async fn take(feed: &mut Feed<'_>, length: u64) -> std::io::Result<Bytes> {
    let mut piece = BytesMut::with_capacity(usize::try_from(length).unwrap_or_default());
    while (piece.len() as u64) < length {
        let chunk = feed.some(length - piece.len() as u64).await?;
        if piece.is_empty() && chunk.len() as u64 == length {
            return Ok(chunk);
        }
        piece.extend_from_slice(&chunk);
    }
    Ok(piece.freeze())
}

/// Creates a small object.
pub(super) async fn create(client: &Arc<Client>, key: &Key, body: Body) -> Result<(), Error> {
    let sent = put(client, key, &body).await?;
    // An attempt whose answer was lost may have been the one that wrote it.
    if matches!(sent.result, Err(Error::AlreadyExists { .. }))
        && sent.retried
        && read::has_content(client, key, &body.bytes).await?
    {
        return Ok(());
    }
    sent.result.map(|_| ())
}

/// Uploads an object that is no larger than a part.
pub(super) async fn upload(
    client: &Client,
    key: &Key,
    size: u64,
    mut feed: Feed<'_>,
) -> Result<Outcome, Error> {
    let unread = |source| Error::Source {
        at: client.at(Some(key)),
        source,
    };
    let _share = client.share(size).await;
    let body = Body::new(take(&mut feed, size).await.map_err(unread)?);
    feed.end().await.map_err(unread)?;
    match put(client, key, &body).await?.result {
        Ok(object) => {
            read::expect(client, key, size, read::size(&object))?;
            Ok(Outcome::Stored)
        }
        Err(Error::AlreadyExists { .. }) => already_there(client, key, size).await,
        Err(error) => Err(error),
    }
}

/// What to say where the key is taken.
pub(super) async fn already_there(
    client: &Client,
    key: &Key,
    expected: u64,
) -> Result<Outcome, Error> {
    let found = read::stat(client, key).await?.size;
    read::expect(client, key, expected, found)?;
    Ok(Outcome::AlreadyThere)
}

/// The server compares the checksum before it creates the object.
async fn put(client: &Client, key: &Key, body: &Body) -> Result<Sent<Object>, Error> {
    let object = Object {
        crc32c: Some(body.crc.clone()),
        ..metadata(client, key).await?
    };
    let (request, kind) = (only_new(client), UploadType::Multipart(Box::new(object)));
    let mut sent = client
        .send(Some(key), NORMAL, || {
            client
                .sdk
                .upload_object(&request, body.bytes.clone(), &kind)
        })
        .await;
    if matches!(sent.result, Err(Error::NotFound { .. })) {
        sent.result = Err(client.missing(key).await);
    }
    Ok(sent)
}

/// Where to, and only if nothing is there.
pub(super) fn only_new(client: &Client) -> UploadObjectRequest {
    UploadObjectRequest {
        bucket: client.bucket.clone(),
        if_generation_match: Some(0),
        ..Default::default()
    }
}

/// What an object is called and how it is kept.
pub(super) async fn metadata(client: &Client, key: &Key) -> Result<Object, Error> {
    Ok(Object {
        name: client.path(key)?,
        content_type: Some(CONTENT_TYPE.to_owned()),
        storage_class: client.storage_class.clone(),
        custom_time: client.custom_time().await?.map(Into::into),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_written_as_google_does() {
        // The check value of CRC-32C in the catalogue of CRCs is e3069283.
        let body = Body::new(Bytes::from_static(b"123456789"));
        assert_eq!(body.crc, "4waSgw==");
    }
}
