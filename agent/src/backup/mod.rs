//! A node's backup, in the order that makes it safe: check, lock, snapshot, intent, plan, upload
//! and touch, tokens, manifest; and the snapshot is removed whatever happens.

mod bounds;
mod commit;
pub(crate) mod error;
mod hashes;
mod inventory;
pub(crate) mod node;
mod plan;
mod remote;
mod scan;
pub(crate) mod snapshot;
mod transfer;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use manifest::{
    BackupName, ClusterId, FORMAT_VERSION, Header, NodeHeader, NodeLayout, RingHash, SchemaObject,
    SchemaVersions,
};
use protocol::{
    BackupRequest, NodeIdentity, Outcome, Phase, Progress, Reason, RingMember, SnapshotTimes,
    StorageAccess, Tally,
};
use store::{Key, Store};
use uuid::Uuid;

use self::error::{Error, chain};
use self::hashes::HashCache;
use self::inventory::{Inventory, Maker};
use self::node::{Cluster, Node};
use self::snapshot::Snapshot;
use self::transfer::{Transfer, Transferred};
use crate::bandwidth::Bandwidth;
use crate::node_lock::{self, LockError, NodeLock};
use crate::run_context::Run;
use crate::{neighbour, schema, storage};

/// Where the caller sets no deadline.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What the agent may need at its peak, with room for Cassandra beside it.
const MEMORY_NEEDED: u64 = 128 << 20;

/// How long a purge is waited for that is about to delete what this run needs.
const PURGE_PATIENCE: Duration = Duration::from_secs(120);
const PURGE_POLL: Duration = Duration::from_secs(5);

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
    let (reason, message) = match &ended {
        Ok(message) => (Reason::Succeeded, message.clone()),
        Err(error) => (error.reason(), chain(error)),
    };
    Outcome {
        exit_code: reason.exit_code() as u8,
        reason,
        message,
        attempt: run.attempt,
        node: known.node,
        ring: known.ring,
        manifest: known.manifest,
        snapshot: known.snapshot,
        progress: known.progress,
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
    tag: Option<jmx::cassandra::Tag>,
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
    let prepared = prepare(run, request, known).await?;
    if let Some(done) = already_done(run, &prepared, known).await? {
        return Ok(done);
    }
    run.phase(Phase::Snapshotting, Some(&prepared.node.identity));
    let snapshot = take_snapshot(run, request, &prepared, known).await?;

    run.phase(Phase::Planning, Some(&prepared.node.identity));
    let session = Session::new(run, request, &prepared);
    let Snapshot { tag, times, tables } = snapshot;
    let mut inventory = session.maker().make(tables).await?;
    let lifetime = lifetime(request).saturating_sub(begun.elapsed());
    let schema = session.describe_schema().await?;
    let intent = session
        .write_intent(&inventory, schema.as_ref(), lifetime)
        .await?;
    let storage = session.look(&inventory, schema.as_ref()).await?;
    let earlier = transfer::earlier(
        prepared.store.as_ref(),
        &prepared.layout,
        &inventory,
        &storage,
    )
    .await?;

    run.phase(Phase::Uploading, Some(&prepared.node.identity));
    let transferred = session
        .transfer()
        .carry_out(&mut inventory, &storage, &earlier)
        .await?;
    known.progress = transferred.progress;

    run.phase(Phase::Committing, Some(&prepared.node.identity));
    let after = session.cluster_after().await?;
    let taken = manifest::Snapshot {
        tag: tag.to_string(),
        started_at: times.started_at,
        ended_at: times.ended_at,
    };
    intent.check(prepared.store.as_ref()).await?;
    session
        .commit(&inventory, transferred, schema, &after, taken, known)
        .await?;
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

async fn prepare(run: &Run, request: &BackupRequest, known: &mut Known) -> Result<Prepared, Error> {
    let backup: BackupName = request.backup.parse()?;
    let cluster_id: ClusterId = request.cluster.parse()?;
    if let Some(left) = neighbour::memory_left()
        && left < MEMORY_NEEDED
    {
        return Err(Error::Memory {
            left: left >> 20,
            needed: MEMORY_NEEDED >> 20,
        });
    }
    let cassandra = node::connect(&request.jmx).await?;
    let (node, cluster) = node::read(&cassandra).await?;
    known.node = Some(node.identity.clone());
    known.ring = cluster.members();
    let datacenters = &request.scope.datacenters;
    if !datacenters.is_empty() && !datacenters.contains(&node.identity.datacenter) {
        let text = format!(
            "this node is in datacenter {}, not in the scope",
            node.identity.datacenter
        );
        return Err(Error::Request(text));
    }
    known.lock = Some(lock(run, node.identity.host_id).await?);
    for left in snapshot::sweep(&cassandra).await? {
        tracing::info!(tag = %left, "removed a snapshot that an ended run left");
    }
    let coverage = node::coverage(&cassandra, &request.scope).await?;
    let _ = cassandra.close().await;
    if let Some(directory) = node.data_directories.first() {
        neighbour::become_owner_of(directory, &run.state)
            .map_err(|error| Error::Request(error.to_string()))?;
    }
    let store = storage::open(&request.storage).await?;
    check_device(request, &node, store.as_ref()).await?;
    let layout = NodeLayout::new(cluster_id, node.identity.host_id);
    Ok(Prepared {
        backup,
        layout,
        node,
        cluster,
        coverage,
        store,
    })
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
async fn check_device(
    request: &BackupRequest,
    node: &Node,
    store: &dyn Store,
) -> Result<(), Error> {
    use std::os::unix::fs::MetadataExt;
    let Some(file_system) = store.reach().await? else {
        return Ok(());
    };
    let StorageAccess::File { path } = &request.storage else {
        return Ok(());
    };
    if !request.require_own_device {
        return Ok(());
    }
    let others = node
        .data_directories
        .iter()
        .map(|d| d.as_path())
        .chain([Path::new("/")]);
    for other in others {
        let device = std::fs::metadata(other)
            .map_err(Error::io("look at", other))?
            .dev();
        if device == file_system.device {
            let other = other.display();
            return Err(Error::Unsuitable(format!(
                "{path} is on the same device as {other}: mount a volume of its own there"
            )));
        }
    }
    Ok(())
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
    };
    Ok(Some(summary(&known.progress)))
}

async fn take_snapshot(
    run: &Run,
    request: &BackupRequest,
    prepared: &Prepared,
    known: &mut Known,
) -> Result<Snapshot, Error> {
    let cassandra = node::connect(&request.jmx).await?;
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
    )
    .await?;
    known.snapshot = Some(snapshot.times.clone());
    let _ = cassandra.close().await;
    Ok(snapshot)
}

