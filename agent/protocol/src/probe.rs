use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Reason;

/// What a probe saw of a storage, with the identity of the request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probed {
    /// It is there and answers.
    pub reach: Seen,
    /// What is in it can be listed.
    pub list: Seen,
    /// Objects can be created.
    pub write: Seen,
    /// Objects can be read, and are what was written.
    pub read: Seen,
    /// What is there is not overwritten.
    pub create_only: Seen,
    /// Timestamps can be renewed.
    pub touch: Seen,
    /// Objects can be deleted.
    pub delete: Seen,
    /// What is replaced or deleted is kept, so that touching costs.
    pub keeps_versions: Seen,
    /// Whose backups are in it, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub survey: Option<Survey>,
}

/// Whose backups are in a storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Survey {
    /// Whether it could be told, or why not.
    pub seen: Seen,
    /// The clusters that have a backup, by name; the first ones only.
    pub clusters: Vec<ClusterFound>,
    /// How many more there are.
    pub left_out: u64,
    /// Folders that could not be looked into, where the others could; the first ones only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
}

/// A cluster that has a backup in a storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterFound {
    /// Its cluster id.
    pub cluster: String,
    /// Backups of which at least one node has a manifest.
    pub backups: u64,
    /// Those of which every node has one.
    pub complete: u64,
    /// The oldest of these.
    pub first: Option<Restorable>,
    /// The newest of these.
    pub last: Option<Restorable>,
}

/// A time to which a cluster can be brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restorable {
    /// By this backup.
    pub backup: String,
    /// When the first of its snapshots was taken: what was written before is in it, as far as its
    /// scope goes.
    pub time: Timestamp,
}

/// How one thing is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Seen {
    /// Whether it is so.
    pub verdict: Verdict,
    /// The word for it.
    pub reason: Reason,
    /// What was seen, and what to do where it does not work.
    pub message: String,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            verdict: Verdict::Unknown,
            reason: Reason::NotProbed,
            message: String::new(),
        }
    }
}

/// Whether something is so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Nobody could tell.
    #[default]
    #[serde(other)]
    Unknown,
}
