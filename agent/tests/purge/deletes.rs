//! What goes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::purge::{Amount, PurgeError};

use crate::ground::{Ground, HOUR, data, names, node};

#[tokio::test]
async fn an_expired_backup_goes_with_what_only_it_needed() {
    let ground = Ground::new();
    ground.backup("old", node(1), &["1", "22"], 48 * HOUR);
    ground.backup("old", node(2), &["1", "3"], 48 * HOUR);
    ground.backup("new", node(1), &["22", "4"], 47 * HOUR);
    // Node 2 has the same names, and nobody else needs its objects.
    let (report, gone) = ground.gone_after(&["old"]).await;
    let expected = BTreeSet::from([
        format!("manifests/old/{}.jsonl", node(1)),
        format!("manifests/old/{}.jsonl", node(2)),
        format!("tokens/old/{}.yaml", node(1)),
        format!("tokens/old/{}.yaml", node(2)),
        data(node(1), "1"),
        data(node(2), "1"),
        data(node(2), "3"),
    ]);
    assert_eq!(gone, expected);
    assert_eq!(report.expired, names(&["old"]));
    assert_eq!(report.manifests, 2);
    assert_eq!(
        report.deleted,
        Amount {
            objects: 5,
            bytes: 3 + 2 * 9
        }
    );
    assert!(!report.unfinished);
    let again = ground.gone_after(&["old"]).await;
    assert_eq!(again.1, BTreeSet::new());
    assert_eq!(again.0.deleted, Amount::default());
}

#[tokio::test]
async fn data_of_nobody_goes_when_the_grace_period_is_over_and_not_before() {
    let ground = Ground::new();
    ground.backup("b", node(1), &["1"], 48 * HOUR);
    ground.write(&data(node(1), "2"), b"old", 25 * HOUR);
    ground.write(&data(node(1), "3"), b"young", 23 * HOUR);
    // A node that has no manifest any more.
    ground.write(&data(node(5), "1"), b"old", 25 * HOUR);
    let schema = format!("data/{}/schema.0011223344556677.cql", node(5));
    ground.write(&schema, b"create", 25 * HOUR);
    // Tokens without a manifest.
    ground.write(&format!("tokens/x/{}.yaml", node(1)), b"t", 25 * HOUR);
    ground.write(&format!("tokens/y/{}.yaml", node(1)), b"t", 23 * HOUR);
    // What no agent wrote.
    ground.write("data/readme.txt", b"?", 99 * HOUR);
    ground.write("data/notes/readme.txt", b"?", 99 * HOUR);
    ground.write("probe/x", b"?", 99 * HOUR);
    let (report, gone) = ground.gone_after(&[]).await;
    let expected = BTreeSet::from([
        data(node(1), "2"),
        data(node(5), "1"),
        schema,
        format!("tokens/x/{}.yaml", node(1)),
    ]);
    assert_eq!(gone, expected);
    assert_eq!(
        report.young,
        Amount {
            objects: 1,
            bytes: 5
        }
    );
}

#[tokio::test]
async fn a_dry_run_tells_what_the_purge_does_and_does_nothing() {
    let ground = Ground::new();
    ground.backup("old", node(1), &["1", "2"], 48 * HOUR);
    ground.backup("new", node(1), &["2"], 47 * HOUR);
    ground.intent("lost", node(1), &[], -3600);
    let before = ground.files();
    let mut options = ground.options();
    options.dry_run = true;
    let told = ground
        .purge_with(options, |_| names(&["old"]))
        .await
        .unwrap();
    assert_eq!(ground.files(), before);
    let done = ground.purge(&["old"]).await.unwrap();
    assert_eq!(told, done);
    assert_ne!(ground.files(), before);
}

