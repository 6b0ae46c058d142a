//! What looks at backups of a million objects stays within 128 MiB: `list`, `show`, and `verify`
//! that they are there, of a storage that has them and of one that lost them all.
//!
//! The only test of its program, so that the peaks are its own.

#![allow(clippy::unwrap_used)] // helpers of tests

mod endless;

use agent::catalogue::{self, Completeness, Headers};
use agent::verify::{self, Level, NAMED_PROBLEMS, Report};
use bytes::Bytes;
use manifest::ClusterId;
use store::{Key, Store};

use endless::{COMPONENTS, Endless, NODE, PER_SSTABLE, peak};

/// What `work` gives. Its own peak is to stay below the limit.
async fn within_the_limit<T>(what: &str, work: impl Future<Output = T>) -> T {
    // The kernel begins to look for the peak anew (proc(5), `clear_refs`).
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let begun = std::time::Instant::now();
    let done = work.await;
    let after = peak();
    let took = begun.elapsed();
    println!(
        "{what}: {} MiB before, {} MiB after {took:?}",
        before >> 10,
        after >> 10
    );
    assert!(after < 128 << 10, "{what}: {after} KiB");
    done
}

async fn verify(store: &Endless) -> Report {
    let cluster: ClusterId = "c".parse().unwrap();
    let backups = catalogue::read(store, &cluster, Headers::All)
        .await
        .unwrap();
    let report = verify::verify(store, &cluster, &backups, Level::Exists, 8, &|_| {});
    let report = report.await.unwrap();
    assert_eq!((report.manifests, report.objects), (2, COMPONENTS));
    report
}

#[tokio::test]
async fn a_million_components_are_listed_shown_and_verified_in_less_than_128_mib() {
    let mut store = Endless::new();
    let cluster: ClusterId = "c".parse().unwrap();
    for backup in ["old", "new"] {
        let tokens = Key::parse(&format!("c/tokens/{backup}/{NODE}.yaml")).unwrap();
        store.create(&tokens, Bytes::new()).await.unwrap();
    }

    let listed = catalogue::read(&store, &cluster, Headers::One);
    let listed = within_the_limit("list", listed).await.unwrap();
    let state: Vec<_> = listed.iter().map(|backup| backup.completeness()).collect();
    assert_eq!(state, [Completeness::Complete, Completeness::Complete]);

    let manifest = listed.iter().find(|backup| backup.name.as_str() == "old");
    let manifest = &manifest.unwrap().manifests[&NODE].key;
    let shown = within_the_limit("show", catalogue::summarize(&store, manifest));
    let shown = shown.await.unwrap().tables.into_values().next().unwrap();
    assert_eq!(shown.sstables, COMPONENTS / PER_SSTABLE);
    assert_eq!(shown.files.files, COMPONENTS);

    let report = within_the_limit("verify", verify(&store)).await;
    assert!(report.is_sound(), "{:?}", report.findings.named.first());

    store.lost = true;
    let report = within_the_limit("verify of what is lost", verify(&store)).await;
    assert_eq!(report.findings.count, COMPONENTS);
    assert_eq!(report.findings.named.len(), NAMED_PROBLEMS);
}
