//! The objects of a snapshot: every file with its key, and with its hash where the key needs it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures::{StreamExt, TryStreamExt};
use manifest::{ComponentName, NodeLayout, ObjectPath, SsTableDir};
use store::{Child, InvalidKey, Key};

use super::bounds;
use super::error::Error;
use super::hashes::HashCache;
use super::scan::{SnapshotFile, SnapshotSsTable, SnapshotTable};
use super::statistics::{self, Counts};
use crate::bandwidth::Bandwidth;
use crate::gentle;
use crate::source::{Expected, FileSource};

/// Longer partition keys are not written down: they are for a sample.
const LONGEST_KEY: usize = 128;
/// Tables whose small files are read at the same time.
const PARALLEL: usize = 4;

/// What a node's backup consists of.
pub struct Inventory {
    /// Tables in order of keyspace and directory.
    pub tables: Vec<InventoryTable>,
}

/// A table.
pub struct InventoryTable {
    /// Keyspace.
    pub keyspace: String,
    /// Name.
    pub table: String,
    /// 32 hex digits.
    pub id: String,
    /// `<table>-<id>`.
    pub directory: String,
    /// Its own schema.
    pub schema: Option<Item>,
    /// Its SSTables and those of its indexes.
    pub sstables: Vec<InventorySsTable>,
}

/// An SSTable.
pub struct InventorySsTable {
    /// `<sstable>.<digest>.<bytes>`.
    pub dir: SsTableDir,
    /// Whether the id is a number, which comes again.
    pub numeric_id: bool,
    /// `.<index>`.
    pub index: Option<String>,
    /// Position in the node's data directories.
    pub data_directory: usize,
    /// First and last token.
    pub bounds: Option<(i64, i64)>,
    /// What it has.
    pub content: Option<Contents>,
    /// Its files.
    pub items: Vec<Item>,
    /// Whether a file was found damaged, so that it is left out.
    pub damaged: AtomicBool,
}

/// What an SSTable has.
pub struct Contents {
    /// Partitions and rows.
    pub counts: Counts,
    /// The first and the last partition key, where they are short.
    pub keys: Vec<Box<[u8]>>,
}

/// A file and the object that it is or becomes. A node has hundreds of thousands.
#[derive(Debug)]
pub struct Item {
    /// The file.
    pub file: SnapshotFile,
    directory: Arc<Path>,
    object: Child,
    hash: Mutex<Option<blake3::Hash>>,
    must_be: MustBe,
}

/// What the content of a file must be.
#[derive(Clone, Copy, Debug)]
enum MustBe {
    /// That of the CRC32 in `Digest.crc32`.
    Crc(u32),
    /// That of the hash in its key.
    Hash,
    /// Nothing says.
    Unknown,
}

impl Item {
    /// A file in `directory` that keeps its name in the storage, below `prefix`.
    pub fn named(
        file: SnapshotFile,
        directory: Arc<Path>,
        prefix: &Key,
        hash: Option<blake3::Hash>,
        crc: Option<u32>,
    ) -> Result<Self, InvalidKey> {
        Ok(Self {
            object: prefix.child(Arc::clone(&file.name))?,
            file,
            directory,
            hash: hash.into(),
            must_be: crc.map_or(MustBe::Unknown, MustBe::Crc),
        })
    }

    /// A file in `directory` whose object's name follows from its hash, below `prefix`.
    pub fn hashed(
        file: SnapshotFile,
        directory: Arc<Path>,
        prefix: &Key,
        object: &str,
        hash: blake3::Hash,
    ) -> Result<Self, InvalidKey> {
        Ok(Self {
            object: prefix.child(object.into())?,
            file,
            directory,
            hash: Some(hash).into(),
            must_be: MustBe::Hash,
        })
    }

    /// Its key.
    pub fn key(&self) -> Key {
        self.object.key()
    }

    /// The last segment of its key.
    pub fn object(&self) -> &str {
        self.object.name()
    }

    /// Its hash, once it is known.
    pub fn hash(&self) -> Option<blake3::Hash> {
        *self.hash.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes notice of its hash.
    pub fn learn(&self, hash: blake3::Hash) {
        *self.hash.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash);
    }

