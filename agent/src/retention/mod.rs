//! Which backups a policy keeps and which expire, with the reason for each: a pure function.
//!
//! The rules are restic's (`restic forget`, its `ApplyPolicy`), applied to each series and scope
//! alone: going from the newest backup to the oldest, a calendar rule keeps the last backup of each
//! of its newest N periods, and the oldest backup of all while it has periods left;
//! `keep within` counts from the newest backup, so that it never empties a series that stopped.
//!
//! Only complete backups count for a rule: a backup that lacks nodes never takes a place of one
//! that does not.

mod candidate;
mod named;
mod period;
mod policy;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use manifest::BackupName;

pub use candidate::{Candidate, State, candidates, listed};
pub use named::{ByName, Refused, named};
pub use period::Period;
pub use policy::Policy;

/// What is to become of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The backup.
    pub name: BackupName,
    /// The verdict with its reasons.
    pub verdict: Verdict,
}

/// Whether a backup stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, for all of these reasons.
    Keep(Vec<Keep>),
    /// It goes.
    Expire(Expire),
}

/// Why a backup stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The newest complete one of its series and scope, which is never deleted.
    Newest,
    /// Among the complete ones that are always kept.
    MinimumComplete,
    /// Among the last N.
    Last,
    /// The last of its period, of which the newest N are kept.
    LastOf(Period),
    /// The oldest of all, while the rule has periods left.
    OldestFor(Period),
    /// Younger than the time within which all are kept.
    Within,
    /// A node may still be at work on it.
    Running,
    /// Incomplete, but newer than every complete one.
    NewerThanComplete,
    /// The policy has no rule, so it keeps everything.
    NoRule,
}

/// Why a backup goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expire {
    /// No rule keeps it.
    NoRuleKeepsIt,
    /// Nodes are missing, and a newer complete backup is there.
    IncompleteAndSuperseded,
    /// It was asked for by name.
    Named,
}

impl std::fmt::Display for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Newest => f.write_str("newest complete"),
            Self::MinimumComplete => f.write_str("minimum of complete backups"),
            Self::Last => f.write_str("last"),
            Self::LastOf(period) => write!(f, "last of its {}", period.noun()),
            Self::OldestFor(period) => write!(f, "oldest, {} rule has room", period.adjective()),
            Self::Within => f.write_str("within"),
            Self::Running => f.write_str("at work"),
            Self::NewerThanComplete => f.write_str("incomplete, but newer than every complete one"),
            Self::NoRule => f.write_str("no rule given"),
        }
    }
}

impl std::fmt::Display for Expire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoRuleKeepsIt => "no rule keeps it",
            Self::IncompleteAndSuperseded => "incomplete, and a newer complete one is there",
            Self::Named => "asked for by name",
        })
    }
}

impl Verdict {
    /// The reasons, for people.
    pub fn reasons(&self) -> String {
        match self {
            Self::Keep(reasons) => {
                let texts: Vec<String> = reasons.iter().map(Keep::to_string).collect();
                texts.join(", ")
            }
            Self::Expire(reason) => reason.to_string(),
        }
    }
}

/// Decides over all backups of a cluster; the answer has one decision for each, oldest first.
pub fn decide(candidates: &[Candidate], policy: &Policy) -> Vec<Decision> {
    let mut groups: BTreeMap<_, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        groups.entry(group(candidate)).or_default().push(candidate);
    }
    let mut decisions: Vec<(Timestamp, Decision)> = groups
        .into_values()
        .flat_map(|members| decide_group(members, policy))
        .collect();
    decisions.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    decisions
        .into_iter()
        .map(|(_, decision)| decision)
        .collect()
}

/// The same over the backups of one series, if one is named; of the others nothing is decided.
pub fn decide_of(candidates: &[Candidate], policy: &Policy, series: Option<&str>) -> Vec<Decision> {
    let Some(series) = series else {
        return decide(candidates, policy);
    };
    let of: Vec<_> = candidates
        .iter()
        .filter(|candidate| candidate.series.as_deref() == Some(series))
        .cloned()
        .collect();
    decide(&of, policy)
}

/// The newest complete backup of each series and scope.
fn newest_complete(candidates: &[Candidate]) -> Vec<&BackupName> {
    let mut newest: BTreeMap<Group, &Candidate> = BTreeMap::new();
    for candidate in candidates {
        if candidate.state != State::Complete {
            continue;
        }
        let place = newest.entry(group(candidate)).or_insert(candidate);
        if (candidate.started, &candidate.name) > (place.started, &place.name) {
            *place = candidate;
        }
    }
    newest
        .into_values()
        .map(|candidate| &candidate.name)
        .collect()
}

