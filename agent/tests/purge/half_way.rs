//! A purge that fails half way, and what it says that it did.

use agent::expiry::{ExpiryError, by_policy};
use agent::purge::{Amount, PurgeOptions, PurgeReport};
use agent::retention::Policy;
use protocol::Reason;
use store::testing::{Fault, Faulty, Operation};
use store::{Error, FileStore};

use crate::ground::{Ground, HOUR, names, node};

/// A storage whose delete of this number fails. Of two backups of so many nodes the older one is to go, with a
/// tokens file of nine bytes and three objects of one for each node.
fn failing(nodes: u128, delete: u64) -> (Ground, Faulty<FileStore>) {
    let ground = Ground::new();
    for node in (1..=nodes).map(node) {
        ground.backup("old", node, &["1", "2", "3"], 48 * HOUR);
        ground.backup("new", node, &["4"], 47 * HOUR);
    }
    let unreachable = Fault::Refused(|at| Error::Unavailable {
        at,
        source: "no route".into(),
    });
    let store = Faulty::new(FileStore::open(ground.root.path()).unwrap());
    (ground, store.fail(Operation::Delete, delete, unreachable))
}

/// Keeps the last backup, with so many requests at a time. It fails.
async fn purge((ground, store): &(Ground, Faulty<FileStore>), concurrency: usize) -> ExpiryError {
    let options = PurgeOptions {
        concurrency,
        ..ground.options()
    };
    let policy = Policy {
        last: 1,
        ..Policy::default()
    };
    let cluster = "prod".parse().unwrap();
    let ended = by_policy(store, &cluster, &policy, None, options, &|_| ()).await;
    ended.unwrap_err()
}

fn report(error: &ExpiryError) -> &PurgeReport {
    &error.done().unwrap().report
}

#[tokio::test]
async fn what_was_deleted_before_a_purge_failed_is_told_with_why_it_failed() {
    // A manifest, a tokens file, an object; the next object fails.
    let error = purge(&failing(1, 4), 1).await;
    assert_eq!(error.reason(), Reason::StorageUnavailable);
    let report = report(&error);
    let deleted = Amount {
        objects: 2,
        bytes: 9 + 1,
    };
    assert_eq!((report.manifests, report.deleted), (1, deleted));
    assert_eq!(report.expired, names(&["old"]));
    assert!(report.unfinished);
    let decisions = &error.done().unwrap().decisions;
    let named: Vec<_> = decisions.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(named, ["old", "new"]);
}

#[tokio::test]
async fn a_backup_that_lost_some_of_its_manifests_is_not_told_as_gone() {
    let error = purge(&failing(2, 2), 1).await;
    let report = report(&error);
    assert_eq!((report.manifests, report.deleted), (1, Amount::default()));
    assert_eq!(report.expired, []);
}

#[tokio::test]
async fn deletes_that_are_on_their_way_when_one_fails_are_counted() {
    // After the manifest, a tokens file and three objects at the same time, of which the last fails.
    let error = purge(&failing(1, 5), 32).await;
    assert_eq!(report(&error).deleted.objects, 3);
    // The same of manifests, and no data is begun after them.
    let stage = failing(2, 2);
    let error = purge(&stage, 32).await;
    let report = report(&error);
    assert_eq!((report.manifests, report.deleted), (1, Amount::default()));
    assert_eq!(stage.1.calls(Operation::Delete), 2);
}

#[tokio::test]
async fn after_a_delete_that_failed_none_is_begun() {
    let stage = failing(1, 2);
    let error = purge(&stage, 1).await;
    assert_eq!(report(&error).deleted, Amount::default());
    assert_eq!(stage.1.calls(Operation::Delete), 2);
}

#[tokio::test]
async fn a_purge_that_failed_before_it_deleted_anything_tells_of_nothing() {
    let error = purge(&failing(1, 1), 1).await;
    assert_eq!(error.reason(), Reason::StorageUnavailable);
    assert!(error.done().is_none());
}
