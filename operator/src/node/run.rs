//! Following a node's run until it has a result.

use std::sync::Arc;
use std::time::Duration;

use crds::NodePhase;
use futures::TryFutureExt;
use jiff::Timestamp;
use protocol::{ExitCode, Reason};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;
use uuid::Uuid;

use super::attach::{Asked, attach};
use super::decide::{End, Finish, Next, Tries, decide};
use super::fetched::{Fetched, Secrets};
use super::job::{Job, Telling};
use super::obstacle::{Obstacle, access_obstacle, exec_obstacle, in_time, interrupted, within};
use super::place::Place;
use super::state::{Reporter, apply, apply_outcome};
use super::stop::{Stop, for_stop, stopped, stopped_finish};
use super::tell::{cancel, proceed};
use super::{Pace, backoff};
use crate::access;
use crate::agent_binary::AgentBinary;
use crate::cluster::Cluster;
use crate::exec::{PodExec, Session};
use crate::logs;

/// Streams that are opened at the same time. The first of a pod brings the agent, and each is several
/// connections to the API server.
pub(super) static OPENINGS: Semaphore = Semaphore::const_new(64);
/// What others wait for is given up sooner than what nobody else needs.
const SHARED_READ: Duration = Duration::from_secs(15);
/// With the agent that is copied, for which there are 300 s a directory.
const LONGEST_OPENING: Duration = Duration::from_secs(600);

/// What all runs need.
pub(crate) struct Tools {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) exec: Arc<dyn PodExec>,
    pub(crate) agent: AgentBinary,
    pub(crate) pace: Pace,
}

/// A node's share of a job.
pub(crate) struct NodeRun {
    pub(crate) tools: Arc<Tools>,
    pub(crate) job: Arc<Job>,
    pub(crate) run_id: Uuid,
    pub(crate) pod: String,
    pub(crate) reporter: Reporter,
    /// Whether it tells the ring in its result.
    pub(crate) tells_ring: bool,
    pub(crate) stop: watch::Receiver<Option<Stop>>,
    /// Whether it may go on after its snapshot, where the job holds.
    pub(crate) turn: watch::Receiver<bool>,
}

/// State of the loop that is not in the report.
pub(super) struct Loop {
    pub(super) attempt: u32,
    /// The attempt was begun in the container that the status names and has no result.
    pub(super) open: bool,
    pub(super) tries: Tries,
    pub(super) place: Option<Place>,
    /// The executable may be gone from there.
    pub(super) doubtful: bool,
    /// Whether somebody was asked how far the run is.
    asked: bool,
    /// Events up to this number were heard from the journal at `place`.
    pub(super) heard: u64,
    /// Last time that an event came or a pod was waited for in vain for the first time.
    pub(super) contact: Instant,
    pub(super) failures: u32,
    /// What the attempt began with; unknown where it was attached to.
    secrets: Option<Secrets>,
}

impl NodeRun {
    /// Follows the run until the node's share has ended; the report then says how.
    pub(crate) async fn follow(mut self) {
        let span = logs::of_node(&self.job, &self.pod, self.run_id);
        async {
            let finish = self.until_finished().await;
            tracing::info!(reason = %finish.reason, phase = ?finish.phase, detail = %finish.message, "node ended");
            let sweep = finish.sweep || self.reporter.warned(Reason::SnapshotNotCleared);
            self.reporter.finish(finish.phase, finish.reason, &finish.message, sweep);
        }
        .instrument(span)
        .await;
    }

    async fn until_finished(&mut self) -> Finish {
        let node = self.reporter.node();
        let reattached = [Reason::Interrupted, Reason::PodNotReady]
            .iter()
            .any(|reason| node.reason.as_deref() == Some(reason.as_str()));
        let attempt = u32::try_from(node.attempt).unwrap_or(1).max(1);
        let turned_away = u32::try_from(node.turned_away.unwrap_or(0)).unwrap_or(0);
        let mut state = Loop {
            attempt,
            open: node.started_at.is_some() && (node.phase != NodePhase::Waiting || reattached),
            tries: Tries::new(self.job.reach.retries, attempt, turned_away),
            place: None,
            doubtful: false,
            asked: false,
            heard: 0,
            contact: Instant::now(),
            failures: 0,
            secrets: None,
        };
        loop {
            let stop = *self.stop.borrow();
            if let Some(stop) = stop {
                // One that was found after a restart may have ended long ago: its journal says how.
                if !state.open || state.asked {
                    return Box::pin(self.give_up(&state, stop)).await;
                }
            }
            state.asked = true;
            match self.ask(&mut state).await {
                Ok(end) => {
                    state.failures = 0;
                    if let Some(finish) = Box::pin(self.proceed(end, &mut state)).await {
                        return finish;
                    }
                }
                Err(Obstacle::Lasting(finish)) => return finish,
                Err(Obstacle::Passing(reason, message)) => {
                    if state.contact.elapsed() >= self.tools.pace.patience {
                        return Finish::failed(reason, message, state.open);
                    }
                    tracing::debug!(%reason, detail = message, "waiting");
                    self.reporter.waiting(reason, message);
                    let pace = self.tools.pace;
                    let pause = backoff(pace.poll, state.failures / 4, pace.poll * 8);
                    state.failures += 1;
                    self.pause(pause).await;
                }
            }
        }
    }