type Group = (Option<String>, [Vec<String>; 3]);

/// Series and scope; a scope is a set, whatever the order in which it was written.
fn group(candidate: &Candidate) -> Group {
    let set = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        names
    };
    let scope = &candidate.scope;
    let parts = [&scope.keyspaces, &scope.tables, &scope.datacenters];
    (candidate.series.clone(), parts.map(|part| set(part)))
}

fn decide_group(mut members: Vec<&Candidate>, policy: &Policy) -> Vec<(Timestamp, Decision)> {
    members.sort_by(|a, b| (b.started, &b.name).cmp(&(a.started, &a.name)));
    let complete: Vec<&Candidate> = members
        .iter()
        .copied()
        .filter(|member| member.state == State::Complete)
        .collect();
    let mut reasons: BTreeMap<&BackupName, Vec<Keep>> = BTreeMap::new();
    for (reason, name) in kept(&complete, policy) {
        reasons.entry(name).or_default().push(reason);
    }
    let newest = complete.first().map(|newest| newest.started);
    members
        .into_iter()
        .map(|member| {
            let verdict = match member.state {
                State::Complete => match reasons.remove(&member.name) {
                    Some(reasons) => Verdict::Keep(reasons),
                    None => Verdict::Expire(Expire::NoRuleKeepsIt),
                },
                State::Running => Verdict::Keep(vec![Keep::Running]),
                State::Incomplete => incomplete(member, newest, policy),
            };
            let name = member.name.clone();
            (member.started, Decision { name, verdict })
        })
        .collect()
}

/// A backup that lacks nodes is of use only where none better is there.
fn incomplete(member: &Candidate, newest: Option<Timestamp>, policy: &Policy) -> Verdict {
    match newest {
        Some(newest) if member.started < newest => {
            if policy.is_empty() {
                Verdict::Keep(vec![Keep::NoRule])
            } else if within(member.started, newest, policy) {
                Verdict::Keep(vec![Keep::Within])
            } else {
                Verdict::Expire(Expire::IncompleteAndSuperseded)
            }
        }
        _ => Verdict::Keep(vec![Keep::NewerThanComplete]),
    }
}

/// The complete backups that stay, newest first, each once for every reason.
fn kept<'a>(complete: &[&'a Candidate], policy: &Policy) -> Vec<(Keep, &'a BackupName)> {
    let mut kept = Vec::new();
    let minimum = policy.minimum_complete.max(1) as usize;
    for (at, member) in complete.iter().enumerate().take(minimum) {
        let reason = if at == 0 {
            Keep::Newest
        } else {
            Keep::MinimumComplete
        };
        kept.push((reason, &member.name));
    }
    if policy.is_empty() {
        kept.extend(complete.iter().map(|member| (Keep::NoRule, &member.name)));
        return kept;
    }
    let last = policy.last as usize;
    kept.extend(complete.iter().take(last).map(|m| (Keep::Last, &m.name)));
    for (period, count) in policy.periods() {
        by_period(complete, period, count, &policy.time_zone, &mut kept);
    }
    if let Some(newest) = complete.first() {
        let young = complete
            .iter()
            .filter(|member| within(member.started, newest.started, policy));
        kept.extend(young.map(|member| (Keep::Within, &member.name)));
    }
    kept
}

fn within(started: Timestamp, newest: Timestamp, policy: &Policy) -> bool {
    let Some(within) = policy.within else {
        return false;
    };
    // A span that reaches before all time keeps everything.
    newest
        .checked_sub(within)
        .map_or(true, |oldest| started >= oldest)
}

fn by_period<'a>(
    complete: &[&'a Candidate],
    period: Period,
    count: u32,
    time_zone: &TimeZone,
    kept: &mut Vec<(Keep, &'a BackupName)>,
) {
    let mut left = count;
    let mut last = None;
    for (at, member) in complete.iter().enumerate() {
        if left == 0 {
            return;
        }
        let of = period.of(member.started, time_zone);
        let oldest = at + 1 == complete.len();
        if last != Some(of) {
            kept.push((Keep::LastOf(period), &member.name));
        } else if oldest {
            kept.push((Keep::OldestFor(period), &member.name));
        } else {
            continue;
        }
        last = Some(of);
        left -= 1;
    }
}

#[cfg(test)]
mod restic;
#[cfg(test)]
mod tests;
