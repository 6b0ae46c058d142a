//! Uploads: a chunk is written while the source reads the next. No thread is held while the source
//! makes one wait: with one for each upload, a pool that sources read with too could run dry.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::error::joined;
use super::root::{Names, Root};
use super::temporary::{Placed, Temporary};
use crate::error::{Found, wrong_size};
use crate::{Error, Key, Outcome, Source};

/// Below it, in bytes, a file is written in one go from memory.
const SMALL: u64 = 256 << 10;

/// Writes `source` to the file of `key`.
pub(super) async fn upload(
    root: &Arc<Root>,
    key: &Key,
    size: u64,
    source: &mut dyn Source,
) -> Result<Outcome, Error> {
    let mut chunks = Chunks {
        source,
        size,
        sent: 0,
    };
    let unread = |source| Error::Source {
        at: root.at(Some(key)),
        source,
    };
    if size < SMALL {
        let content = chunks.all().await.map_err(unread)?;
        return blocking(root, key, move |root, key| match begin(root, key, size)? {
            Begun::There(found) => same_size(root, key, size, found),
            Begun::New(file, name) => {
                end(root, key, size, append(root, key, file, &content)?, &name)
            }
        })
        .await;
    }
    let begun = blocking(root, key, move |root, key| begin(root, key, size)).await?;
    let (mut file, name) = match begun {
        Begun::There(found) => return same_size(root, key, size, found),
        Begun::New(file, name) => (file, name),
    };
    while let Some(chunk) = chunks.next().await.map_err(unread)? {
        file = blocking(root, key, move |root, key| append(root, key, file, &chunk)).await?;
    }
    blocking(root, key, move |root, key| {
        end(root, key, size, file, &name)
    })
    .await
}

/// Runs `work`, which may block, on a thread for that.
async fn blocking<T: Send + 'static>(
    root: &Arc<Root>,
    key: &Key,
    work: impl FnOnce(&Arc<Root>, &Key) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (for_work, key) = (Arc::clone(root), key.clone());
    joined(
        root,
        tokio::task::spawn_blocking(move || work(&for_work, &key)),
    )
    .await
}

/// A source that has to have the size that was announced.
struct Chunks<'a> {
    source: &'a mut dyn Source,
    size: u64,
    sent: u64,
}

impl Chunks<'_> {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let chunk = self.source.next().await?;
        self.sent += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.sent > self.size {
            return Err(wrong_size(self.size, Found::More));
        }
        if chunk.is_none() && self.sent < self.size {
            return Err(wrong_size(self.size, Found::Only(self.sent)));
        }
        Ok(chunk)
    }

    async fn all(&mut self) -> io::Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

/// What an upload meets.
enum Begun {
    /// The key is taken, by this many bytes.
    There(u64),
    /// It is not: a file without its name yet, and the name.
    New(Temporary, String),
}

fn begin(root: &Arc<Root>, key: &Key, size: u64) -> Result<Begun, Error> {
    let failed = |e| root.failed(Some(key), e);
    let (directory, name) = root.parent(key, Some(Names::Settled)).map_err(failed)?;
    match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Err(e) => return Err(failed(e)),
        Ok(stat) => return Ok(Begun::There(stat.st_size as u64)),
    }
    let file = Temporary::create(root, directory, size).map_err(failed)?;
    Ok(Begun::New(file, name.to_owned()))
}

fn append(root: &Root, key: &Key, mut file: Temporary, bytes: &[u8]) -> Result<Temporary, Error> {
    file.write(bytes).map_err(|e| root.failed(Some(key), e))?;
    Ok(file)
}

fn end(root: &Root, key: &Key, size: u64, file: Temporary, name: &str) -> Result<Outcome, Error> {
    let placed = file.place(name, Names::Settled);
    match placed.map_err(|e| root.failed(Some(key), e))? {
        Placed::New => Ok(Outcome::Stored),
        Placed::Exists { size: found } => same_size(root, key, size, found),
    }
}

/// The outcome where the key is taken.
fn same_size(root: &Root, key: &Key, expected: u64, found: u64) -> Result<Outcome, Error> {
    if found == expected {
        return Ok(Outcome::AlreadyThere);
    }
    Err(Error::Differs {
        at: root.at(Some(key)),
        expected,
        found,
    })
}
