//! The directory that is the storage, and how to get below it without ever leaving it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::FileConfig;
use crate::key::temporary_name;
use crate::probe::FileSystem;
use crate::{At, Error, Key};

/// Backups hold password hashes and users' data: nothing for others, whatever the umask.
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o770);
pub(super) const FILE_MODE: Mode = Mode::from_raw_mode(0o660);

/// How often a directory is looked up or made anew that others take away.
const ATTEMPTS: usize = 100;

/// When the names of new files and directories have to be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// At once.
    Durable,
    /// When the storage is settled: one request for all of them.
    Settled,
}

/// The open root directory.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    /// The root's path, as users know it.
    pub name: Arc<str>,
    /// Whether the file system takes reads and writes that leave nothing in the page cache.
    pub uncached: AtomicBool,
}

impl Root {
    pub fn open(config: &FileConfig) -> Result<Self, Error> {
        let path = &config.root;
        let name: Arc<str> = path.to_string_lossy().into();
        let at = || At {
            storage: Arc::clone(&name),
            key: None,
        };
        if path.as_os_str().is_empty() {
            let reason = "the directory's path is empty".to_owned();
            return Err(Error::Invalid { at: at(), reason });
        }
        if config.create_root {
            std::fs::create_dir_all(path).map_err(|e| super::error::from_io(at(), e))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path.as_path(), flags, Mode::empty()) {
            Ok(directory) => Ok(Self {
                directory,
                name,
                uncached: AtomicBool::new(true),
            }),
            Err(e @ (Errno::NOENT | Errno::NOTDIR)) => Err(Error::StorageMissing {
                at: at(),
                source: Box::new(std::io::Error::from(e)),
            }),
            Err(e) => Err(super::error::from_io(at(), e.into())),
        }
    }

    /// This storage, and an object in it.
    pub fn at(&self, key: Option<&Key>) -> At {
        At {
            storage: Arc::clone(&self.name),
            key: key.cloned(),
        }
    }

    /// What a failed system call means.
    pub fn failed(&self, key: Option<&Key>, error: Errno) -> Error {
        super::error::from_io(self.at(key), error.into())
    }

