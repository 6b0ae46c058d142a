//! A node's backup, in the order that makes it safe: check, lock, snapshot, intent, plan, upload
//! and touch, tokens, manifest; and the snapshot is removed whatever happens.

mod bounds;
mod commit;
pub(crate) mod error;
pub(crate) mod exchange;
pub(crate) mod files;
pub(crate) mod hashes;
pub(crate) mod inventory;
pub(crate) mod leftovers;
pub(crate) mod node;
pub(crate) mod plan;
mod preview;
pub(crate) mod remote;
pub(crate) mod scan;
mod session;
pub(crate) mod snapshot;
pub(crate) mod statistics;
pub(crate) mod transfer;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jmx::cassandra::{Cassandra, Tag};
use manifest::{BackupName, ClusterId, NodeLayout};
use protocol::{
    BackupRequest, NodeIdentity, Outcome, Phase, Progress, Reason, RingMember, SnapshotTimes, Tally,
};
use store::Store;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use self::plan::Action;
pub use self::preview::{Preview, preview};

use self::error::{Error, chain};
use self::node::{Cluster, Node};
use self::session::Session;
use self::snapshot::{Memtables, Snapshot};
use crate::lease::SystemTimer;
use crate::neighbour;
use crate::node_lock::{self, LockError, NodeLock};
use crate::run_context::Run;
use crate::storage::{self, DeviceError};

/// Where the caller sets no deadline.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Backs up this node. Whatever happens is in the outcome.
pub async fn run(run: &Run, request: &BackupRequest) -> Outcome {
    let mut known = Known::default();
    let lifetime = lifetime(request);
    let ended = tokio::select! {
        ended = tokio::time::timeout(lifetime, attempt(run, request, &mut known)) => {
            ended.unwrap_or(Err(Error::Deadline))
        }
        () = run.cancel.cancelled() => Err(Error::Cancelled),
    };
    if let Some(tag) = known.tag.take() {
        snapshot::clear(run, &request.jmx, &tag, known.snapshot.is_some()).await;
    }
    if let Some(clearing) = known.clearing.take()
        && let Err(error) = clearing.await
    {
        let text = format!("the snapshot may still be on the node: {error}");
        run.warn(Reason::SnapshotNotCleared, text);
    }
    let (reason, message) = match &ended {
        Ok(message) => (Reason::Succeeded, message.clone()),
        Err(error) => (error.reason(), chain(error)),
    };
    Outcome {
        node: known.node,
        ring: known.ring,
        manifest: known.manifest,
        snapshot: known.snapshot,
        progress: known.progress,
        ..Outcome::ended(reason, message, run.attempt)
    }
}

/// What an attempt got to know, for its outcome, however far it came.
#[derive(Default)]
struct Known {
    node: Option<NodeIdentity>,
    ring: Vec<RingMember>,
    manifest: Option<String>,
    snapshot: Option<SnapshotTimes>,
    progress: Progress,
    /// A snapshot that is to be removed.
    tag: Option<Tag>,
    /// One that is being removed.
    clearing: Option<JoinHandle<()>>,
    /// Held until that is done.
    lock: Option<NodeLock>,
}

fn lifetime(request: &BackupRequest) -> Duration {
    request
        .limits
        .deadline_seconds
        .map_or(DEFAULT_LIFETIME, Duration::from_secs)
}

