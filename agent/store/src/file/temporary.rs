//! A file without its name yet: written, made durable, and only then put under its key.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{Advice, AtFlags, OFlags, RenameFlags};
use rustix::io::{Errno, ReadWriteFlags};

use super::root::{FILE_MODE, Names, Root};
use crate::key::temporary_name;

/// Do the I/O now and drop the pages after it (Linux 6.14; `RWF_DONTCACHE` of `linux/fs.h`).
pub(super) const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Where the kernel cannot do that: how many bytes may stay in the page cache at most.
const WRITTEN_BEHIND: u64 = 32 * 1024 * 1024;

/// A file that removes itself unless it was put in place.
pub(super) struct Temporary {
    root: Arc<Root>,
    directory: OwnedFd,
    name: String,
    file: OwnedFd,
    written: u64,
    synced: u64,
}

/// What stood under the final name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// Nothing: the file is there now.
    New,
    /// Another file, which was left alone.
    Exists {
        /// Its size, in bytes.
        size: u64,
    },
}

impl Temporary {
    /// An empty file in `directory` that is going to have `size` bytes.
    pub fn create(root: &Arc<Root>, directory: OwnedFd, size: u64) -> Result<Self, Errno> {
        let name = temporary_name();
        let file = open_new(&directory, &name)?;
        let this = Self {
            root: Arc::clone(root),
            directory,
            name,
            file,
            written: 0,
            synced: 0,
        };
        this.reserve(size)?;
        Ok(this)
    }

    /// Reserves the space of a large file, so that a full disk is known before hours of writing.
    fn reserve(&self, size: u64) -> Result<(), Errno> {
        if size < WRITTEN_BEHIND {
            return Ok(());
        }
        let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, 0, size) {
            Err(e @ (Errno::NOSPC | Errno::DQUOT)) => Err(e),
            // Many file systems cannot reserve.
            _ => Ok(()),
        }
    }

    /// Appends `bytes`.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let uncached = self.root.uncached.load(Ordering::Relaxed);
            let flags = if uncached {
                DONT_CACHE
            } else {
                ReadWriteFlags::empty()
            };
            match rustix::io::pwritev2(&self.file, &[IoSlice::new(bytes)], self.written, flags) {
                Ok(0) => return Err(Errno::IO),
                Ok(count) => {
                    self.written += count as u64;
                    bytes = &bytes[count..];
                }
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) if uncached => {
                    self.root.uncached.store(false, Ordering::Relaxed);
                }
                // A kernel without pwritev2 at all.
                Err(Errno::NOSYS) => {
                    let count = rustix::io::pwrite(&self.file, bytes, self.written)?;
                    self.written += count as u64;
                    bytes = &bytes[count..];
                }
                Err(e) => return Err(e),
            }
        }
        if !self.root.uncached.load(Ordering::Relaxed)
            && self.written - self.synced >= WRITTEN_BEHIND
        {
            rustix::fs::fdatasync(&self.file)?;
            self.forget_pages();
            self.synced = self.written;
        }
        Ok(())
    }

    /// Makes the content durable and puts it under `name`, if nothing is there.
    pub fn place(self, name: &str, names: Names) -> Result<Placed, Errno> {
        rustix::fs::fsync(&self.file)?;
        if !self.root.uncached.load(Ordering::Relaxed) {
            self.forget_pages();
        }
        let placed = match self.link(name) {
            Err(Errno::EXIST) => self.existing(name)?,
            placed => placed.map(|()| Placed::New)?,
        };
        if names == Names::Durable {
            // The temporary name goes first: then one fsync of the directory covers both.
            let directory = rustix::io::dup(&self.directory)?;
            drop(self);
            rustix::fs::fsync(&directory)?;
        }
        Ok(placed)
    }

    /// Gives the file its name: by whichever way the file system has that never replaces.
    fn link(&self, name: &str) -> Result<(), Errno> {
        let (at, from) = (&self.directory, self.name.as_str());
        match rustix::fs::linkat(at, from, at, name, AtFlags::empty()) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK | Errno::INVAL) => {}
            linked => return linked,
        }
        match rustix::fs::renameat_with(at, from, at, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {}
            renamed => return renamed,
        }
        self.copy_exclusively(name)
    }

    /// The last resort. A crash in the middle leaves a short file under the key, which the next
    /// upload reports as different: such file systems offer nothing better.
    fn copy_exclusively(&self, name: &str) -> Result<(), Errno> {
        let target = open_new(&self.directory, name)?;
        let copied =
            copy(&self.directory, &self.name, &target).and_then(|()| rustix::fs::fsync(&target));
        if copied.is_err() {
            rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?;
        }
        copied
    }

    /// What stands under `name`. Our own file, if an answer got lost on the network and the
    /// kernel asked again.
    fn existing(&self, name: &str) -> Result<Placed, Errno> {
        let there = rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let ours = rustix::fs::fstat(&self.file)?;
        if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) {
            return Ok(Placed::New);
        }
        Ok(Placed::Exists {
            size: there.st_size as u64,
        })
    }

    /// Takes the file's clean pages out of the page cache; nothing is lost if that fails.
    fn forget_pages(&self) {
        if let Err(error) = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed) {
            tracing::debug!(%error, "fadvise");
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        match rustix::fs::unlinkat(&self.directory, self.name.as_str(), AtFlags::empty()) {
            // Renamed into place.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => {
                let (storage, name) = (&self.root.name, &self.name);
                tracing::warn!(%storage, %name, %error, "a temporary file could not be removed");
            }
        }
    }
}

fn open_new(directory: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, FILE_MODE)
}

fn copy(directory: &OwnedFd, from: &str, to: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = rustix::fs::openat(directory, from, flags, rustix::fs::Mode::empty())?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = rustix::io::read(&from, &mut buffer)?;
        let mut rest = &buffer[..count];
        if rest.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            let written = rustix::io::write(to, rest)?;
            rest = &rest[written..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::FileConfig;

    #[test]
    fn where_links_are_missing_nothing_is_replaced_either() {
        let directory = tempfile::tempdir().unwrap();
        let config = FileConfig {
            root: directory.path().to_owned(),
            create_root: false,
        };
        let root = Arc::new(Root::open(&config).unwrap());
        let file = |content: &[u8]| {
            let below = root.walk(std::iter::empty(), None).unwrap();
            let mut file = Temporary::create(&root, below, content.len() as u64).unwrap();
            file.write(content).unwrap();
            file
        };
        let first = vec![1; 600_000];
        file(&first).copy_exclusively("x").unwrap();
        let refused = file(b"second").copy_exclusively("x");
        assert_eq!(refused, Err(Errno::EXIST));
        assert_eq!(std::fs::read(directory.path().join("x")).unwrap(), first);
        let placed = file(b"second").place("x", Names::Durable).unwrap();
        assert_eq!(placed, Placed::Exists { size: 600_000 });
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
