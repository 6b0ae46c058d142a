//! A purge of a million objects stays within 128 MiB.
//!
//! The only test of its program, so that the peak is its own.

#![allow(clippy::unwrap_used)] // helpers of tests

mod endless;

use agent::purge::{PurgeOptions, purge};

use endless::{COMPONENTS, Endless, peak};

#[tokio::test]
async fn a_million_objects_take_less_than_128_mib() {
    let store = Endless::new();
    let before = peak();
    let spool = tempfile::tempdir().unwrap();
    let options = PurgeOptions::new(spool.path());
    let cluster = "c".parse().unwrap();
    let decide = |_: &agent::purge::Catalogue| vec!["old".parse().unwrap()];
    let begun = std::time::Instant::now();
    let report = purge(&store, &cluster, &decide, options, &|_| {})
        .await
        .unwrap();
    let after = peak();
    println!(
        "{} MiB before, {} MiB after {:?}",
        before >> 10,
        after >> 10,
        begun.elapsed()
    );
    assert_eq!(report.deleted.objects, COMPONENTS / 2);
    assert_eq!(store.deleted.into_inner(), COMPONENTS / 2);
    assert!(after < 128 << 10, "{after} KiB");
}
