//! What is known about a backup while it runs and after.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::verify::VerificationStatus;

/// The live truth about a backup and each of its nodes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CassandraBackupStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the backup is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupPhase>,
    /// Name of the backup in the storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_name: Option<String>,
    /// When the work began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When all nodes are told to take their snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_at: Option<Time>,
    /// When the work ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How long it took so far, or in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Nodes that are backed up, of all that should be: `2/3`. Members of the ring without a pod
    /// count among these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_done: Option<String>,
    /// All that the backup consists of, over all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Amount>,
    /// Uploaded by this backup, over all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded: Option<Amount>,
    /// Already in the storage and relied on, over all nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<Amount>,
    /// Each node's share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeStatus>,
    /// Cassandra's ring, as the nodes that are done saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<RingStatus>,
    /// What should be known although it did not stop the backup; the first ones only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<NodeWarning>,
    /// What is known of its proof.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationStatus>,
    /// `Complete` says whether the backup is whole, and if not, why. `Reconciling` and `Stalled`
    /// are as kstatus wants them. `Verified` says how its last rehearsal ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// Where a backup is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackupPhase {
    /// Waits for what it needs.
    Pending,
    /// The agents are brought into the pods and check what they need.
    Preparing,
    /// Snapshots are taken.
    Snapshotting,
    /// Files are uploaded.
    Uploading,
    /// The backup is whole: every member of the ring is backed up.
    Succeeded,
    /// Some nodes are backed up and some are not.
    PartiallyFailed,
    /// No node is backed up.
    Failed,
    /// Cancelled on request.
    Cancelled,
    /// Its data was deleted by retention.
    Expired,
}

impl BackupPhase {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded
                | Self::PartiallyFailed
                | Self::Failed
                | Self::Cancelled
                | Self::Expired
        )
    }
}

/// One node's share of a backup.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod that the run was last seen in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// Id of the container that the run was last seen in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Cassandra's host id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_id: Option<String>,
    /// Datacenter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacenter: Option<String>,
    /// Rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Release of Cassandra, such as `5.0.9`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cassandra_version: Option<String>,
    /// Where the node is.
    pub phase: NodePhase,
    /// Why it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Names the thing, the cause and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Which attempt, counted from 1; 0 if that is not known, of a backup that was found in the
    /// storage.
    pub attempt: i32,
    /// How many of the attempts found another run at work on the node and did nothing. They do not count for
    /// `retry.limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turned_away: Option<i32>,
    /// Id of the node's run, the same for all attempts.
    pub run_id: String,
    /// All that the node's backup consists of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Amount>,
    /// Uploaded by this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded: Option<Amount>,
    /// Already in the storage and relied on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused: Option<Amount>,
    /// When the snapshot was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotStatus>,
    /// When it was this node's turn to upload, where nodes hold their snapshots until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_at: Option<Time>,
    /// Path of the manifest in the storage, once it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// When the first attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Number of the last event of the agent that this status contains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<i64>,
    /// A snapshot may be left on the node and will be removed when the pod can be reached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sweep_pending: bool,
}

/// Where a node's share of a backup is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodePhase {
    /// Its turn has not come.
    Pending,
    /// Waits for the pod, or for the next attempt; the reason says why.
    Waiting,
    /// The agent is brought into the pod and checks what it needs.
    Preparing,
    /// The snapshot is taken.
    Snapshotting,
    /// The snapshot is taken, and its turn to upload has not come.
    Holding,
    /// The agent decides what to upload.
    Planning,
    /// Files are uploaded.
    Uploading,
    /// Tokens and manifest are written.
    Committing,
    /// The node is backed up.
    Succeeded,
    /// The node is not backed up.
    Failed,
    /// Cancelled on request.
    Cancelled,
}

impl NodePhase {
    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// Files and bytes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    /// Number of files.
    pub files: i64,
    /// Their bytes.
    pub bytes: i64,
    /// The bytes for people, such as `1.2 GiB`.
    pub size: String,
}

/// When a node's snapshot was taken.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// When the snapshot call was sent.
    pub started_at: Time,
    /// When it returned.
    pub ended_at: Time,
    /// Milliseconds after the agreed time at which it was sent, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_milliseconds: Option<i64>,
}

/// Cassandra's ring, compared with the selected pods.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RingStatus {
    /// Members of the ring, in the datacenters of the backup.
    pub members: i64,
    /// Members that no selected pod has reported to be; of a backup that was found in the storage,
    /// those without a manifest. Final once the phase is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_pod: Vec<MemberWithoutPod>,
    /// What the backup does not cover, because members of the ring are not backed up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<CoverageStatus>,
}

/// Which parts of the keyspaces are on no node that is backed up, by Cassandra's own placement of
/// replicas.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CoverageStatus {
    /// Why it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Keyspaces of which a part is on no node that is backed up; the first ones only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncovered: Vec<KeyspaceUncovered>,
    /// How many keyspaces are covered whole: each token range is on a node that is backed up, though
    /// that replica may lack writes that only the others have.
    pub covered_keyspaces: i64,
}

/// The part of a keyspace that is on no node that is backed up.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeyspaceUncovered {
    /// Name of the keyspace.
    pub keyspace: String,
    /// Its share of all tokens, such as `33.4%`; unknown with partitioners whose tokens are no
    /// numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// How many of its token ranges.
    pub ranges: i64,
    /// How many token ranges it has.
    pub of_ranges: i64,
    /// The first of them, as `(start, end]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_ranges: Vec<String>,
}

/// A member of the ring without a pod.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MemberWithoutPod {
    /// Cassandra's host id.
    pub host_id: String,
    /// Address as the ring names it.
    pub address: String,
    /// Datacenter.
    pub datacenter: String,
    /// Rack.
    pub rack: String,
}

/// What should be known about a node although it did not stop the backup.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NodeWarning {
    /// Name of the pod.
    pub pod: String,
    /// Why.
    pub reason: String,
    /// Names the thing and what to do.
    pub message: String,
}
