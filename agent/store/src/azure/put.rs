//! Objects in one request, which succeeds only where nothing is.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use object_store::PutPayload;

use super::client::Client;
use super::read;
use super::request::{Failure, Request};
use crate::crc::Crc;
use crate::feed::Feed;
use crate::{Error, Key, Outcome};

/// A block, or a small object whole, in memory.
pub(super) struct Body {
    chunks: PutPayload,
    crc: Crc,
}

impl Body {
    pub fn new(chunks: Vec<Bytes>) -> Self {
        Self {
            crc: Crc::of(&chunks),
            chunks: chunks.into_iter().collect(),
        }
    }

    /// Puts it into a request, with the checksum that the server compares it with.
    pub fn send<'c>(&self, request: Request<'c>) -> Request<'c> {
        request
            .header("x-ms-content-crc64", &self.crc.base64_le())
            .body(self.chunks.clone())
    }
}

/// Creates a small object.
pub(super) async fn create(client: &Arc<Client>, key: &Key, body: Body) -> Result<(), Error> {
    let Err(failure) = put(client, key, &body).await? else {
        return Ok(());
    };
    let retried = failure.retried;
    let error = failure.meaning(client, Some(key));
    // An attempt whose answer was lost may have been the one that wrote it.
    if matches!(error, Error::AlreadyExists { .. })
        && retried
        && read::checksum(client, key).await? == body.crc
    {
        return Ok(());
    }
    Err(error)
}

/// Uploads an object that is no larger than a block.
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
    let _share = client.budget.share(size).await;
    let body = Body::new(feed.take(size).await.map_err(unread)?);
    feed.end().await.map_err(unread)?;
    let Err(failure) = put(client, key, &body).await? else {
        return Ok(Outcome::Stored);
    };
    match failure.meaning(client, Some(key)) {
        Error::AlreadyExists { .. } => already_there(client, key, size).await,
        error => Err(error),
    }
}

/// What to say where the key is taken.
pub(super) async fn already_there(
    client: &Client,
    key: &Key,
    expected: u64,
) -> Result<Outcome, Error> {
    let found = read::stat(client, key).await?.size;
    if found == expected {
        return Ok(Outcome::AlreadyThere);
    }
    Err(Error::Differs {
        at: client.at(Some(key)),
        expected,
        found,
    })
}

async fn put(client: &Client, key: &Key, body: &Body) -> Result<Result<(), Failure>, Error> {
    let request = Request::object(client, Method::PUT, key)?
        .header("x-ms-blob-type", "BlockBlob")
        .header("if-none-match", "*");
    let sent = body.send(request).send().await;
    Ok(sent.map(|reply| client.wrote(&reply.headers)))
}
