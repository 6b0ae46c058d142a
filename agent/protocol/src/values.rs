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
