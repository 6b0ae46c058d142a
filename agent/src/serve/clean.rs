use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, statat, unlinkat};
use uuid::Uuid;

use super::journal::{self, Writer};
use crate::state::StateDirectory;

/// Journals of ended runs are kept this long.
const KEEP: Duration = Duration::from_secs(14 * 24 * 3600);

/// And not more of them than this, the newest.
const KEEP_COUNT: usize = 50;

/// Removes old journals of runs that no process is at work on. Nothing depends on it, so what
/// cannot be removed stays.
pub(super) fn old_journals(state: &StateDirectory, current: Uuid) {
    let Ok(entries) = Dir::read_from(state.runs()) else {
        return;
    };
    let journals = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_str().ok()?;
            let run: Uuid = name.strip_suffix(".jsonl")?.parse().ok()?;
            let stat = statat(state.runs(), name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            let modified = SystemTime::UNIX_EPOCH
                + Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
            Some((run, modified))
        })
        .filter(|(run, _)| *run != current)
        .collect();
    for run in too_old(journals, SystemTime::now()) {
        let Ok(file) = journal::open(state, run, false) else {
            continue;
        };
        // With the lock, nobody can begin to write to it before it is gone.
        if let Ok(Some(_lock)) = Writer::lock(&file) {
            let _ = unlinkat(
                state.runs(),
                StateDirectory::journal_name(run),
                AtFlags::empty(),
            );
        }
    }
}

fn too_old(mut journals: Vec<(Uuid, SystemTime)>, now: SystemTime) -> Vec<Uuid> {
    journals.sort_by_key(|(_, modified)| std::cmp::Reverse(*modified));
    journals
        .into_iter()
        .enumerate()
        .filter(|(rank, (_, modified))| {
            *rank >= KEEP_COUNT || now.duration_since(*modified).is_ok_and(|age| age > KEEP)
        })
        .map(|(_, (run, _))| run)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journals_go_by_age_and_by_number_and_the_newest_stay() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 30);
        let hour = Duration::from_secs(3600);
        let journals = |count: u32| {
            (1..=count)
                .map(|n| (Uuid::from_u128(n.into()), now - hour * n))
                .collect::<Vec<_>>()
        };
        assert!(too_old(journals(50), now).is_empty());
        assert_eq!(
            too_old(journals(52), now),
            [Uuid::from_u128(51), Uuid::from_u128(52)]
        );
        let ancient = vec![(Uuid::from_u128(1), now - KEEP - hour)];
        assert_eq!(too_old(ancient, now), [Uuid::from_u128(1)]);
    }
}
