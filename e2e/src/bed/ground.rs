//! Where a bed keeps what it is made of while it is up.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::host::process::Daemons;

/// The state directory of the bed and what is in it. A machine has one: the bridge, the node and
/// the iptables chains of Kubernetes are there once, too.
#[derive(Debug, Clone)]
pub struct Ground {
    state: PathBuf,
}

impl Ground {
    /// The bed of this machine.
    pub fn here() -> Self {
        Self {
            state: PathBuf::from("/var/lib/cassandra-backup-bed"),
        }
    }

    /// The state directory. All but logs and locks is removed by `down`.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// A directory of the state directory, made if it is missing.
    pub fn dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.state.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("could not create {}", dir.display()))?;
        Ok(dir)
    }

    /// The daemons of the bed.
    pub fn daemons(&self) -> Daemons {
        Daemons::of(&self.state)
    }

    /// The kubeconfig of the cluster's administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubernetes/admin.kubeconfig")
    }

    /// The socket of the keeper.
    pub fn socket(&self) -> PathBuf {
        self.state.join("keeper.socket")
    }

    /// Held by the keeper, or by whoever cleans up without one.
    pub fn keeper_lock(&self) -> PathBuf {
        self.state.join("keeper.lock")
    }

    /// Held shared by those who use the bed, exclusively by those who break it on purpose.
    pub fn users_lock(&self) -> PathBuf {
        self.state.join("users.lock")
    }
}
