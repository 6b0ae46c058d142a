//! What the steps after the snapshot share, and what the manifest says of the node.

use std::sync::Arc;
use std::time::Duration;

use manifest::{FORMAT_VERSION, Header, NodeHeader, RingHash, SchemaVersions};
use protocol::{BackupRequest, Reason};
use store::Store;

use super::Prepared;
use super::error::{Error, chain};
use super::exchange::{Closing, Exchange, WholeSchema};
use super::files::NodeFiles;
use super::hashes::HashCache;
use super::inventory::Maker;
use super::node::{self, Cluster};
use super::transfer::{self, Transfer};
use crate::bandwidth::Bandwidth;
use crate::lease::SystemTimer;
use crate::order::Order;
use crate::run_context::Run;
use crate::schema;

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

    /// The files of the snapshot.
    pub fn files(&self) -> NodeFiles<'_> {
        NodeFiles {
            bandwidth: self.bandwidth.clone(),
            hashes: &self.hashes,
        }
    }

    /// What follows with the storage; the manifest has to be there within `lifetime`.
    pub fn exchange<'s>(
        &'s self,
        files: &'s NodeFiles<'_>,
        timer: &'s SystemTimer,
        lifetime: Duration,
    ) -> Exchange<'s> {
        let limits = &self.request.limits;
        let concurrency = limits
            .concurrency
            .map_or(transfer::DEFAULT_CONCURRENCY, |n| n as usize);
        Exchange {
            run: self.run,
            node: Some(&self.prepared.node.identity),
            store: self.store(),
            layout: &self.prepared.layout,
            backup: &self.prepared.backup,
            touch_after: Duration::from_secs(self.request.touch_after_seconds),
            lifetime,
            transfer: Transfer {
                run: self.run,
                store: self.store(),
                files,
                concurrency,
                allow_corrupt: self.request.allow_corrupt,
            },
            timer,
            order: Order::RIGHT,
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

    /// The ring and the schema version again; a warning tells what changed.
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

    /// What is known only when everything is stored.
    pub async fn closing(&self, snapshot: manifest::Snapshot) -> Result<Closing, Error> {
        let after = self.cluster_after().await?;
        let Prepared {
            backup,
            node,
            cluster,
            ..
        } = self.prepared;
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
            schema: None,
            snapshot,
            agent_version: env!("CARGO_PKG_VERSION").into(),
        };
        let tokens = cluster.tokens_file(node).to_yaml()?;
        Ok(Closing { header, tokens })
    }
}
