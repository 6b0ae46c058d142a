//! Reading objects without leaving them in the page cache.

use std::io::IoSliceMut;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use rustix::fs::{Advice, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::sync::mpsc;

use super::root::Root;
use super::temporary::DONT_CACHE;
use crate::{Content, Error, Key};

/// The size of a chunk, in bytes.
const CHUNK: u64 = 1024 * 1024;
/// How many chunks are read before they are asked for.
const CHUNKS_AHEAD: usize = 2;

/// Opens `key`'s file and starts to read it.
pub(super) fn open(
    root: &Arc<Root>,
    key: Key,
    range: Option<Range<u64>>,
) -> Result<Content, Error> {
    let failed = |e| root.failed(Some(&key), e);
    let (directory, name) = root.parent(&key, None).map_err(failed)?;
    // Looked at before it is opened: opening a pipe would wait for its other end.
    root.object(&directory, name, &key)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory, name, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    root.check_regular(&stat, &key)?;
    let size = stat.st_size as u64;
    let range = cut(range, size);

    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let (wanted, root) = (range.clone(), Arc::clone(root));
    tokio::task::spawn_blocking(move || {
        read(&root, &file, wanted, |chunk| {
            let chunk = chunk.map_err(|e| match e {
                None => Error::Corrupt {
                    at: root.at(Some(&key)),
                    reason: "it became shorter while it was read".to_owned(),
                },
                Some(e) => root.failed(Some(&key), e),
            });
            sender.blocking_send(chunk).is_ok()
        });
    });
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    Ok(Content {
        size,
        range,
        chunks: chunks.boxed(),
    })
}

/// `range`, or everything, cut at the object's end.
fn cut(range: Option<Range<u64>>, size: u64) -> Range<u64> {
    let Range { start, end } = range.unwrap_or(0..size);
    let end = end.min(size);
    start.min(end)..end
}

/// Hands the bytes of `range` to `deliver` until it answers false. The error `None` is an early
/// end of the file.
fn read(
    root: &Root,
    file: &OwnedFd,
    range: Range<u64>,
    mut deliver: impl FnMut(Result<Bytes, Option<Errno>>) -> bool,
) {
    let mut offset = range.start;
    while offset < range.end {
        let wanted = (range.end - offset).min(CHUNK) as usize;
        let mut buffer = vec![0; wanted];
        match read_some(root, file, &mut buffer, offset) {
            Ok(0) => {
                deliver(Err(None));
                break;
            }
            Ok(count) => {
                offset += count as u64;
                buffer.truncate(count);
                if !deliver(Ok(Bytes::from(buffer))) {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            Err(e) => {
                deliver(Err(Some(e)));
                break;
            }
        }
    }
    if !root.uncached.load(Ordering::Relaxed)
        && let Err(error) = rustix::fs::fadvise(file, 0, None, Advice::DontNeed)
    {
        tracing::debug!(%error, "fadvise");
    }
}

fn read_some(root: &Root, file: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    if root.uncached.load(Ordering::Relaxed) {
        let flags: ReadWriteFlags = DONT_CACHE;
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, flags) {
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                root.uncached.store(false, Ordering::Relaxed);
            }
            read => return read,
        }
    }
    rustix::io::pread(file, buffer, offset)
}
