//! Slots beside the oracle, and by hand where clocks are changed.

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::oracle::{self, Fields, bounds};
use super::{Invalid, Schedule, jitter};

const ZONES: [&str; 7] = [
    "Etc/UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "America/Santiago",
];

fn schedule(text: &str, zone: &str) -> Schedule {
    Schedule::parse(text, zone, SignedDuration::ZERO).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// What comes after an instant, as its time zone shows it.
fn shown(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = schedule(text, zone);
    let slots = schedule.after(at(after)).take(count);
    slots
        .map(|slot| schedule.shown(slot).strftime("%m-%d %H:%M %z").to_string())
        .collect()
}

fn agrees_with_the_oracle(text: &str, zone: &'static str, year: i16) {
    let (from, to) = bounds(year);
    let expected = oracle::slots(&Fields::read(text), &oracle::shown(zone, year));
    let before = from - SignedDuration::from_secs(1);
    let found: Vec<_> = schedule(text, zone)
        .after(before)
        .take_while(|slot| *slot < to)
        .collect();
    let longest = expected.len().max(found.len());
    if let Some(n) = (0..longest).find(|n| expected.get(*n) != found.get(*n)) {
        let (expected, found) = (expected.get(n), found.get(n));
        panic!("{text:?} in {zone}, {year}: expected {expected:?}, found {found:?}");
    }
}

#[test]
fn a_year_of_usual_schedules_is_what_every_minute_of_it_says() {
    for zone in ZONES {
        for text in [
            "30 2 * * *",
            "0 * * * *",
            "*/15 * * * *",
            "15,45 1-3 * * *",
            "0 0 * * *",
            "0 3 13 * 5",
            "0 2 */2 * 0,6",
            "59 23 31 12 *",
        ] {
            agrees_with_the_oracle(text, zone, 2026);
        }
    }
}

fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => (least..=most).prop_map(|one| one.to_string()),
        1 => (least..=most, 2..20_u32).prop_map(move |(from, step)| format!("{from}-{most}/{step}")),
        1 => (2..20_u32).prop_map(|step| format!("*/{step}")),
        1 => (least..=most, least..=most)
            .prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => proptest::collection::vec(least..=most, 1..4)
            .prop_map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_year_of_any_schedule_is_what_every_minute_of_it_says(
        fields in (field(0, 59), field(0, 4), field(1, 28), field(1, 12), field(0, 6)),
        zone in proptest::sample::select(&ZONES[..]),
        of in 2026..2028_i16,
    ) {
        let (minute, hour, day, month, weekday) = fields;
        let text = format!("{minute} {hour} {day} {month} {weekday}");
        agrees_with_the_oracle(&text, zone, of);
    }

    /// Wherever one begins, and in the middle of a fold too, the same slots follow.
    #[test]
    fn what_follows_does_not_depend_on_where_one_begins(
        zone in proptest::sample::select(&ZONES[..]),
        minutes in 0..(366 * 24 * 60_i64),
        seconds in 0..60_i64,
        text in proptest::sample::select(&["*/5 * * * *", "*/20 1,2 * * *", "@hourly"][..]),
    ) {
        let schedule = schedule(text, zone);
        let begin = bounds(2026).0 + SignedDuration::from_secs(minutes * 60 + seconds);
        let long_before = begin - SignedDuration::from_hours(48);
        let skipped = schedule.after(long_before).skip_while(|slot| *slot <= begin);
        prop_assert_eq!(
            schedule.after(begin).take(40).collect::<Vec<_>>(),
            skipped.take(40).collect::<Vec<_>>()
        );
    }

    #[test]
    fn jitter_is_stable_and_within_its_bound(name in "[a-z]{1,20}", most in 0..86_400_i64) {
        let first = jitter("shop", &name, most);
        prop_assert_eq!(first, jitter("shop", &name, most));
        prop_assert!(first >= SignedDuration::ZERO && first <= SignedDuration::from_secs(most));
    }
}

