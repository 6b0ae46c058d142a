//! Which of several operators works: the one that holds a lease.
//!
//! One that has lost the lease cannot be sure that it has stopped writing before another one
//! starts, except by ending: the process ends, and comes back as one that waits. Runs in the pods
//! go on, and who leads next attaches to them.

mod candidate;
#[cfg(test)]
mod conversation;
#[cfg(test)]
mod simulation;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::lease::{Desk, Written};
use candidate::{Answer, Ask, Candidate, Lost};

/// How long things take. A leader that cannot renew ends before anybody else may lead, with time
/// to spare; from the last renewal of one that died, another one leads after `lasts` and two looks
/// at most, which is less than the 15 s that a hand-over may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// How long the lease lasts since it was seen to be renewed.
    lasts: Duration,
    /// How long its holder relies on it since it asked for it.
    relied_on: Duration,
    /// Between two renewals.
    renew: Duration,
    /// Between two looks at a lease that another one holds.
    look: Duration,
    /// Before asking again what was not answered.
    again: Duration,
    /// For an answer.
    answer: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lasts: Duration::from_secs(10),
            relied_on: Duration::from_secs(8),
            renew: Duration::from_secs(2),
            look: Duration::from_secs(1),
            again: Duration::from_millis(500),
            answer: Duration::from_secs(3),
        }
    }
}

/// Takes part in the election.
pub(crate) struct Election {
    desk: Desk,
    candidate: Candidate,
}

impl Election {
    /// Takes part as `identity`, which no other process has at the same time.
    pub(crate) fn new(client: &Client, namespace: &str, name: &str, identity: String) -> Self {
        Self {
            desk: Desk::new(client, namespace),
            candidate: Candidate::new(name.to_owned(), identity, Timing::default()),
        }
    }

    /// Waits until we lead.
    pub(crate) async fn won(&mut self) {
        let mut holder = None;
        loop {
            self.step().await;
            if self.candidate.leads_until().is_some() {
                return;
            }
            let now = self.candidate.holder();
            if now != holder {
                tracing::info!(holder = now, "another operator leads, this one waits");
                holder = now;
            }
            sleep(self.candidate.pause(Instant::now())).await;
        }
    }

    /// Renews the lease until it is lost.
    pub(crate) async fn lost(&mut self) -> Lost {
        loop {
            if let Some(lost) = self.candidate.has_lost(Instant::now()) {
                return lost;
            }
            let Some(until) = self.candidate.leads_until() else {
                return Lost::Never;
            };
            let _ = timeout_at(until, async {
                sleep(self.candidate.pause(Instant::now())).await;
                self.step().await;
            })
            .await;
        }
    }

    /// Gives the lease up, so that another one need not wait until it expires. Nothing of us may
    /// be at work any more.
    pub(crate) async fn resign(mut self) {
        let resigning = async {
            while let Some(lease) = self.candidate.resigned(Instant::now()) {
                match self.desk.write(&lease).await {
                    Ok(Written::Done(_)) => return Ok(true),
                    // A renewal was under way when we were told to end.
                    Ok(Written::Refused) => self.step().await,
                    Err(error) => return Err(error),
                }
            }
            Ok(false)
        };
        match timeout(Timing::default().answer, resigning).await {
            Ok(Ok(true)) => tracing::info!("the lease is given up"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease could not be given up, it expires"),
            Err(_) => tracing::warn!("the lease could not be given up in time, it expires"),
        }
    }

    async fn step(&mut self) {
        let ask = self.candidate.ask(Instant::now());
        let sent = Instant::now();
        let answer = match timeout(Timing::default().answer, self.asked(&ask)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease cannot be read or written");
                Answer::None
            }
            Err(_) => {
                tracing::warn!("no answer about the lease");
                Answer::None
            }
        };
        self.candidate.answered(&ask, sent, answer, Instant::now());
    }

    async fn asked(&self, ask: &Ask) -> Result<Answer, kube::Error> {
        let found = |lease: Option<Lease>| {
            lease.map_or(Answer::Missing, |lease| Answer::Is(Box::new(lease)))
        };
        match ask {
            Ask::Read => self.desk.read(self.candidate.name()).await.map(found),
            Ask::Write(lease) => Ok(match self.desk.write(lease).await? {
                Written::Done(lease) => Answer::Is(lease),
                Written::Refused => Answer::Refused,
            }),
        }
    }
}
