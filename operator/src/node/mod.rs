//! One node's share of a backup or a restore: from the pod's name to a result.
//!
//! A [`NodeRun`] asks for the run by sending its request to the agent in the pod, again and again
//! until it has a result. The agent makes that safe: the same run never runs twice.

mod attach;
mod decide;
mod errand;
#[cfg(test)]
mod errand_tests;
mod fetched;
mod followed;
mod job;
mod obstacle;
mod place;
mod probe;
mod reach;
mod run;
#[cfg(test)]
mod stage;
mod state;
mod stop;
mod tell;
#[cfg(test)]
mod tests;
mod visit;

pub(crate) use errand::{Errand, ErrandError, errand, until_told};
pub(crate) use fetched::Sharing;
pub(crate) use followed::{Followed, Orders};
pub(crate) use job::{Job, Making, Restoring, Work};
pub(crate) use probe::probe;
pub(crate) use reach::Reach;
pub(crate) use run::{NodeRun, Tools};
pub(crate) use state::{NodeReport, Reporter, Ring};
pub(crate) use stop::{Stop, deadline};
pub(crate) use visit::{coverage, sweep};

use std::time::Duration;

/// How long a run waits for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two looks at a pod.
    pub(crate) poll: Duration,
    /// For a pod that is not ready or an API server that does not answer; then the node has failed.
    pub(crate) patience: Duration,
    /// For a pod that runs to become ready, as Cassandra that starts does; then it is tried all the
    /// same: not everything that makes a pod unready keeps a backup from being made.
    pub(crate) readiness: Duration,
    /// Before the second attempt; doubled for each further one.
    pub(crate) retry: Duration,
    /// Longest time between two attempts.
    pub(crate) longest_retry: Duration,
    /// Before a stream that was cut is opened again; doubled each time that nothing came of it.
    pub(crate) reattach: Duration,
    /// A stream without a word for so long is opened again.
    pub(crate) silence: Duration,
    /// For a cancelled agent to end.
    pub(crate) cancel: Duration,
    /// Between two reports of progress.
    pub(crate) progress: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(2),
            patience: Duration::from_secs(600),
            readiness: Duration::from_secs(300),
            retry: Duration::from_secs(5),
            longest_retry: Duration::from_secs(60),
            reattach: Duration::from_secs(1),
            silence: Duration::from_secs(120),
            cancel: Duration::from_secs(60),
            progress: Duration::from_secs(5),
        }
    }
}

/// `first`, doubled `times` times, at most `longest`.
fn backoff(first: Duration, times: u32, longest: Duration) -> Duration {
    first
        .saturating_mul(1u32.checked_shl(times.min(16)).unwrap_or(u32::MAX))
        .min(longest)
}
