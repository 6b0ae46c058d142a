//! A cluster's storage in a directory, made by hand, and purges of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use agent::purge::{Catalogue, PurgeError, PurgeOptions, PurgeReport, purge};
use jiff::Timestamp;
use manifest::*;
use store::FileStore;
use uuid::Uuid;

pub const HOUR: Duration = Duration::from_secs(3600);

/// A storage.
pub struct Ground {
    pub root: tempfile::TempDir,
    spool: tempfile::TempDir,
    pub store: FileStore,
}

/// The node of this number.
pub fn node(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

/// The key of the object `name` of a node, below the cluster id.
pub fn data(node: Uuid, name: &str) -> String {
    format!("data/{node}/shop/orders-0af/nb-{name}-big.1a2b3c4d.4711/nb-{name}-big-Data.db")
}

impl Ground {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = FileStore::open(root.path()).unwrap();
        Self {
            root,
            spool: tempfile::tempdir().unwrap(),
            store,
        }
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.root.path().join("prod").join(key)
    }

    /// Writes a file that was last changed `age` ago.
    pub fn write(&self, key: &str, content: &[u8], age: Duration) {
        let path = self.path(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    /// A node's backup, `age` old, with its data and tokens.
    pub fn backup(&self, name: &str, node: Uuid, objects: &[&str], age: Duration) {
        for object in objects {
            self.write(&data(node, object), object.as_bytes(), age);
        }
        let key = format!("tokens/{name}/{node}.yaml");
        self.write(&key, b"hostId: x", age);
        let content = manifest_of(name, node, objects, age);
        self.write(&format!("manifests/{name}/{node}.jsonl"), &content, age);
    }

    /// An intent that ends `from_now` from now, or that ended as long ago.
    pub fn intent(&self, name: &str, node: Uuid, keys: &[String], from_now: i64) {
        let head = Intent {
            format_version: FORMAT_VERSION.into(),
            run_id: Uuid::from_u128(7),
            attempt: 1,
            deadline: Timestamp::now() + jiff::SignedDuration::from_secs(from_now),
        };
        let content = head.write(Vec::new(), keys).unwrap();
        let run = head.run_id;
        let key = format!("manifests/{name}/{node}.{run}.1.intent");
        self.write(&key, &content, Duration::ZERO);
    }

    pub fn options(&self) -> PurgeOptions {
        let mut options = PurgeOptions::new(self.spool.path());
        options.attribute_cache = Duration::ZERO;
        options
    }

    pub async fn purge_with(
        &self,
        options: PurgeOptions,
        decide: impl Fn(&Catalogue) -> Vec<BackupName> + Send + Sync,
    ) -> Result<PurgeReport, PurgeError> {
        let cluster = "prod".parse().unwrap();
        let purged = purge(&self.store, &cluster, &decide, options, &|_| {}).await;
        assert_eq!(std::fs::read_dir(self.spool.path()).unwrap().count(), 0);
        purged
    }

    pub async fn purge(&self, expired: &[&str]) -> Result<PurgeReport, PurgeError> {
        self.purge_with(self.options(), |_| names(expired)).await
    }

    /// Every file, below the cluster's directory.
    pub fn files(&self) -> BTreeSet<String> {
        fn walk(directory: &Path, root: &Path, files: &mut BTreeSet<String>) {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, root, files);
                } else {
                    let below = path.strip_prefix(root).unwrap();
                    files.insert(below.to_str().unwrap().to_owned());
                }
            }
        }
        let mut files = BTreeSet::new();
        let root = self.root.path().join("prod");
        walk(&root, &root, &mut files);
        files
    }

    /// What `expired` takes with it.
    pub async fn gone_after(&self, expired: &[&str]) -> (PurgeReport, BTreeSet<String>) {
        let before = self.files();
        let report = self.purge(expired).await.unwrap();
        let after = self.files();
        assert!(after.is_subset(&before), "{after:?}");
        (report, before.difference(&after).cloned().collect())
    }
}

pub fn names(names: &[&str]) -> Vec<BackupName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

pub fn manifest_of(name: &str, node: Uuid, objects: &[&str], age: Duration) -> Vec<u8> {
    let at = Timestamp::try_from(SystemTime::now() - age).unwrap();
    let header = Header {
        format_version: FORMAT_VERSION.into(),
        backup: name.parse().unwrap(),
        run_id: Uuid::from_u128(9),
        cluster: "prod".parse().unwrap(),
        series: None,
        scope: Scope::default(),
        ring_hash: RingHash::default(),
        expected_host_ids: vec![node],
        node: NodeHeader {
            host_id: node,
            datacenter: "dc1".into(),
            rack: "r1".into(),
            addresses: Vec::new(),
            pod: None,
            cassandra_version: "5.0.9".into(),
            partitioner: "Murmur3Partitioner".into(),
            tokens: Vec::new(),
            data_directories: Vec::new(),
        },
        schema_version: SchemaVersions::default(),
        schema: None,
        snapshot: Snapshot {
            tag: "t".into(),
            started_at: at,
            ended_at: at,
        },
        agent_version: "0".into(),
    };
    let mut writer = ManifestWriter::new(Vec::new(), header).unwrap();
    let table = Table {
        keyspace: "shop".into(),
        table: "orders".into(),
        id: "0af".into(),
        directory: "orders-0af".into(),
        schema: None,
    };
    writer.table(table).unwrap();
    for object in objects {
        let component = Component {
            name: format!("nb-{object}-big-Data.db"),
            object: format!("nb-{object}-big-Data.db"),
            bytes: object.len() as u64,
            blake3: blake3::hash(object.as_bytes()).to_string(),
        };
        let sstable = SsTable {
            sstable: format!("nb-{object}-big.1a2b3c4d.4711"),
            index: None,
            data_directory: 0,
            first_token: None,
            last_token: None,
            content: None,
            components: vec![component],
        };
        writer.sstable(sstable).unwrap();
    }
    let footer = Footer {
        tokens: format!("tokens/{name}/{node}.yaml"),
        ..Footer::default()
    };
    writer.finish(footer).unwrap()
}
