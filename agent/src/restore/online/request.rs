//! The same, as a caller of the protocol asks for it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use manifest::ClusterId;
use protocol::{
    NodeIdentity, Outcome, Phase, Progress, Reason, Rehearsed, RestorePlan, RestoreRequest,
    RestoreStep, RingMember, Tally,
};
use uuid::Uuid;

use super::{OnlineError, Order, Ready, Selection, Tell};
use crate::backup;
use crate::field::{self, BadField};
use crate::neighbour::{self, NoMemory, OwnerError};
use crate::restore::{CONCURRENCY, Seen, Which};
use crate::run_context::Run;
use crate::storage;

/// Where the caller sets no deadline.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Between two figures of progress.
const PAUSE: Duration = Duration::from_secs(1);
/// Tables that are named one by one.
const NAMED: usize = 100;

/// Why a request is not carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error(transparent)]
    Field(#[from] BadField),
    #[error("{0}")]
    Selection(String),
    #[error(
        "the backup has to be named, except in a dry run: between two steps the newest may become another one"
    )]
    Unnamed,
    #[error(transparent)]
    Memory(#[from] NoMemory),
    #[error(transparent)]
    Owner(#[from] OwnerError),
    #[error(transparent)]
    Online(#[from] OnlineError),
    #[error(
        "the deadline passed before the restore was complete: the same request goes on with it"
    )]
    Deadline,
    #[error("cancelled on request; the same request goes on with it")]
    Cancelled,
}

impl RequestError {
    fn reason(&self) -> Reason {
        match self {
            Self::Field(_) | Self::Selection(_) | Self::Unnamed => Reason::InvalidRequest,
            Self::Memory(_) => Reason::OutOfMemory,
            Self::Owner(_) => Reason::Failed,
            Self::Online(error) => error.reason(),
            Self::Deadline => Reason::DeadlineExceeded,
            Self::Cancelled => Reason::Cancelled,
        }
    }
}

/// Restores as the request says. Whatever happens is in the outcome.
pub async fn run(run: &Run, request: &RestoreRequest) -> Outcome {
    let lifetime = request.limits.deadline_seconds;
    let lifetime = lifetime.map_or(DEFAULT_LIFETIME, Duration::from_secs);
    let mut known = Known::default();
    let told = Told::default();
    let ended = tokio::select! {
        ended = tokio::time::timeout(lifetime, attempt(run, request, &mut known, &told)) => {
            ended.unwrap_or(Err(RequestError::Deadline))
        }
        () = run.cancel.cancelled() => Err(RequestError::Cancelled),
    };
    let (reason, message) = match &ended {
        Ok(message) => (Reason::Succeeded, message.clone()),
        Err(error) => (error.reason(), crate::chain(error)),
    };
    Outcome {
        progress: told.last(),
        node: known.node,
        ring: known.ring,
        restore: known.plan.map(Box::new),
        rehearsed: known.rehearsed,
        ..Outcome::ended(reason, message, run.attempt)
    }
}

async fn attempt(
    run: &Run,
    request: &RestoreRequest,
    known: &mut Known,
    told: &Told,
) -> Result<String, RequestError> {
    run.phase(Phase::Preparing, None);
    neighbour::enough_memory()?;
    let cluster: ClusterId = field::parse("cluster", &request.cluster)?;
    let order = order(request, run.id)?;
    let store = storage::open(&request.storage)
        .await
        .map_err(OnlineError::from)?;
    store.reach().await.map_err(OnlineError::from)?;
    run.phase(Phase::Planning, None);
    let ready = Ready::look(store.as_ref(), &cluster, order, &request.jmx, &request.cql).await?;
    for passed_over in ready.passed_over() {
        run.warn(Reason::RestoreNote, format!("passed over: {passed_over}"));
    }
    known.node = ready.identity();
    if request.dry_run {
        known.ring = ready.ring();
    }
    let plan = known.plan.insert(plan_of(&ready));
    let (files, bytes) = (plan.files, plan.bytes);
    if request.dry_run {
        ready.close().await;
        return Ok("nothing was changed".to_owned());
    }
    let _lock = backup::lock(run, ready.host_id())
        .await
        .map_err(OnlineError::from)?;
    neighbour::become_owner_of(ready.data_directory(), &run.state)?;
    run.phase(Phase::Restoring, None);
    told.total(Tally { files, bytes });
    let seen = |seen: Seen| {
        if let Some(progress) = told.seen(seen) {
            run.progress(progress);
        }
    };
    let tell = Tell {
        seen: &seen,
        say: &|_| (),
        warn: &|text| run.warn(Reason::RestoreNote, text),
    };
    let done = ready.run(&tell).await;
    let tables = ready.plan.tables.len();
    ready.close().await;
    let done = done?;
    known.rehearsed = done.rehearsed;
    if let Some(rehearsed) = &done.rehearsed {
        return Ok(rehearsed.to_string());
    }
    Ok(match request.step {
        RestoreStep::Prepare => "the schema is there".to_owned(),
        RestoreStep::Finish => "indexes and views are made, and are being built".to_owned(),
        RestoreStep::All | RestoreStep::Load => format!(
            "{tables} tables are imported: {} files fetched, {} were staged already",
            done.fetched, done.kept
        ),
    })
}

