//! Objects in one request, which succeeds only where nothing is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::types::ChecksumAlgorithm;

use super::body::Body;
use super::client::{Client, Watch, streaming};
use super::error::answer;
use super::unsigned::UnsignedChunks;
use super::{read, stream};
use crate::feed::Feed;
use crate::{Error, Key, Outcome, Source};

/// Pauses between attempts where another conditional write of the same key is under way.
const CONFLICT_PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// Creates a small object.
pub(super) async fn create(client: &Arc<Client>, key: &Key, body: Body) -> Result<(), Error> {
    let watch = Watch::default();
    let created = put(client, key, &body, &watch).await;
    // An attempt whose answer was lost may have been the one that wrote it.
    if matches!(created, Err(Error::AlreadyExists { .. }))
        && watch.retried()
        && read::has_content(client, key, &body).await?
    {
        return Ok(());
    }
    created
}

/// Uploads an object that is read before it is sent.
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
    let body = Body::new(feed.take(size).await.map_err(unread)?);
    feed.end().await.map_err(unread)?;
    match put(client, key, &body, &Watch::default()).await {
        Ok(()) => Ok(Outcome::Stored),
        Err(Error::AlreadyExists { .. }) => already_there(client, key, size).await,
        Err(error) => Err(error),
    }
}

/// Uploads an object while it is read, in one request, which is not made again. Nothing where the
/// object is better sent in parts, each of which can be sent again from memory: the source is at its
/// beginning then.
pub(super) async fn upload_streaming(
    client: &Client,
    key: &Key,
    size: u64,
    source: &mut dyn Source,
) -> Result<Option<Outcome>, Error> {
    if client.no_trailers.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let unread = |source| Error::Source {
        at: client.at(Some(key)),
        source,
    };
    let share = client.share(stream::IN_MEMORY).await;
    let mut feed = Feed::new(source, size);
    let (pump, body) = stream::pair(size);
    let request = bare_request(client, key)?
        .if_none_match("*")
        .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
        .body(body)
        .customize()
        .interceptor(UnsignedChunks { length: size })
        .config_override(streaming());
    let sent = stream::both(pump.run_to_end(&mut feed), request.send());
    let error = match sent.await.map_err(unread)? {
        Ok(_) => return Ok(Some(Outcome::Stored)),
        Err(error) => error,
    };
    drop(share);
    let unimplemented = answer(&error).is_some_and(|answer| answer.status == 501);
    if unimplemented {
        client.no_trailers.store(true, Ordering::Relaxed);
    }
    match client.failed(Some(key), error) {
        Error::AlreadyExists { .. } => already_there(client, key, size).await.map(Some),
        // A server that answers early may close before its answer is read: who asks again, with
        // less at a time, is told.
        error if unimplemented || error.is_temporary() => {
            tracing::debug!(%key, %error, "sent again, in parts");
            source.restart().await.map_err(unread)?;
            Ok(None)
        }
        error => Err(error),
    }
}

/// What to say where the key is taken.
pub(super) async fn already_there(
    client: &Client,
    key: &Key,
    expected: u64,
) -> Result<Outcome, Error> {
    let found = read::stat(client, key).await?.object.size;
    if found == expected {
        return Ok(Outcome::AlreadyThere);
    }
    Err(Error::Differs {
        at: client.at(Some(key)),
        expected,
        found,
    })
}

async fn put(client: &Client, key: &Key, body: &Body, watch: &Watch) -> Result<(), Error> {
    let mut pauses = CONFLICT_PAUSES.iter();
    loop {
        let request = request(client, key, body)?.if_none_match("*");
        let sent = request
            .customize()
            .disable_payload_signing()
            .interceptor(watch.clone())
            .send()
            .await;
        match sent {
            Ok(_) => return Ok(()),
            Err(error) => match pauses.next() {
                Some(pause) if is_conflict(&error) => tokio::time::sleep(*pause).await,
                _ => return Err(client.failed(Some(key), error)),
            },
        }
    }
}

/// Writes content that is there already again, which moves its time; with an `etag`, only as long as
/// that content is there.
pub(super) async fn repeat(
    client: &Client,
    key: &Key,
    body: &Body,
    tags: Option<String>,
    etag: Option<String>,
) -> Result<(), Error> {
    let request = request(client, key, body)?
        .set_tagging(tags)
        .set_if_match(etag);
    match request.customize().disable_payload_signing().send().await {
        Ok(_) => Ok(()),
        Err(error) => Err(client.failed(Some(key), error)),
    }
}

fn request(client: &Client, key: &Key, body: &Body) -> Result<PutObjectFluentBuilder, Error> {
    // The payload is not hashed for the signature: its checksum is, and the server compares it.
    Ok(bare_request(client, key)?
        .checksum_crc64_nvme(body.crc.base64())
        .body(body.stream()))
}

/// A request that writes an object, which lacks its content.
fn bare_request(client: &Client, key: &Key) -> Result<PutObjectFluentBuilder, Error> {
    let kept = client.at_rest.clone();
    Ok(client
        .sdk
        .put_object()
        .bucket(&client.bucket)
        .key(client.path(key)?)
        .set_storage_class(kept.class)
        .set_server_side_encryption(kept.encryption)
        .set_ssekms_key_id(kept.kms_key))
}

/// Another writer of the key is at work, and who wins is open.
fn is_conflict<E>(error: &SdkError<E, aws_sdk_s3::config::http::HttpResponse>) -> bool
where
    E: aws_sdk_s3::error::ProvideErrorMetadata,
{
    answer(error).is_some_and(|answer| {
        answer.status == 409
            && matches!(
                answer.code.as_deref(),
                Some("ConditionalRequestConflict" | "OperationAborted")
            )
    })
}