    /// Waits, but not when told to stop.
    async fn pause(&mut self, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            _ = stopped(&mut self.stop) => {}
        }
    }

    /// Sends the request once and follows the stream to its end.
    async fn ask(&mut self, state: &mut Loop) -> Result<End, Obstacle> {
        self.is_wanted(state)?;
        let queued = Instant::now();
        // Never closed. Whoever was told to stop does not wait.
        let turn = tokio::select! {
            turn = OPENINGS.acquire() => turn.ok(),
            _ = stopped(&mut self.stop) => None,
        };
        state.contact += queued.elapsed();
        // Whoever asks a run that is to stop asks for its end, and once.
        let was_stopped = self.stop.borrow().is_some();
        let mut stop = self.stop.clone();
        let opened = tokio::select! {
            // Boxed, as what follows is where it is rare: a thousand runs are a thousand of these.
            opened = timeout(LONGEST_OPENING, Box::pin(self.open(state))) => opened,
            _ = stopped(&mut stop), if !was_stopped => return Err(interrupted("told to stop")),
        };
        drop(turn);
        let (session, request, place) = opened
            .unwrap_or_else(|_| Err(interrupted("the API server or the pod does not answer")))?;
        self.attach(session, request, &place, state).await
    }

    /// Whether there is still something to be asked: a run that has not begun need not, once it is to stop.
    fn is_wanted(&self, state: &Loop) -> Result<(), Obstacle> {
        let stop = *self.stop.borrow();
        match stop.filter(|_| !state.open) {
            None => Ok(()),
            Some(stop) => {
                let begun = self.reporter.node().started_at.is_some();
                Err(Obstacle::Lasting(stopped_finish(stop, begun)))
            }
        }
    }

    /// Opens a stream to the agent, with the request that goes into it.
    async fn open(&mut self, state: &mut Loop) -> Result<(Session, String, Place), Obstacle> {
        let attached = state.open;
        let place = self.place(state).await?;
        // The container may be another one.
        self.is_wanted(state)?;
        let read = within(SHARED_READ, self.fetch());
        let fetched = in_time(self.job.shared.or(read)).await?;
        // A run that is attached to began with what was there then.
        if !attached || !state.open {
            state.secrets = Some(fetched.secrets());
        }
        let telling = Telling {
            run_id: self.run_id,
            attempt: state.attempt,
            from_seq: state.heard,
            hold: self.job.holds() && !*self.turn.borrow(),
            ring: self.tells_ring,
        };
        let request = self
            .job
            .request(&self.pod, telling, &place.agent, &fetched, Timestamp::now())
            .to_line()
            .map_err(|error| {
                Obstacle::Lasting(Finish::failed(
                    Reason::Failed,
                    error.to_string(),
                    state.open,
                ))
            })?;
        let command = [place.agent.path.clone(), "--request".into(), "-".into()];
        let start = self.tools.exec.start(&place.target, &command);
        let started = start.map_err(|error| exec_obstacle(error, state.open));
        let session = in_time(started).await?;
        Ok((session, request, place))
    }

    async fn attach(
        &mut self,
        session: Session,
        request: String,
        place: &Place,
        state: &mut Loop,
    ) -> Result<End, Obstacle> {
        let asked = Asked {
            run_id: self.run_id,
            attempt: state.attempt,
            attempts: state.tries.attempts,
            silence: self.tools.pace.silence,
        };
        // After a restart of the operator, the journal is told from its beginning, and what the
        // status already contains is not news.
        let node = self.reporter.node();
        let known = u64::try_from(node.last_seq.unwrap_or(0)).unwrap_or(0);
        let (reporter, heard, open, contact) = (
            &mut self.reporter,
            &mut state.heard,
            &mut state.open,
            &mut state.contact,
        );
        let following = attach(session, &request, &asked, |event| {
            *heard = event.seq;
            *open = true;
            *contact = Instant::now();
            if event.seq > known {
                reporter.change(|report| apply(event, report));
            }
        });
        let cancel = async {
            let stop = stopped(&mut self.stop).await;
            tracing::info!(?stop, "telling the agent to stop");
            let limit = self.tools.pace.cancel;
            let told = Box::pin(cancel(&self.tools, place, self.run_id));
            match timeout(limit, told).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the agent could not be told to stop"),
                Err(_) => tracing::warn!("no run listens that could be told to stop"),
            }
            sleep(self.tools.pace.cancel).await;
        };
        let going_on = async {
            // Also where the request did not say to hold: the run may be an earlier one, which was.
            match self.job.holds() {
                true => Box::pin(proceed(&self.tools, place, self.run_id, &mut self.turn)).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            end = following => Ok(end),
            () = cancel => Ok(End::Unstopped),
            never = going_on => match never {},
        }
    }

    /// What follows from the end of a stream; `None` means to ask again.
    async fn proceed(&mut self, mut end: End, state: &mut Loop) -> Option<Finish> {
        if let End::Result(outcome) = &mut end {
            if outcome.reason.is_denial() && self.were_exchanged(state).await {
                outcome.exit_code = ExitCode::Retry as u8;
            }
            state.open = false;
            let ring = self.job.rings.shared(&outcome.ring);
            self.reporter.change(|report| {
                apply_outcome(outcome, report);
                report.ring = ring;
            });
            if let Some(message) = self.job.unproven(outcome) {
                end = End::Unproven(message);
            }
        }
        if matches!(end, End::TooOften)
            && let Some(place) = &state.place
        {
            // It is at work again, without anybody who wants to wait for it.
            let limit = self.tools.pace.cancel;
            let _ = timeout(limit, cancel(&self.tools, place, self.run_id)).await;
        }
        let stop = *self.stop.borrow();
        let confirmed = matches!(end, End::Result(_) | End::Unproven(_));
        match decide(end, state.attempt, &mut state.tries, &self.tools.pace) {
            Next::Finish(finish) => Some(for_stop(finish, stop)),
            // Nothing of it goes on, and nothing more is wanted.
            Next::Again { .. } if stop.is_some() && confirmed => {
                stop.map(|stop| stopped_finish(stop, false))
            }
            Next::Again {
                after,
                attempt,
                reason,
                message,
            } => {
                tracing::info!(attempt, %reason, detail = message, "asking again");
                if attempt == state.attempt {
                    // Looking costs one exec.
                    state.doubtful = true;
                }
                state.attempt = attempt;
                let number = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
                let turned_away = number(state.tries.turned_away);
                self.reporter.change(|report| {
                    report.node.attempt = number(attempt);
                    report.node.turned_away = (turned_away > 0).then_some(turned_away);
                });
                self.reporter.waiting(reason, message);
                self.pause(after).await;
                None
            }
        }
    }

    /// Whether keys and passwords are others than those that the attempt began with: then that it was
    /// denied says nothing about these.
    async fn were_exchanged(&self, state: &Loop) -> bool {
        let now = in_time(self.fetch()).await;
        now.is_ok_and(|now| state.secrets.as_ref() != Some(&now.secrets()))
    }

    /// Storage and passwords, as they are now, so that a rotated secret is taken up.
    async fn fetch(&self) -> Result<Fetched, Obstacle> {
        let (cluster, reach) = (&*self.tools.cluster, &self.job.reach);
        let (namespace, name) = (&reach.namespace, &reach.storage);
        let storage_spec = match cluster.storage(namespace, name).await {
            Ok(Some(storage)) => storage.spec,
            Ok(None) => {
                return Err(Obstacle::Lasting(Finish::failed(
                    Reason::BackupStorageNotFound,
                    format!("BackupStorage {name} does not exist in namespace {namespace}"),
                    false,
                )));
            }
            Err(error) => return Err(Obstacle::Passing(Reason::Interrupted, error.to_string())),
        };
        let access = async {
            Ok(Fetched {
                storage: access::storage(cluster, namespace, &storage_spec).await?,
                jmx: access::jmx(cluster, namespace, &reach.cassandra.jmx).await?,
                cql: access::password(cluster, namespace, reach.cassandra.cql.credentials.as_ref())
                    .await?,
                storage_spec: storage_spec.clone(),
            })
        };
        access.await.map_err(access_obstacle)
    }

    /// Told to stop between two streams: an agent that may be at work is told as well.
    async fn give_up(&mut self, state: &Loop, stop: Stop) -> Finish {
        if state.open {
            let limit = self.tools.pace.cancel;
            let tell = async {
                let mut state = Loop {
                    place: state.place.clone(),
                    secrets: None,
                    ..*state
                };
                if let Ok(place) = self.place(&mut state).await {
                    let _ = cancel(&self.tools, &place, self.run_id).await;
                }
            };
            let _ = timeout(limit, tell).await;
        }
        stopped_finish(stop, state.open)
    }
}
