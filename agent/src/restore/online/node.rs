//! The node that is restored into, and its cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jmx::cassandra::{Cassandra, Status};
use protocol::{CqlAccess, JmxAccess};
use scylla::client::session::Session;
use uuid::Uuid;

use super::error::OnlineError;
use super::plan::Cluster;
use super::ranges::{Range, Ranges};
use super::ring::Member;
use super::selection::TableName;
use super::source::{parse, replications};
use crate::backup::node;
use crate::restore::schema::{self, Statement};
use crate::restore::target::file;

/// A node that is up, with all that is to be known of it.
pub struct Node {
    /// Its JMX.
    pub cassandra: Cassandra,
    /// Its CQL.
    pub session: Session,
    /// Its host id.
    pub host_id: Uuid,
    /// Its release.
    pub version: String,
    /// Class name of the partitioner.
    pub partitioner: String,
    /// Its data directories.
    pub directories: Vec<PathBuf>,
    /// The ring, and the replication of the keyspaces that are there.
    pub cluster: Cluster,
    /// The ranges of the node, by keyspace.
    pub ranges: BTreeMap<String, Ranges>,
    /// The schema.
    pub schema: Vec<Statement>,
    /// Members that are not up, as addresses.
    pub down: Vec<String>,
}

impl Node {
    /// Reads it.
    pub async fn read(jmx: &JmxAccess, cql: &CqlAccess) -> Result<Self, OnlineError> {
        let cassandra = node::connect(jmx).await?;
        let (node, ring) = node::read(&cassandra).await?;
        let session = crate::cql::connect(cql, &node.ip_addresses()).await?;
        let text = crate::schema::describe_over(&session).await?;
        let schema = schema::split(&text);
        let mut members = Vec::new();
        let mut own_address = None;
        let mut down = Vec::new();
        for member in &ring.ring.members {
            let host_id = member.host_id.as_deref().and_then(|id| id.parse().ok());
            if member.status == Status::Down {
                down.push(member.address.clone());
            }
            let Some(host_id) = host_id else {
                continue;
            };
            if host_id == node.identity.host_id {
                own_address = Some(member.address.clone());
            }
            members.push(Member {
                host_id,
                datacenter: member.datacenter.clone(),
                rack: member.rack.clone(),
                tokens: parse(&member.tokens)?,
            });
        }
        let mut ranges = BTreeMap::new();
        let failed = OnlineError::jmx("cannot read the token ranges over JMX");
        if let Some(own) = own_address {
            for keyspace in cassandra.replicated_keyspaces().await.map_err(&failed)? {
                let all = cassandra.ranges(&keyspace).await.map_err(&failed)?;
                let of_node = all.iter().filter(|range| range.endpoints.contains(&own));
                let mut found = Vec::new();
                for range in of_node {
                    let bounds = parse(&[range.start.clone(), range.end.clone()])?;
                    found.push(Range::new(bounds[0], bounds[1]));
                }
                ranges.insert(keyspace, Ranges::of(found));
            }
        }
        Ok(Self {
            cassandra,
            session,
            host_id: node.identity.host_id,
            version: node.identity.cassandra_version,
            partitioner: node.partitioner,
            directories: node.data_directories,
            cluster: Cluster {
                members,
                replication: replications(&schema),
            },
            ranges,
            schema,
            down,
        })
    }

    /// The first data directory.
    pub fn data_directory(&self) -> &Path {
        let first = self.directories.first();
        first.map_or("/".as_ref(), PathBuf::as_path)
    }

    /// Whether all nodes that answer have one schema.
    pub async fn agrees(&self) -> Result<bool, OnlineError> {
        let failed = OnlineError::jmx("cannot read the schema versions over JMX");
        let versions = self.cassandra.schema_versions().await.map_err(failed)?;
        let answering = versions.keys().filter(|it| *it != "UNREACHABLE");
        Ok(answering.count() == 1)
    }

    /// The members that are not up, as addresses without port.
    pub fn down_addresses(&self) -> Vec<IpAddr> {
        let host = |address: &String| {
            let parsed: Result<IpAddr, _> = address.parse();
            let with_port = || address.parse::<std::net::SocketAddr>().map(|it| it.ip());
            parsed.or_else(|_| with_port()).ok()
        };
        self.down.iter().filter_map(host).collect()
    }

    /// Bytes that are free for the data, and whether the directories are on several file systems.
    pub fn room(&self) -> Result<(u64, bool), OnlineError> {
        let mut devices = BTreeSet::new();
        let mut free: u64 = 0;
        for directory in &self.directories {
            let failed = |source| OnlineError::from(file(directory, source));
            let device = fs::metadata(directory).map_err(failed)?.dev();
            if devices.insert(device) {
                let space = rustix::fs::statvfs(directory);
                let space = space.map_err(|error| failed(error.into()))?;
                let bytes = space.f_bavail.saturating_mul(space.f_frsize);
                free = free.saturating_add(bytes);
            }
        }
        Ok((free, devices.len() > 1))
    }

    /// How many SSTables a table has on the node; nothing is known of one that is not there.
    pub async fn sstables(&self, table: &TableName) -> Result<u64, OnlineError> {
        let failed = OnlineError::jmx("cannot read a table's metrics over JMX");
        let table = jmx_table(table);
        self.cassandra.live_sstables(&table).await.map_err(failed)
    }
}

/// As the JMX client names it.
pub fn jmx_table(table: &TableName) -> jmx::cassandra::Table {
    jmx::cassandra::Table {
        keyspace: table.keyspace.clone(),
        table: table.table.clone(),
    }
}
