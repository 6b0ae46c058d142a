//! The node that is restored into, and its cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use jmx::cassandra::{Cassandra, ImportOptions, State as MemberState, Status};
use protocol::{CqlAccess, JmxAccess, NodeIdentity, RingMember};
use scylla::client::session::Session;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::error::OnlineError;
use super::plan::Cluster;
use super::ranges::{Range, Ranges};
use super::ring::Member;
use super::source::{parse, replications};
use super::state::State;
use crate::backup::node;
use crate::restore::TableName;
use crate::restore::schema::{self, Statement};
use crate::restore::target::file;

/// Imports and cleanups take as long as they take; the connection is watched.
pub(super) const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Between two looks at the schema versions, for which all members are asked.
const BETWEEN: Duration = Duration::from_secs(1);
/// How long a flush may take.
const FLUSH: Duration = Duration::from_secs(600);

/// A node that is up.
pub struct Node {
    /// Its JMX.
    pub cassandra: Cassandra,
    /// Its CQL.
    pub session: Session,
    /// What it is.
    pub facts: Facts,
}

/// What is to be known of a node.
#[derive(Debug, Default)]
pub struct Facts {
    /// What it is called, and where it is.
    pub identity: Option<NodeIdentity>,
    /// Its host id.
    pub host_id: Uuid,
    /// Its release.
    pub version: String,
    /// The ring as callers are told of it.
    pub members: Vec<RingMember>,
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
    /// Members that come, go or move, as addresses.
    pub moving: Vec<String>,
    /// Hash of the ring.
    pub ring: String,
    /// When tables were last truncated on this node.
    pub truncated: BTreeMap<TableName, Timestamp>,
}

impl Node {
    /// Has Cassandra drop old tombstones again where a restore had it keep them.
    pub async fn drop_tombstones_again(&self, state: &State) -> Result<(), OnlineError> {
        let failed = OnlineError::jmx("cannot have Cassandra drop old tombstones again, over JMX");
        for table in state.kept().iter().map(jmx_table) {
            let set = self.cassandra.keep_tombstones(&table, false);
            match set.await {
                // It was dropped since, and its setting with it.
                Err(jmx::Error::InstanceNotFound { .. }) => {}
                other => other.map_err(&failed)?,
            }
        }
        Ok(())
    }

    /// Waits until Cassandra has ended an import into a table that was cut off on our side. It goes on
    /// with that, and does one after the other (`SSTableImporter` is synchronized), also one of nothing.
    /// `home` is the directory of the restore that was.
    pub async fn wait_for_import(&self, table: &TableName, home: &Path) -> Result<(), OnlineError> {
        let nothing = home.join("nothing");
        // As Cassandra wants directories to be called.
        let of_keyspace = nothing.join(&table.keyspace);
        let folder = of_keyspace.join(format!("{}-{:032}", table.table, 0));
        fs::create_dir_all(&folder).map_err(|source| file(&folder, source))?;
        for folder in [&nothing, &of_keyspace, &folder] {
            // Root may have made them, and Cassandra has to read them.
            let readable = fs::Permissions::from_mode(0o755);
            fs::set_permissions(folder, readable).map_err(|source| file(folder, source))?;
        }
        let how = ImportOptions {
            copy: false,
            read_all: false,
        };
        let waited = self
            .cassandra
            .import(&jmx_table(table), &[&folder], how, PATIENCE)
            .await;
        fs::remove_dir_all(&nothing).map_err(|source| file(&nothing, source))?;
        match waited {
            // It was dropped since.
            Err(jmx::Error::InstanceNotFound { .. }) => Ok(()),
            other => other
                .map(drop)
                .map_err(OnlineError::jmx("cannot import SSTables over JMX")),
        }
    }

    /// Reads it.
    pub async fn read(jmx: &JmxAccess, cql: &CqlAccess) -> Result<Self, OnlineError> {
        let cassandra = node::connect(jmx).await?;
        // First: what is read after it is as it is when they do.
        come_to_agree(&cassandra).await?;
        let (node, ring) = node::read(&cassandra).await?;
        let session = crate::cql::connect(cql, &node.ip_addresses()).await?;
        let asked = schema::host_id(&session).await?;
        if asked != Some(node.identity.host_id) {
            return Err(OnlineError::OtherNode {
                jmx: node.identity.host_id,
                cql: asked,
            });
        }
        let text = crate::schema::describe_over(&session).await?;
        let schema = schema::split(&text);
        let mut members = Vec::new();
        let mut own_address = None;
        let (mut down, mut moving) = (Vec::new(), Vec::new());
        for member in &ring.ring.members {
            let host_id = member.host_id.as_deref().and_then(|id| id.parse().ok());
            if member.status == Status::Down {
                down.push(member.address.clone());
            }
            if member.state != MemberState::Normal {
                moving.push(member.address.clone());
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
        let facts = Facts {
            host_id: node.identity.host_id,
            version: node.identity.cassandra_version.clone(),
            identity: Some(node.identity),
            members: ring.members(),
            partitioner: node.partitioner,
            directories: node.data_directories,
            cluster: Cluster {
                members,
                replication: replications(&schema),
            },
            ranges,
            schema,
            down,
            moving,
            ring: ring.ring_hash(),
            truncated: schema::truncations(&session).await?,
        };
        Ok(Self {
            cassandra,
            session,
            facts,
        })
    }

    /// Whether all nodes that answer have one schema.
    pub async fn agrees(&self) -> Result<bool, OnlineError> {
        agrees(&self.cassandra).await
    }

    /// How many SSTables a table has on the node; nothing is known of one that is not there.
    pub async fn sstables(&self, table: &TableName) -> Result<u64, OnlineError> {
        let failed = OnlineError::jmx("cannot flush a table, or read its metrics, over JMX");
        let name = jmx_table(table);
        // What is only in memory is there, too.
        let tables = [table.table.as_str()];
        let flushed = self.cassandra.flush(&table.keyspace, &tables, FLUSH);
        flushed.await.map_err(&failed)?;
        self.cassandra.live_sstables(&name).await.map_err(failed)
    }
}

async fn agrees(cassandra: &Cassandra) -> Result<bool, OnlineError> {
    let failed = OnlineError::jmx("cannot read the schema versions over JMX");
    let versions = cassandra.schema_versions().await.map_err(failed)?;
    let answering = versions.keys().filter(|it| *it != "UNREACHABLE");
    Ok(answering.count() == 1)
}

/// Waits until all nodes that answer have one schema, or have had the time for it: one that has just
/// started has not yet heard of all.
async fn come_to_agree(cassandra: &Cassandra) -> Result<(), OnlineError> {
    let (limit, began) = (schema::AGREEMENT, Instant::now());
    let mut told = false;
    while !agrees(cassandra).await? && began.elapsed() < limit {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(
                "the nodes do not agree on the schema: it is waited for, at most {limit:?}"
            );
        }
        sleep(BETWEEN).await;
    }
    Ok(())
}

impl Facts {
    /// The first data directory.
    pub fn data_directory(&self) -> &Path {
        let first = self.directories.first();
        first.map_or("/".as_ref(), PathBuf::as_path)
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
}

/// As the JMX client names it.
pub fn jmx_table(table: &TableName) -> jmx::cassandra::Table {
    jmx::cassandra::Table {
        keyspace: table.keyspace.clone(),
        table: table.table.clone(),
    }
}
