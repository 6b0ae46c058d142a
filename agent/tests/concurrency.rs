//! How many uploads of one backup are at work at the same time.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use agent::lease::SystemTimer;
use agent::order::Order;
use agent::run_context::{Report, Run};
use agent::testing::*;
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use manifest::*;
use protocol::{EventKind, Progress};
use store::{Content as StoredContent, Store};
use store::{Error as StoreError, FileStore, FileSystem, Key, Object, Objects, Outcome, Source};
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LARGE: u64 = 256 << 10;
/// Small files that take the place of a large one.
const SMALL_FOR_LARGE: usize = 4;

/// Uploads of one kind: as many as are expected at the same time wait for each other, so that fewer
/// never end.
struct Uploads {
    meeting: Barrier,
    at_work: AtomicUsize,
    most: AtomicUsize,
}

impl Uploads {
    fn expecting(at_a_time: usize) -> Self {
        Self {
            meeting: Barrier::new(at_a_time),
            at_work: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        }
    }

    async fn meet(&self) {
        let at_work = self.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(at_work, Ordering::SeqCst);
        self.meeting.wait().await;
    }

    fn leave(&self) {
        self.at_work.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A storage of files that counts uploads of data.
struct Counting {
    files: FileStore,
    large: Uploads,
    small: Uploads,
}

#[async_trait]
impl Store for Counting {
    fn name(&self) -> &str {
        self.files.name()
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<(), StoreError> {
        self.files.create(key, body).await
    }

    async fn upload(
        &self,
        key: &Key,
        size: u64,
        source: &mut dyn Source,
    ) -> Result<Outcome, StoreError> {
        assert!(key.as_str().starts_with("c/data/"), "{key}");
        let uploads = if size < LARGE {
            &self.small
        } else {
            &self.large
        };
        uploads.meet().await;
        let outcome = self.files.upload(key, size, source).await;
        uploads.leave();
        outcome
    }

    async fn stat(&self, key: &Key) -> Result<Object, StoreError> {
        self.files.stat(key).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<StoredContent, StoreError> {
        self.files.get(key, range).await
    }

    fn list(&self, prefix: &Key) -> Objects {
        self.files.list(prefix)
    }

    async fn touch(&self, key: &Key, size: u64) -> Result<(), StoreError> {
        self.files.touch(key, size).await
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.files.delete(key).await
    }

    async fn now(&self) -> Result<SystemTime, StoreError> {
        self.files.now().await
    }

    async fn reach(&self) -> Result<Option<FileSystem>, StoreError> {
        self.files.reach().await
    }
}

struct Nobody;

impl Report for Nobody {
    fn event(&self, _: EventKind) {}
}

/// Files of zeros.
struct Zeros;

struct ZerosOnce {
    whole: Bytes,
    read: bool,
    hash: blake3::Hash,
}

fn zeros(size: u64) -> Bytes {
    vec![0; size as usize].into()
}

#[async_trait]
impl Source for ZerosOnce {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok((!std::mem::replace(&mut self.read, true)).then(|| self.whole.clone()))
    }

    async fn restart(&mut self) -> io::Result<()> {
        self.read = false;
        Ok(())
    }
}

impl Content for ZerosOnce {
    fn hash(&self) -> Option<blake3::Hash> {
        Some(self.hash)
    }
}

#[async_trait]
impl Files for Zeros {
    fn open(&self, item: &Item, _: Arc<AtomicU64>) -> Result<Box<dyn Content>, Error> {
        let whole = zeros(item.size());
        let hash = blake3::hash(&whole);
        let read = false;
        Ok(Box::new(ZerosOnce { whole, read, hash }))
    }

    async fn hash(&self, item: &Item) -> Result<blake3::Hash, Error> {
        Ok(blake3::hash(&zeros(item.size())))
    }

    fn read(&self, _: &Item, _: blake3::Hash, _: SystemTime) {}
}

/// SSTables of one file each.
fn inventory(layout: &NodeLayout, sizes: impl Iterator<Item = u64>) -> Inventory {
    let sstables = sizes.enumerate().map(|(number, size)| {
        let name = format!("nb-{number}-big-Data.db");
        let component: ComponentName = name.parse().unwrap();
        let dir = SsTableDir::new(&component.descriptor, 0, size);
        let place = ObjectPath {
            keyspace: "shop",
            directory: "orders-0",
            index: None,
        };
        let prefix = Key::parse(&layout.sstable_prefix(&place, &dir)).unwrap();
        let stat = Stat {
            device: 1,
            inode: number as u64,
            size,
            modified: 0,
        };
        InventorySsTable {
            dir,
            numeric_id: true,
            index: None,
            data_directory: 0,
            bounds: None,
            items: vec![Item {
                key: prefix.join(&name).unwrap(),
                file: SnapshotFile { name, stat },
                directory: Path::new("").into(),
                hash: None,
                expected: Expected::default(),
            }],
        }
    });
    Inventory {
        tables: vec![InventoryTable {
            keyspace: "shop".into(),
            table: "orders".into(),
            id: "0".into(),
            directory: "orders-0".into(),
            schema: None,
            sstables: sstables.collect(),
        }],
    }
}

fn header(run: &Run, layout: &NodeLayout, backup: &BackupName) -> Header {
    Header {
        format_version: FORMAT_VERSION.into(),
        backup: backup.clone(),
        run_id: run.id,
        cluster: "c".parse().unwrap(),
        series: None,
        scope: Scope::default(),
        ring_hash: RingHash::default(),
        expected_host_ids: vec![layout.host_id()],
        node: NodeHeader {
            host_id: layout.host_id(),
            datacenter: String::new(),
            rack: String::new(),
            addresses: Vec::new(),
            pod: None,
            cassandra_version: String::new(),
            partitioner: String::new(),
            tokens: Vec::new(),
            data_directories: Vec::new(),
        },
        schema_version: SchemaVersions::default(),
        schema: None,
        snapshot: Snapshot {
            tag: String::new(),
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: Timestamp::UNIX_EPOCH,
        },
        agent_version: String::new(),
    }
}

/// Backs up six rounds of files. Gives how many large and small uploads were at work at most.
async fn most_at_work(concurrency: usize) -> (usize, usize) {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let small = concurrency * SMALL_FOR_LARGE;
    let store = Counting {
        files: FileStore::open(root.path()).unwrap(),
        large: Uploads::expecting(concurrency),
        small: Uploads::expecting(small),
    };
    let run = Run {
        id: Uuid::from_u128(1),
        attempt: 1,
        state: state.path().to_owned(),
        report: Arc::new(Nobody),
        cancel: CancellationToken::new(),
    };
    let layout = NodeLayout::new("c".parse().unwrap(), Uuid::from_u128(2));
    let backup: BackupName = "b1".parse().unwrap();
    let exchange = Exchange {
        run: &run,
        node: None,
        store: &store,
        layout: &layout,
        backup: &backup,
        touch_after: Duration::ZERO,
        lifetime: Duration::from_secs(3600),
        transfer: Transfer {
            run: &run,
            store: &store,
            files: &Zeros,
            concurrency,
            allow_corrupt: false,
        },
        timer: &SystemTimer,
        order: Order::RIGHT,
    };
    let sizes = std::iter::repeat_n(LARGE, 6 * concurrency);
    let sizes = sizes.chain(std::iter::repeat_n(LARGE - 1, 6 * small));
    let mut inventory = inventory(&layout, sizes);
    let closing = async || {
        let tokens = String::new();
        let header = header(&run, &layout, &backup);
        Ok(Closing { header, tokens })
    };
    let mut progress = Progress::default();
    let backed_up = exchange.carry_out(&mut inventory, None, closing, &mut progress);
    // By a clock that goes on only where nothing else does.
    let backed_up = tokio::time::timeout(Duration::from_secs(60), backed_up).await;
    let backed_up = backed_up.unwrap_or_else(|_| panic!("fewer than {concurrency} came together"));
    backed_up.unwrap();
    assert_eq!(progress.uploaded.files as usize, 6 * (concurrency + small));
    let most = |uploads: &Uploads| uploads.most.load(Ordering::SeqCst);
    (most(&store.large), most(&store.small))
}

#[tokio::test(start_paused = true)]
async fn as_many_large_files_as_asked_for_are_uploaded_at_the_same_time_and_no_more() {
    for concurrency in [1, 3] {
        let (large, small) = most_at_work(concurrency).await;
        assert_eq!(large, concurrency);
        assert_eq!(small, concurrency * SMALL_FOR_LARGE);
    }
}
