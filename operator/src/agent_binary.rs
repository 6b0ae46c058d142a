//! The agent's executable.

use std::path::Path;

/// The agent's executable, read once.
pub(crate) struct AgentBinary {
    /// Content.
    pub(crate) bytes: Vec<u8>,
    /// BLAKE3 of the content as 64 hexadecimal digits.
    pub(crate) hash: String,
}

/// The agent's executable cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the agent's executable {path}: {cause}; name it with --agent")]
pub(crate) struct AgentUnreadable {
    path: String,
    #[source]
    cause: std::io::Error,
}

impl AgentBinary {
    /// Reads it and computes its hash.
    pub(crate) fn read(path: &Path) -> Result<Self, AgentUnreadable> {
        let bytes = std::fs::read(path).map_err(|cause| AgentUnreadable {
            path: path.display().to_string(),
            cause,
        })?;
        Ok(Self::new(bytes))
    }

    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let hash = blake3::hash(&bytes).to_hex().to_string();
        Self { bytes, hash }
    }

    /// File name inside a pod. It changes with the content, so that versions never meet.
    pub(crate) fn file_name(&self) -> String {
        format!("cassandra-backup-{}", &self.hash[..16])
    }
}
