//! Against what restic's documentation says of `forget`, and how its `ApplyPolicy` counts.

use std::collections::BTreeSet;

use jiff::{SignedDuration, ToSpan};
use manifest::Scope;
use proptest::prelude::*;

use super::*;

/// By hand: two backups in one hour, two weeks that meet at midnight, and the turn of a month.
const TAKEN: [&str; 9] = [
    "2026-01-31T22:00:00Z", // Saturday
    "2026-02-01T06:00:00Z",
    "2026-02-01T18:00:00Z",
    "2026-02-01T18:40:00Z",
    "2026-02-08T12:00:00Z", // Sunday
    "2026-02-09T12:00:00Z", // Monday
    "2026-02-15T23:59:59Z", // Sunday
    "2026-02-16T00:00:00Z", // Monday
    "2026-02-16T00:20:00Z",
];

fn taken(at: Timestamp, number: usize) -> Candidate {
    Candidate {
        name: format!("b{number}").parse().unwrap(),
        series: None,
        scope: Scope::default(),
        started: at,
        state: State::Complete,
        runs: BTreeSet::new(),
    }
}

/// The numbers of those that stay.
fn stay(candidates: &[Candidate], policy: &Policy) -> Vec<usize> {
    decide(candidates, policy)
        .iter()
        .filter(|decision| matches!(decision.verdict, Verdict::Keep(_)))
        .map(|decision| decision.name.as_str()[1..].parse().unwrap())
        .collect()
}

/// `l` last, `h` hourly, `d` daily, `w` weekly, `m` monthly, `y` yearly, `+` within so many hours.
fn policy(rules: &str) -> Policy {
    let mut policy = Policy::default();
    for rule in rules.split_whitespace() {
        let count: u32 = rule[1..].parse().unwrap();
        match &rule[..1] {
            "l" => policy.last = count,
            "h" => policy.hourly = count,
            "d" => policy.daily = count,
            "w" => policy.weekly = count,
            "m" => policy.monthly = count,
            "y" => policy.yearly = count,
            "+" => policy.within = Some(SignedDuration::from_hours(count.into())),
            other => panic!("{other}"),
        }
    }
    policy
}

