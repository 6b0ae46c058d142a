//! When a purge is due. Nothing here waits or talks to anybody.

use crds::{Retention, RetentionStatus};
use jiff::{SignedDuration, Timestamp};

/// Without a backup that succeeds, a purge is due after so long; and one that is due waits at most
/// so long for backups to end.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// After the first purge that did not go through; doubled for each further one.
const BACKOFF: SignedDuration = SignedDuration::from_mins(5);
const LONGEST_BACKOFF: SignedDuration = SignedDuration::from_hours(6);

/// What is known of a CronBackup's retention.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) spec: Option<&'a Retention>,
    pub(crate) status: Option<&'a RetentionStatus>,
    /// When the CronBackup was made.
    pub(crate) created: Timestamp,
    /// When the last of its backups that succeeded ended.
    pub(crate) succeeded: Option<Timestamp>,
    /// One of its backups is at work.
    pub(crate) active: bool,
    /// Its purge is at work.
    pub(crate) running: bool,
}

/// What to do about a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: there is no retention.
    Never,
    /// It is at work.
    Running,
    /// Start it.
    Now { due: Timestamp },
    /// It is not due before.
    At { due: Timestamp },
    /// It is due, and backups are at work: once they have ended, at the latest then.
    AfterBackup { due: Timestamp, latest: Timestamp },
}

impl Next {
    /// When it is or was due.
    pub(crate) fn due(self) -> Option<Timestamp> {
        match self {
            Self::Never | Self::Running => None,
            Self::Now { due } | Self::At { due } | Self::AfterBackup { due, .. } => Some(due),
        }
    }

    /// When to look again, if nothing else happens.
    pub(crate) fn look(self) -> Option<Timestamp> {
        match self {
            Self::Never | Self::Running | Self::Now { .. } => None,
            Self::At { due } => Some(due),
            Self::AfterBackup { latest, .. } => Some(latest),
        }
    }
}

/// Decides from what is known, and the time.
pub(crate) fn next(facts: &Facts<'_>, now: Timestamp) -> Next {
    if facts.spec.is_none() {
        return Next::Never;
    }
    if facts.running {
        return Next::Running;
    }
    let due = due(facts, now);
    let latest = after(due, DAY);
    if now < due {
        Next::At { due }
    } else if facts.active && now < latest {
        Next::AfterBackup { due, latest }
    } else {
        Next::Now { due }
    }
}

fn due(facts: &Facts<'_>, now: Timestamp) -> Timestamp {
    let status = facts.status.cloned().unwrap_or_default();
    let Some(last) = status.last_run_time.map(|time| time.0) else {
        return facts.succeeded.unwrap_or(after(facts.created, DAY));
    };
    // The clock was put back.
    if last > now {
        return now;
    }
    let failures = status.failures.unwrap_or(0);
    if failures > 0 {
        return after(last, backoff(failures));
    }
    match facts.succeeded {
        Some(succeeded) if succeeded > last => succeeded.min(after(last, DAY)),
        // A status has whole seconds: what ended in the second of the purge may have ended after it.
        Some(succeeded) if succeeded == last => after(last, SignedDuration::from_secs(1)),
        _ => after(last, DAY),
    }
}

/// How long to wait after so many failures in a row.
pub(crate) fn backoff(failures: i32) -> SignedDuration {
    let doubled = 1_i32 << failures.saturating_sub(1).clamp(0, 16);
    BACKOFF.saturating_mul(doubled).min(LONGEST_BACKOFF)
}

fn after(time: Timestamp, wait: SignedDuration) -> Timestamp {
    time.saturating_add(wait).unwrap_or(Timestamp::MAX)
}
