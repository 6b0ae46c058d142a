//! What others rely on stays.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::lease::MARGIN;
use jiff::Timestamp;
use manifest::{Condemned, FORMAT_VERSION};
use uuid::Uuid;

use crate::ground::{Ground, HOUR, data, manifest_of, names, node};

#[tokio::test]
async fn an_intent_is_honoured_until_its_deadline_and_the_margin() {
    let margin = MARGIN.as_secs() as i64;
    for (from_now, honoured) in [(3600, true), (-margin + 60, true), (-margin - 60, false)] {
        let ground = Ground::new();
        ground.backup("b", node(1), &["1"], 48 * HOUR);
        ground.write(&data(node(1), "2"), b"old", 48 * HOUR);
        ground.write(&data(node(1), "3"), b"old", 48 * HOUR);
        ground.intent("next", node(1), &[data(node(1), "2")], from_now);
        let (report, gone) = ground.gone_after(&[]).await;
        assert!(gone.contains(&data(node(1), "3")));
        assert_eq!(gone.contains(&data(node(1), "2")), !honoured, "{from_now}");
        assert_eq!(report.intents, u64::from(!honoured), "{from_now}");
    }
}

#[tokio::test]
async fn a_backup_whose_manifest_an_intent_names_is_held() {
    let ground = Ground::new();
    ground.backup("old", node(1), &["1"], 48 * HOUR);
    let manifest = format!("manifests/old/{}.jsonl", node(1));
    ground.intent("restore", node(9), &[manifest], 3600);
    let (report, gone) = ground.gone_after(&["old"]).await;
    assert_eq!(gone, BTreeSet::new());
    assert_eq!(report.held, names(&["old"]));
    assert_eq!(report.expired, []);
}

#[tokio::test]
async fn a_manifest_that_comes_between_the_looks_is_honoured() {
    let ground = Ground::new();
    ground.backup("old", node(1), &["1", "2"], 48 * HOUR);
    ground.write(&data(node(1), "3"), b"old", 48 * HOUR);
    let looks = AtomicU32::new(0);
    let report = ground
        .purge_with(ground.options(), |catalogue| {
            if looks.fetch_add(1, Ordering::Relaxed) == 0 {
                assert_eq!(catalogue.backups.len(), 1);
                let content = manifest_of("new", node(1), &["1", "3"], Duration::ZERO);
                let key = format!("manifests/new/{}.jsonl", node(1));
                ground.write(&key, &content, Duration::ZERO);
            }
            names(&["old"])
        })
        .await
        .unwrap();
    assert_eq!(looks.into_inner(), 2);
    assert_eq!(report.spared, 2);
    assert!(ground.path(&data(node(1), "1")).exists());
    assert!(!ground.path(&data(node(1), "2")).exists());
    assert!(ground.path(&data(node(1), "3")).exists());
}

#[tokio::test]
async fn a_backup_of_which_a_manifest_comes_between_the_looks_stays_whole() {
    let ground = Ground::new();
    ground.backup("old", node(1), &["1"], 48 * HOUR);
    ground.backup("gone", node(1), &["9"], 48 * HOUR);
    let looks = AtomicU32::new(0);
    let report = ground
        .purge_with(ground.options(), |_| {
            if looks.fetch_add(1, Ordering::Relaxed) == 0 {
                ground.backup("old", node(2), &["2"], Duration::ZERO);
            }
            names(&["old", "gone"])
        })
        .await
        .unwrap();
    assert_eq!(
        (report.held, report.expired),
        (names(&["old"]), names(&["gone"]))
    );
    assert!(ground.path(&data(node(1), "1")).exists());
    assert!(
        ground
            .path(&format!("tokens/old/{}.yaml", node(1)))
            .exists()
    );
    assert!(!ground.path(&data(node(1), "9")).exists());
}

#[tokio::test]
async fn a_backup_that_is_not_decided_at_the_second_look_stays() {
    let ground = Ground::new();
    ground.backup("old", node(1), &["1"], 48 * HOUR);
    let looks = AtomicU32::new(0);
    let before = ground.files();
    ground
        .purge_with(ground.options(), |_| {
            let first = looks.fetch_add(1, Ordering::Relaxed) == 0;
            if first { names(&["old"]) } else { Vec::new() }
        })
        .await
        .unwrap();
    assert_eq!(ground.files(), before);
}

#[tokio::test]
async fn lists_of_crashed_purges_go_when_nobody_honours_them_any_more() {
    let ground = Ground::new();
    ground.backup("b", node(1), &["1"], 48 * HOUR);
    let margin = MARGIN.as_secs() as i64;
    let list = |n: u128, from_now: i64| {
        let purge_id = Uuid::from_u128(n);
        let head = Condemned {
            format_version: FORMAT_VERSION.into(),
            purge_id,
            deadline: Timestamp::now() + jiff::SignedDuration::from_secs(from_now),
        };
        let content = head.write(Vec::new(), [data(node(1), "7")]).unwrap();
        let key = format!("manifests/.purge/{purge_id}.condemned");
        ground.write(&key, &content, Duration::ZERO);
        key
    };
    let at_work = [list(1, 3600), list(2, -margin + 60)];
    let crashed = list(3, -margin - 60);
    let (report, gone) = ground.gone_after(&[]).await;
    assert_eq!(gone, BTreeSet::from([crashed]));
    assert_eq!((report.other_purges, report.condemned_lists), (2, 1));
    assert!(at_work.iter().all(|key| ground.path(key).exists()));
}