#[test]
fn rules_keep_what_restic_keeps() {
    let candidates: Vec<_> = TAKEN
        .iter()
        .enumerate()
        .map(|(number, at)| taken(at.parse().unwrap(), number))
        .collect();
    let table: &[(&str, &[usize])] = &[
        ("", &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("l1", &[8]),
        ("l3", &[6, 7, 8]),
        ("l20", &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
        // Only periods that have a backup count, and the last of each stays.
        ("h1", &[8]),
        ("h2", &[6, 8]),
        ("h20", &[0, 1, 3, 4, 5, 6, 8]),
        ("d3", &[5, 6, 8]),
        ("d30", &[0, 3, 4, 5, 6, 8]),
        // From Monday to Sunday.
        ("w1", &[8]),
        ("w2", &[6, 8]),
        ("w4", &[3, 4, 6, 8]),
        // The oldest of all stays while the rule has periods left, here as another of its week.
        ("w5", &[0, 3, 4, 6, 8]),
        ("m1", &[8]),
        ("m2", &[0, 8]),
        ("m6", &[0, 8]),
        ("y1", &[8]),
        ("y2", &[0, 8]),
        // Rules add up, and do not take each other's places.
        ("d2 w2", &[6, 8]),
        ("l1 m2", &[0, 8]),
        ("l2 w3", &[4, 6, 7, 8]),
        ("h1 d2 y10", &[0, 6, 8]),
        // From the newest backup, not from now.
        ("+24", &[6, 7, 8]),
        ("+168", &[5, 6, 7, 8]),
        ("+192", &[4, 5, 6, 7, 8]),
        ("+24 w4", &[3, 4, 6, 7, 8]),
        ("+1 l1", &[6, 7, 8]),
    ];
    for (rules, expected) in table {
        assert_eq!(stay(&candidates, &policy(rules)), *expected, "{rules:?}");
    }
}

#[test]
fn of_a_hundred_years_of_days_stay_seven_days_five_weeks_twelve_months_and_75_years() {
    // A Wednesday, so that no rule's first is another one's second.
    let newest: Timestamp = "2026-11-25T02:30:00Z".parse().unwrap();
    let candidates: Vec<_> = (0..36_525)
        .map(|day| taken(newest - (24 * (36_524 - day)).hours(), day as usize))
        .collect();
    let decisions = decide(&candidates, &policy("d7 w5 m12 y75"));
    let by = |wanted: Keep| {
        let keeps = |decision: &&Decision| matches!(&decision.verdict, Verdict::Keep(reasons) if reasons.contains(&wanted));
        decisions.iter().filter(keeps).count()
    };
    let counts = [Period::Day, Period::Week, Period::Month, Period::Year]
        .map(|period| by(Keep::LastOf(period)));
    assert_eq!(counts, [7, 5, 12, 75]);
    // The newest is the last of its day, week, month and year so far, and the Sunday before it is
    // one of the seven days; the last of October is a Saturday, that of 2025 the last of December.
    let kept = stay(&candidates, &policy("d7 w5 m12 y75")).len();
    assert_eq!(kept, 7 + 3 + 11 + 74 - 1);
}

#[test]
fn days_without_a_backup_do_not_count() {
    let newest: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
    let sundays: Vec<_> = (0..12)
        .map(|week| taken(newest - (7 * 24 * (11 - week)).hours(), week as usize))
        .collect();
    assert_eq!(stay(&sundays, &policy("d4")), [8, 9, 10, 11]);
    assert_eq!(stay(&sundays, &policy("h4")), [8, 9, 10, 11]);
    assert_eq!(stay(&sundays, &policy("w4")), [8, 9, 10, 11]);
    assert_eq!(stay(&sundays, &policy("m2")), [7, 11]);
}

/// As restic counts: each rule on its own goes from the newest to the oldest, keeps what is of
/// another period than the one that it kept last, and the oldest, until its count is used up.
fn as_restic_counts(times: &[Timestamp], policy: &Policy) -> Vec<usize> {
    let rules: [(u32, &str); 6] = [
        (policy.last, "%s"),
        (policy.hourly, "%Y-%m-%d %H"),
        (policy.daily, "%Y-%m-%d"),
        (policy.weekly, "%G-%V"),
        (policy.monthly, "%Y-%m"),
        (policy.yearly, "%Y"),
    ];
    let mut kept = vec![times.len() - 1];
    for (mut left, period) in rules {
        let mut last = String::new();
        for (number, time) in times.iter().enumerate().rev() {
            let of = time.strftime(period).to_string();
            if left > 0 && (of != last || number == 0) {
                kept.push(number);
                last = of;
                left -= 1;
            }
        }
    }
    kept.sort_unstable();
    kept.dedup();
    kept
}

proptest! {
    #[test]
    fn rules_count_as_restic_counts(
        seconds in proptest::collection::btree_set(0i64..500 * 86_400, 1..60),
        counts in proptest::array::uniform6(prop_oneof![Just(0u32), 1u32..6]),
    ) {
        prop_assume!(counts.iter().any(|count| *count > 0));
        let times: Vec<_> = seconds
            .iter()
            .map(|second| Timestamp::from_second(1_780_000_000 + second).unwrap())
            .collect();
        let policy = Policy {
            last: counts[0],
            hourly: counts[1],
            daily: counts[2],
            weekly: counts[3],
            monthly: counts[4],
            yearly: counts[5],
            ..Policy::default()
        };
        let candidates: Vec<_> = times
            .iter()
            .enumerate()
            .map(|(number, at)| taken(*at, number))
            .collect();
        prop_assert_eq!(stay(&candidates, &policy), as_restic_counts(&times, &policy));
    }
}
