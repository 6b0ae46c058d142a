//! The agent's executable.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The agent's executable. Its 20 MB are in memory only while it is copied into pods.
pub(crate) struct AgentBinary {
    path: PathBuf,
    /// BLAKE3 of the content as 64 hexadecimal digits.
    pub(crate) hash: String,
    /// Bytes.
    pub(crate) size: u64,
    /// What those have who copy it now.
    held: Mutex<Weak<Vec<u8>>>,
    #[cfg(test)]
    _file: Option<tempfile::TempPath>,
}

/// The agent's executable cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentUnreadable {
    #[error("cannot read the agent's executable {path}: {cause}; name it with --agent", path = .path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("the agent's executable {path} is another one than when the operator started: restart it", path = .path.display())]
    Changed { path: PathBuf },
}

impl AgentBinary {
    /// Reads it once, for its hash.
    pub(crate) fn read(path: &Path) -> Result<Self, AgentUnreadable> {
        let unreadable = |cause| AgentUnreadable::Read {
            path: path.to_owned(),
            cause,
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(file).map_err(unreadable)?;
        Ok(Self {
            path: path.to_owned(),
            hash: hasher.finalize().to_hex().to_string(),
            size: hasher.count(),
            held: Mutex::default(),
            #[cfg(test)]
            _file: None,
        })
    }

    /// One with this content.
    #[cfg(test)]
    pub(crate) fn new(content: Vec<u8>) -> Self {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        let mut agent = Self::read(file.path()).unwrap();
        agent._file = Some(file.into_temp_path());
        agent
    }

    /// Its content, shared by all who ask while somebody has it.
    pub(crate) async fn content(&self) -> Result<Arc<Vec<u8>>, AgentUnreadable> {
        let held = || self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(content) = held().upgrade() {
            return Ok(content);
        }
        let read = tokio::fs::read(&self.path).await;
        let read = read.map_err(|cause| AgentUnreadable::Read {
            path: self.path.clone(),
            cause,
        })?;
        if blake3::hash(&read).to_hex().as_str() != self.hash {
            return Err(AgentUnreadable::Changed {
                path: self.path.clone(),
            });
        }
        // Somebody else may have read it meanwhile.
        let mut held = held();
        if let Some(content) = held.upgrade() {
            return Ok(content);
        }
        let content = Arc::new(read);
        *held = Arc::downgrade(&content);
        Ok(content)
    }

    /// File name inside a pod. It changes with the content, so that versions never meet.
    pub(crate) fn file_name(&self) -> String {
        format!("cassandra-backup-{}", &self.hash[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn its_content_is_in_memory_once_and_only_while_somebody_has_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"agent").unwrap();
        let agent = AgentBinary::read(file.path()).unwrap();
        assert_eq!(agent.size, 5);
        let (one, other) = (
            agent.content().await.unwrap(),
            agent.content().await.unwrap(),
        );
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(&*one, b"agent");
        drop((one, other));
        assert!(agent.held.lock().unwrap().upgrade().is_none());

        std::fs::write(file.path(), b"other").unwrap();
        let changed = agent.content().await.unwrap_err();
        assert!(
            matches!(changed, AgentUnreadable::Changed { .. }),
            "{changed}"
        );
    }
}
