//! Larger objects, in parts one after the other: a session knows how much the server has, so that
//! a part whose answer was lost goes on where it was cut.
//!
//! An object appears with its last part, which is sent only after the source has ended well.

use std::sync::Arc;

use bytes::Bytes;
use gcloud_storage::http::objects::Object;
use gcloud_storage::http::objects::upload::UploadType;
use gcloud_storage::http::resumable_upload_client::{
    ChunkSize, ResumableUploadClient, UploadStatus,
};

use super::client::{Client, NORMAL, PAUSES, sleep};
use super::put::{self, Crc};
use super::read;
use crate::bucket;
use crate::feed::Feed;
use crate::{Error, Key, Outcome};

/// The largest object that Google keeps: 5 TiB.
const MAX_OBJECT: u64 = 5 << 40;

/// Uploads an object of any size that Google keeps.
pub(super) async fn upload(
    client: &Arc<Client>,
    key: &Key,
    size: u64,
    feed: Feed<'_>,
) -> Result<Outcome, Error> {
    bucket::fits(size, MAX_OBJECT, || client.at(Some(key)))?;
    let sent = match Session::start(client, key, size).await {
        Ok(mut session) => {
            let sent = session.send(feed).await;
            session.end().await;
            sent
        }
        Err(error) => Err(error),
    };
    match sent {
        Ok(()) => Ok(Outcome::Stored),
        Err(Error::AlreadyExists { .. }) => put::already_there(client, key, size).await,
        Err(error) => Err(error),
    }
}

/// An upload that is cancelled unless it came to its end, also when its future is dropped.
struct Session {
    client: Arc<Client>,
    key: Key,
    size: u64,
    remote: ResumableUploadClient,
    open: bool,
}

impl Session {
    async fn start(client: &Arc<Client>, key: &Key, size: u64) -> Result<Self, Error> {
        let object = UploadType::Multipart(Box::new(put::metadata(client, key).await?));
        let request = put::only_new(client);
        let started = client.send_to(key, || {
            client.sdk.prepare_resumable_upload(&request, &object)
        });
        Ok(Self {
            remote: started.await?,
            client: Arc::clone(client),
            key: key.clone(),
            size,
            open: true,
        })
    }

    /// Sends all parts, and looks at what the server made of them.
    async fn send(&mut self, mut feed: Feed<'_>) -> Result<(), Error> {
        let mut crc = Crc::new();
        let mut first = 0;
        let object = loop {
            let length = self.client.part.min(self.size - first);
            let _share = self.client.share(length).await;
            let part = put::take(&mut feed, length).await;
            let part = part.map_err(|error| self.unread(error))?;
            crc.update(&part);
            if first + length == self.size {
                feed.end().await.map_err(|error| self.unread(error))?;
            }
            if let Some(object) = self.send_part(first, part).await? {
                break object;
            }
            first += length;
        };
        self.open = false;
        read::expect(&self.client, &self.key, self.size, read::size(&object))?;
        if object.crc32c.is_some_and(|found| found != crc.base64()) {
            return Err(Error::Corrupt {
                at: self.client.at(Some(&self.key)),
                reason: "the server has another checksum than was sent".to_owned(),
            });
        }
        Ok(())
    }

    /// Sends the part that begins at `first`; the object, if it was the last one.
    async fn send_part(&self, first: u64, part: Bytes) -> Result<Option<Object>, Error> {
        let end = first + part.len() as u64;
        let mut from = first;
        let mut pauses = PAUSES.iter();
        loop {
            let rest = part.slice(usize::try_from(from - first).unwrap_or_default()..);
            let range = ChunkSize::new(from, end - 1, Some(self.size));
            let (status, failed) = match self.remote.upload_multiple_chunk(rest, &range).await {
                Ok(status) => (status, None),
                Err(error) => match self.failed(error) {
                    error if error.is_temporary() => (self.status().await?, Some(error)),
                    error => return Err(error),
                },
            };
            let stored = match status {
                UploadStatus::Ok(object) => return Ok(Some(object)),
                UploadStatus::NotStarted => 0,
                UploadStatus::ResumeIncomplete(range) => range.last_byte + 1,
            };
            if stored == end && end < self.size {
                return Ok(None);
            }
            if !(from..end).contains(&stored) {
                let state =
                    format!("the server has {stored} bytes after those from {from} to {end}");
                return Err(self.unavailable(state));
            }
            // Less than all of it was taken: the rest goes again.
            if stored > from {
                pauses = PAUSES.iter();
            } else if let Some(pause) = pauses.next() {
                sleep(*pause).await;
            } else {
                let state = format!("the server takes no bytes after {from}");
                return Err(failed.unwrap_or_else(|| self.unavailable(state)));
            }
            from = stored;
        }
    }

    /// How much the server has.
    async fn status(&self) -> Result<UploadStatus, Error> {
        let status = || self.remote.status(Some(self.size));
        let sent = self.client.send(Some(&self.key), NORMAL, status);
        sent.await.result.map_err(|error| self.gone(error))
    }

    fn failed(&self, error: gcloud_storage::http::Error) -> Error {
        self.gone(self.client.failed(Some(&self.key), error.into()))
    }

    fn unavailable(&self, state: String) -> Error {
        Error::Unavailable {
            at: self.client.at(Some(&self.key)),
            source: state.into(),
        }
    }

    /// What is not found here is the upload, which another one can follow.
    fn gone(&self, error: Error) -> Error {
        match error {
            Error::NotFound { at } => Error::Unavailable {
                at,
                source: "the server knows no more of this upload".into(),
            },
            error => error,
        }
    }

    /// Cancels the upload, unless it came to its end.
    async fn end(mut self) {
        if std::mem::take(&mut self.open) {
            cancel(
                Arc::clone(&self.client),
                self.key.clone(),
                self.remote.clone(),
            )
            .await;
        }
    }

    fn unread(&self, source: std::io::Error) -> Error {
        Error::Source {
            at: self.client.at(Some(&self.key)),
            source,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.open
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(cancel(
                Arc::clone(&self.client),
                self.key.clone(),
                self.remote.clone(),
            ));
        }
    }
}

/// Gives an upload up. One that cannot be cancelled now ends by itself after a week, and is not
/// paid for.
async fn cancel(client: Arc<Client>, key: Key, remote: ResumableUploadClient) {
    if let Err(error) = remote.cancel().await {
        let (storage, error) = (&client.name, client.failed(Some(&key), error.into()));
        tracing::warn!(%storage, %key, %error, "an upload could not be cancelled");
    }
}
