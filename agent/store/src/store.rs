//! The one seam between backups and storages.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use futures::stream::BoxStream;

use crate::probe::{self, FileSystem, ProbeReport};
use crate::{At, Error, Key};

/// Content that is produced while it is uploaded, in order.
///
/// Chunks are at most 1 MiB and may come from a pool: an upload holds those of a part until the
/// storage has it, within the store's own budget, so a pool has to hold that budget or grow.
#[async_trait]
pub trait Source: Send {
    /// The next chunk, or `None` at the end. After `None` or an error it is called again only after
    /// a [`restart`](Source::restart).
    ///
    /// An error here, also instead of the final `None`, makes sure that the object never appears.
    async fn next(&mut self) -> io::Result<Option<Bytes>>;

    /// Begins anew, also after an end: the next chunk is the first again. For what was not kept in
    /// memory and has to be sent once more.
    async fn restart(&mut self) -> io::Result<()>;

    /// Gives the whole content to `sink`, from its beginning to its end, on threads that may block;
    /// instead of [`next`](Source::next), and an error means the same. For storages whose writes
    /// block: what one thread reads and writes never leaves its core's cache.
    async fn pour(&mut self, sink: Arc<dyn Sink>) -> io::Result<()> {
        while let Some(chunk) = self.next().await? {
            let sink = Arc::clone(&sink);
            let written = tokio::task::spawn_blocking(move || sink.write(&chunk));
            written.await.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

/// Where content is written, in order, by a thread that may block.
pub trait Sink: Send + Sync + 'static {
    /// Takes the next chunk. An error ends the content.
    fn write(&self, chunk: &[u8]) -> io::Result<()>;
}

/// What an upload did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The object is new.
    Stored,
    /// An object of this key and size was there before; nothing was changed.
    AlreadyThere,
}

/// What a storage keeps of objects that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// What is replaced or deleted, as versions, until a rule of the storage deletes them.
    Versions {
        /// A touch leaves such a copy, too.
        touched: bool,
    },
    /// What is deleted, for a time.
    Deleted {
        /// How long.
        lasts: Duration,
        /// A touch leaves such a copy, too.
        touched: bool,
    },
}

/// One stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: Key,
    /// Its size, in bytes.
    pub size: u64,
    /// When it was written or last touched, by the storage's clock. Object stores give seconds.
    pub modified: SystemTime,
}

/// Chunks of an object, in order.
pub type Chunks = BoxStream<'static, Result<Bytes, Error>>;

/// Objects of a list, in no particular order.
pub type Objects = BoxStream<'static, Result<Object, Error>>;

/// An object that is being read.
pub struct Content {
    /// The size of the whole object, in bytes.
    pub size: u64,
    /// The part that `chunks` delivers: what was asked for, cut at the object's end.
    pub range: Range<u64>,
    /// The bytes. A connection that breaks is an error here; every other end is complete.
    pub chunks: Chunks,
}

/// Whether somebody names an object.
pub type Named<'a> = dyn Fn(&Key) -> bool + Send + Sync + 'a;

/// A storage of immutable objects.
#[async_trait]
pub trait Store: Send + Sync {
    /// The storage as users know it: `/backup`, `s3://bucket/prefix`.
    fn name(&self) -> &str;

    /// Writes a small object in one step, or leaves what is there: [`Error::AlreadyExists`].
    ///
    /// Of any number of creators of one key exactly one succeeds.
    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error>;

    /// Writes an object of `size` bytes from `source`, which may be of any size.
    ///
    /// The object appears whole or not at all; with [`Error::Source`], not at all. When the future is
    /// dropped, neither, unless its last step was under way: then it may appear whole. A key that exists with the same size counts as done (the source may
    /// then be unread), with another size it is [`Error::Differs`].
    async fn upload(&self, key: &Key, size: u64, source: &mut dyn Source)
    -> Result<Outcome, Error>;