    /// What its content must be.
    pub fn expected(&self) -> Expected {
        match self.must_be {
            MustBe::Crc(crc) => Expected {
                crc: Some(crc),
                hash: None,
            },
            MustBe::Hash => Expected {
                crc: None,
                hash: self.hash(),
            },
            MustBe::Unknown => Expected::default(),
        }
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.file.stat.size
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&*self.file.name)
    }
}

impl Inventory {
    /// Every object, schemas included.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.tables.iter().flat_map(InventoryTable::items)
    }
}

impl InventoryTable {
    /// Its objects, its schema included.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        let files = self.sstables.iter().flat_map(|sstable| &sstable.items);
        self.schema.iter().chain(files)
    }
}

/// What an inventory is made with.
pub struct Maker<'a> {
    /// Keys of this node.
    pub layout: &'a NodeLayout,
    /// Hashes of files that did not change.
    pub hashes: &'a HashCache,
    /// The node's bandwidth.
    pub bandwidth: Arc<Bandwidth>,
    /// Class name of the partitioner.
    pub partitioner: &'a str,
}

impl Maker<'_> {
    /// Gives every file its key; reads those whose key needs their hash.
    pub async fn make(&self, tables: Vec<SnapshotTable>) -> Result<Inventory, Error> {
        let tables = futures::stream::iter(tables.into_iter().map(|table| self.table(table)))
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        Ok(Inventory { tables })
    }

    async fn table(&self, table: SnapshotTable) -> Result<InventoryTable, Error> {
        let SnapshotTable {
            keyspace,
            table,
            id,
            directory,
            schema,
            sstables,
        } = table;
        let mut made = Vec::with_capacity(sstables.len());
        let schema = match schema {
            Some((at, file)) => Some(self.schema(&keyspace, &directory, file, at).await?),
            None => None,
        };
        for sstable in sstables {
            made.push(self.sstable(&keyspace, &directory, sstable).await?);
        }
        Ok(InventoryTable {
            keyspace,
            table,
            id,
            directory,
            schema,
            sstables: made,
        })
    }

    async fn schema(
        &self,
        keyspace: &str,
        directory: &str,
        file: SnapshotFile,
        at: Arc<Path>,
    ) -> Result<Item, Error> {
        let hash = self.hash(&file, &at.join(&*file.name)).await?;
        let object = NodeLayout::schema_object(&hash);
        let prefix = Key::parse(&self.layout.table_prefix(keyspace, directory))?;
        Ok(Item::hashed(file, at, &prefix, &object, hash)?)
    }

    async fn sstable(
        &self,
        keyspace: &str,
        directory: &str,
        sstable: SnapshotSsTable,
    ) -> Result<InventorySsTable, Error> {
        let (sstable, facts) = self.facts(sstable).await?;
        let (dir, crc) = self.directory(&sstable, facts.digest).await?;
        let place = ObjectPath {
            keyspace,
            directory,
            index: sstable.index.as_deref(),
        };
        let prefix = Key::parse(&self.layout.sstable_prefix(&place, &dir))?;
        let (bounds, content) = (facts.bounds, facts.content);
        let mut items = Vec::with_capacity(sstable.files.len());
        for file in sstable.files {
            items.push(self.item(&prefix, &sstable.path, file, crc).await?);
        }
        Ok(InventorySsTable {
            dir,
            numeric_id: sstable
                .descriptor
                .as_ref()
                .is_none_or(|d| d.has_numeric_id()),
            index: sstable.index,
            data_directory: sstable.data_directory,
            bounds,
            content,
            items,
            damaged: AtomicBool::new(false),
        })
    }

    async fn item(
        &self,
        prefix: &Key,
        directory: &Arc<Path>,
        file: SnapshotFile,
        crc: Option<u32>,
    ) -> Result<Item, Error> {
        let component = file.name.parse::<ComponentName>().ok();
        let keeps_name = component.as_ref().is_some_and(|name| name.is_immutable());
        let at = Arc::clone(directory);
        if keeps_name {
            let is_data = component.is_some_and(|name| name.is_data());
            let (known, crc) = (self.hashes.get(&file.stat), crc.filter(|_| is_data));
            return Ok(Item::named(file, at, prefix, known, crc)?);
        }
        let hash = self.hash(&file, &directory.join(&*file.name)).await?;
        let object = NodeLayout::object_name(&file.name, &hash);
        Ok(Item::hashed(file, at, prefix, &object, hash)?)
    }

    /// What small files of an SSTable say, read on a thread that may wait for the disk.
    async fn facts(&self, sstable: SnapshotSsTable) -> Result<(SnapshotSsTable, Facts), Error> {
        let partitioner = self.partitioner.to_owned();
        tokio::task::spawn_blocking(move || {
            let keys = bounds::keys(&sstable);
            let facts = Facts {
                digest: digest(&sstable)?,
                bounds: keys
                    .as_ref()
                    .and_then(|keys| bounds::tokens(keys, &partitioner)),
                content: content(&sstable, keys),
            };
            Ok((sstable, facts))
        })
        .await?
    }

    /// The SSTable's directory in the storage, and the CRC32 of its data file.
    async fn directory(
        &self,
        sstable: &SnapshotSsTable,
        digest: Option<u32>,
    ) -> Result<(SsTableDir, Option<u32>), Error> {
        let Some(descriptor) = &sstable.descriptor else {
            let file = &sstable.files[0];
            let hash = self.hash(file, &sstable.path_of(file)).await?;
            let dir = SsTableDir::without_digest(&file.name, &hash, file.stat.size);
            return Ok((dir, None));
        };
        let data = sstable.file("-Data.db");
        let bytes = data.map_or(0, |file| file.stat.size);
        if let Some(crc) = digest {
            return Ok((SsTableDir::new(descriptor, crc, bytes), Some(crc)));
        }
        // Without a digest that can be read, the content of the data file itself says which it is.
        let file = data.unwrap_or(&sstable.files[0]);
        let hash = self.hash(file, &sstable.path_of(file)).await?;
        Ok((
            SsTableDir::without_digest(descriptor.as_str(), &hash, bytes),
            None,
        ))
    }

    /// The hash of a file, from the cache or by reading it.
    async fn hash(
        &self,
        file: &SnapshotFile,
        path: &std::path::Path,
    ) -> Result<blake3::Hash, Error> {
        if let Some(hash) = self.hashes.get(&file.stat) {
            return Ok(hash);
        }
        hash_file(
            path,
            file.stat.size,
            self.bandwidth.clone(),
            self.hashes,
            file,
            Expected::default(),
        )
        .await
    }
}