#[test]
fn a_slot_in_the_spring_gap_is_the_next_valid_instant_and_merges_with_what_is_there() {
    let gap = "2026-03-28T12:00:00Z";
    assert_eq!(
        shown("30 2 * * *", "Europe/Berlin", gap, 2),
        ["03-29 03:00 +0200", "03-30 02:30 +0200"]
    );
    assert_eq!(
        shown("*/30 2,3 * * *", "Europe/Berlin", gap, 3),
        [
            "03-29 03:00 +0200",
            "03-29 03:30 +0200",
            "03-30 02:00 +0200"
        ]
    );
    // Half an hour is left out, at two.
    assert_eq!(
        shown(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T00:00:00Z",
            2
        ),
        ["10-04 02:30 +1100", "10-05 02:15 +1100"]
    );
}

#[test]
fn a_slot_in_the_autumn_overlap_comes_once() {
    assert_eq!(
        shown("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["10-25 02:30 +0200", "10-26 02:30 +0100"]
    );
    assert_eq!(
        shown("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 3),
        [
            "10-25 02:00 +0200",
            "10-25 03:00 +0100",
            "10-25 04:00 +0100"
        ]
    );
    assert_eq!(
        shown(
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04T00:00:00Z",
            2
        ),
        ["04-05 01:45 +1100", "04-06 01:45 +1030"]
    );
}

#[test]
fn names_nicknames_and_last_days_are_understood() {
    let from = "2026-11-25T12:00:00Z";
    for (text, first) in [
        ("@hourly", "11-25 13:00 +0000"),
        ("@daily", "11-26 00:00 +0000"),
        ("@midnight", "11-26 00:00 +0000"),
        ("@weekly", "11-29 00:00 +0000"),
        ("@monthly", "12-01 00:00 +0000"),
        ("@yearly", "01-01 00:00 +0000"),
        ("@annually", "01-01 00:00 +0000"),
        ("0 3 * * sat", "11-28 03:00 +0000"),
        ("0 3 * JAN-FEB 7", "01-03 03:00 +0000"),
        ("0 3 L * *", "11-30 03:00 +0000"),
        ("0 3 * * FRI#L", "11-27 03:00 +0000"),
        ("0 3 29 2 *", "02-29 03:00 +0000"),
    ] {
        assert_eq!(shown(text, "Etc/UTC", from, 1), [first], "{text}");
    }
}

#[test]
fn what_is_no_schedule_or_time_zone_is_told() {
    for (text, zone, expected) in [
        ("", "Etc/UTC", "it has 0 fields"),
        ("0 30 2 * * *", "Etc/UTC", "it has 6 fields"),
        ("61 * * * *", "Etc/UTC", "is no schedule"),
        ("0 3 * * MOON", "Etc/UTC", "is no schedule"),
        ("@reboot", "Etc/UTC", "is no schedule"),
        ("0 3 30 2 *", "Etc/UTC", "never comes"),
        ("@daily", "Europe/Bielefeld", "is no time zone"),
        ("@daily", "Local", "is no time zone"),
        ("@daily", "", "is no time zone"),
    ] {
        let error: Invalid = Schedule::parse(text, zone, SignedDuration::ZERO).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_year_of_minutes_is_counted_in_no_time() {
    let (from, to) = bounds(2026);
    let schedule = schedule("* * * * *", "Europe/Berlin");
    let count = schedule.after(from).take_while(|slot| *slot < to).count();
    // The hour that comes twice counts once.
    assert_eq!(count, 365 * 24 * 60 - 60 - 1);
}

#[test]
fn the_interval_is_the_longest_that_is_expected() {
    let hours = |schedule: &str| {
        let schedule = Schedule::parse(schedule, "Etc/UTC", SignedDuration::ZERO).unwrap();
        let monday = "2026-01-05T00:30:00Z".parse().unwrap();
        schedule.longest_interval(monday).unwrap().as_hours()
    };
    assert_eq!(hours("@daily"), 24);
    assert_eq!(hours("@hourly"), 1);
    assert_eq!(hours("0 9-17 * * MON-FRI"), 64);
    assert_eq!(hours("0 0 1 * *"), 31 * 24);
    assert_eq!(hours("0 0 29 2 *"), 4 * 366 * 24 - 3 * 24);
}