#[tokio::test]
async fn another_cluster_whose_name_begins_alike_is_left_alone() {
    let ground = Ground::new();
    ground.backup("old", node(1), &["1"], 48 * HOUR);
    let other = ground.root.path().join("prod2");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([&ground.root.path().join("prod"), &other])
        .status()
        .unwrap();
    assert!(copied.success());
    let manifest = other.join(format!("manifests/old/{}.jsonl", node(1)));
    ground.gone_after(&["old"]).await;
    assert!(manifest.exists());
    assert!(other.join(data(node(1), "1")).exists());
    // Nor is a backup whose name begins alike.
    ground.backup("b1", node(1), &["5"], 48 * HOUR);
    ground.backup("b10", node(1), &["6"], 48 * HOUR);
    let (_, gone) = ground.gone_after(&["b1"]).await;
    assert_eq!(gone.len(), 3, "{gone:?}");
    assert!(gone.iter().all(|key| !key.contains("b10")), "{gone:?}");
}

#[tokio::test]
async fn temporary_files_past_the_grace_period_are_removed() {
    let ground = Ground::new();
    ground.backup("b", node(1), &["1"], 48 * HOUR);
    let temporary = |n: u8| {
        format!(
            "data/{}/shop/.{}.tmp",
            node(1),
            format!("{n:02}").repeat(16)
        )
    };
    ground.write(&temporary(1), b"half", 25 * HOUR);
    ground.write(&temporary(2), b"half", 23 * HOUR);
    let (report, gone) = ground.gone_after(&[]).await;
    assert_eq!(gone, BTreeSet::from([temporary(1)]));
    assert_eq!(report.uploads, 1);
}

#[tokio::test]
async fn without_a_grace_period_the_temporary_file_of_a_run_that_is_at_work_stays() {
    let ground = Ground::new();
    ground.backup("b", node(1), &["1"], 48 * HOUR);
    let temporary = |n: &str| format!("data/{}/shop/.{}.tmp", node(1), n.repeat(16));
    ground.write(&temporary("01"), b"half", Duration::from_secs(60));
    ground.write(&temporary("02"), b"half", 2 * HOUR);
    let mut options = ground.options();
    options.grace = Duration::ZERO;
    let report = ground.purge_with(options, |_| Vec::new()).await.unwrap();
    assert_eq!(report.uploads, 1);
    assert!(ground.path(&temporary("01")).exists());
    assert!(!ground.path(&temporary("02")).exists());
}

#[tokio::test]
async fn what_comes_after_the_deadline_is_left_for_the_next_purge() {
    let ground = Ground::new();
    ground.backup("old", node(1), &["1", "2"], 48 * HOUR);
    let mut options = ground.options();
    options.lifetime = Duration::ZERO;
    let before = ground.files();
    let report = ground
        .purge_with(options, |_| names(&["old"]))
        .await
        .unwrap();
    assert!(report.unfinished);
    assert_eq!((report.manifests, report.deleted), (0, Amount::default()));
    assert_eq!(ground.files(), before);
    assert!(!ground.purge(&["old"]).await.unwrap().unfinished);
}

#[tokio::test]
async fn a_purge_that_is_cancelled_deletes_nothing_more_and_leaves_no_list() {
    for look in [1, 2] {
        let ground = Ground::new();
        ground.backup("old", node(1), &["1"], 48 * HOUR);
        ground.backup("new", node(1), &["2"], 47 * HOUR);
        let before = ground.files();
        let options = ground.options();
        let (cancel, looks) = (options.cancel.clone(), AtomicU32::new(0));
        let purged = ground.purge_with(options, |_| {
            if looks.fetch_add(1, Ordering::Relaxed) + 1 == look {
                cancel.cancel();
            }
            names(&["old"])
        });
        match (look, purged.await) {
            (1, Err(PurgeError::Cancelled)) => {}
            (2, Ok(report)) => {
                assert!(report.unfinished);
                assert_eq!(report.expired, names(&[]));
            }
            (look, purged) => panic!("{look}: {purged:?}"),
        }
        assert_eq!(ground.files(), before, "{look}");
    }
}
