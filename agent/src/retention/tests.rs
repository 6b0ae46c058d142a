use std::collections::BTreeSet;

use jiff::SignedDuration;
use manifest::Scope;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn at(time: &str) -> Candidate {
    let name = time.replace([':', '+'], "-").to_lowercase();
    Candidate {
        name: name.parse().unwrap(),
        series: None,
        scope: Scope::default(),
        started: time.parse().unwrap(),
        state: State::Complete,
        runs: BTreeSet::new(),
    }
}

fn kept(candidates: &[Candidate], policy: &Policy) -> Vec<String> {
    decide(candidates, policy)
        .into_iter()
        .filter(|decision| matches!(decision.verdict, Verdict::Keep(_)))
        .map(|decision| decision.name.to_string())
        .collect()
}

/// What a policy does, one line a backup.
fn table(candidates: &[Candidate], policy: &Policy) -> String {
    decide(candidates, policy)
        .iter()
        .map(|decision| {
            let verdict = match decision.verdict {
                Verdict::Keep(_) => "keep  ",
                Verdict::Expire(_) => "expire",
            };
            format!(
                "{} {verdict} {}\n",
                decision.name,
                decision.verdict.reasons()
            )
        })
        .collect()
}

#[test]
fn each_rule_keeps_the_last_of_its_periods_and_says_so() {
    let candidates = [
        at("2025-12-31T23:00:00Z"),
        at("2026-01-01T01:00:00Z"),
        at("2026-02-10T01:00:00Z"),
        at("2026-02-10T13:00:00Z"),
        at("2026-02-11T01:00:00Z"),
        at("2026-02-11T01:30:00Z"),
        at("2026-02-12T01:00:00Z"),
    ];
    let policy = Policy {
        daily: 2,
        monthly: 2,
        yearly: 3,
        ..Policy::default()
    };
    insta::assert_snapshot!(table(&candidates, &policy), @r"
    2025-12-31t23-00-00z keep   last of its year
    2026-01-01t01-00-00z keep   last of its month
    2026-02-10t01-00-00z expire no rule keeps it
    2026-02-10t13-00-00z expire no rule keeps it
    2026-02-11t01-00-00z expire no rule keeps it
    2026-02-11t01-30-00z keep   last of its day
    2026-02-12t01-00-00z keep   newest complete, last of its day, last of its month, last of its year
    ");
}

#[test]
fn the_oldest_stays_while_a_rule_has_periods_left() {
    let candidates = [
        at("2026-02-10T01:00:00Z"),
        at("2026-02-10T02:00:00Z"),
        at("2026-02-10T03:00:00Z"),
    ];
    let policy = Policy {
        daily: 7,
        ..Policy::default()
    };
    insta::assert_snapshot!(table(&candidates, &policy), @r"
    2026-02-10t01-00-00z keep   oldest, daily rule has room
    2026-02-10t02-00-00z expire no rule keeps it
    2026-02-10t03-00-00z keep   newest complete, last of its day
    ");
}

#[test]
fn within_counts_from_the_newest_backup_so_that_a_stopped_schedule_loses_nothing() {
    let candidates = [
        at("2020-01-01T00:00:00Z"),
        at("2020-01-05T00:00:00Z"),
        at("2020-01-08T00:00:00Z"),
    ];
    let policy = Policy {
        within: Some(SignedDuration::from_hours(3 * 24)),
        ..Policy::default()
    };
    assert_eq!(
        kept(&candidates, &policy),
        ["2020-01-05t00-00-00z", "2020-01-08t00-00-00z"]
    );
}

#[test]
fn days_divide_at_the_midnight_of_the_time_zone() {
    let candidates = [at("2026-06-01T21:30:00Z"), at("2026-06-01T22:30:00Z")];
    let mut policy = Policy {
        daily: 2,
        ..Policy::default()
    };
    let reasons = |policy: &Policy| decide(&candidates, policy)[0].verdict.reasons();
    assert_eq!(reasons(&policy), "oldest, daily rule has room");
    policy.time_zone = TimeZone::get("Europe/Berlin").unwrap();
    assert_eq!(reasons(&policy), "last of its day");
}

#[test]
fn the_hour_that_comes_twice_is_two_hours_and_weeks_are_those_of_iso_8601() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let hour = |time: &str| Period::Hour.of(time.parse().unwrap(), &berlin);
    assert_ne!(hour("2026-10-25T00:30:00Z"), hour("2026-10-25T01:30:00Z"));
    assert_eq!(hour("2026-10-25T00:30:00Z"), hour("2026-10-25T00:59:59Z"));
    let week = |time: &str| Period::Week.of(time.parse().unwrap(), &TimeZone::UTC);
    assert_eq!(week("2025-12-29T00:00:00Z"), week("2026-01-04T23:00:00Z"));
    assert_ne!(week("2026-01-04T23:00:00Z"), week("2026-01-05T00:00:00Z"));
}

#[test]
fn series_and_scopes_are_judged_alone_and_a_scope_is_a_set() {
    let mut nightly = at("2026-01-01T00:00:00Z");
    nightly.series = Some("nightly".into());
    let manual = at("2026-01-02T00:00:00Z");
    let scoped = |time: &str, keyspaces: [&str; 2]| {
        let mut candidate = at(time);
        candidate.scope.keyspaces = keyspaces.map(str::to_owned).to_vec();
        candidate
    };
    let one = scoped("2026-01-03T00:00:00Z", ["a", "b"]);
    let other = scoped("2026-01-04T00:00:00Z", ["b", "a"]);
    let policy = Policy {
        last: 1,
        ..Policy::default()
    };
    let kept = kept(&[nightly, manual, one, other], &policy);
    assert_eq!(
        kept,
        [
            "2026-01-01t00-00-00z",
            "2026-01-02t00-00-00z",
            "2026-01-04t00-00-00z"
        ]
    );
}

#[test]
fn an_incomplete_backup_takes_nobodys_place_and_goes_once_a_newer_complete_one_is_there() {
    let mut candidates = [
        at("2026-01-01T00:00:00Z"),
        at("2026-01-02T00:00:00Z"),
        at("2026-01-03T00:00:00Z"),
        at("2026-01-04T00:00:00Z"),
        at("2026-01-05T00:00:00Z"),
    ];
    candidates[1].state = State::Incomplete;
    candidates[2].state = State::Running;
    candidates[4].state = State::Incomplete;
    let policy = Policy {
        last: 1,
        ..Policy::default()
    };
    insta::assert_snapshot!(table(&candidates, &policy), @r"
    2026-01-01t00-00-00z expire no rule keeps it
    2026-01-02t00-00-00z expire incomplete, and a newer complete one is there
    2026-01-03t00-00-00z keep   at work
    2026-01-04t00-00-00z keep   newest complete, last
    2026-01-05t00-00-00z keep   incomplete, but newer than every complete one
    ");
}

#[test]
fn a_minimum_of_complete_backups_stays_whatever_the_rules_say() {
    let candidates = [
        at("2026-01-01T00:00:00Z"),
        at("2026-01-02T00:00:00Z"),
        at("2026-01-03T00:00:00Z"),
    ];
    let policy = Policy {
        within: Some(SignedDuration::ZERO),
        minimum_complete: 2,
        ..Policy::default()
    };
    assert_eq!(
        kept(&candidates, &policy),
        ["2026-01-02t00-00-00z", "2026-01-03t00-00-00z"]
    );
}

#[test]
fn a_backup_goes_by_name_unless_it_is_the_newest_complete_one_or_at_work() {
    let mut candidates = vec![
        at("2026-01-01T00:00:00Z"),
        at("2026-01-02T00:00:00Z"),
        at("2026-01-03T00:00:00Z"),
    ];
    candidates[2].state = State::Running;
    let ask = |at: &[usize], even_newest| {
        let names: Vec<_> = at.iter().map(|at| candidates[*at].name.clone()).collect();
        named(&candidates, asked(&names, even_newest))
    };
    let decisions = ask(&[0], false).unwrap();
    assert_eq!(decisions.len(), 1);
    assert_eq!(decisions[0].verdict, Verdict::Expire(Expire::Named));
    let refused = ask(&[0, 1], false).unwrap_err();
    assert_eq!(refused, Refused::Newest(candidates[1].name.clone()));
    assert_eq!(ask(&[0, 1], true).unwrap().len(), 2);
    let refused = ask(&[2], true).unwrap_err();
    assert_eq!(refused, Refused::Running(candidates[2].name.clone()));
    let unknown: BackupName = "b9".parse().unwrap();
    let refused = named(&candidates, asked(std::slice::from_ref(&unknown), true)).unwrap_err();
    assert_eq!(refused, Refused::NotThere(unknown));
}

fn asked(names: &[BackupName], even_newest: bool) -> ByName<'_> {
    ByName {
        names,
        even_newest,
        runs: None,
    }
}

#[test]
fn a_backup_of_the_same_name_that_another_run_made_a_part_of_stays() {
    let mut candidate = at("2026-01-01T00:00:00Z");
    let [ours, other] = [1, 2].map(Uuid::from_u128);
    let names = [candidate.name.clone()];
    let runs = BTreeSet::from([ours]);
    candidate.runs = BTreeSet::from([ours, other]);
    let ask = |candidate: &Candidate, runs| {
        let asked = ByName {
            runs,
            ..asked(&names, true)
        };
        named(std::slice::from_ref(candidate), asked)
    };
    let refused = Refused::Foreign {
        name: names[0].clone(),
        by: other,
    };
    assert_eq!(ask(&candidate, Some(&runs)), Err(refused));
    assert_eq!(ask(&candidate, None).unwrap().len(), 1);
    candidate.runs.remove(&other);
    assert_eq!(ask(&candidate, Some(&runs)).unwrap().len(), 1);
}

/// Two scopes, of which one is written in two ways.
const SCOPES: [&[&str]; 3] = [&[], &["a", "b"], &["b", "a"]];

fn drawn() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0i64..400 * 86_400, 0u8..3, 0u8..4, 0usize..3);
    proptest::collection::vec(one, 0..40).prop_map(|drawn| {
        drawn
            .into_iter()
            .enumerate()
            .map(|(at, (seconds, series, state, scope))| Candidate {
                runs: BTreeSet::new(),
                name: format!("b{at}").parse().unwrap(),
                series: (series > 0).then(|| format!("s{series}")),
                scope: Scope {
                    keyspaces: SCOPES[scope].iter().map(|&name| name.to_owned()).collect(),
                    ..Scope::default()
                },
                started: Timestamp::from_second(1_780_000_000 + seconds).unwrap(),
                state: match state {
                    0 => State::Incomplete,
                    1 => State::Running,
                    _ => State::Complete,
                },
            })
            .collect()
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    let rule = || prop_oneof![Just(0u32), 1u32..5];
    let rules = (rule(), rule(), rule(), rule(), rule(), rule());
    (rules, proptest::option::of(0i64..100), 0u32..4).prop_map(|(rules, days, minimum)| Policy {
        last: rules.0,
        hourly: rules.1,
        daily: rules.2,
        weekly: rules.3,
        monthly: rules.4,
        yearly: rules.5,
        within: days.map(|days| SignedDuration::from_hours(24 * days)),
        minimum_complete: minimum,
        time_zone: TimeZone::UTC,
    })
}

proptest! {
    #[test]
    fn the_newest_complete_backup_of_each_series_and_scope_is_never_deleted(
        candidates in drawn(), policy in policies()
    ) {
        let kept = kept(&candidates, &policy);
        for series in [None, Some("s1".to_owned()), Some("s2".to_owned())] {
            for everything in [true, false] {
                let newest = candidates
                    .iter()
                    .filter(|c| c.series == series && c.state == State::Complete)
                    .filter(|c| c.scope.keyspaces.is_empty() == everything)
                    .max_by_key(|c| (c.started, c.name.clone()));
                if let Some(newest) = newest {
                    prop_assert!(kept.contains(&newest.name.to_string()));
                }
            }
        }
        prop_assert_eq!(decide(&candidates, &policy).len(), candidates.len());
    }

    #[test]
    fn what_was_kept_is_kept_again(candidates in drawn(), policy in policies()) {
        let survivors = kept(&candidates, &policy);
        let left: Vec<_> = candidates
            .into_iter()
            .filter(|c| survivors.contains(&c.name.to_string()))
            .collect();
        prop_assert_eq!(kept(&left, &policy), survivors);
    }
}
