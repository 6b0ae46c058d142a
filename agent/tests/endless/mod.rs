//! A storage of a million objects that takes no memory itself.

mod header;
mod peak;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use manifest::*;
use store::*;
use uuid::Uuid;

use header::header;

pub use peak::peak;

/// Components that manifests name, of which the older backup alone has every second.
pub const COMPONENTS: u64 = 1_000_000;
pub const PER_SSTABLE: u64 = 8;
pub const NODE: Uuid = Uuid::from_u128(1);
const AGE: Duration = Duration::from_secs(100 * 3600);

/// Its objects are made while they are listed.
pub struct Endless {
    /// Objects of the data that were deleted.
    pub deleted: AtomicU64,
    /// Whether its data is gone.
    pub lost: bool,
    directory: tempfile::TempDir,
    files: FileStore,
}

fn object(n: u64) -> (String, String) {
    let (sstable, component) = (n / PER_SSTABLE, n % PER_SSTABLE);
    let directory = format!("nb-{sstable}-big.1a2b3c4d.4711");
    (
        directory,
        format!("nb-{sstable}-big-Component{component}.db.0011223344556677"),
    )
}

fn key(n: u64) -> Key {
    let (directory, object) = object(n);
    let table = "orders-0123456789abcdef0123456789abcdef";
    Key::parse(&format!("c/data/{NODE}/shop/{table}/{directory}/{object}")).unwrap()
}

impl Endless {
    /// With the manifests of two backups.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = FileStore::open(directory.path()).unwrap();
        let this = Self {
            deleted: AtomicU64::new(0),
            lost: false,
            directory,
            files,
        };
        this.write("old", 1);
        this.write("new", 2);
        this
    }

    /// A manifest of every `step`th SSTable.
    fn write(&self, backup: &str, step: usize) {
        let path = self.directory.path().join("c/manifests").join(backup);
        std::fs::create_dir_all(&path).unwrap();
        let file = std::fs::File::create(path.join(format!("{NODE}.jsonl"))).unwrap();
        let file = std::io::BufWriter::new(file);
        let mut writer = ManifestWriter::new(file, header(NODE, backup, 23)).unwrap();
        let table = r#"{"keyspace":"shop","table":"orders","id":"",
            "directory":"orders-0123456789abcdef0123456789abcdef"}"#;
        writer.table(serde_json::from_str(table).unwrap()).unwrap();
        for first in (0..COMPONENTS).step_by(PER_SSTABLE as usize).step_by(step) {
            let components = (first..first + PER_SSTABLE).map(|n| Component {
                name: String::new(),
                object: object(n).1,
                bytes: 1,
                blake3: "0".repeat(64),
            });
            let sstable = SsTable {
                sstable: object(first).0,
                index: None,
                data_directory: 0,
                first_token: None,
                last_token: None,
                content: None,
                components: components.collect(),
            };
            writer.sstable(sstable).unwrap();
        }
        let tokens = format!("tokens/{backup}/{NODE}.yaml");
        let footer = Footer {
            tokens,
            ..Footer::default()
        };
        writer.finish(footer).unwrap();
    }
}

#[async_trait]
impl Store for Endless {
    fn name(&self) -> &str {
        "endless"
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), Error> {
        self.files.create(key, body).await
    }

    async fn upload(
        &self,
        key: &Key,
        size: u64,
        source: &mut dyn Source,
    ) -> Result<Outcome, Error> {
        self.files.upload(key, size, source).await
    }

    async fn stat(&self, key: &Key) -> Result<Object, Error> {
        self.files.stat(key).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Content, Error> {
        self.files.get(key, range).await
    }

    fn list(&self, prefix: &Key) -> Objects {
        if !prefix.as_str().starts_with("c/data") {
            return self.files.list(prefix);
        }
        let modified = SystemTime::now() - AGE;
        let held = if self.lost { 0 } else { COMPONENTS };
        let objects = (0..held).map(move |n| {
            Ok(Object {
                key: key(n),
                size: 1,
                modified,
            })
        });
        stream::iter(objects).boxed()
    }

    async fn folders(&self, limit: usize) -> Result<Vec<String>, Error> {
        self.files.folders(limit).await
    }

    async fn touch(&self, key: &Key, size: u64) -> Result<(), Error> {
        self.files.touch(key, size).await
    }

    async fn delete(&self, key: &Key) -> Result<(), Error> {
        if key.as_str().starts_with("c/data") {
            self.deleted.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.files.delete(key).await
    }

    async fn now(&self) -> Result<SystemTime, Error> {
        Ok(SystemTime::now())
    }

    async fn reach(&self) -> Result<Option<FileSystem>, Error> {
        Ok(None)
    }
}