    /// Makes sure that what was uploaded survives a loss of power, whoever uploaded it. A file system
    /// keeps the content of each object as it comes, and its name when this returns; object stores
    /// keep everything at once.
    async fn settle(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Size and time of an object.
    async fn stat(&self, key: &Key) -> Result<Object, Error>;

    /// Reads an object, or the part of it in `range`, cut at the object's end.
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Content, Error>;

    /// All objects below the segments of `prefix`, at any depth; none if it does not exist.
    ///
    /// Temporary files and names that are no [`Key`] are left out.
    fn list(&self, prefix: &Key) -> Objects;

    /// The first segments of the keys that have more than one, each once, at most `limit` of them,
    /// in no particular order: what stands at the top of the storage. Names that are no segment of
    /// a [`Key`] are left out; a file system may name directories that have no object.
    async fn folders(&self, limit: usize) -> Result<Vec<String>, Error>;

    /// Renews an object's timestamp to now. `size` is the object's size, as listed.
    ///
    /// One that is not there is [`Error::NotFound`]. What somebody else puts there meanwhile is never
    /// undone; where its other size is noticed, that is [`Error::Differs`].
    async fn touch(&self, key: &Key, size: u64) -> Result<(), Error>;

    /// Removes an object. One that is not there counts as removed, as S3 has it.
    async fn delete(&self, key: &Key) -> Result<(), Error>;

    /// The storage's own clock. Object stores give seconds.
    async fn now(&self) -> Result<SystemTime, Error>;

    /// Makes sure that the storage is there and can be read; tells its file system, if it is one.
    async fn reach(&self) -> Result<Option<FileSystem>, Error>;

    /// What the storage keeps of what is replaced or deleted, and is paid for; `None` where that
    /// has not shown yet. It may need rights that nothing else does.
    async fn keeps(&self) -> Result<Option<Kept>, Error> {
        Ok(None)
    }

    /// Whether the storage is there and can be read, and with `write` whether it keeps what
    /// backups rely on.
    ///
    /// `write` names an object that is created (or left from an earlier probe), created again,
    /// touched and deleted. An identity without the right to delete leaves it: choose one key
    /// per prober and use it again.
    async fn probe(&self, write: Option<&Key>) -> Result<ProbeReport, Error> {
        let file_system = self.reach().await?;
        let write = match write {
            Some(key) => Some(probe::write(self, key).await?),
            None => None,
        };
        Ok(ProbeReport { file_system, write })
    }

    /// Ends what uploads left behind below `prefix` and nobody has gone on with since `before`:
    /// temporary files, incomplete uploads. Uploads of keys that `named` knows are left alone; a
    /// temporary file has no key, but one that is written to is not old. Tells how many. Storages
    /// that clear up after themselves have nothing to do here.
    async fn sweep(
        &self,
        prefix: &Key,
        before: SystemTime,
        named: &Named<'_>,
    ) -> Result<u64, Error> {
        let _ = (prefix, before, named);
        Ok(0)
    }

    /// Reads an object whole; one above `limit` bytes is [`Error::TooLarge`].
    async fn read_small(&self, key: &Key, limit: u64) -> Result<Bytes, Error> {
        let Content {
            size, mut chunks, ..
        } = self.get(key, None).await?;
        if size > limit {
            let at = At {
                storage: self.name().into(),
                key: Some(key.clone()),
            };
            return Err(Error::TooLarge { at, size, limit });
        }
        let mut all = BytesMut::new();
        while let Some(chunk) = chunks.try_next().await? {
            if all.is_empty() && chunk.len() as u64 == size {
                return Ok(chunk);
            }
            all.extend_from_slice(&chunk);
            if all.len() as u64 > size {
                let at = At {
                    storage: self.name().into(),
                    key: Some(key.clone()),
                };
                let reason = format!("more than the {size} bytes came that it was said to have");
                return Err(Error::Corrupt { at, reason });
            }
        }
        Ok(all.freeze())
    }
}