    /// The directory that holds `key`'s file, and the file's name. Missing directories are made if
    /// `create` says how.
    pub fn parent<'k>(
        &self,
        key: &'k Key,
        create: Option<Names>,
    ) -> Result<(OwnedFd, &'k str), Errno> {
        let (path, name) = key.split_last();
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        Ok((self.walk(segments, create)?, name))
    }

    /// Begins a file of `key` in its directory, which is made where it is missing: anew if a deletion takes
    /// it away before there is a file in it.
    pub fn begin<'k, T>(
        &self,
        key: &'k Key,
        names: Names,
        begin: impl Fn(OwnedFd, &'k str) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let attempt = || {
            let (directory, name) = self.parent(key, Some(names))?;
            begin(directory, name)
        };
        again(attempt, |e| matches!(*e, Errno::NOENT | Errno::STALE))
    }

    /// Removes the file of `key`, and the directories above it that hold nothing else: a purge would leave one
    /// for each SSTable that ever was. The topmost stays, as it may have been made for us.
    pub fn remove(&self, key: &Key) -> Result<(), Errno> {
        let (path, name) = key.split_last();
        let segments: Vec<&str> = path.split('/').filter(|it| !it.is_empty()).collect();
        let mut way = vec![open_directory(&self.directory, ".")?];
        for segment in &segments {
            let below = open_directory(&way[way.len() - 1], *segment)?;
            way.push(below);
        }
        match rustix::fs::unlinkat(&way[segments.len()], name, AtFlags::empty()) {
            // The answer of a network may have been lost, or the directories may have been left.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
        for (above, segment) in way.iter().zip(&segments).skip(1).rev() {
            if rustix::fs::unlinkat(above, *segment, AtFlags::REMOVEDIR).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The directory below the root that `segments` lead to.
    ///
    /// One directory at a time with no symbolic link followed, so that nobody who can write into
    /// the storage can lead us out of it; openat2 would do it at once, but old seccomp profiles
    /// of container runtimes refuse it.
    pub fn walk<'s>(
        &self,
        segments: impl Iterator<Item = &'s str>,
        create: Option<Names>,
    ) -> Result<OwnedFd, Errno> {
        let mut directory = open_directory(&self.directory, ".")?;
        for segment in segments {
            let below = match open_directory(&directory, segment) {
                Err(Errno::NOENT) if create.is_some() => {
                    match rustix::fs::mkdirat(&directory, segment, DIRECTORY_MODE) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(e) => return Err(e),
                    }
                    open_directory(&directory, segment)?
                }
                opened => opened?,
            };
            // Whoever made it just now may not have come to that.
            if create == Some(Names::Durable) {
                rustix::fs::fsync(&directory)?;
            }
            directory = below;
        }
        Ok(directory)
    }

    /// Size and time of the object `name` in `directory`.
    pub fn object(&self, directory: &OwnedFd, name: &str, key: &Key) -> Result<Stat, Error> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| self.failed(Some(key), e))?;
        self.check_regular(&stat, key)?;
        Ok(stat)
    }

    /// Refuses what only looks like an object: links, pipes, directories.
    pub fn check_regular(&self, stat: &Stat, key: &Key) -> Result<(), Error> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(()),
            FileType::Directory => Err(Error::NotFound {
                at: self.at(Some(key)),
            }),
            other => {
                let reason = format!("it is no regular file but {other:?}; remove it");
                Err(Error::Corrupt {
                    at: self.at(Some(key)),
                    reason,
                })
            }
        }
    }

    /// The clock of the file system, which on a network is the server's.
    pub fn now(&self) -> Result<SystemTime, Errno> {
        let name = temporary_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name.as_str(), flags, FILE_MODE)?;
        let stat = rustix::fs::fstat(&file);
        rustix::fs::unlinkat(&self.directory, name.as_str(), AtFlags::empty())?;
        Ok(modified(&stat?))
    }

    /// Puts everything on the disk that was written before.
    pub fn settle(&self) -> Result<(), Errno> {
        rustix::fs::syncfs(&self.directory)
    }

    /// Reads the root once, and tells its file system.
    pub fn reach(&self) -> Result<FileSystem, Errno> {
        let directory = open_directory(&self.directory, ".")?;
        if let Some(entry) = rustix::fs::Dir::read_from(&directory)?.next() {
            entry?;
        }
        let device = rustix::fs::fstat(&directory)?.st_dev;
        let space = rustix::fs::fstatvfs(&directory)?;
        Ok(FileSystem {
            device,
            free: space.f_bavail.saturating_mul(space.f_frsize),
        })
    }
}

/// Does it again while a directory goes on the way, as `is_gone` tells by the error.
pub(super) fn again<T, E>(
    mut work: impl FnMut() -> Result<T, E>,
    is_gone: impl Fn(&E) -> bool,
) -> Result<T, E> {
    for _ in 1..ATTEMPTS {
        match work() {
            Err(error) if is_gone(&error) => {}
            done => return done,
        }
    }
    work()
}

/// Opens a directory in a directory; a symbolic link is [`Errno::NOTDIR`] or [`Errno::LOOP`].
pub(super) fn open_directory(
    parent: impl AsFd,
    name: impl rustix::path::Arg,
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// The time of a file's last change of content.
pub(super) fn modified(stat: &Stat) -> SystemTime {
    let nanos = Duration::from_nanos(stat.st_mtime_nsec);
    let seconds = Duration::from_secs(stat.st_mtime.unsigned_abs());
    if stat.st_mtime >= 0 {
        SystemTime::UNIX_EPOCH + seconds + nanos
    } else {
        SystemTime::UNIX_EPOCH - seconds + nanos
    }
}
