//! What to do next with a CronBackup, from what is known of it and the time. Nothing here waits or
//! talks to anybody.

use crds::{ConcurrencyPolicy, CronBackupSpec, CronBackupStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::child::Child;
use super::history;
use super::names::Run;
use super::reason::Reason;
use super::slots::{Invalid, Schedule};
use super::status::{self, Why};

/// Looked at again after so long: clocks are set, and timers do not notice.
const HEARTBEAT: SignedDuration = SignedDuration::from_mins(5);
/// The same while a backup is at work; its end wakes us, if it has one.
const AT_WORK: SignedDuration = SignedDuration::from_secs(60);
/// Two operators' clocks may differ so much.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What is known of a CronBackup.
pub(super) struct Facts<'a> {
    pub(super) spec: &'a CronBackupSpec,
    pub(super) generation: Option<i64>,
    /// When the resource was made.
    pub(super) created: Timestamp,
    /// The spec's schedule, or what is wrong with it.
    pub(super) schedule: &'a Result<Schedule, Invalid>,
    pub(super) status: &'a CronBackupStatus,
    pub(super) children: &'a [Child],
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    /// A child to make.
    pub(super) create: Option<Run>,
    /// Children to cancel.
    pub(super) cancel: Vec<Child>,
    /// Children to delete, once the status is written.
    pub(super) delete: Vec<Child>,
    /// The status, before anything is made, without conditions.
    pub(super) status: CronBackupStatus,
    /// Why it is as it is, unless making the child comes to something else.
    pub(super) why: Why,
    /// When to look again.
    pub(super) wake: SignedDuration,
}

/// Decides from what is known, and the time.
pub(super) fn decide(facts: &Facts<'_>, now: Timestamp) -> Decision {
    let mut decision = Decision {
        create: None,
        cancel: Vec::new(),
        delete: history::beyond(facts),
        status: status::observed(facts),
        why: followed(facts.spec),
        wake: HEARTBEAT,
    };
    if !decision.status.active.is_empty() {
        decision.wake = AT_WORK;
    }
    decision.why = match facts.schedule {
        Err(invalid) => {
            decision.status.effective_schedule = None;
            decision.status.next_schedule_time = None;
            decision.status.pending_schedule_time = None;
            invalid.why()
        }
        Ok(schedule) => follow(facts, schedule, now, &mut decision),
    };
    decision
}

/// Decides by a schedule that was understood. Returns why it is as it is then.
fn follow(facts: &Facts<'_>, schedule: &Schedule, now: Timestamp, decision: &mut Decision) -> Why {
    let begun = schedule.begun(now);
    let status = &mut decision.status;
    status.effective_schedule = Some(effective(facts.spec));
    let Some(from) = counted_from(facts, now) else {
        // Written before anything is made: what is not there later was not begun.
        let from = first_look(facts, now);
        status.decided_until = Some(Time(from));
        wake_at_next(schedule, from, decision, now);
        decision.wake = SignedDuration::ZERO;
        return followed(facts.spec);
    };
    if facts.spec.suspend {
        return suspend(schedule, (from.max(facts.created), begun), decision, now);
    }
    let due = Due::of(facts, schedule, from, begun);
    status.missed += due.earlier_missed;
    let why = match due.latest {
        Some(latest) => {
            if let Some(earlier) = due.earlier {
                status.decided_until = Some(Time(earlier));
            }
            slot(facts, schedule, latest, decision, now)
        }
        None => {
            status.decided_until = Some(Time(from));
            status.pending_schedule_time = None;
            retry(facts, schedule, decision, now);
            quiet(facts, schedule, from, now)
        }
    };
    let latest = due.latest.map_or(from, |run| run.slot.max(from));
    wake_at_next(schedule, latest, decision, now);
    why
}

/// Slots up to here are dealt with; `None` if nobody has looked at the schedule yet.
fn counted_from(facts: &Facts<'_>, now: Timestamp) -> Option<Timestamp> {
    let status = facts.status;
    let decided = status.decided_until.as_ref()?.0;
    match status.effective_schedule.as_deref() {
        Some(followed) if followed == effective(facts.spec) => Some(decided),
        // Of what another schedule said, or none, nothing is made up for.
        _ => Some(decided.max(now)),
    }
}

