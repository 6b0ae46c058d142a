//! The files that make a backup: intent, tokens, manifest. The manifest is the only commit point.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;
use manifest::{
    BackupName, Component, FORMAT_VERSION, Footer, Header, Intent, ManifestWriter, NodeLayout,
    SchemaObject, SsTable, Sum, Table,
};
use protocol::{Progress, Tally};
use store::{Key, Outcome, Store};
use uuid::Uuid;

use super::error::Error;
use super::inventory::{Inventory, InventoryTable, Item};
use crate::bandwidth::Bandwidth;
use crate::source::{Expected, FileSource};

/// Below it a file is created by one request from memory.
const SMALL: u64 = 4 << 20;

/// More attempts of one run than anybody makes.
const MAX_ATTEMPTS: u32 = 10_000;

/// An intent that was written.
pub struct WrittenIntent {
    /// By the store's clock: no commit after it.
    deadline: SystemTime,
}

impl WrittenIntent {
    /// Fails when the deadline has passed.
    pub async fn check(&self, store: &dyn Store) -> Result<(), Error> {
        if store.now().await? < self.deadline {
            Ok(())
        } else {
            Err(Error::Deadline)
        }
    }
}

/// Writes the intent of an attempt: every key that it relies on. Where an attempt of this number
/// left one behind, the next free number is taken.
pub async fn write_intent(
    store: &dyn Store,
    layout: &NodeLayout,
    backup: &BackupName,
    run: (Uuid, u32),
    keys: &[&Key],
    lifetime: Duration,
    directory: &Path,
) -> Result<WrittenIntent, Error> {
    let (run_id, first) = run;
    let deadline = store.now().await? + lifetime;
    for attempt in first..first.saturating_add(MAX_ATTEMPTS) {
        let key = Key::parse(&layout.intent(backup, run_id, attempt))?;
        let intent = Intent {
            format_version: FORMAT_VERSION.into(),
            run_id,
            attempt,
            deadline: Timestamp::try_from(deadline)
                .map_err(|_| Error::Request("the deadline is out of range".into()))?,
        };
        let file = Temporary::new(directory, "intent");
        let keys = keys.iter().map(|key| layout.below_cluster(key.as_str()));
        intent
            .write(file.create()?, keys)
            .map_err(|source| Error::Keys {
                key: key.to_string(),
                source,
            })?;
        if put_new(store, &key, file.path()).await? {
            return Ok(WrittenIntent { deadline });
        }
    }
    Err(Error::Request(format!(
        "more than {MAX_ATTEMPTS} attempts of one run"
    )))
}

/// Writes a small object whose name tells its content; one that is there is left as it is.
pub async fn put_content(store: &dyn Store, key: &Key, text: Vec<u8>) -> Result<bool, Error> {
    match store.create(key, Bytes::from(text)).await {
        Ok(()) => Ok(true),
        Err(store::Error::AlreadyExists { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes the manifest; false if the backup of this node has one already.
pub async fn write_manifest(
    store: &dyn Store,
    layout: &NodeLayout,
    backup: &BackupName,
    header: Header,
    inventory: &Inventory,
    footer: Footer,
    directory: &Path,
) -> Result<bool, Error> {
    let file = Temporary::new(directory, "manifest");
    let failed = |source| Error::Write {
        what: "the manifest",
        source,
    };
    let mut writer = ManifestWriter::new(file.create()?, header).map_err(failed)?;
    for table in &inventory.tables {
        writer.table(table_line(table)).map_err(failed)?;
        for sstable in &table.sstables {
            let line = SsTable {
                sstable: sstable.dir.as_str().to_owned(),
                index: sstable.index.clone(),
                data_directory: sstable.data_directory,
                first_token: sstable.bounds.map(|(first, _)| first.to_string()),
                last_token: sstable.bounds.map(|(_, last)| last.to_string()),
                components: sstable.items.iter().map(component).collect(),
            };
            writer.sstable(line).map_err(failed)?;
        }
    }
    writer.finish(footer).map_err(failed)?;
    put_new(store, &Key::parse(&layout.manifest(backup))?, file.path()).await
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
            object: item.key.name().to_owned(),
            bytes: item.size(),
            blake3: hex(item),
        }),
    }
}

fn component(item: &Item) -> Component {
    Component {
        name: item.file.name.clone(),
        object: item.key.name().to_owned(),
        bytes: item.size(),
        blake3: hex(item),
    }
}

fn hex(item: &Item) -> String {
    item.hash
        .map(|hash| hash.to_hex().to_string())
        .unwrap_or_default()
}

/// Creates an object from a file; false if there is one already.
async fn put_new(store: &dyn Store, key: &Key, path: &Path) -> Result<bool, Error> {
    let size = std::fs::metadata(path)
        .map_err(Error::io("read", path))?
        .len();
    if size <= SMALL {
        let text = std::fs::read(path).map_err(Error::io("read", path))?;
        return put_content(store, key, text).await;
    }
    let unlimited = Arc::new(Bandwidth::unlimited());
    let mut source = FileSource::open(path, size, Expected::default(), unlimited, Arc::default())
        .map_err(Error::io("read", path))?;
    match store.upload(key, size, &mut source).await {
        Ok(Outcome::Stored) => Ok(true),
        Ok(Outcome::AlreadyThere) | Err(store::Error::Differs { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A file in the state directory that goes when it is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(directory: &Path, name: &str) -> Self {
        Self(directory.join(format!("{name}.{}.tmp", std::process::id())))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn create(&self) -> Result<impl Write + use<>, Error> {
        let file = File::create(&self.0).map_err(Error::io("create", &self.0))?;
        Ok(BufWriter::with_capacity(1 << 16, file))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
