//! The files that make a backup: intent, tokens, manifest. The manifest is the only commit point.

use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use manifest::{
    BackupName, Component, FORMAT_VERSION, Footer, Header, Intent, ManifestWriter, NodeLayout,
    SchemaObject, SsTable, Sum, Table, WriteError,
};
use protocol::{Progress, Tally};
use store::{Key, Store};
use uuid::Uuid;

use super::error::Error;
use super::inventory::{Contents, Inventory, InventoryTable, Item};
use crate::lease::Deadline;
use crate::spool::Spool;

/// More attempts of one run than anybody makes.
const MAX_ATTEMPTS: u32 = 10_000;

/// How often an object that comes and goes is stored.
const TRIES: u32 = 3;

/// An intent that was written.
pub struct WrittenIntent {
    /// Its key.
    pub key: Key,
    /// The number in it.
    pub attempt: u32,
}

/// What an attempt relies on.
pub struct Reliances<'a> {
    /// Its objects.
    pub inventory: &'a Inventory,
    /// Schema and tokens.
    pub others: &'a [&'a Key],
}

impl Reliances<'_> {
    /// Every key.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let others = self.others.iter().map(|key| (*key).clone());
        self.inventory.items().map(Item::key).chain(others)
    }
}

/// Writes the intent of an attempt: every key that it relies on. Where an attempt of this number
/// left one behind, the next free number is taken.
pub async fn write_intent(
    store: &dyn Store,
    layout: &NodeLayout,
    backup: &BackupName,
    run: (Uuid, u32),
    relies_on: &Reliances<'_>,
    deadline: &Deadline,
    directory: &Path,
) -> Result<WrittenIntent, Error> {
    let (run_id, first) = run;
    for attempt in first..first.saturating_add(MAX_ATTEMPTS) {
        let key = Key::parse(&layout.intent(backup, run_id, attempt))?;
        let intent = Intent {
            format_version: FORMAT_VERSION.into(),
            run_id,
            attempt,
            deadline: Timestamp::try_from(deadline.at())
                .map_err(|_| Error::Request("the deadline is out of range".into()))?,
        };
        let keys = relies_on.keys();
        let keys = keys.map(|key| layout.below_cluster(key.as_str()).to_owned());
        let spool = intent
            .write(Spool::new(directory, "intent"), keys)
            .map_err(|source| Error::Intent {
                key: key.to_string(),
                source,
            })?;
        if spool.create(store, &key).await? {
            return Ok(WrittenIntent { key, attempt });
        }
    }
    Err(Error::Request(format!(
        "more than {MAX_ATTEMPTS} attempts of one run"
    )))
}

/// What became of a small object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// It is new.
    Created,
    /// It was there, and its timestamp was renewed.
    Touched {
        /// Its size, in bytes.
        size: u64,
    },
}

/// Makes sure that a small object is there and young. One that is there is left as it is.
pub async fn ensure(store: &dyn Store, key: &Key, text: &Bytes) -> Result<Ensured, Error> {
    for _ in 0..TRIES {
        match store.create(key, text.clone()).await {
            Ok(()) => return Ok(Ensured::Created),
            Err(store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let touched = async {
            let size = store.stat(key).await?.size;
            store.touch(key, size).await.map(|()| size)
        };
        match touched.await {
            Ok(size) => return Ok(Ensured::Touched { size }),
            // An external cleanup was faster.
            Err(store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Answer(format!("{key} is there and is not there")))
}

/// The manifest, as it is to be stored.
pub fn manifest(
    header: Header,
    inventory: &Inventory,
    footer: Footer,
    directory: &Path,
) -> Result<Spool, Error> {
    let write = || {
        let mut writer = ManifestWriter::new(Spool::new(directory, "manifest"), header)?;
        for table in &inventory.tables {
            writer.table(table_line(table))?;
            for sstable in &table.sstables {
                writer.sstable(SsTable {
                    sstable: sstable.dir.as_str().to_owned(),
                    index: sstable.index.clone(),
                    data_directory: sstable.data_directory,
                    first_token: sstable.bounds.map(|(first, _)| first.to_string()),
                    last_token: sstable.bounds.map(|(_, last)| last.to_string()),
                    content: sstable.content.as_ref().map(recorded),
                    components: sstable.items.iter().map(component).collect(),
                })?;
            }
        }
        let mut spool = writer.finish(footer)?;
        spool.flush()?;
        Ok::<_, WriteError>(spool)
    };
    write().map_err(|source| Error::Write {
        what: "the manifest",
        source,
    })
}

fn recorded(content: &Contents) -> manifest::Contents {
    manifest::Contents {
        partitions: content.counts.partitions,
        rows: content.counts.rows,
        keys: content.keys.iter().map(hex::encode).collect(),
    }
}

/// The footer of a manifest.
pub fn footer(progress: &Progress, tokens: String, left_out: Vec<String>) -> Footer {
    let sum = |tally: Tally| Sum {
        files: tally.files,
        bytes: tally.bytes,
    };
    Footer {
        files: progress.total.files,
        bytes: progress.total.bytes,
        uploaded: sum(progress.uploaded),
        reused: sum(progress.reused),
        touched: progress.touched,
        left_out,
        tokens,
        blake3: String::new(),
    }
}

fn table_line(table: &InventoryTable) -> Table {
    Table {
        keyspace: table.keyspace.clone(),
        table: table.table.clone(),
        id: table.id.clone(),
        directory: table.directory.clone(),
        schema: table.schema.as_ref().map(|item| SchemaObject {
            object: item.object().to_owned(),
            bytes: item.size(),
            blake3: hex(item),
        }),
    }
}

fn component(item: &Item) -> Component {
    Component {
        name: item.file.name.to_string(),
        object: item.object().to_owned(),
        bytes: item.size(),
        blake3: hex(item),
    }
}

fn hex(item: &Item) -> String {
    item.hash()
        .map(|hash| hash.to_hex().to_string())
        .unwrap_or_default()
}