/// One attempt, as a table of contents.
async fn attempt(run: &Run, request: &BackupRequest, known: &mut Known) -> Result<String, Error> {
    let begun = Instant::now();
    run.phase(Phase::Preparing, None);
    let (prepared, cassandra) = prepare(run, request, known).await?;
    match already_done(run, &prepared, known).await {
        Ok(None) => {}
        ended => {
            let _ = cassandra.close().await;
            return ended.map(Option::unwrap_or_default);
        }
    }
    run.phase(Phase::Snapshotting, Some(&prepared.node.identity));
    let taking = take_snapshot(
        run,
        request,
        &prepared,
        cassandra,
        Memtables::Flushed,
        known,
    );
    let snapshot = taking.await?;

    if request.hold {
        run.phase(Phase::Holding, Some(&prepared.node.identity));
        run.proceed.cancelled().await;
    }
    run.phase(Phase::Planning, Some(&prepared.node.identity));
    let session = Session::new(run, request, &prepared);
    let Snapshot { tag, times, tables } = snapshot;
    let maker = session.maker();
    // Cassandra describes its schema while we look at files.
    let (mut inventory, schema) = tokio::try_join!(maker.make(tables), session.describe_schema())?;
    let lifetime = lifetime(request).saturating_sub(begun.elapsed());
    let taken = manifest::Snapshot {
        tag: tag.to_string(),
        started_at: times.started_at,
        ended_at: times.ended_at,
    };
    let files = session.files();
    let exchange = session.exchange(&files, &SystemTimer, lifetime);
    let (tag, clearing) = (&mut known.tag, &mut known.clearing);
    let closing = async || {
        // Everything is stored: Cassandra may clear while the backup is committed.
        if let Some(tag) = tag.take() {
            let (run, jmx) = (run.clone(), request.jmx.clone());
            let clear = async move { snapshot::clear(&run, &jmx, &tag, true).await };
            *clearing = Some(tokio::spawn(clear));
        }
        session.closing(taken).await
    };
    let manifest = exchange
        .carry_out(&mut inventory, schema, closing, &mut known.progress)
        .await?;
    known.manifest = Some(manifest);
    if let Err(error) = session.hashes.save() {
        tracing::debug!(%error, "the hash cache was not saved");
    }
    Ok(summary(&known.progress))
}

/// What the checks gave.
struct Prepared {
    backup: BackupName,
    layout: NodeLayout,
    node: Node,
    cluster: Cluster,
    coverage: node::Coverage,
    store: Arc<dyn Store>,
}

/// Looks at the node and at the storage; the connection is for the snapshot.
async fn prepare(
    run: &Run,
    request: &BackupRequest,
    known: &mut Known,
) -> Result<(Prepared, Cassandra), Error> {
    let backup: BackupName = request.backup.parse()?;
    let cluster_id: ClusterId = request.cluster.parse()?;
    neighbour::enough_memory()?;
    let cassandra = node::connect(&request.jmx).await?;
    let (node, cluster) = node::read(&cassandra).await?;
    known.node = Some(node.identity.clone());
    if !request.without_ring {
        known.ring = cluster.members();
    }
    let datacenters = &request.scope.datacenters;
    if !datacenters.is_empty() && !datacenters.contains(&node.identity.datacenter) {
        let text = format!(
            "this node is in datacenter {}, not in the scope",
            node.identity.datacenter
        );
        return Err(Error::Request(text));
    }
    known.lock = Some(lock(run, node.identity.host_id).await?);
    if let Some(directory) = node.data_directories.first() {
        neighbour::become_owner_of(directory, &run.state)
            .map_err(|error| Error::Owner(error.to_string()))?;
    }
    let (coverage, store) = tokio::join!(
        swept_coverage(&cassandra, &node, request),
        open_storage(run, request, &node)
    );
    // What ended runs left is gone whatever the storage says; what is wrong with the node is told first.
    let (coverage, store) = match (coverage, store) {
        (Ok(coverage), Ok(store)) => (coverage, store),
        (Err(error), _) | (_, Err(error)) => {
            let _ = cassandra.close().await;
            return Err(error);
        }
    };
    let layout = NodeLayout::new(cluster_id, node.identity.host_id);
    let prepared = Prepared {
        backup,
        layout,
        node,
        cluster,
        coverage,
        store,
    };
    Ok((prepared, cassandra))
}

/// Removes what ended runs left, and says what is to be covered.
async fn swept_coverage(
    cassandra: &Cassandra,
    node: &Node,
    request: &BackupRequest,
) -> Result<node::Coverage, Error> {
    let swept = leftovers::sweep(cassandra, node.data_directories.clone()).await?;
    for tag in &swept.removed {
        tracing::info!(%tag, "removed a snapshot that an ended run left");
    }
    for tag in &swept.left {
        tracing::warn!(%tag, "Cassandra does not remove a snapshot that an ended run left");
    }
    node::coverage(cassandra, &request.scope).await
}

