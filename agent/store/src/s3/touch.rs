//! Renewing an object's time: the server copies it onto itself, at once or in parts, or it is written
//! again. What somebody else puts there meanwhile stays: one copy takes and leaves what there is, and
//! more than one request names the content that it began with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::types::MetadataDirective;
use futures::TryStreamExt;
use tokio::task::JoinSet;

use super::body::Body;
use super::client::{Client, Watch, slow};
use super::error::{Answer, answer_in};
use super::multipart::Multipart;
use super::parts::{Part, lengths, part_size};
use super::{put, read};
use crate::{Error, Key};

/// The size of the parts by which larger ones are copied: 5 TiB in 5,120 parts.
const PART: u64 = 1024 * 1024 * 1024;
/// How many of them the server copies at the same time.
const PARTS_AT_ONCE: usize = 4;
/// How much older than the copy an object has to be to show whether the copy moved its time: both
/// are in whole seconds, and a server may be late with its `Date`.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// Whether copying an object onto itself moves its time: some servers answer well and do nothing.
#[derive(Debug, Default)]
pub(super) struct SelfCopy(AtomicU8);

const UNKNOWN: u8 = 0;
const MOVES: u8 = 1;
const KEEPS: u8 = 2;

/// Moves the time of an object of `size` bytes to now.
pub(super) async fn touch(client: &Arc<Client>, key: &Key, size: u64) -> Result<(), Error> {
    if size > client.copy_limit {
        return anew(client, key, size).await;
    }
    let known = client.self_copy.0.load(Ordering::Relaxed);
    if known != KEEPS {
        // Only an object that was old before shows whether the copy moved its time.
        let before = match known {
            UNKNOWN => Some(read::stat(client, key).await?.object.modified),
            _ => None,
        };
        let now = copy(client, key).await?;
        let (Some(before), Some(now)) = (before, now) else {
            return Ok(());
        };
        if now < before + CLOCK_STEP {
            return Ok(());
        }
        let kept = read::stat(client, key).await?.object.modified == before;
        client
            .self_copy
            .0
            .store(if kept { KEEPS } else { MOVES }, Ordering::Relaxed);
        if !kept {
            return Ok(());
        }
        let storage = &client.name;
        tracing::info!(%storage, "a self-copy does not move the time here: touching by rewriting");
    }
    anew(client, key, size).await
}

/// Makes the object anew out of itself, by several requests.
async fn anew(client: &Arc<Client>, key: &Key, size: u64) -> Result<(), Error> {
    let at_once = client
        .part_size
        .min(client.max_in_flight)
        .min(client.copy_limit);
    loop {
        let seen = Seen::look(client, key, size).await?;
        let made = match size <= at_once {
            true => repeat(client, key, size, &seen).await,
            false => copy_parts(client, key, size, &seen).await,
        };
        match made {
            // Somebody wrote it since, which moved its time.
            Err(Error::AlreadyExists { .. }) if seen.etag.is_some() => {
                let now = read::stat(client, key).await?;
                if now.etag != seen.etag {
                    return fits(client, key, size, now.object.size);
                }
            }
            Err(error)
                if seen.etag.is_some()
                    && answer_in(&error).is_some_and(Answer::is_unimplemented) => {}
            done => return done,
        }
        client.unconditional_touch.store(true, Ordering::Relaxed);
        let storage = &client.name;
        tracing::info!(%storage, "no conditions here: what others write during a touch is lost");
    }
}

/// What a touch begins with.
struct Seen {
    /// Names the content, where the server knows such conditions.
    etag: Option<String>,
    /// Its tags, as a request that writes it anew states them: only a copy in one request keeps
    /// them by itself.
    tags: Option<String>,
}

impl Seen {
    async fn look(client: &Client, key: &Key, size: u64) -> Result<Self, Error> {
        let found = read::stat(client, key).await?;
        fits(client, key, size, found.object.size)?;
        let unnamed = client.unconditional_touch.load(Ordering::Relaxed);
        Ok(Self {
            etag: found.etag.filter(|_| !unnamed),
            tags: match found.tagged {
                true => Some(tags(client, key).await?),
                false => None,
            },
        })
    }
}

/// Makes sure that an object has the size that it was listed with.
fn fits(client: &Client, key: &Key, expected: u64, found: u64) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Differs {
        at: client.at(Some(key)),
        expected,
        found,
    })
}

