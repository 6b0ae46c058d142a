//! What follows from the way a stream ended. Nothing here waits or talks to anybody.

use std::time::Duration;

use crds::NodePhase;
use protocol::{ExitCode, Outcome, Reason};

use super::{Pace, backoff};
use crate::exec::Exit;

/// An agent that ends so often without a word will not say more the next time.
const SILENT_EXITS: u32 = 5;

/// A run that holds the node ends some day; asked once a minute, it has a day for that.
const TURNS: u32 = 24 * 60;

/// How a stream ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// With a result of the attempt that was asked for, or of a later one.
    Result(Box<Outcome>),
    /// With a success that lacks what proves it.
    Unproven(String),
    /// With the agent's word that it cannot make the request a run.
    Refused(Box<Outcome>),
    /// Without one. The run may go on, or may have died.
    Unknown {
        /// What is known of the process.
        exit: Exit,
        /// What it said besides events.
        stderr: String,
        /// Whether an event came.
        heard: bool,
    },
    /// The run died and began anew more often than it may.
    TooOften,
    /// It was told to stop, and did not say that it did.
    Unstopped,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The node's share has ended.
    Finish(Finish),
    /// Ask again.
    Again {
        after: Duration,
        attempt: u32,
        reason: Reason,
        message: String,
    },
}

/// How the node's share ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finish {
    pub(crate) phase: NodePhase,
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// A snapshot may be left on the node.
    pub(crate) sweep: bool,
}

impl Finish {
    pub(crate) fn failed(reason: Reason, message: impl Into<String>, sweep: bool) -> Self {
        Self {
            phase: NodePhase::Failed,
            reason,
            message: message.into(),
            sweep,
        }
    }
}

/// Counts what must not go on for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tries {
    /// Attempts that a node has in all.
    pub(crate) attempts: u32,
    /// Streams in a row that ended without an event.
    pub(crate) unheard: u32,
    /// Of those, processes that ended.
    pub(crate) silent_exits: u32,
    /// Attempts that only found another run on the node. They do not count for the limit.
    pub(crate) turned_away: u32,
}

impl Tries {
    /// For a node that is at `attempt` and was turned away so often. That is not known of what an older operator
    /// began, whose attempt may be above the limit.
    pub(crate) fn new(retry_limit: i32, attempt: u32, turned_away: u32) -> Self {
        let limit = u32::try_from(retry_limit).unwrap_or(0).saturating_add(1);
        Self {
            attempts: limit.saturating_add(turned_away).max(attempt),
            unheard: 0,
            silent_exits: 0,
            turned_away,
        }
    }

    /// Attempts that count for the limit.
    pub(crate) fn counted(&self) -> u32 {
        self.attempts.saturating_sub(self.turned_away)
    }
}

/// What follows from the end of a stream that was opened for `attempt`.
pub(crate) fn decide(end: End, attempt: u32, tries: &mut Tries, pace: &Pace) -> Next {
    match end {
        End::Result(outcome) => result(*outcome, tries, pace),
        End::Unproven(message) => Next::Finish(Finish::failed(Reason::Failed, message, true)),
        End::Refused(outcome) => refused(*outcome, attempt, tries, pace),
        End::TooOften => Next::Finish(Finish::failed(
            Reason::Interrupted,
            format!(
                "the run was interrupted in each of its {} attempts",
                tries.counted()
            ),
            true,
        )),
        End::Unstopped => Next::Finish(Finish {
            phase: NodePhase::Cancelled,
            reason: Reason::Cancelled,
            message: "cancelled; the agent has not confirmed it".into(),
            sweep: true,
        }),
        End::Unknown {
            exit,
            stderr,
            heard,
        } => unknown(&exit, &stderr, heard, attempt, tries, pace),
    }
}

fn result(outcome: Outcome, tries: &mut Tries, pace: &Pace) -> Next {
    tries.unheard = 0;
    tries.silent_exits = 0;
    let Outcome {
        reason,
        message,
        attempt,
        ..
    } = outcome;
    // Only what says in every way that it is a success is one.
    if reason == Reason::Succeeded {
        if outcome.exit_code == ExitCode::Done as u8 {
            return Next::Finish(Finish {
                phase: NodePhase::Succeeded,
                reason,
                message,
                sweep: false,
            });
        }
        return Next::Finish(Finish::failed(
            Reason::Failed,
            format!(
                "the agent reported success with exit code {}: {message}",
                outcome.exit_code
            ),
            true,
        ));
    }
    if reason == Reason::Cancelled {
        return Next::Finish(Finish {
            phase: NodePhase::Cancelled,
            reason,
            message,
            sweep: false,
        });
    }
    if reason == Reason::Locked && tries.turned_away < TURNS {
        tries.turned_away += 1;
        tries.attempts = tries.attempts.saturating_add(1);
        return Next::Again {
            after: backoff(pace.retry, tries.turned_away - 1, pace.longest_retry),
            attempt: attempt + 1,
            reason,
            message,
        };
    }
    let retryable = reason.is_retryable() || outcome.exit_code == ExitCode::Retry as u8;
    if retryable && attempt < tries.attempts {
        return Next::Again {
            after: backoff(
                pace.retry,
                attempt.saturating_sub(1 + tries.turned_away),
                pace.longest_retry,
            ),
            attempt: attempt + 1,
            reason,
            message,
        };
    }
    Next::Finish(Finish::failed(
        reason,
        message,
        reason == Reason::Interrupted,
    ))
}

