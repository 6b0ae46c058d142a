//! Cassandra's MBeans, with types: what `nodetool` reads and does, as far as a backup needs it.
//!
//! Attributes and operations have the same names in 4.0, 4.1 and 5.0. Where a newer twin exists
//! that names endpoints with their ports (4.0 and later), it is preferred, and the older one is
//! asked if the newer is gone.

mod import;
mod ranges;
mod ring;
mod snapshot;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::argument::Argument;
use crate::client::{CallOptions, JmxClient};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::name::ObjectName;
use crate::stream::{UnexpectedValue, Value};

pub use import::ImportOptions;
pub use ranges::TokenRange;
pub use ring::{Ownership, Ring, RingMember, State, Status};
pub use snapshot::{Entities, InvalidTag, SnapshotOfTable, SnapshotOptions, Tag, snapshot_exists};

const STORAGE_SERVICE: &str = "org.apache.cassandra.db:type=StorageService";
const STORAGE_PROXY: &str = "org.apache.cassandra.db:type=StorageProxy";
const SNITCH: &str = "org.apache.cassandra.db:type=EndpointSnitchInfo";
const TABLES: &str = "org.apache.cassandra.db:type=Tables,*";

/// A table that exists on the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    /// Its keyspace.
    pub keyspace: String,
    /// Its name.
    pub table: String,
}

/// A node of a Cassandra cluster, by its JMX port.
#[derive(Debug)]
pub struct Cassandra {
    client: JmxClient,
}

