//! What one that takes part in an election asks next, and whether it leads. Nothing here waits or
//! talks to anybody.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::time::Instant;

use super::Timing;
use crate::lease::{Observed, free, held, holder};

/// Something to ask the API server.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Read,
    /// To create the lease, or to replace the version of it that was decided on.
    Write(Box<Lease>),
}

/// What it answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// The lease as it is now.
    Is(Box<Lease>),
    Missing,
    /// The lease has changed meanwhile.
    Refused,
    /// Nothing: what was asked may have been done or not, or be done yet.
    None,
}

/// Why the lease is not ours any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the lease was never held")]
    Never,
    #[error("the lease could not be renewed in time; is the API server reachable?")]
    TooLate,
    #[error("{0} has taken the lease")]
    Taken(String),
    #[error("the lease was deleted or freed by somebody else")]
    Removed,
}

/// One that takes part.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    name: String,
    identity: String,
    timing: Timing,
    /// The lease as it was last seen.
    observed: Option<Observed>,
    /// Whether it was not there any more.
    missing: bool,
    /// Whether that can be decided on: nothing was asked in vain since.
    fresh: bool,
    leads_until: Option<Instant>,
    lost: Option<Lost>,
}

impl Candidate {
    pub(super) fn new(name: String, identity: String, timing: Timing) -> Self {
        Self {
            name,
            identity,
            timing,
            observed: None,
            missing: false,
            fresh: false,
            leads_until: None,
            lost: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn holder(&self) -> Option<String> {
        let lease = &self.observed.as_ref()?.lease;
        holder(lease).map(str::to_owned)
    }

    /// Until when we rely on the lease; `None` if we do not hold it.
    pub(super) fn leads_until(&self) -> Option<Instant> {
        self.leads_until
    }

    /// Why we lead no more, if we ever did.
    pub(super) fn has_lost(&self, now: Instant) -> Option<Lost> {
        let too_late = self.leads_until.is_some_and(|until| now >= until);
        self.lost.clone().or(too_late.then_some(Lost::TooLate))
    }

    /// What to ask now.
    pub(super) fn ask(&self, now: Instant) -> Ask {
        if self.fresh && self.may_take(now) {
            let found = self.observed.as_ref().filter(|_| !self.missing);
            let lease = found.map_or_else(
                || Lease {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        ..ObjectMeta::default()
                    },
                    ..Lease::default()
                },
                |observed| observed.lease.clone(),
            );
            let lease = held(lease, &self.identity, self.timing.lasts, Timestamp::now());
            Ask::Write(Box::new(lease))
        } else {
            Ask::Read
        }
    }

    /// Whether the lease as it is known is ours or anybody's. One that was deleted is waited for
    /// like one that is held: its holder does not know yet.
    fn may_take(&self, now: Instant) -> bool {
        let Some(observed) = &self.observed else {
            return true;
        };
        holder(&observed.lease).is_none_or(|holder| holder == self.identity)
            || observed.is_expired(self.timing.lasts, now)
    }

    /// Takes the answer to what was asked at `sent` and answered at `now`.
    pub(super) fn answered(&mut self, ask: &Ask, sent: Instant, answer: Answer, now: Instant) {
        match (ask, answer) {
            (Ask::Read, Answer::Is(lease)) => {
                self.observed = Some(Observed::anew(self.observed.take(), *lease, now));
                (self.missing, self.fresh) = (false, true);
                let holder = self.holder();
                if self.leads_until.is_some() && holder.as_ref() != Some(&self.identity) {
                    self.lost = Some(holder.map_or(Lost::Removed, Lost::Taken));
                }
            }
            (Ask::Read, Answer::Missing) => {
                (self.missing, self.fresh) = (true, true);
                if self.leads_until.is_some() {
                    self.lost = Some(Lost::Removed);
                }
            }
            (Ask::Write(_), Answer::Is(lease)) => {
                self.observed = Some(Observed {
                    lease: *lease,
                    since: now,
                });
                (self.missing, self.fresh) = (false, true);
                // Since it was sent, not since it was answered: others count from when it was done.
                self.leads_until = Some(sent + self.timing.relied_on);
            }
            (_, Answer::None | Answer::Refused | Answer::Missing) => self.fresh = false,
        }
    }

    /// How long to wait before the next question.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        match (self.leads_until, self.fresh) {
            (Some(until), true) => {
                // The lease was asked for `relied_on` before that.
                let renewed = until - self.timing.relied_on;
                self.timing
                    .renew
                    .saturating_sub(now.duration_since(renewed))
            }
            (None, true) if self.may_take(now) => Duration::ZERO,
            (None, true) => self.timing.look,
            (_, false) => self.timing.again,
        }
    }

    /// The lease as we give it up, if we hold it.
    pub(super) fn resigned(&self, now: Instant) -> Option<Lease> {
        if self.leads_until.is_none() || self.has_lost(now).is_some() {
            return None;
        }
        let observed = self.observed.as_ref()?;
        Some(free(observed.lease.clone(), Timestamp::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Others may have seen the lease as soon as it was asked for, however late we are told.
    #[test]
    fn a_lease_is_relied_on_since_it_was_asked_for() {
        let timing = Timing::default();
        let mut candidate = Candidate::new("lease".into(), "a".into(), timing);
        let sent = Instant::now();
        candidate.answered(&Ask::Read, sent, Answer::Missing, sent);
        let ask = candidate.ask(sent);
        let Ask::Write(lease) = ask.clone() else {
            panic!("{ask:?}")
        };
        let late = sent + timing.answer;
        candidate.answered(&ask, sent, Answer::Is(lease), late);
        assert_eq!(candidate.leads_until(), Some(sent + timing.relied_on));
        assert!(candidate.has_lost(sent + timing.relied_on).is_some());
    }
}
