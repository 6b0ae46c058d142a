//! Uploads: the source is read and the file written at the same time.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::AtFlags;
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::error::joined;
use super::root::Root;
use super::temporary::{Placed, Temporary};
use crate::error::{Found, wrong_size};
use crate::{Error, Key, Outcome, Source};

/// How many chunks are read before the disk has taken them.
const CHUNKS_AHEAD: usize = 2;

/// What the reader tells the writer. A channel that closes without `End` means: remove it all.
enum Piece {
    Chunk(Bytes),
    End,
}

/// Writes `source` to the file of `key`.
pub(super) async fn upload(
    root: &Arc<Root>,
    key: &Key,
    size: u64,
    source: &mut dyn Source,
) -> Result<Outcome, Error> {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let writer = {
        let (root, key) = (Arc::clone(root), key.clone());
        tokio::task::spawn_blocking(move || write(&root, &key, size, receiver))
    };
    let fed = feed(source, size, sender).await;
    // Whatever the source did, the temporary file is gone when this returns.
    let written = joined(root, writer).await;
    match fed {
        Err(source) => Err(Error::Source {
            at: root.at(Some(key)),
            source,
        }),
        Ok(()) => written?.ok_or_else(|| {
            let source = io::Error::other("the upload was given up");
            Error::Source {
                at: root.at(Some(key)),
                source,
            }
        }),
    }
}

/// Sends the source's chunks to the writer, and the end only if the size is right.
async fn feed(source: &mut dyn Source, size: u64, sender: mpsc::Sender<Piece>) -> io::Result<()> {
    let mut sent = 0;
    while let Some(chunk) = source.next().await? {
        sent += chunk.len() as u64;
        if sent > size {
            return Err(wrong_size(size, Found::More));
        }
        // A writer that is gone has its own result.
        if sender.send(Piece::Chunk(chunk)).await.is_err() {
            return Ok(());
        }
    }
    if sent < size {
        return Err(wrong_size(size, Found::Only(sent)));
    }
    let _ = sender.send(Piece::End).await;
    Ok(())
}

/// Writes what arrives. `None` if it ended without [`Piece::End`].
fn write(
    root: &Arc<Root>,
    key: &Key,
    size: u64,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<Option<Outcome>, Error> {
    let failed = |e| root.failed(Some(key), e);
    let (directory, name) = root.parent(key, true).map_err(failed)?;
    match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Err(e) => return Err(failed(e)),
        Ok(stat) => return same_size(root, key, size, stat.st_size as u64).map(Some),
    }
    let mut file = Temporary::create(root, directory, size).map_err(failed)?;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Chunk(chunk)) => file.write(&chunk).map_err(failed)?,
            Some(Piece::End) => break,
            None => return Ok(None),
        }
    }
    match file.place(name).map_err(failed)? {
        Placed::New => Ok(Some(Outcome::Stored)),
        Placed::Exists { size: found } => same_size(root, key, size, found).map(Some),
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
