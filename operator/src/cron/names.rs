//! Names of a CronBackup's children: a function of its own name, the slot and the retry, so that
//! no restart and no second operator makes another one.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Which backup of a CronBackup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    /// When it is meant to begin, without jitter: a time of the schedule, or the time at which the
    /// CronBackup was made.
    pub(super) slot: Timestamp,
    /// 0 for the first one of the slot.
    pub(super) retry: i32,
    /// Made because the CronBackup was made, not because of its schedule.
    pub(super) immediate: bool,
}

const MINUTES: &str = "%Y%m%d-%H%M";
const SECONDS: &str = "%Y%m%d-%H%M%S";

/// The name of the CassandraBackup: in UTC, which shows no time twice.
pub(super) fn child(cron: &str, run: Run) -> String {
    // With seconds, so that it never meets a time of the schedule.
    let format = if run.immediate { SECONDS } else { MINUTES };
    let slot = run.slot.strftime(format);
    match run.retry {
        0 => format!("{cron}-{slot}"),
        retry => format!("{cron}-{slot}-r{retry}"),
    }
}

/// What [`child`] made the name of; `None` if it did not make it.
pub(super) fn parse(cron: &str, name: &str) -> Option<Run> {
    let rest = name.strip_prefix(cron)?.strip_prefix('-')?;
    let (slot, retry) = match rest.split_once("-r") {
        Some((slot, retry)) => (slot, retry.parse().ok().filter(|retry| *retry > 0)?),
        None => (rest, 0),
    };
    let immediate = slot.len() == "20261125-023000".len();
    let format = if immediate { SECONDS } else { MINUTES };
    let time = DateTime::strptime(format, slot).ok()?;
    let run = Run {
        slot: time.to_zoned(TimeZone::UTC).ok()?.timestamp(),
        retry,
        immediate,
    };
    (child(cron, run) == name).then_some(run)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_says_what_it_is_made_of(
            minute in 0..100_000_000_i64, second in 0..60_i64, retry in 0..11_i32, immediate: bool,
            cron in "[a-z][a-z0-9.-]{0,50}",
        ) {
            let second = if immediate { second } else { 0 };
            let slot = Timestamp::from_second(minute * 60 + second).unwrap();
            let run = Run { slot, retry, immediate };
            let name = child(&cron, run);
            prop_assert_eq!(parse(&cron, &name), Some(run));
            prop_assert!(name.len() <= 52 + 20);
        }

        #[test]
        fn no_name_is_too_strange(name in "(nightly-)?[0-9r-]{0,24}") {
            if let Some(run) = parse("nightly", &name) {
                prop_assert_eq!(child("nightly", run), name);
            }
        }
    }

    #[test]
    fn names_tell_the_time_in_utc() {
        let slot = "2026-11-25T02:30:00+01:00".parse().unwrap();
        let run = |retry, immediate| Run {
            slot,
            retry,
            immediate,
        };
        assert_eq!(child("nightly", run(0, false)), "nightly-20261125-0130");
        assert_eq!(child("nightly", run(2, false)), "nightly-20261125-0130-r2");
        assert_eq!(child("nightly", run(0, true)), "nightly-20261125-013000");
        for other in [
            "nightly",
            "nightly-2",
            "weekly-20261125-0130",
            "nightly-20261125-0130-r0",
            "nightly-20261325-0130",
            "nightly-20261125-0130-x",
        ] {
            assert_eq!(parse("nightly", other), None, "{other}");
        }
    }
}
