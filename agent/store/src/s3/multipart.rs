//! Objects in parts: several at a time within the budget, whole or not at all.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::complete_multipart_upload::CompleteMultipartUploadError;
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use tokio::task::JoinSet;

use super::body::Body;
use super::client::{Client, Watch, slow, streaming};
use super::error::{Answer, answer, answer_in};
use super::parts::{LARGEST, Part, lengths, part_size};
use super::stream;
use super::unsigned::UnsignedChunks;
use super::{put, read};
use crate::bucket;
use crate::budget::Share;
use crate::crc::Crc;
use crate::feed::Feed;
use crate::{Error, Key, Outcome, Source};

/// Uploads an object of any size that fits into S3's parts.
///
/// Begins anew, once, where the server no longer knows the upload: a purge or a rule of the bucket
/// ended it, or the server lost it when its disk became full, which it says to the next.
pub(super) async fn upload(
    client: &Arc<Client>,
    key: &Key,
    size: u64,
    source: &mut dyn Source,
) -> Result<Outcome, Error> {
    match once(client, key, size, Feed::new(source, size)).await {
        Err(error) if answer_in(&error).is_some_and(Answer::is_unknown_upload) => {
            tracing::debug!(%key, %error, "begun anew");
            source.restart().await.map_err(|source| Error::Source {
                at: client.at(Some(key)),
                source,
            })?;
            once(client, key, size, Feed::new(source, size)).await
        }
        done => done,
    }
}

async fn once(
    client: &Arc<Client>,
    key: &Key,
    size: u64,
    mut feed: Feed<'_>,
) -> Result<Outcome, Error> {
    bucket::fits(size, LARGEST, || client.at(Some(key)))?;
    let mut upload = Multipart::start(client, key).await?;
    let part_size = part_size(size, client.part_size);
    let sent = if part_size <= client.max_in_flight {
        upload.send_parallel(size, part_size, &mut feed).await
    } else {
        upload.send_streaming(size, part_size, &mut feed).await
    };
    let done = match sent {
        Ok(parts) => upload.complete_new(parts, size).await,
        Err(error) => Err(error),
    };
    upload.end().await;
    done
}

/// What has to be under the key when an upload is completed.
enum Before {
    Anything,
    Nothing,
    /// The content of this ETag.
    This(String),
}

/// A multipart upload that is aborted unless it was completed, also when its future is dropped.
pub(super) struct Multipart {
    client: Arc<Client>,
    key: Key,
    path: String,
    id: String,
    open: bool,
}