fn order(request: &RestoreRequest, run: Uuid) -> Result<Order, RequestError> {
    let which: Which = field::parse("backup", &request.backup)?;
    if !matches!(which, Which::Named(_)) && !request.dry_run {
        return Err(RequestError::Unnamed);
    }
    let parse = |all: &[String]| all.iter().map(|it| it.parse()).collect::<Result<_, _>>();
    let renames = request.renames.iter().map(|it| it.parse()).collect();
    let selection = parse(&request.tables).and_then(|tables| {
        let renames: Result<_, String> = renames;
        Selection::new(request.keyspaces.clone(), tables, renames?)
    });
    let concurrency = request.limits.concurrency;
    Ok(Order {
        which,
        selection: selection.map_err(RequestError::Selection)?,
        mode: request.mode,
        step: request.step,
        allow_degraded: request.allow_degraded,
        anew: request.anew,
        run: Some(run),
        dry_run: request.dry_run,
        concurrency: concurrency.map_or(CONCURRENCY.into(), |n| n as usize),
        bandwidth: request.limits.bandwidth,
        batch: None,
    })
}

fn plan_of(ready: &Ready<'_>) -> RestorePlan {
    let plan = &ready.plan;
    // Only who loads imports.
    let (files, bytes) = if ready.loads() { plan.sum() } else { (0, 0) };
    let sstables = plan.tables.values().map(|it| it.sstables).sum();
    let statements = ready.schema.before.len() + ready.schema.after.len();
    let not_empty = ready.not_empty.iter().take(NAMED);
    RestorePlan {
        backup: ready.backup().to_string(),
        snapshot_started_at: ready.taken(),
        tables: plan.tables.len() as u64,
        sstables: if ready.loads() { sstables } else { 0 },
        files,
        bytes,
        degraded_ranges: plan.degraded() as u64,
        peak_bytes: plan.peak,
        free_bytes: plan.free,
        statements: statements as u64,
        not_empty: not_empty.map(|it| it.to_string()).collect(),
        resumed: ready.resumes,
    }
}

/// What is known when it ends, however it ends.
#[derive(Default)]
struct Known {
    node: Option<NodeIdentity>,
    ring: Vec<RingMember>,
    plan: Option<RestorePlan>,
    rehearsed: Option<Rehearsed>,
}

/// How far it is, told now and then.
#[derive(Default)]
struct Told(Mutex<(Progress, Option<Instant>)>);

impl Told {
    fn total(&self, total: Tally) {
        self.lock().0.total = total;
    }

    /// What is to be told now, if anything.
    fn seen(&self, seen: Seen) -> Option<Progress> {
        let mut told = self.lock();
        told.0.fetched = Tally {
            files: seen.files,
            bytes: seen.bytes,
        };
        let soon = told.1.is_some_and(|last| last.elapsed() < PAUSE);
        if soon {
            return None;
        }
        told.1 = Some(Instant::now());
        Some(told.0)
    }

    fn last(&self) -> Progress {
        self.lock().0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Progress, Option<Instant>)> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