fn refused(outcome: Outcome, attempt: u32, tries: &mut Tries, pace: &Pace) -> Next {
    let Outcome {
        reason, message, ..
    } = outcome;
    tries.silent_exits += 1;
    if !reason.is_retryable() || tries.silent_exits >= SILENT_EXITS {
        return Next::Finish(Finish::failed(reason, message, attempt > 1));
    }
    Next::Again {
        after: backoff(pace.retry, tries.silent_exits - 1, pace.longest_retry),
        attempt,
        reason,
        message,
    }
}

fn unknown(
    exit: &Exit,
    stderr: &str,
    heard: bool,
    attempt: u32,
    tries: &mut Tries,
    pace: &Pace,
) -> Next {
    let says = match exit {
        Exit::Code(code) if stderr.is_empty() => {
            format!("the agent's process ended with {code} and without a result")
        }
        Exit::Code(code) => {
            format!("the agent's process ended with {code} and without a result: {stderr}")
        }
        Exit::NotRun(cause) => format!("the agent could not be started: {cause}"),
        Exit::Unknown => "the stream to the agent was cut".to_owned(),
    };
    if heard {
        tries.unheard = 0;
        tries.silent_exits = 0;
    } else {
        tries.unheard += 1;
        if !matches!(exit, Exit::Unknown) {
            tries.silent_exits += 1;
        }
        // It will not like the same request better the next time.
        if *exit == Exit::Code(ExitCode::Usage as i32) {
            return Next::Finish(Finish::failed(Reason::InvalidRequest, says, attempt > 1));
        }
        if tries.silent_exits >= SILENT_EXITS {
            return Next::Finish(Finish::failed(Reason::Interrupted, says, true));
        }
    }
    Next::Again {
        after: backoff(pace.reattach, tries.unheard, pace.longest_retry / 4),
        attempt,
        reason: Reason::Interrupted,
        message: says,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(reason: Reason, attempt: u32) -> End {
        End::Result(Box::new(Outcome::ended(reason, "m", attempt)))
    }

    fn next(end: End, limit: i32) -> Next {
        decide(end, 1, &mut Tries::new(limit, 1, 0), &Pace::default())
    }

    fn finish(next: Next) -> Finish {
        match next {
            Next::Finish(finish) => finish,
            Next::Again { .. } => panic!("expected the end, got {next:?}"),
        }
    }

    #[test]
    fn only_a_success_that_is_proven_and_has_exit_code_zero_is_one() {
        assert_eq!(
            finish(next(outcome(Reason::Succeeded, 1), 3)).phase,
            NodePhase::Succeeded
        );
        let End::Result(good) = outcome(Reason::Succeeded, 1) else {
            unreachable!()
        };
        for bad in [
            Outcome {
                exit_code: 1,
                ..(*good).clone()
            },
            Outcome {
                reason: Reason::Running,
                ..(*good).clone()
            },
        ] {
            let end = finish(next(End::Result(Box::new(bad)), 3));
            assert_eq!(end.phase, NodePhase::Failed);
        }
        let end = finish(next(End::Unproven("without a manifest".into()), 3));
        assert_eq!((end.phase, end.sweep), (NodePhase::Failed, true));
    }

    #[test]
    fn what_may_pass_is_tried_again_up_to_the_limit_and_ever_later() {
        let again = |attempt| match next(outcome(Reason::JmxUnreachable, attempt), 3) {
            Next::Again { after, attempt, .. } => (after.as_secs(), attempt),
            Next::Finish(_) => (0, 0),
        };
        assert_eq!([again(1), again(2), again(3)], [(5, 2), (10, 3), (20, 4)]);
        let end = finish(next(outcome(Reason::JmxUnreachable, 4), 3));
        assert_eq!(
            (end.phase, end.reason),
            (NodePhase::Failed, Reason::JmxUnreachable)
        );
        assert_eq!(
            finish(next(outcome(Reason::JmxUnreachable, 1), 0)).phase,
            NodePhase::Failed
        );
    }

    #[test]
    fn every_reason_that_does_not_pass_fails_at_once() {
        for reason in Reason::ALL {
            let special = [Reason::Succeeded, Reason::Cancelled, Reason::Locked];
            if reason.is_retryable() || special.contains(reason) {
                continue;
            }
            let end = finish(next(outcome(*reason, 1), 3));
            assert_eq!((end.phase, end.reason), (NodePhase::Failed, *reason));
        }
    }

    #[test]
    fn a_node_that_another_run_holds_is_waited_for_without_losing_an_attempt() {
        let (mut tries, mut attempt) = (Tries::new(1, 1, 0), 1);
        for _ in 0..100 {
            match decide(
                outcome(Reason::Locked, attempt),
                attempt,
                &mut tries,
                &Pace::default(),
            ) {
                Next::Again {
                    attempt: next,
                    after,
                    ..
                } => {
                    assert!(after <= Pace::default().longest_retry);
                    attempt = next;
                }
                Next::Finish(finish) => panic!("{finish:?}"),
            }
        }
        let end = outcome(Reason::JmxUnreachable, attempt);
        let next = decide(end, attempt, &mut tries, &Pace::default());
        assert!(matches!(next, Next::Again { .. }), "the one retry is left");
        let end = outcome(Reason::JmxUnreachable, attempt + 1);
        finish(decide(end, attempt + 1, &mut tries, &Pace::default()));
        // Nor do they make the pauses after others longer.
        let mut tries = Tries::new(1, attempt, tries.turned_away);
        let end = outcome(Reason::StorageUnavailable, attempt);
        let Next::Again { after, .. } = decide(end, attempt, &mut tries, &Pace::default()) else {
            panic!("it is not tried again");
        };
        assert_eq!(
            after,
            backoff(Pace::default().retry, 0, Pace::default().longest_retry)
        );
        tries.turned_away = TURNS;
        let end = decide(
            outcome(Reason::Locked, attempt),
            attempt,
            &mut tries,
            &Pace::default(),
        );
        assert_eq!(finish(end).reason, Reason::Locked);
    }

    #[test]
    fn after_a_restart_the_attempts_that_were_turned_away_leave_the_others_all_retries() {
        // Retries, the attempt that the node is at, how often it was turned away; and attempts in all.
        for (limit, attempt, turned_away, attempts) in [
            (3, 1, 0, 4),
            (3, 3, 2, 6),
            (3, 9, 8, 12),
            (0, 3, 2, 3),
            (-1, 1, 0, 1),
            // By an operator that did not count them.
            (1, 7, 0, 7),
        ] {
            let tries = Tries::new(limit, attempt, turned_away);
            assert_eq!(
                (tries.attempts, tries.turned_away),
                (attempts, turned_away),
                "{limit} {attempt}"
            );
        }
        // The day that it has for its turn does not begin anew either.
        let mut tries = Tries::new(3, TURNS + 1, TURNS);
        let end = outcome(Reason::Locked, TURNS + 1);
        let end = finish(decide(end, TURNS + 1, &mut tries, &Pace::default()));
        assert_eq!(end.reason, Reason::Locked);
    }

    fn cut(heard: bool, exit: Exit) -> End {
        End::Unknown {
            exit,
            stderr: "e".into(),
            heard,
        }
    }

    #[test]
    fn a_stream_that_ends_without_a_result_is_asked_again_for_the_same_attempt() {
        for exit in [Exit::Unknown, Exit::Code(0), Exit::Code(137)] {
            assert!(matches!(
                next(cut(true, exit), 0),
                Next::Again {
                    attempt: 1,
                    reason: Reason::Interrupted,
                    ..
                }
            ));
        }
    }

    #[test]
    fn cut_streams_never_end_a_run_but_an_agent_that_says_nothing_does() {
        let mut tries = Tries::new(3, 1, 0);
        for _ in 0..100 {
            let next = decide(cut(false, Exit::Unknown), 1, &mut tries, &Pace::default());
            assert!(matches!(next, Next::Again { .. }));
        }
        let mut tries = Tries::new(3, 1, 0);
        for _ in 1..SILENT_EXITS {
            let next = decide(cut(false, Exit::Code(1)), 1, &mut tries, &Pace::default());
            assert!(matches!(next, Next::Again { .. }));
        }
        let end = finish(decide(
            cut(false, Exit::Code(1)),
            1,
            &mut tries,
            &Pace::default(),
        ));
        assert!(end.sweep);
        assert!(
            end.message.contains("without a result: e"),
            "{}",
            end.message
        );
    }

    #[test]
    fn a_refusal_is_final_or_repeated_a_few_times() {
        let refused = |reason| {
            let End::Result(outcome) = outcome(reason, 0) else {
                unreachable!()
            };
            End::Refused(outcome)
        };
        assert_eq!(
            finish(next(refused(Reason::NoSpace), 3)).reason,
            Reason::NoSpace
        );
        let mut tries = Tries::new(3, 1, 0);
        let count = (0..100)
            .take_while(|_| {
                let end = refused(Reason::OutOfMemory);
                matches!(
                    decide(end, 1, &mut tries, &Pace::default()),
                    Next::Again { .. }
                )
            })
            .count();
        assert_eq!(count, 4);
    }

    #[test]
    fn a_request_that_the_agent_does_not_understand_is_not_sent_again() {
        let end = finish(next(cut(false, Exit::Code(2)), 3));
        assert_eq!(end.reason, Reason::InvalidRequest);
    }
}