impl Cassandra {
    /// Connects to the node.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, Error> {
        Ok(Self::new(JmxClient::connect(endpoint).await?))
    }

    /// Uses a session that is open.
    pub fn new(client: JmxClient) -> Self {
        Cassandra { client }
    }

    /// The session, for what has no method here.
    pub fn client(&self) -> &JmxClient {
        &self.client
    }

    /// Ends the session.
    pub async fn close(self) -> Result<(), Error> {
        self.client.close().await
    }

    /// The node's host id, a UUID.
    pub async fn host_id(&self) -> Result<String, Error> {
        self.text("LocalHostId").await
    }

    /// The node's own tokens, in order. Fails before the node has joined the ring.
    pub async fn tokens(&self) -> Result<Vec<String>, Error> {
        self.texts("Tokens").await
    }

    /// `cluster_name` of cassandra.yaml.
    pub async fn cluster_name(&self) -> Result<String, Error> {
        self.text("ClusterName").await
    }

    /// Full class name of the partitioner.
    pub async fn partitioner(&self) -> Result<String, Error> {
        self.text("PartitionerName").await
    }

    /// `STARTING`, `NORMAL`, `JOINING`, `LEAVING`, `DECOMMISSIONED`, `MOVING`, `DRAINING`,
    /// `DRAINED` or another word of the version at hand.
    pub async fn operation_mode(&self) -> Result<String, Error> {
        self.text("OperationMode").await
    }

    /// Cassandra's version, like `5.0.9`.
    pub async fn release_version(&self) -> Result<String, Error> {
        self.text("ReleaseVersion").await
    }

    /// The node's own schema version, a UUID.
    pub async fn schema_version(&self) -> Result<String, Error> {
        self.text("SchemaVersion").await
    }

    /// Which nodes have which schema version; those that do not answer are under `UNREACHABLE`.
    /// The schema is agreed on when only one other key is left.
    pub async fn schema_versions(&self) -> Result<BTreeMap<String, Vec<String>>, Error> {
        let names = ["SchemaVersionsWithPort", "SchemaVersions"];
        let value = self.first_attribute(STORAGE_PROXY, names).await?;
        typed(names[0], value, |value| match value {
            Value::Map(entries) => entries
                .into_iter()
                .map(|(version, nodes)| Ok((version.into_string()?, nodes.into_strings()?)))
                .collect(),
            other => Err(other.unexpected("a map")),
        })
    }

    /// All data directories, those of system keyspaces included.
    pub async fn data_directories(&self) -> Result<Vec<String>, Error> {
        self.texts("AllDataFileLocations").await
    }

    /// All keyspaces, system keyspaces included, virtual ones not.
    pub async fn keyspaces(&self) -> Result<Vec<String>, Error> {
        self.texts("Keyspaces").await
    }

    /// Keyspaces whose data is replicated: all but those that each node keeps for itself.
    pub async fn replicated_keyspaces(&self) -> Result<Vec<String>, Error> {
        self.texts("NonLocalStrategyKeyspaces").await
    }

    /// All tables, sorted; those of system keyspaces included, virtual ones and indexes not.
    pub async fn tables(&self) -> Result<Vec<Table>, Error> {
        let names = self.client.query_names(&bean(TABLES)?).await?;
        let mut tables: Vec<Table> = names
            .iter()
            .filter_map(|name| {
                Some(Table {
                    keyspace: name.key("keyspace")?.to_owned(),
                    table: name.key("table")?.to_owned(),
                })
            })
            .collect();
        tables.sort();
        Ok(tables)
    }

    /// The datacenter of the node itself.
    pub async fn datacenter(&self) -> Result<String, Error> {
        self.snitch_attribute("Datacenter").await
    }

    /// The rack of the node itself.
    pub async fn rack(&self) -> Result<String, Error> {
        self.snitch_attribute("Rack").await
    }

    /// The datacenter of any endpoint, given as address with or without port.
    pub async fn datacenter_of(&self, endpoint: &str) -> Result<String, Error> {
        self.snitch_operation("getDatacenter", endpoint).await
    }

    /// The rack of any endpoint, given as address with or without port.
    pub async fn rack_of(&self, endpoint: &str) -> Result<String, Error> {
        self.snitch_operation("getRack", endpoint).await
    }

    /// Writes the memtables of a keyspace to disk; of the given tables only, or of all if none is
    /// given. Returns when they are written.
    pub async fn flush(
        &self,
        keyspace: &str,
        tables: &[&str],
        timeout: Duration,
    ) -> Result<(), Error> {
        let arguments = vec![
            Argument::string(keyspace),
            Argument::strings(tables.iter().copied()),
        ];
        // Flushing twice does what flushing once does.
        let options = CallOptions {
            timeout: Some(timeout),
            read_only: true,
        };
        self.storage_operation("forceKeyspaceFlush", arguments, options)
            .await?;
        Ok(())
    }

    async fn text(&self, name: &str) -> Result<String, Error> {
        let value = self.attribute(STORAGE_SERVICE, name).await?;
        typed(name, value, Value::into_string)
    }

    async fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let value = self.attribute(STORAGE_SERVICE, name).await?;
        typed(name, value, Value::into_strings)
    }

    async fn snitch_attribute(&self, name: &str) -> Result<String, Error> {
        let value = self.attribute(SNITCH, name).await?;
        typed(name, value, Value::into_string)
    }

    async fn snitch_operation(&self, name: &str, endpoint: &str) -> Result<String, Error> {
        let arguments = vec![Argument::string(endpoint)];
        let value = self
            .client
            .invoke_with(&bean(SNITCH)?, name, arguments, READ)
            .await?;
        typed(name, value, Value::into_string)
    }

    async fn storage_operation(
        &self,
        name: &str,
        arguments: Vec<Argument>,
        options: CallOptions,
    ) -> Result<Value, Error> {
        let storage = bean(STORAGE_SERVICE)?;
        self.client
            .invoke_with(&storage, name, arguments, options)
            .await
    }

    async fn attribute(&self, mbean: &str, name: &str) -> Result<Value, Error> {
        self.client.get_attribute(&bean(mbean)?, name).await
    }

    /// The first of two attributes that the version at hand has.
    async fn first_attribute(&self, mbean: &str, names: [&str; 2]) -> Result<Value, Error> {
        match self.attribute(mbean, names[0]).await {
            Err(error) if error.is_missing_member() => self.attribute(mbean, names[1]).await,
            result => result,
        }
    }
}

const READ: CallOptions = CallOptions {
    timeout: None,
    read_only: true,
};

fn bean(name: &str) -> Result<ObjectName, Error> {
    name.parse().map_err(|_| Error::InstanceNotFound {
        mbean: name.to_owned(),
    })
}

fn typed<T>(
    name: &str,
    value: Value,
    convert: impl FnOnce(Value) -> Result<T, UnexpectedValue>,
) -> Result<T, Error> {
    convert(value).map_err(|source| Error::Unexpected {
        operation: format!("reading {name}"),
        source,
    })
}
