use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a backup covers. Empty lists mean all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scope {
    /// Keyspaces by name.
    pub keyspaces: Vec<String>,
    /// Tables as `keyspace.table`. Not together with `keyspaces`.
    pub tables: Vec<String>,
    /// Datacenters whose nodes belong to the backup.
    pub datacenters: Vec<String>,
}

/// Who a node is, independent of pod, host name and address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeIdentity {
    /// Cassandra's host id.
    pub host_id: Uuid,
    /// Datacenter.
    pub datacenter: String,
    /// Rack.
    pub rack: String,
    /// Release, such as `5.0.9`.
    pub cassandra_version: String,
}

/// One member of the ring as the node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RingMember {
    /// Host id.
    pub host_id: Uuid,
    /// Address as the ring names it.
    pub address: String,
    /// Datacenter.
    pub datacenter: String,
    /// Rack.
    pub rack: String,
    /// `Up`, `Down` or `?`.
    pub status: String,
    /// `Normal`, `Joining`, `Leaving` or `Moving`.
    pub state: String,
}

/// When the snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotTimes {
    /// When the snapshot call was sent.
    pub started_at: Timestamp,
    /// When it returned.
    pub ended_at: Timestamp,
    /// How many milliseconds after the agreed time it was sent; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_ms: Option<i64>,
}

/// What of a keyspace only the members of the ring have that were asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyspaceCoverage {
    /// Its name.
    pub keyspace: String,
    /// Its token ranges.
    pub ranges: u64,
    /// Those of them that no other member has.
    pub uncovered: u64,
    /// Their share of the ring, from 0 to 1; not with partitioners whose tokens are no numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The first of them, as `(start, end]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<String>,
}