/// Copies an object onto itself; the server's time after it.
async fn copy(client: &Client, key: &Key) -> Result<Option<SystemTime>, Error> {
    let path = client.path(key)?;
    let kept = client.at_rest.clone();
    let watch = Watch::default();
    // Tags stay by default; all else has to be stated again. Without REPLACE, S3 refuses.
    client
        .sdk
        .copy_object()
        .bucket(&client.bucket)
        .copy_source(source(client, &path))
        .key(path)
        .metadata_directive(MetadataDirective::Replace)
        .set_storage_class(kept.class)
        .set_server_side_encryption(kept.encryption)
        .set_ssekms_key_id(kept.kms_key)
        .customize()
        .config_override(slow())
        .interceptor(watch.clone())
        .send()
        .await
        .map_err(|e| client.failed(Some(key), e))?;
    Ok(watch.date())
}

/// Makes the object anew out of its own parts, all within the server.
async fn copy_parts(client: &Arc<Client>, key: &Key, size: u64, seen: &Seen) -> Result<(), Error> {
    let mut upload = Multipart::start_copy(client, key, seen.tags.clone()).await?;
    let mut tasks = JoinSet::new();
    let copied = spawn_copies(client, key, size, seen, &upload, &mut tasks).await;
    if matches!(&copied, Err(error) if !error.is_temporary()) {
        // The server copies on whether somebody listens or not, and what comes after the abort stays.
        while tasks.join_next().await.is_some() {}
    }
    tasks.shutdown().await;
    let done = match copied {
        Ok(parts) => upload.complete_again(parts, seen.etag.clone()).await,
        Err(error) => Err(error),
    };
    upload.end().await;
    done
}

async fn spawn_copies(
    client: &Arc<Client>,
    key: &Key,
    size: u64,
    seen: &Seen,
    upload: &Multipart,
    tasks: &mut JoinSet<Result<Part, Error>>,
) -> Result<Vec<Part>, Error> {
    let source = source(client, &client.path(key)?);
    let mut parts = Vec::new();
    let mut first = 0;
    for (number, length) in (1..).zip(lengths(size, part_size(size, PART.min(client.copy_limit)))) {
        if tasks.len() == PARTS_AT_ONCE
            && let Some(done) = tasks.join_next().await
        {
            parts.push(upload.joined(done)?);
        }
        let range = (first, first + length - 1);
        let request = upload.copy_part(number, &source, range, seen.etag.clone());
        let (client, key) = (Arc::clone(client), key.clone());
        tasks.spawn(async move {
            let copied = request.customize().config_override(slow()).send().await;
            let copied = copied.map_err(|e| client.failed(Some(&key), e))?;
            let result = copied.copy_part_result;
            let (etag, checksum) = result
                .map(|result| (result.e_tag, result.checksum_crc64_nvme))
                .unwrap_or_default();
            Ok(Part {
                number,
                etag,
                checksum,
                crc: None,
            })
        });
        first += length;
    }
    while let Some(done) = tasks.join_next().await {
        parts.push(upload.joined(done)?);
    }
    Ok(parts)
}

/// Reads a small object and writes the same content again.
async fn repeat(client: &Arc<Client>, key: &Key, size: u64, seen: &Seen) -> Result<(), Error> {
    let _share = client.share(size).await;
    let content = read::get(client, key, None).await?;
    fits(client, key, size, content.size)?;
    let body = Body::new(content.chunks.try_collect().await?);
    put::repeat(client, key, &body, seen.tags.clone(), seen.etag.clone()).await
}

/// An object's tags, in one line.
async fn tags(client: &Client, key: &Key) -> Result<String, Error> {
    let request = client.sdk.get_object_tagging().bucket(&client.bucket);
    let found = request.key(client.path(key)?).send().await;
    let found = found.map_err(|e| client.failed(Some(key), e))?;
    let tags = found.tag_set().iter();
    let tags = tags.map(|tag| format!("{}={}", encoded(tag.key()), encoded(tag.value())));
    Ok(tags.collect::<Vec<_>>().join("&"))
}

/// An object as the source of a copy: bucket and name.
fn source(client: &Client, path: &str) -> String {
    format!("{}/{}", client.bucket, encoded(path))
}

/// Percent-encoded but for the slashes.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
