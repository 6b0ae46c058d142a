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
