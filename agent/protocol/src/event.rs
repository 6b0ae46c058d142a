use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Catalogue, KeyspaceCoverage, NodeIdentity, Probed, Purged, Reason, Rehearsed, RestorePlan,
    RingMember, SnapshotTimes,
};

/// One line of the agent's standard output and of the run's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The run it belongs to.
    pub run_id: Uuid,
    /// Counts from 1 over all attempts of the run, without a gap.
    pub seq: u64,
    /// By the agent's clock.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "event",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum EventKind {
    /// An attempt has begun.
    Started {
        /// Counts from 1.
        attempt: u32,
        /// Version of the agent.
        agent_version: String,
        /// Process id of the run in its container.
        pid: u32,
    },
    /// The run entered a phase.
    Phase {
        /// The phase.
        phase: Phase,
        /// The node, from the phase on in which it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<NodeIdentity>,
    },
    /// How far the upload is; at least one every two seconds while data moves.
    Progress(Progress),
    /// Something that the user should know and that did not stop the run.
    Warning {
        /// Why.
        reason: Reason,
        /// Names the thing and what to do.
        message: String,
    },
    /// The end of an attempt. Nothing of it follows.
    Result(Box<Outcome>),
}

/// Where a node's backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Checks the request, the storage, the node.
    Preparing,
    /// Flushes and takes the snapshot.
    Snapshotting,
    /// Has its snapshot and waits to be told to go on.
    Holding,
    /// Reads what is on disk and in the storage and decides what to upload.
    Planning,
    /// Uploads and touches.
    Uploading,
    /// Writes tokens and manifest and clears the snapshot.
    Committing,
    /// Makes the schema, fetches, and has Cassandra import.
    Restoring,
    /// A phase of a newer version.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Files and bytes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    /// Whether there is none.
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Counts one more file.
    pub fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// How far a node's upload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// All that the backup of this node consists of.
    pub total: Tally,
    /// Uploaded by this attempt so far; `bytes` counts inside unfinished files too.
    pub uploaded: Tally,
    /// What will have been uploaded when it is done.
    pub to_upload: Tally,
    /// Found in the storage and relied on.
    pub reused: Tally,
    /// Objects whose timestamp was renewed so far.
    pub touched: u64,
    /// Of a restore: files that are fetched so far, or were there.
    #[serde(skip_serializing_if = "Tally::is_nothing")]
    pub fetched: Tally,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The exit code of the process.
    pub exit_code: u8,
    /// Why; [`Reason::Succeeded`] for a committed backup.
    pub reason: Reason,
    /// One sentence that names the thing, the cause and what to do.
    pub message: String,
    /// Which attempt ended.
    pub attempt: u32,
    /// The node, where it got so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeIdentity>,
    /// The ring as this node sees it, where it got so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ring: Vec<RingMember>,
    /// Key of the manifest below the storage's root, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// When the snapshot was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotTimes>,
    /// The last figures.
    pub progress: Progress,
    /// What only some members of the ring have, by keyspace, where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<KeyspaceCoverage>,
    /// What a probe saw, also where it did not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Box<Probed>>,
    /// What a purge or a deletion did, where it got so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged: Option<Box<Purged>>,
    /// The backups of a cluster, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<Box<Catalogue>>,
    /// What a restore does, where it got so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Box<RestorePlan>>,
    /// What was found in a rehearsal that went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsed: Option<Rehearsed>,
}

impl Outcome {
    /// An attempt that ended for this reason and has nothing else to tell.
    pub fn ended(reason: Reason, message: impl Into<String>, attempt: u32) -> Self {
        Self {
            exit_code: reason.exit_code() as u8,
            reason,
            message: message.into(),
            attempt,
            node: None,
            ring: Vec::new(),
            manifest: None,
            snapshot: None,
            progress: Progress::default(),
            coverage: Vec::new(),
            probe: None,
            purged: None,
            catalogue: None,
            restore: None,
            rehearsed: None,
        }
    }
}
