use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{BackupName, ClusterId};

/// The version of manifests that this crate writes. Readers refuse another major number.
pub const FORMAT_VERSION: &str = "1.0";

/// Files and bytes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One line of a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Line {
    /// The first line.
    Header(Box<Header>),
    /// A table; the SSTables that follow are its own.
    Table(Table),
    /// An SSTable with its components.
    #[serde(rename = "sstable")]
    SsTable(SsTable),
    /// The last line.
    Footer(Footer),
}

/// What the backup of the node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: String,
    /// Name of the backup.
    pub backup: BackupName,
    /// The run that wrote it.
    pub run_id: Uuid,
    /// Cluster id.
    pub cluster: ClusterId,
    /// The schedule that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// What is covered; empty lists mean all.
    pub scope: Scope,
    /// The ring before the snapshot and before the commit.
    pub ring_hash: RingHash,
    /// The members of the ring, in the datacenters of the scope, that must have a manifest for
    /// the backup to be complete.
    pub expected_host_ids: Vec<Uuid>,
    /// The node.
    pub node: NodeHeader,
    /// Cassandra's schema version before the snapshot and before the commit.
    pub schema_version: SchemaVersions,
    /// The whole schema; absent where it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaObject>,
    /// When the snapshot was taken.
    pub snapshot: Snapshot,
    /// Version of the writer.
    pub agent_version: String,
}

/// What is covered; empty lists mean all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scope {
    /// Keyspaces.
    pub keyspaces: Vec<String>,
    /// Tables as `keyspace.table`.
    pub tables: Vec<String>,
    /// Datacenters.
    pub datacenters: Vec<String>,
}

/// BLAKE3 of the ring (tokens, datacenter, rack of every host id), at two times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingHash {
    /// Before the snapshot.
    pub before: String,
    /// Before the commit.
    pub after: String,
}

/// Cassandra's schema version, at two times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaVersions {
    /// Before the snapshot.
    pub before: String,
    /// Before the commit.
    pub after: String,
}

/// The node of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeHeader {
    /// Host id.
    pub host_id: Uuid,
    /// Datacenter.
    pub datacenter: String,
    /// Rack.
    pub rack: String,
    /// Addresses that the ring had for it.
    pub addresses: Vec<String>,
    /// Pod, if it ran in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Release.
    pub cassandra_version: String,
    /// Class name of the partitioner.
    pub partitioner: String,
    /// Tokens that it owned, as text: other partitioners have larger numbers than JSON readers.
    pub tokens: Vec<String>,
    /// Data directories; SSTables name them by position.
    pub data_directories: Vec<String>,
}

/// A stored schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaObject {
    /// Last segment of its key.
    pub object: String,
    /// Size.
    pub bytes: u64,
    /// Hash in hex.
    pub blake3: String,
}

/// The snapshot that was uploaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Tag.
    pub tag: String,
    /// When the call was sent.
    pub started_at: Timestamp,
    /// When it returned.
    pub ended_at: Timestamp,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Keyspace.
    pub keyspace: String,
    /// Name.
    pub table: String,
    /// Table id in 32 hex digits, as the directory has it.
    pub id: String,
    /// `<table>-<id>`.
    pub directory: String,
    /// The table's own schema; absent for most tables of Cassandra itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaObject>,
}

/// An SSTable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SsTable {
    /// `<sstable>.<digest>.<bytes>`.
    pub sstable: String,
    /// `.<index>`, for a secondary index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Position in the node's data directories.
    pub data_directory: usize,
    /// Token of the first partition, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<String>,
    /// Token of the last partition, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_token: Option<String>,
    /// What a restore is compared with; absent where Cassandra's files did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Contents>,
    /// Its files.
    pub components: Vec<Component>,
}

/// What an SSTable had when it was backed up, by its own Statistics.db and indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Partitions.
    pub partitions: u64,
    /// Rows, those of tombstones included.
    pub rows: u64,
    /// The first and the last partition key in hex, where they are short.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

/// A file of an SSTable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// File name on the node.
    pub name: String,
    /// Last segment of its key.
    pub object: String,
    /// Size.
    pub bytes: u64,
    /// Hash in hex.
    pub blake3: String,
}

/// The end of a manifest, and its sums. Schema objects are counted too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Footer {
    /// All files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Uploaded by the attempt that committed.
    pub uploaded: Sum,
    /// Found in the storage.
    pub reused: Sum,
    /// Objects whose timestamp was renewed.
    pub touched: u64,
    /// SSTables that were left out because a file of theirs is damaged, as
    /// `keyspace/directory/sstable`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Key of the tokens file below the cluster id.
    pub tokens: String,
    /// Hash in hex of all bytes before this line.
    pub blake3: String,
}
