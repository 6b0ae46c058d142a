//! The protocol as it is.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use agent::order::Order;

use crate::schedule::{self, Ended, Search};

/// Distinct schedules that are carried out.
const SCHEDULES: u64 = 1_000_000;

/// A seed to be carried out again and printed; given in the environment.
const REPLAY: &str = "MODEL_SEED";

/// Another number of schedules, for a longer search; given in the environment.
const COUNT: &str = "MODEL_SCHEDULES";

/// Runs `work` on every core, within a runtime whose clock the progress of transfers asks for.
pub fn on_every_core<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .build()
                        .unwrap();
                    let _inside = runtime.enter();
                    work()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Carries a schedule out again and says what happened.
pub fn explain(seed: u64, search: &Search) -> String {
    let Ended { broken, steps, .. } = schedule::run(seed, search, true);
    let broken = broken.unwrap_or_else(|| "nothing is lost".to_owned());
    format!("seed {seed}:\n{}\n=> {broken}", steps.join("\n"))
}

#[test]
fn no_schedule_loses_anything() {
    let search = Search::new(Order::RIGHT);
    if let Ok(seed) = std::env::var(REPLAY) {
        let seed = seed.parse().unwrap();
        let text = on_every_core(|| explain(seed, &search));
        panic!("{}", text[0]);
    }
    let count = std::env::var(COUNT).map_or(SCHEDULES, |count| count.parse().unwrap());
    let begun = Instant::now();
    let (next, distinct) = (AtomicU64::new(0), AtomicU64::new(0));
    let parts = on_every_core(|| {
        let mut hashes = HashSet::new();
        let (mut commits, mut deletes, mut repairs, mut restores) = (0, 0, 0, 0);
        // A few that both threads met count twice here.
        while distinct.load(Ordering::Relaxed) < count + count / 100 {
            for seed in (0..256).map(|_| next.fetch_add(1, Ordering::Relaxed)) {
                let ended = schedule::run(seed, &search, false);
                if ended.broken.is_some() {
                    panic!("{}", explain(seed, &search));
                }
                if hashes.insert(ended.hash) {
                    distinct.fetch_add(1, Ordering::Relaxed);
                }
                commits += u64::from(ended.commits);
                deletes += u64::from(ended.deletes);
                repairs += u64::from(ended.repairs);
                restores += u64::from(ended.restores);
            }
        }
        (hashes, [commits, deletes, repairs, restores])
    });
    let counted = |n: usize| parts.iter().map(|(_, counts)| counts[n]).sum::<u64>();
    let [commits, deletes, repairs, restores] = [0, 1, 2, 3].map(counted);
    let distinct: HashSet<u64> = parts.into_iter().flat_map(|part| part.0).collect();
    let seeds = next.into_inner();
    println!(
        "{} distinct schedules of {seeds} seeds in {:?}: {commits} backups committed, {deletes} objects deleted, {repairs} wrong ones by repairs, \
         {restores} restores whole",
        distinct.len(),
        begun.elapsed(),
    );
    assert!(distinct.len() as u64 >= count);
    // All of it happens often enough to have met.
    assert!(
        commits > seeds / 4 && deletes > seeds && repairs > seeds / 32 && restores > seeds / 32,
        "{commits} {deletes} {repairs} {restores}"
    );
}