/// What the steps after the snapshot share.
struct Session<'a> {
    run: &'a Run,
    request: &'a BackupRequest,
    prepared: &'a Prepared,
    bandwidth: Arc<Bandwidth>,
    hashes: HashCache,
}

impl<'a> Session<'a> {
    fn new(run: &'a Run, request: &'a BackupRequest, prepared: &'a Prepared) -> Self {
        let bandwidth = Arc::new(Bandwidth::new(request.limits.bandwidth));
        let host_id = prepared.node.identity.host_id;
        let hashes = HashCache::load(run.state.join(format!("hashes.{host_id}")));
        Self {
            run,
            request,
            prepared,
            bandwidth,
            hashes,
        }
    }

    fn store(&self) -> &'a dyn Store {
        self.prepared.store.as_ref()
    }

    fn maker(&self) -> Maker<'_> {
        Maker {
            layout: &self.prepared.layout,
            hashes: &self.hashes,
            bandwidth: self.bandwidth.clone(),
            partitioner: &self.prepared.node.partitioner,
        }
    }

    fn transfer(&self) -> Transfer<'_> {
        let limits = &self.request.limits;
        let concurrency = limits
            .concurrency
            .map_or(transfer::DEFAULT_CONCURRENCY, |n| n as usize);
        Transfer {
            run: self.run,
            store: self.store(),
            bandwidth: self.bandwidth.clone(),
            hashes: &self.hashes,
            concurrency,
            allow_corrupt: self.request.allow_corrupt,
        }
    }

    /// The whole schema over CQL. A backup without it can be restored with more work, so it goes
    /// on and says so.
    async fn describe_schema(&self) -> Result<Option<WholeSchema>, Error> {
        let fallbacks = self.prepared.node.ip_addresses();
        match schema::describe(&self.request.cql, &fallbacks).await {
            Ok(text) => WholeSchema::new(&self.prepared.layout, text).map(Some),
            Err(error) => {
                self.run.warn(Reason::SchemaIncomplete, chain(&error));
                Ok(None)
            }
        }
    }

    async fn write_intent(
        &self,
        inventory: &Inventory,
        schema: Option<&WholeSchema>,
        lifetime: Duration,
    ) -> Result<commit::WrittenIntent, Error> {
        let keys: Vec<&Key> = inventory
            .items()
            .map(|item| &item.key)
            .chain(schema.map(|schema| &schema.key))
            .collect();
        let Prepared { layout, backup, .. } = self.prepared;
        let run = (self.run.id, self.run.attempt);
        let state = &self.run.state;
        commit::write_intent(self.store(), layout, backup, run, &keys, lifetime, state).await
    }

    /// What the storage holds, once no purge is about to delete what this run needs.
    async fn look(
        &self,
        inventory: &Inventory,
        schema: Option<&WholeSchema>,
    ) -> Result<plan::Storage, Error> {
        let touch_after = Duration::from_secs(self.request.touch_after_seconds);
        let started = Instant::now();
        loop {
            let layout = &self.prepared.layout;
            let storage = remote::look(self.store(), layout, inventory, touch_after).await?;
            let mut keys = inventory
                .items()
                .map(|item| &item.key)
                .chain(schema.map(|schema| &schema.key));
            match keys.find(|key| storage.condemned.contains(key.as_str())) {
                None => return Ok(storage),
                Some(key) if started.elapsed() > PURGE_PATIENCE => {
                    return Err(Error::Purge(key.to_string()));
                }
                Some(_) => tokio::time::sleep(PURGE_POLL).await,
            }
        }
    }

    async fn cluster_after(&self) -> Result<Cluster, Error> {
        let cassandra = node::connect(&self.request.jmx).await?;
        let after = node::cluster(&cassandra).await?;
        let _ = cassandra.close().await;
        let before = &self.prepared.cluster;
        if after.ring_hash() != before.ring_hash() {
            let text = "the ring changed during the backup: a backup made now covers the new one";
            self.run.warn(Reason::RingChanged, text);
        }
        if after.schema_version != before.schema_version {
            let text = format!(
                "the schema version was {} before and is {} after the backup",
                before.schema_version, after.schema_version
            );
            self.run.warn(Reason::SchemaChanged, text);
        }
        Ok(after)
    }

    /// Schema, tokens, and then the manifest.
    async fn commit(
        &self,
        inventory: &Inventory,
        transferred: Transferred,
        schema: Option<WholeSchema>,
        after: &Cluster,
        snapshot: manifest::Snapshot,
        known: &mut Known,
    ) -> Result<(), Error> {
        let Prepared {
            backup,
            layout,
            node,
            cluster,
            ..
        } = self.prepared;
        let schema = match schema {
            Some(schema) => Some(self.put_schema(schema, &mut known.progress).await?),
            None => None,
        };
        let tokens = cluster.tokens_file(node).to_yaml()?;
        let tokens_key = Key::parse(&layout.tokens(backup))?;
        commit::put_content(self.store(), &tokens_key, tokens.into_bytes()).await?;
        let header = Header {
            format_version: FORMAT_VERSION.into(),
            backup: backup.clone(),
            run_id: self.run.id,
            cluster: self.request.cluster.parse()?,
            series: self.request.series.clone(),
            scope: manifest::Scope {
                keyspaces: self.request.scope.keyspaces.clone(),
                tables: self.request.scope.tables.clone(),
                datacenters: self.request.scope.datacenters.clone(),
            },
            ring_hash: RingHash {
                before: cluster.ring_hash(),
                after: after.ring_hash(),
            },
            expected_host_ids: cluster.expected_host_ids(&self.request.scope),
            node: NodeHeader {
                host_id: node.identity.host_id,
                datacenter: node.identity.datacenter.clone(),
                rack: node.identity.rack.clone(),
                addresses: node.addresses.clone(),
                pod: self.request.pod.clone(),
                cassandra_version: node.identity.cassandra_version.clone(),
                partitioner: node.partitioner.clone(),
                tokens: node.tokens.clone(),
                data_directories: node
                    .data_directories
                    .iter()
                    .map(|d| d.to_string_lossy().into_owned())
                    .collect(),
            },
            schema_version: SchemaVersions {
                before: cluster.schema_version.clone(),
                after: after.schema_version.clone(),
            },
            schema,
            snapshot,
            agent_version: env!("CARGO_PKG_VERSION").into(),
        };
        let tokens = layout.tokens_in_cluster(backup);
        let footer = commit::footer(&known.progress, tokens, transferred.left_out);
        let state = &self.run.state;
        let written = commit::write_manifest(
            self.store(),
            layout,
            backup,
            header,
            inventory,
            footer,
            state,
        )
        .await?;
        if !written {
            // The answer to our own write may have been lost, or another run was faster.
            let found = remote::committed(self.store(), layout, backup).await?;
            match found {
                Some((header, _)) if header.run_id == self.run.id => {}
                Some((header, _)) => {
                    let backup = backup.to_string();
                    return Err(Error::Exists {
                        backup,
                        run_id: header.run_id,
                    });
                }
                None => {
                    return Err(Error::Answer(
                        "a manifest that is there is not there".into(),
                    ));
                }
            }
        }
        known.manifest = Some(layout.manifest(backup));
        Ok(())
    }

    async fn put_schema(
        &self,
        schema: WholeSchema,
        progress: &mut Progress,
    ) -> Result<SchemaObject, Error> {
        let WholeSchema { text, key, object } = schema;
        progress.total.add(object.bytes);
        if commit::put_content(self.store(), &key, text.into_bytes()).await? {
            progress.uploaded.add(object.bytes);
            progress.to_upload.add(object.bytes);
        } else {
            self.store().touch(&key, object.bytes).await?;
            progress.reused.add(object.bytes);
            progress.touched += 1;
        }
        Ok(object)
    }
}

/// The schema of the whole cluster, as an object.
struct WholeSchema {
    text: String,
    key: Key,
    object: SchemaObject,
}

impl WholeSchema {
    fn new(layout: &NodeLayout, text: String) -> Result<Self, Error> {
        let hash = blake3::hash(text.as_bytes());
        let object = SchemaObject {
            object: NodeLayout::schema_object(&hash),
            bytes: text.len() as u64,
            blake3: hash.to_hex().to_string(),
        };
        let key = Key::parse(&layout.node_schema(&object.object))?;
        Ok(Self { text, key, object })
    }
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
