//! FILE: a directory, usually on a mounted volume.

mod error;
mod list;
mod read;
mod root;
mod sweep;
mod temporary;
mod upload;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;

use self::error::is_stale;
use self::root::{Names, Root, again, modified};
use self::temporary::{Placed, Temporary};
use crate::probe::FileSystem;
use crate::{Content, Error, Kept, Key, Named, Object, Objects, Outcome, Source, Store};

/// A directory as a storage.
#[derive(Debug, Clone)]
pub struct FileConfig {
    /// The directory below which everything stays.
    pub root: PathBuf,
    /// Make the root when it is missing. Off by default: a missing root is usually a missing
    /// mount, and a backup onto the disk below it is none.
    pub create_root: bool,
}

/// Objects as files below a directory.
///
/// Everything stays below the root: paths are walked one directory at a time, and symbolic links
/// are not followed. A file gets its name when its content is on the disk, and never before.
#[derive(Debug, Clone)]
pub struct FileStore {
    root: Arc<Root>,
}

impl FileStore {
    /// Opens the directory `root`, which has to exist.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::open_with(FileConfig {
            root: root.into(),
            create_root: false,
        })
    }

    /// Opens a directory as `config` says.
    pub fn open_with(config: FileConfig) -> Result<Self, Error> {
        Ok(Self {
            root: Arc::new(Root::open(&config)?),
        })
    }

    /// Runs `work`, which may block, on a thread of its own.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Root>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let root = Arc::clone(&self.root);
        error::joined(&self.root, tokio::task::spawn_blocking(move || work(&root))).await
    }
}

#[async_trait]
impl Store for FileStore {
    fn name(&self) -> &str {
        &self.root.name
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        let key = key.clone();
        self.run(move |root| {
            let failed = |e| root.failed(Some(&key), e);
            let names = Names::Durable;
            let size = body.len() as u64;
            let begun = root.begin(&key, names, |directory, name| {
                Ok((Temporary::create(root, directory, size)?, name))
            });
            let (mut file, name) = begun.map_err(failed)?;
            file.write(&body).map_err(failed)?;
            match file.place(name, names).map_err(failed)? {
                Placed::New => Ok(()),
                Placed::Exists { .. } => Err(Error::AlreadyExists {
                    at: root.at(Some(&key)),
                }),
            }
        })
        .await
    }

    async fn upload(
        &self,
        key: &Key,
        size: u64,
        source: &mut dyn Source,
    ) -> Result<Outcome, Error> {
        upload::upload(&self.root, key, size, source).await
    }

    async fn settle(&self) -> Result<(), Error> {
        self.run(|root| root.settle().map_err(|e| root.failed(None, e)))
            .await
    }

    async fn stat(&self, key: &Key) -> Result<Object, Error> {
        let key = key.clone();
        self.run(move |root| {
            let look = || {
                let (directory, name) = root
                    .parent(&key, None)
                    .map_err(|e| root.failed(Some(&key), e))?;
                root.object(&directory, name, &key)
            };
            let stat = again(look, is_stale)?;
            Ok(Object {
                size: stat.st_size as u64,
                modified: modified(&stat),
                key,
            })
        })
        .await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Content, Error> {
        let key = key.clone();
        self.run(move |root| again(|| read::open(root, key.clone(), range.clone()), is_stale))
            .await
    }

    fn list(&self, prefix: &Key) -> Objects {
        list::list(Arc::clone(&self.root), prefix.clone())
    }

    async fn folders(&self, limit: usize) -> Result<Vec<String>, Error> {
        self.run(move |root| list::folders(root, limit).map_err(|e| root.failed(None, e)))
            .await
    }

    async fn touch(&self, key: &Key, size: u64) -> Result<(), Error> {
        let key = key.clone();
        self.run(move |root| again(|| touch(root, &key, size), is_stale))
            .await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        let key = key.clone();
        self.run(move |root| {
            let remove = || match root.remove(&key) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(e) => Err(root.failed(Some(&key), e)),
            };
            again(remove, is_stale)
        })
        .await
    }

    async fn now(&self) -> Result<SystemTime, Error> {
        self.run(|root| root.now().map_err(|e| root.failed(None, e)))
            .await
    }

    async fn keeps(&self) -> Result<Option<Kept>, Error> {
        Ok(Some(Kept::Nothing))
    }

    async fn reach(&self) -> Result<Option<FileSystem>, Error> {
        self.run(|root| root.reach().map(Some).map_err(|e| root.failed(None, e)))
            .await
    }

    async fn sweep(
        &self,
        prefix: &Key,
        before: SystemTime,
        _named: &Named<'_>,
    ) -> Result<u64, Error> {
        let prefix = prefix.clone();
        self.run(move |root| sweep::sweep(root, &prefix, before))
            .await
    }
}

fn touch(root: &Root, key: &Key, size: u64) -> Result<(), Error> {
    let failed = |e| root.failed(Some(key), e);
    let (directory, name) = root.parent(key, None).map_err(failed)?;
    let found = root.object(&directory, name, key)?.st_size as u64;
    if found != size {
        return Err(Error::Differs {
            at: root.at(Some(key)),
            expected: size,
            found,
        });
    }
    // Both times now: that needs the right to write, anything else needs the owner.
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    rustix::fs::utimensat(&directory, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
}