impl Multipart {
    /// Begins an object whose parts are sent, with the checksum of the whole.
    async fn start(client: &Arc<Client>, key: &Key) -> Result<Self, Error> {
        let request = client.sdk.create_multipart_upload();
        let request = request
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject);
        Self::begin(client, key, request).await
    }

    /// Begins an object whose parts the server copies. It chooses the checksum, since not every
    /// server knows that of a part that it copied: MinIO refuses such parts if one was asked for.
    pub async fn start_copy(
        client: &Arc<Client>,
        key: &Key,
        tags: Option<String>,
    ) -> Result<Self, Error> {
        let request = client.sdk.create_multipart_upload().set_tagging(tags);
        Self::begin(client, key, request).await
    }

    async fn begin(
        client: &Arc<Client>,
        key: &Key,
        request: CreateMultipartUploadFluentBuilder,
    ) -> Result<Self, Error> {
        let path = client.path(key)?;
        let kept = client.at_rest.clone();
        let started = request
            .bucket(&client.bucket)
            .key(&path)
            .set_storage_class(kept.class)
            .set_server_side_encryption(kept.encryption)
            .set_ssekms_key_id(kept.kms_key)
            .send()
            .await
            .map_err(|e| client.failed(Some(key), e))?;
        let Some(id) = started.upload_id else {
            let reason = "the server began a multipart upload without an id".to_owned();
            return Err(Error::Corrupt {
                at: client.at(Some(key)),
                reason,
            });
        };
        Ok(Self {
            client: Arc::clone(client),
            key: key.clone(),
            path,
            id,
            open: true,
        })
    }

    /// Sends parts side by side, each from memory, so that it can be sent again.
    async fn send_parallel(
        &self,
        size: u64,
        part_size: u64,
        feed: &mut Feed<'_>,
    ) -> Result<Vec<Part>, Error> {
        let mut tasks = JoinSet::new();
        let sent = self.spawn_parts(size, part_size, feed, &mut tasks).await;
        // Nothing may arrive any more when the upload is aborted.
        tasks.shutdown().await;
        sent
    }

    async fn spawn_parts(
        &self,
        size: u64,
        part_size: u64,
        feed: &mut Feed<'_>,
        tasks: &mut JoinSet<Result<Part, Error>>,
    ) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        for (number, length) in (1..).zip(lengths(size, part_size)) {
            let share = self.client.share(length).await;
            let body = Body::new(feed.take(length).await.map_err(|e| self.unread(e))?);
            tasks.spawn(self.sending(number, body, share));
            while let Some(done) = tasks.try_join_next() {
                parts.push(self.joined(done)?);
            }
        }
        feed.end().await.map_err(|e| self.unread(e))?;
        while let Some(done) = tasks.join_next().await {
            parts.push(self.joined(done)?);
        }
        Ok(parts)
    }

    /// Sends one part from memory.
    fn sending(
        &self,
        number: i32,
        body: Body,
        share: Share,
    ) -> impl Future<Output = Result<Part, Error>> + Send + 'static {
        let request = self
            .upload_part(number)
            .checksum_crc64_nvme(body.crc.base64());
        let (client, key) = (Arc::clone(&self.client), self.key.clone());
        async move {
            let sent = request
                .body(body.stream())
                .customize()
                .disable_payload_signing()
                .send();
            let sent = sent.await.map_err(|e| client.failed(Some(&key), e))?;
            drop(share);
            Ok(Part {
                number,
                etag: sent.e_tag,
                checksum: Some(body.crc.base64()),
                crc: Some(body.crc),
            })
        }
    }

    /// Sends parts that are larger than the memory we may use: one after the other, while they
    /// are read. A part that fails is the end of the upload, since it cannot be read again.
    async fn send_streaming(
        &self,
        size: u64,
        part_size: u64,
        feed: &mut Feed<'_>,
    ) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        for (number, length) in (1..).zip(lengths(size, part_size)) {
            let _share = self.client.share(stream::IN_MEMORY).await;
            let (pump, body) = stream::pair(length);
            // The checksum is known when all is sent: the SDK appends it as a trailer.
            let request = self
                .upload_part(number)
                .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                .body(body)
                .customize()
                .interceptor(UnsignedChunks { length })
                .config_override(streaming());
            let sent = stream::both(pump.run(feed), request.send()).await;
            let sent = sent.map_err(|e| self.unread(e))?;
            let (crc, sent) = sent.map_err(|e| self.client.failed(Some(&self.key), e))?;
            parts.push(Part {
                number,
                etag: sent.e_tag,
                checksum: Some(crc.base64()),
                crc: Some(crc),
            });
        }
        feed.end().await.map_err(|e| self.unread(e))?;
        Ok(parts)
    }

    fn upload_part(
        &self,
        number: i32,
    ) -> aws_sdk_s3::operation::upload_part::builders::UploadPartFluentBuilder {
        let request = self.client.sdk.upload_part().bucket(&self.client.bucket);
        request
            .key(&self.path)
            .upload_id(&self.id)
            .part_number(number)
    }

    /// A request that has the server copy the bytes from `first` to `last` of the object itself; with
    /// an `etag`, of no other content.
    pub fn copy_part(
        &self,
        number: i32,
        source: &str,
        (first, last): (u64, u64),
        etag: Option<String>,
    ) -> aws_sdk_s3::operation::upload_part_copy::builders::UploadPartCopyFluentBuilder {
        let request = self
            .client
            .sdk
            .upload_part_copy()
            .bucket(&self.client.bucket);
        request
            .key(&self.path)
            .upload_id(&self.id)
            .part_number(number)
            .copy_source(source)
            .set_copy_source_if_match(etag)
            .copy_source_range(format!("bytes={first}-{last}"))
    }

    /// Completes an object that must not be there yet, and looks at what the server made of it.
    async fn complete_new(&mut self, mut parts: Vec<Part>, size: u64) -> Result<Outcome, Error> {
        parts.sort_by_key(|part| part.number);
        let crc = parts.iter().filter_map(|part| part.crc).reduce(Crc::then);
        let conditional = !self.client.unconditional_completion.load(Ordering::Relaxed);
        let before = if conditional {
            Before::Nothing
        } else {
            Before::Anything
        };
        let (completed, retried) = match self.complete(&parts, crc, before).await {
            (Err(error), _)
                if conditional && answer(&error).is_some_and(|it| it.is_unimplemented()) =>
            {
                self.client
                    .unconditional_completion
                    .store(true, Ordering::Relaxed);
                self.complete(&parts, crc, Before::Anything).await
            }
            completed => completed,
        };
        if let Err(error) = completed {
            // The answer of an earlier attempt was lost: it may have been good.
            let lost = retried && answer(&error).is_some_and(|it| it.is_unknown_upload());
            match self.client.failed(Some(&self.key), error) {
                Error::AlreadyExists { .. } => {
                    return put::already_there(&self.client, &self.key, size).await;
                }
                error if !lost => return Err(error),
                _ => {}
            }
        }
        self.open = false;
        let found = read::stat(&self.client, &self.key).await?;
        if found.object.size != size {
            let (at, found) = (self.client.at(Some(&self.key)), found.object.size);
            return Err(Error::Differs {
                at,
                expected: size,
                found,
            });
        }
        if crc.is_some_and(|crc| found.contradicts(crc)) {
            let reason = "the server has another checksum than was sent".to_owned();
            return Err(Error::Corrupt {
                at: self.client.at(Some(&self.key)),
                reason,
            });
        }
        Ok(Outcome::Stored)
    }

    /// Completes an object that is there already, out of its own parts; with an `etag`, only as long
    /// as that content is there.
    pub async fn complete_again(
        &mut self,
        mut parts: Vec<Part>,
        etag: Option<String>,
    ) -> Result<(), Error> {
        parts.sort_by_key(|part| part.number);
        let before = etag.map_or(Before::Anything, Before::This);
        match self.complete(&parts, None, before).await.0 {
            Ok(()) => self.open = false,
            Err(error) => return Err(self.client.failed(Some(&self.key), error)),
        }
        Ok(())
    }

    /// Completes the upload; tells also whether the request was sent more than once.
    async fn complete(
        &self,
        parts: &[Part],
        crc: Option<Crc>,
        before: Before,
    ) -> (
        Result<(), SdkError<CompleteMultipartUploadError, HttpResponse>>,
        bool,
    ) {
        let parts = parts.iter().map(|part| {
            CompletedPart::builder()
                .part_number(part.number)
                .set_e_tag(part.etag.clone())
                .set_checksum_crc64_nvme(part.checksum.clone())
                .build()
        });
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts.collect()))
            .build();
        let (if_none_match, if_match) = match before {
            Before::Anything => (None, None),
            Before::Nothing => (Some("*".to_owned()), None),
            Before::This(etag) => (None, Some(etag)),
        };
        let watch = Watch::default();
        let completed = self
            .client
            .sdk
            .complete_multipart_upload()
            .bucket(&self.client.bucket)
            .key(&self.path)
            .upload_id(&self.id)
            .set_checksum_type(crc.map(|_| ChecksumType::FullObject))
            .set_checksum_crc64_nvme(crc.map(Crc::base64))
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .multipart_upload(parts)
            .customize()
            .config_override(slow())
            .interceptor(watch.clone())
            .send()
            .await;
        (completed.map(|_| ()), watch.retried())
    }

    /// Aborts the upload, unless it was completed.
    pub async fn end(mut self) {
        if std::mem::take(&mut self.open) {
            abort(Arc::clone(&self.client), self.path.clone(), self.id.clone()).await;
        }
    }

    fn unread(&self, source: std::io::Error) -> Error {
        Error::Source {
            at: self.client.at(Some(&self.key)),
            source,
        }
    }

    /// The result of a task of ours.
    pub fn joined<T>(
        &self,
        task: Result<Result<T, Error>, tokio::task::JoinError>,
    ) -> Result<T, Error> {
        task.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => {
                let at = self.client.at(Some(&self.key));
                Err(Error::Unavailable {
                    at,
                    source: Box::new(error),
                })
            }
        })
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        if self.open
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(abort(
                Arc::clone(&self.client),
                self.path.clone(),
                self.id.clone(),
            ));
        }
    }
}

/// Gives an upload up. What cannot be aborted now is ended by a purge later.
async fn abort(client: Arc<Client>, path: String, id: String) {
    let request = client
        .sdk
        .abort_multipart_upload()
        .bucket(&client.bucket)
        .key(&path);
    if let Err(error) = request.upload_id(id).send().await {
        let (storage, error) = (&client.name, client.failed(None, error));
        tracing::warn!(%storage, %path, %error, "a multipart upload could not be aborted");
    }
}