/// Takes the node for this run.
pub(crate) async fn lock(run: &Run, host_id: Uuid) -> Result<NodeLock, Error> {
    node_lock::take(host_id, run)
        .await
        .map_err(|error| match error {
            LockError::Held { run_id, pid } => Error::Locked(format!("{run_id} (process {pid})")),
            other => Error::LockFailed(other.to_string()),
        })
}

/// Makes sure that the storage is there; a directory that is not a mount of its own would keep
/// the backup on the disk that it is to save, or in a container's layer.
async fn open_storage(
    run: &Run,
    request: &BackupRequest,
    node: &Node,
) -> Result<Arc<dyn Store>, Error> {
    let store = storage::open(&request.storage).await?;
    let reached = store.reach().await?;
    let data = node.data_directories.iter().map(|path| path.as_path());
    if request.require_own_device {
        let others = data.chain([Path::new("/")]);
        storage::own_device(&request.storage, reached, others)
            .map_err(|error| Error::Unsuitable(error.to_string()))?;
    } else if request.pod.is_none()
        && let Err(shared @ DeviceError::Shared { .. }) =
            storage::own_device(&request.storage, reached, data)
    {
        // Where there is an operator, its BackupStorage says that this is wanted.
        let text = format!("{shared}; as it is, one failure takes both");
        run.warn(Reason::StorageUnsuitable, text);
    }
    Ok(store)
}

/// The outcome of a run that has its manifest already; another run's manifest is an error.
async fn already_done(
    run: &Run,
    prepared: &Prepared,
    known: &mut Known,
) -> Result<Option<String>, Error> {
    let store = prepared.store.as_ref();
    let found = remote::committed(store, &prepared.layout, &prepared.backup).await?;
    let Some((header, footer)) = found else {
        return Ok(None);
    };
    if header.run_id != run.id {
        let backup = prepared.backup.to_string();
        return Err(Error::Exists {
            backup,
            run_id: header.run_id,
        });
    }
    let tally = |sum: manifest::Sum| Tally {
        files: sum.files,
        bytes: sum.bytes,
    };
    known.manifest = Some(prepared.layout.manifest(&prepared.backup));
    known.snapshot = Some(SnapshotTimes {
        started_at: header.snapshot.started_at,
        ended_at: header.snapshot.ended_at,
        late_ms: None,
    });
    known.progress = Progress {
        total: Tally {
            files: footer.files,
            bytes: footer.bytes,
        },
        uploaded: tally(footer.uploaded),
        to_upload: tally(footer.uploaded),
        reused: tally(footer.reused),
        touched: footer.touched,
        ..Progress::default()
    };
    Ok(Some(summary(&known.progress)))
}

async fn take_snapshot(
    run: &Run,
    request: &BackupRequest,
    prepared: &Prepared,
    cassandra: Cassandra,
    memtables: Memtables,
    known: &mut Known,
) -> Result<Snapshot, Error> {
    let tag = snapshot::tag(run)?;
    known.tag = Some(tag.clone());
    let lifetime = lifetime(request);
    let (node, coverage) = (&prepared.node, &prepared.coverage);
    let snapshot = snapshot::take(
        &cassandra,
        node,
        coverage,
        &tag,
        request.snapshot_at,
        lifetime,
        memtables,
    )
    .await?;
    known.snapshot = Some(snapshot.times.clone());
    let _ = cassandra.close().await;
    Ok(snapshot)
}

fn summary(progress: &Progress) -> String {
    let Progress {
        total,
        uploaded,
        reused,
        ..
    } = progress;
    format!(
        "{} files backed up: {} uploaded ({} bytes), {} reused ({} bytes)",
        total.files, uploaded.files, uploaded.bytes, reused.files, reused.bytes
    )
}