/// Slots up to here are none of ours when nobody has looked at the schedule yet.
fn first_look(facts: &Facts<'_>, now: Timestamp) -> Timestamp {
    let newest = facts.children.iter().map(|child| child.run.slot).max();
    match newest {
        // The status was lost.
        Some(newest) => newest,
        // There was none that could be followed.
        None if facts.status.observed_generation.is_some() => now,
        None if facts.spec.immediate => before(facts.created),
        None => facts.created,
    }
}

/// An immediate backup is a slot at the creation.
fn before(created: Timestamp) -> Timestamp {
    let second = SignedDuration::from_secs(1);
    created.saturating_sub(second).unwrap_or(created)
}

fn effective(spec: &CronBackupSpec) -> String {
    format!("{} {}", spec.schedule, spec.time_zone)
}

/// What is due.
struct Due {
    /// The latest one, which is made up for.
    latest: Option<Run>,
    /// The one before it.
    earlier: Option<Timestamp>,
    /// How many before the latest have no child.
    earlier_missed: i64,
}

impl Due {
    fn of(facts: &Facts<'_>, schedule: &Schedule, from: Timestamp, begun: Timestamp) -> Self {
        let immediate = facts.spec.immediate && from < facts.created;
        let mut due = Self {
            latest: immediate.then_some(Run {
                slot: facts.created,
                retry: 0,
                immediate: true,
            }),
            earlier: None,
            earlier_missed: 0,
        };
        let from = from.max(facts.created);
        for slot in schedule.after(from).take_while(|slot| *slot <= begun) {
            if let Some(before) = due.latest {
                due.earlier = Some(before.slot);
                due.earlier_missed += i64::from(!was_made(facts, before.slot));
            }
            due.latest = Some(Run {
                slot,
                retry: 0,
                immediate: false,
            });
        }
        due
    }
}

/// Whether a backup of it was made, although somebody may have deleted it since.
fn was_made(facts: &Facts<'_>, slot: Timestamp) -> bool {
    let last = facts.status.last_schedule_time.as_ref();
    last.is_some_and(|last| last.0 == slot)
        || facts.children.iter().any(|child| child.run.slot == slot)
}

/// While suspended, slots pass without a trace.
fn suspend(
    schedule: &Schedule,
    (from, begun): (Timestamp, Timestamp),
    decision: &mut Decision,
    now: Timestamp,
) -> Why {
    let passed = schedule
        .after(from)
        .take_while(|slot| *slot <= begun)
        .last();
    let until = passed.unwrap_or(from);
    wake_at_next(schedule, until, decision, now);
    let status = &mut decision.status;
    status.decided_until = Some(Time(until));
    status.pending_schedule_time = None;
    status.next_schedule_time = None;
    Why::new(
        Reason::Suspended,
        "no backups are made while spec.suspend is true",
    )
}

/// It is time for a slot: makes it, lets it wait, or gives it up.
fn slot(
    facts: &Facts<'_>,
    schedule: &Schedule,
    run: Run,
    decision: &mut Decision,
    now: Timestamp,
) -> Why {
    let usual = followed(facts.spec);
    let status = &mut decision.status;
    let pending = status.pending_schedule_time.take();
    if was_made(facts, run.slot) {
        // It was made, and then we did not come to write it down.
        status.decided_until = Some(Time(run.slot));
        return usual;
    }
    let policy = facts.spec.concurrency_policy;
    // Others were cancelled for it in time; it is not given up while they end.
    let promised = policy == ConcurrencyPolicy::Replace
        && pending.is_some_and(|pending| pending.0 == run.slot);
    let deadline = deadline(facts.spec, schedule, run.slot);
    if !promised && deadline.is_some_and(|deadline| now > deadline) {
        status.missed += 1;
        status.decided_until = Some(Time(run.slot));
        return usual;
    }
    let active: Vec<_> = facts
        .children
        .iter()
        .filter(|child| child.is_active())
        .collect();
    if active.is_empty() || policy == ConcurrencyPolicy::Allow {
        decision.create = Some(run);
        return usual;
    }
    let names: Vec<_> = active.iter().map(|child| child.name.as_str()).collect();
    let (names, of) = (names.join(", "), schedule.shown(run.slot));
    status.pending_schedule_time = Some(Time(run.slot));
    if policy == ConcurrencyPolicy::Replace {
        let others = active.iter().filter(|child| !child.cancelled);
        decision.cancel = others.map(|child| Child::clone(child)).collect();
        let message =
            format!("the backup of {of} begins when {names} has ended, which is cancelled for it");
        return Why::new(Reason::ReplacesRunning, message);
    }
    if let Some(deadline) = deadline {
        let past = deadline.saturating_add(SignedDuration::from_secs(1));
        decision.wake_by(past.unwrap_or(deadline), now);
    }
    let message = format!("the backup of {of} waits for {names} to end");
    Why::new(Reason::WaitsForRunning, message)
}