/// What small files of an SSTable say.
struct Facts {
    /// CRC32 of the data file.
    digest: Option<u32>,
    /// First and last token.
    bounds: Option<(i64, i64)>,
    /// What it has.
    content: Option<Contents>,
}

/// What an SSTable of a table has, as Cassandra's files say; an index is built anew by a restore.
fn content(sstable: &SnapshotSsTable, keys: Option<(Vec<u8>, Vec<u8>)>) -> Option<Contents> {
    let descriptor = sstable.descriptor.as_ref()?;
    let file = sstable.file("-Statistics.db")?;
    if sstable.index.is_some() || file.stat.size > statistics::LARGEST {
        return None;
    }
    let bytes = gentle::read(&sstable.path_of(file)).ok()?;
    let counts = statistics::counts(&bytes, descriptor)?;
    let mut keys: Vec<Box<[u8]>> =
        keys.map_or_else(Vec::new, |(first, last)| vec![first.into(), last.into()]);
    keys.retain(|key| key.len() <= LONGEST_KEY);
    keys.dedup();
    Some(Contents { counts, keys })
}

/// The number in `Digest.crc32`, where there is one that can be understood.
fn digest(sstable: &SnapshotSsTable) -> Result<Option<u32>, Error> {
    let Some(digest) = sstable.file("-Digest.crc32") else {
        return Ok(None);
    };
    let path = sstable.path_of(digest);
    let text = gentle::read(&path).map_err(Error::io("read", &path))?;
    Ok(String::from_utf8_lossy(&text).trim().parse().ok())
}

/// Reads a file for its hash and remembers it. A content that is not as expected is an error: its
/// hash must not come into a manifest.
pub async fn hash_file(
    path: &std::path::Path,
    size: u64,
    bandwidth: Arc<Bandwidth>,
    hashes: &HashCache,
    file: &SnapshotFile,
    expected: Expected,
) -> Result<blake3::Hash, Error> {
    let uncounted = Arc::new(AtomicU64::new(0));
    let read_at = SystemTime::now();
    let hash = async {
        FileSource::open(path, size, expected, bandwidth, uncounted)?
            .drain()
            .await
    }
    .await
    .map_err(Error::io("read", path))?;
    hashes.put(file.stat, hash, read_at);
    Ok(hash)
}
