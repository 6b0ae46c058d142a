//! A purge that fails half way, and what it tells of what it did.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use manifest::{
    Component, FORMAT_VERSION, Footer, Header, ManifestWriter, NodeHeader, RingHash,
    SchemaVersions, Scope, Snapshot, SsTable, Table,
};
use protocol::{EventKind, Outcome, Purged, Reason, Tally};
use store::testing::{Fault, Faulty, Operation};
use store::{Error, FileStore};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::request::tell;
use super::{ExpiryError, by_policy};
use crate::purge::PurgeOptions;
use crate::retention::Policy;
use crate::run_context::{Report, Run};

const HOUR: Duration = Duration::from_secs(3600);
/// Bytes of a tokens file, and of each object.
const TOKENS: &[u8] = b"hostId: x";
const OBJECT: &[u8] = b"rows";

/// Takes no events.
struct Deaf;

impl Report for Deaf {
    fn event(&self, _: EventKind) {}
}

fn run() -> Run {
    Run {
        id: Uuid::nil(),
        attempt: 1,
        state: "/nonexistent".into(),
        report: Arc::new(Deaf),
        cancel: CancellationToken::new(),
        proceed: CancellationToken::new(),
    }
}

fn node(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Writes a file that was last changed `age` ago.
fn write(root: &Path, key: &str, content: &[u8], age: Duration) {
    let path = root.join("prod").join(key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

/// A backup of these nodes, `age` old, of which each has these objects.
fn back_up(root: &Path, name: &str, nodes: &[Uuid], objects: &[&str], age: Duration) {
    for of in nodes {
        for object in objects {
            let sstable = format!("nb-{object}-big.1a2b3c4d.4711");
            let key = format!("data/{of}/shop/orders-0af/{sstable}/nb-{object}-big-Data.db");
            write(root, &key, OBJECT, age);
        }
        let tokens = format!("tokens/{name}/{of}.yaml");
        write(root, &tokens, TOKENS, age);
        let content = manifest_of(name, *of, nodes, objects, age);
        let key = format!("manifests/{name}/{of}.jsonl");
        write(root, &key, &content, age);
    }
}

fn manifest_of(name: &str, of: Uuid, nodes: &[Uuid], objects: &[&str], age: Duration) -> Vec<u8> {
    let at = Timestamp::try_from(SystemTime::now() - age).unwrap();
    let header = Header {
        format_version: FORMAT_VERSION.into(),
        backup: name.parse().unwrap(),
        run_id: node(9),
        cluster: "prod".parse().unwrap(),
        series: None,
        scope: Scope::default(),
        ring_hash: RingHash::default(),
        expected_host_ids: nodes.to_vec(),
        node: NodeHeader {
            host_id: of,
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
            bytes: OBJECT.len() as u64,
            blake3: blake3::hash(OBJECT).to_string(),
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
        tokens: format!("tokens/{name}/{of}.yaml"),
        ..Footer::default()
    };
    writer.finish(footer).unwrap()
}

/// A storage whose delete of this number fails. Of two backups of these nodes the older one is to go, with a
/// tokens file and three objects of each.
fn failing(nodes: &[Uuid], delete: u64) -> (TempDir, Faulty<FileStore>) {
    let home = tempfile::tempdir().unwrap();
    back_up(home.path(), "old", nodes, &["1", "2", "3"], 48 * HOUR);
    back_up(home.path(), "new", nodes, &["4"], 47 * HOUR);
    let unreachable = Fault::Refused(|at| Error::Unavailable {
        at,
        source: "no route".into(),
    });
    let store = Faulty::new(FileStore::open(home.path()).unwrap());
    (home, store.fail(Operation::Delete, delete, unreachable))
}

/// Keeps the last backup, with so many requests at a time. It fails.
async fn purge(store: &Faulty<FileStore>, concurrency: usize) -> ExpiryError {
    let spool = tempfile::tempdir().unwrap();
    let options = PurgeOptions {
        concurrency,
        attribute_cache: Duration::ZERO,
        ..PurgeOptions::new(spool.path())
    };
    let policy = Policy {
        last: 1,
        ..Policy::default()
    };
    let cluster = "prod".parse().unwrap();
    let ended = by_policy(store, &cluster, &policy, None, options, &|_| ()).await;
    ended.unwrap_err()
}

/// What a caller of the protocol is told of it.
fn told(error: ExpiryError) -> (Outcome, Option<Purged>) {
    let known = ["old", "new"].map(str::to_owned);
    let mut outcome = tell(&run(), false, &known, Err(error.into()));
    let purged = outcome.purged.take();
    (outcome, purged.map(|purged| *purged))
}

#[tokio::test]
async fn what_was_deleted_before_a_purge_failed_is_told_with_why_it_failed() {
    // A manifest, a tokens file, an object; the next object fails.
    let (_home, store) = failing(&[node(1)], 4);
    let error = purge(&store, 1).await;
    assert!(matches!(error, ExpiryError::HalfWay { .. }), "{error:?}");
    let (outcome, purged) = told(error);
    assert_eq!(outcome.reason, Reason::StorageUnavailable);
    assert!(outcome.message.contains("no route"), "{}", outcome.message);
    let purged = purged.unwrap();
    let deleted = Tally {
        files: 2,
        bytes: (TOKENS.len() + OBJECT.len()) as u64,
    };
    assert_eq!((purged.manifests, purged.deleted), (1, deleted));
    assert_eq!(purged.expired.len(), 1);
    assert_eq!(purged.expired[0].backup, "old");
    assert_eq!(purged.expired[0].reason, "no rule keeps it");
    assert_eq!((purged.gone, purged.kept), (vec!["old".to_owned()], 1));
    assert!(!purged.finished);
}

#[tokio::test]
async fn a_backup_that_lost_some_of_its_manifests_is_not_told_as_gone() {
    let (_home, store) = failing(&[node(1), node(2)], 2);
    let (_, purged) = told(purge(&store, 1).await);
    let purged = purged.unwrap();
    assert_eq!((purged.manifests, purged.deleted), (1, Tally::default()));
    assert!(purged.expired.is_empty() && purged.gone.is_empty());
}

#[tokio::test]
async fn deletes_that_are_on_their_way_when_one_fails_are_counted() {
    // After the manifest, a tokens file and three objects at the same time, of which the last fails.
    let (_home, store) = failing(&[node(1)], 5);
    let (_, purged) = told(purge(&store, 32).await);
    assert_eq!(purged.unwrap().deleted.files, 3);
    // The same of manifests, and no data is begun after them.
    let (_home, store) = failing(&[node(1), node(2)], 2);
    let (_, purged) = told(purge(&store, 32).await);
    let purged = purged.unwrap();
    assert_eq!((purged.manifests, purged.deleted), (1, Tally::default()));
    assert_eq!(store.calls(Operation::Delete), 2);
}

#[tokio::test]
async fn after_a_delete_that_failed_none_is_begun() {
    let (_home, store) = failing(&[node(1)], 2);
    let (_, purged) = told(purge(&store, 1).await);
    assert_eq!(purged.unwrap().deleted, Tally::default());
    assert_eq!(store.calls(Operation::Delete), 2);
}

#[tokio::test]
async fn a_purge_that_failed_before_it_deleted_anything_tells_of_nothing() {
    let (_home, store) = failing(&[node(1)], 1);
    let (outcome, purged) = told(purge(&store, 1).await);
    assert_eq!(outcome.reason, Reason::StorageUnavailable);
    assert_eq!(purged, None);
}