fn deadline(spec: &CronBackupSpec, schedule: &Schedule, slot: Timestamp) -> Option<Timestamp> {
    let seconds = SignedDuration::from_secs(spec.starting_deadline_seconds?);
    schedule.start(slot).checked_add(seconds).ok()
}

/// Makes the last slot's backup once more if it failed, and the next slot is not due before.
fn retry(facts: &Facts<'_>, schedule: &Schedule, decision: &mut Decision, now: Timestamp) {
    let rules = &facts.spec.retry;
    let Some(last) = facts.children.iter().max_by_key(|child| child.run) else {
        return;
    };
    let later = decision.status.last_schedule_time.as_ref();
    let decided = decision.status.decided_until.as_ref();
    // One of a later slot was made and deleted; or a clock that was put back has not come to it.
    if later.is_some_and(|later| later.0 > last.run.slot)
        || decided.is_none_or(|decided| decided.0 < last.run.slot)
    {
        return;
    }
    let made = last.run.retry.max(decision.status.retries.unwrap_or(0));
    let Some(completed) = last
        .completed
        .filter(|_| last.has_failed() && made < rules.limit)
    else {
        return;
    };
    let doubled = 1_i64 << made.clamp(0, 20);
    let backoff = SignedDuration::from_secs(rules.backoff_seconds.saturating_mul(doubled));
    let at = completed.saturating_add(backoff).unwrap_or(Timestamp::MAX);
    let next = schedule.after(last.run.slot).next();
    if next.is_some_and(|next| at.max(now) >= schedule.start(next)) {
        return;
    }
    let others = facts.children.iter().any(Child::is_active);
    if now < at {
        decision.wake_by(at, now);
    } else if !others || facts.spec.concurrency_policy == ConcurrencyPolicy::Allow {
        let retry = made + 1;
        decision.create = Some(Run { retry, ..last.run });
    }
}

/// Nothing is due.
fn quiet(facts: &Facts<'_>, schedule: &Schedule, from: Timestamp, now: Timestamp) -> Why {
    if from > now.saturating_add(CLOCK_SKEW).unwrap_or(now) {
        let message = format!(
            "the times of the schedule until {} are dealt with already, and the operator's clock is behind that",
            schedule.shown(from)
        );
        return Why::new(Reason::ClockBehind, message);
    }
    status::still_taken(facts.status).unwrap_or_else(|| followed(facts.spec))
}

fn followed(spec: &CronBackupSpec) -> Why {
    let message = format!("follows {} in {}", spec.schedule, spec.time_zone);
    Why::new(Reason::Scheduled, message)
}

fn wake_at_next(schedule: &Schedule, after: Timestamp, decision: &mut Decision, now: Timestamp) {
    let next = schedule
        .after(after)
        .next()
        .map(|next| schedule.start(next));
    decision.status.next_schedule_time = next.map(Time);
    if let Some(next) = next {
        decision.wake_by(next, now);
    }
}

impl Decision {
    /// Looks again at that time at the latest.
    fn wake_by(&mut self, at: Timestamp, now: Timestamp) {
        self.wake = self
            .wake
            .min(at.duration_since(now))
            .max(SignedDuration::ZERO);
    }
}

impl Invalid {
    fn why(&self) -> Why {
        let reason = match self {
            Self::Schedule { .. } | Self::Never { .. } => Reason::InvalidSchedule,
            Self::TimeZone { .. } => Reason::InvalidTimeZone,
        };
        Why::new(reason, self.to_string())
    }
}
