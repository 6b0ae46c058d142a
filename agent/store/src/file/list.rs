//! Lists: a walk through the directories, as far ahead as the reader of the list wants.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use futures::stream;
use futures::{StreamExt, TryStreamExt};
use rustix::fs::{AtFlags, Dir, FileType};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::error::is_stale;
use super::root::{Root, again, modified, open_directory};
use crate::key::is_temporary_name;
use crate::{Error, Key, Object, Objects};

/// How many objects go through the channel at once.
const BATCH: usize = 256;

/// The objects below `prefix`.
pub(super) fn list(root: Arc<Root>, prefix: Key) -> Objects {
    let start = move || {
        let (sender, receiver) = mpsc::channel(2);
        let mut walk = Walk {
            root,
            sender,
            batch: Vec::with_capacity(BATCH),
        };
        tokio::task::spawn_blocking(move || {
            let end = walk.start(&prefix);
            walk.finish(end);
        });
        receiver
    };
    // Nothing happens before the first poll, which also is where a runtime is sure to be.
    stream::once(async move { start() })
        .flat_map(|receiver| {
            stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|batch| (batch, receiver))
            })
        })
        .map_ok(|batch: Vec<Object>| stream::iter(batch).map(Ok))
        .try_flatten()
        .boxed()
}

/// The directories of the root.
pub(super) fn folders(root: &Root, limit: usize) -> Result<Vec<String>, Errno> {
    let directory = root.walk(std::iter::empty(), None)?;
    let mut folders = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(folder) = name.to_str().ok().filter(|name| Key::parse(name).is_ok()) else {
            continue;
        };
        let is_directory = match entry.file_type() {
            FileType::Directory => true,
            // Some file systems do not tell the kind with the name.
            FileType::Unknown => open_directory(&directory, name).is_ok(),
            _ => false,
        };
        if is_directory {
            folders.push(folder.to_owned());
        }
        if folders.len() == limit {
            break;
        }
    }
    Ok(folders)
}

/// A walk in progress. One directory a level is open.
struct Walk {
    root: Arc<Root>,
    sender: mpsc::Sender<Result<Vec<Object>, Error>>,
    batch: Vec<Object>,
}

/// Why a walk ends early.
enum Stop {
    /// Nobody reads the list any more.
    Unread,
    Failed(Error),
}

impl Walk {
    fn start(&mut self, prefix: &Key) -> Result<(), Stop> {
        match self.root.walk(prefix.segments(), None) {
            Ok(directory) => self.directory(directory, prefix),
            Err(Errno::NOENT) => Ok(()),
            // An object stands where the prefix leads: nothing is below it.
            Err(Errno::NOTDIR) if self.is_object(prefix) => Ok(()),
            Err(e) => Err(Stop::Failed(self.root.failed(Some(prefix), e))),
        }
    }

    fn is_object(&self, key: &Key) -> bool {
        self.root
            .parent(key, None)
            .is_ok_and(|(directory, name)| self.root.object(&directory, name, key).is_ok())
    }

    fn directory(&mut self, directory: OwnedFd, path: &Key) -> Result<(), Stop> {
        let root = Arc::clone(&self.root);
        let failed = |e| Stop::Failed(root.failed(Some(path), e));
        let mut entries = Dir::new(directory).map_err(failed)?;
        while let Some(entry) = entries.read() {
            let entry = entry.map_err(failed)?;
            let directory = entries.fd().map_err(failed)?;
            let name = entry.file_name();
            let Some(key) = key_of(path, name.to_bytes()) else {
                continue;
            };
            match self.entry(directory, name, entry.file_type(), key) {
                // Gone by now, which is as if it had been deleted before the list began.
                Err(Stop::Failed(Error::NotFound { .. })) => {}
                done => done?,
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        mut kind: FileType,
        key: Key,
    ) -> Result<(), Stop> {
        let failed = |root: &Root, e| Stop::Failed(root.failed(Some(&key), e));
        if kind == FileType::Directory {
            return self.below(directory, name, &key);
        }
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| failed(&self.root, e))?;
        // Some file systems do not tell the kind with the name.
        kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::RegularFile => {
                let (size, modified) = (stat.st_size as u64, modified(&stat));
                self.found(Object {
                    key,
                    size,
                    modified,
                })
            }
            FileType::Directory => self.entry(directory, name, kind, key),
            // What it leads to is not looked at. A list without that would be believed to be whole.
            FileType::Symlink => Err(Stop::Failed(Error::Invalid {
                at: self.root.at(Some(&key)),
                reason:
                    "it is a symbolic link, and the storage follows none: put what it leads to \
                         in its place, or take it away"
                        .to_owned(),
            })),
            _ => Ok(()),
        }
    }

    /// What is in a directory; of another one that has its name, where it goes meanwhile.
    fn below(&mut self, above: BorrowedFd<'_>, name: &CStr, key: &Key) -> Result<(), Stop> {
        let look = || {
            let below = open_directory(above, name);
            let below = below.map_err(|e| Stop::Failed(self.root.failed(Some(key), e)))?;
            self.directory(below, key)
        };
        again(
            look,
            |stop| matches!(stop, Stop::Failed(error) if is_stale(error)),
        )
    }

    fn found(&mut self, object: Object) -> Result<(), Stop> {
        self.batch.push(object);
        if self.batch.len() < BATCH {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        self.sender
            .blocking_send(Ok(batch))
            .map_err(|_| Stop::Unread)
    }

    fn finish(mut self, end: Result<(), Stop>) {
        let last = match end {
            Ok(()) => Ok(std::mem::take(&mut self.batch)),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Unread) => return,
        };
        // A reader that has gone does not want it.
        let _ = self.sender.blocking_send(last);
    }
}

/// The key of the entry `name` in `path`; none for `.` and `..`, temporary files, and names that
/// no key can have, which are not ours.
fn key_of(path: &Key, name: &[u8]) -> Option<Key> {
    let name = std::str::from_utf8(name).ok()?;
    if name == "." || name == ".." || is_temporary_name(name) {
        return None;
    }
    path.join(name)
        .inspect_err(|error| tracing::warn!(%error, "a foreign file in the storage is left out"))
        .ok()
}
