//! The steps after the snapshot, with what they share: schema, intent, plan, transfer, commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use manifest::{
    FORMAT_VERSION, Header, NodeHeader, NodeLayout, RingHash, SchemaObject, SchemaVersions,
};
use protocol::{BackupRequest, Progress, Reason};
use store::{Key, Store};

use super::error::{Error, chain};
use super::hashes::HashCache;
use super::inventory::{Inventory, Maker};
use super::node::{self, Cluster};
use super::transfer::{self, Transfer, Transferred};
use super::{Known, Prepared, commit, plan, remote};
use crate::bandwidth::Bandwidth;
use crate::run_context::Run;
use crate::schema;

/// How long a purge is waited for that is about to delete what this run needs.
const PURGE_PATIENCE: Duration = Duration::from_secs(120);
const PURGE_POLL: Duration = Duration::from_secs(5);

/// What the steps after the snapshot share.
pub struct Session<'a> {
    run: &'a Run,
    request: &'a BackupRequest,
    prepared: &'a Prepared,
    bandwidth: Arc<Bandwidth>,
    /// Hashes of files that did not change.
    pub hashes: HashCache,
}

impl<'a> Session<'a> {
    /// For a node that is checked and has its snapshot.
    pub fn new(run: &'a Run, request: &'a BackupRequest, prepared: &'a Prepared) -> Self {
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

    /// Makes the inventory.
    pub fn maker(&self) -> Maker<'_> {
        Maker {
            layout: &self.prepared.layout,
            hashes: &self.hashes,
            bandwidth: self.bandwidth.clone(),
            partitioner: &self.prepared.node.partitioner,
        }
    }

    /// Carries out the plan.
    pub fn transfer(&self) -> Transfer<'_> {
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
    pub async fn describe_schema(&self) -> Result<Option<WholeSchema>, Error> {
        let fallbacks = self.prepared.node.ip_addresses();
        match schema::describe(&self.request.cql, &fallbacks).await {
            Ok(text) => WholeSchema::new(&self.prepared.layout, text).map(Some),
            Err(error) => {
                self.run.warn(Reason::SchemaIncomplete, chain(&error));
                Ok(None)
            }
        }
    }

    /// Writes down every key that the attempt relies on.
    pub async fn write_intent(
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
    pub async fn look(
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

    /// The ring and the schema version again; a warning tells what changed.
    pub async fn cluster_after(&self) -> Result<Cluster, Error> {
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
    pub async fn commit(
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
pub struct WholeSchema {
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
