//! The content of a snapshot's files, as transfers need it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use async_trait::async_trait;
use store::Source;

use super::error::Error;
use super::hashes::HashCache;
use super::inventory::{self, Item};
use crate::bandwidth::Bandwidth;
use crate::source::FileSource;

/// A file that is read once.
pub trait Content: Source {
    /// The hash of the whole file, once it was read to its end.
    fn hash(&self) -> Option<blake3::Hash>;
}

impl Content for FileSource {
    fn hash(&self) -> Option<blake3::Hash> {
        FileSource::hash(self)
    }
}

/// Where the content of items is.
#[async_trait]
pub trait Files: Send + Sync {
    /// Opens the file of an item. `counter` is raised by every byte that is handed on.
    fn open(&self, item: &Item, counter: Arc<AtomicU64>) -> Result<Box<dyn Content>, Error>;

    /// Reads the file of an item for its hash.
    async fn hash(&self, item: &Item) -> Result<blake3::Hash, Error>;

    /// Takes notice of a hash; the file was read from `read_at` on.
    fn read(&self, item: &Item, hash: blake3::Hash, read_at: SystemTime);
}

/// Files on this node.
pub struct NodeFiles<'a> {
    /// The node's bandwidth.
    pub bandwidth: Arc<Bandwidth>,
    /// Hashes of files that did not change.
    pub hashes: &'a HashCache,
}

#[async_trait]
impl Files for NodeFiles<'_> {
    fn open(&self, item: &Item, counter: Arc<AtomicU64>) -> Result<Box<dyn Content>, Error> {
        let bandwidth = self.bandwidth.clone();
        let path = item.path();
        let source = FileSource::open(&path, item.size(), item.expected(), bandwidth, counter)
            .map_err(Error::io("read", &path))?;
        Ok(Box::new(source))
    }

    async fn hash(&self, item: &Item) -> Result<blake3::Hash, Error> {
        let (bandwidth, size) = (self.bandwidth.clone(), item.size());
        let (hashes, file) = (self.hashes, &item.file);
        let expected = item.expected();
        inventory::hash_file(&item.path(), size, bandwidth, hashes, file, expected).await
    }

    fn read(&self, item: &Item, hash: blake3::Hash, read_at: SystemTime) {
        self.hashes.put(item.file.stat, hash, read_at);
    }
}
