//! Uploads: small files in one go from memory, others by a thread that reads a chunk and writes it.
//!
//! On two cores that takes a third of the CPU time of handing each chunk from a thread that reads to
//! one that writes, and is faster than a plain copy (docs/benchmarks.md).

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::error::joined;
use super::root::{Names, Root};
use super::temporary::{Placed, Temporary};
use crate::error::{Found, wrong_size};
use crate::{Error, Key, Outcome, Sink, Source};

/// Below it, in bytes, a file is written in one go from memory.
const SMALL: u64 = 256 << 10;

/// Writes `source` to the file of `key`.
pub(super) async fn upload(
    root: &Arc<Root>,
    key: &Key,
    size: u64,
    source: &mut dyn Source,
) -> Result<Outcome, Error> {
    let unread = |source| Error::Source {
        at: root.at(Some(key)),
        source,
    };
    if size < SMALL {
        let content = all(source, size).await.map_err(unread)?;
        return blocking(root, key, move |root, key| match begin(root, key, size)? {
            Begun::There(found) => same_size(root, key, size, found),
            Begun::New(mut file, name) => {
                file.write(&content)
                    .map_err(|e| root.failed(Some(key), e))?;
                end(root, key, size, file, &name)
            }
        })
        .await;
    }
    let begun = blocking(root, key, move |root, key| begin(root, key, size)).await?;
    let (file, name) = match begun {
        Begun::There(found) => return same_size(root, key, size, found),
        Begun::New(file, name) => (file, name),
    };
    let filling = Arc::new(Filling::new(file, size));
    let poured = source.pour(Arc::clone(&filling) as Arc<dyn Sink>).await;
    let file = match filling.finish() {
        Ok(file) => poured.map(|()| file).map_err(unread)?,
        Err(Unfinished::Unwritten(errno)) => return Err(root.failed(Some(key), errno)),
        Err(Unfinished::WrongSize(wrong)) => return Err(unread(poured.err().unwrap_or(wrong))),
    };
    blocking(root, key, move |root, key| {
        end(root, key, size, file, &name)
    })
    .await
}

/// The whole content of a small source.
async fn all(source: &mut dyn Source, size: u64) -> io::Result<Bytes> {
    let mut all = BytesMut::new();
    while let Some(chunk) = source.next().await? {
        all.extend_from_slice(&chunk);
        if all.len() as u64 > size {
            return Err(wrong_size(size, Found::More));
        }
    }
    if (all.len() as u64) < size {
        return Err(wrong_size(size, Found::Only(all.len() as u64)));
    }
    Ok(all.freeze())
}

/// A file that a source is poured into.
struct Filling {
    size: u64,
    state: Mutex<Filled>,
}

struct Filled {
    /// None once it is finished, or writing has failed.
    file: Option<Temporary>,
    bytes: u64,
    failed: Option<Errno>,
}

/// Why a file is not what it was to be.
enum Unfinished {
    /// It could not be written.
    Unwritten(Errno),
    /// The source has another size than was announced.
    WrongSize(io::Error),
}

impl Filling {
    fn new(file: Temporary, size: u64) -> Self {
        let state = Filled {
            file: Some(file),
            bytes: 0,
            failed: None,
        };
        Self {
            size,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, Filled> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, if all of it was written.
    fn finish(&self) -> Result<Temporary, Unfinished> {
        let mut state = self.state();
        if let Some(errno) = state.failed {
            return Err(Unfinished::Unwritten(errno));
        }
        let found = match state.bytes {
            bytes if bytes > self.size => Found::More,
            bytes => Found::Only(bytes),
        };
        match state.file.take() {
            Some(file) if state.bytes == self.size => Ok(file),
            _ => Err(Unfinished::WrongSize(wrong_size(self.size, found))),
        }
    }
}

impl Sink for Filling {
    fn write(&self, chunk: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.bytes += chunk.len() as u64;
        if state.bytes > self.size {
            return Err(wrong_size(self.size, Found::More));
        }
        let Some(file) = &mut state.file else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let written = file.write(chunk);
        if let Err(errno) = written {
            (state.file, state.failed) = (None, Some(errno));
        }
        Ok(written?)
    }
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

/// What an upload meets.
enum Begun {
    /// The key is taken, by this many bytes.
    There(u64),
    /// It is not: a file without its name yet, and the name.
    New(Temporary, String),
}

fn begin(root: &Arc<Root>, key: &Key, size: u64) -> Result<Begun, Error> {
    let begun = root.begin(key, Names::Settled, |directory, name| {
        match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            stat => return Ok(Begun::There(stat?.st_size as u64)),
        }
        let file = Temporary::create(root, directory, size)?;
        Ok(Begun::New(file, name.to_owned()))
    });
    begun.map_err(|e| root.failed(Some(key), e))
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
