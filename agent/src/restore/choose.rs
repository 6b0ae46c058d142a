//! Which backup, and which of its nodes.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use manifest::{BackupName, ClusterId};
use store::{Key, Store};
use uuid::Uuid;

use super::RestoreError;
use crate::catalogue::{self, Backup, Headers};

/// The backup that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest that has the node.
    Latest,
    /// The newest that has the node and was begun before.
    Before(Timestamp),
    /// This one.
    Named(BackupName),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        match text.strip_prefix("before=") {
            Some(time) => match time.parse() {
                Ok(time) => Ok(Self::Before(time)),
                Err(_) => Err(format!(
                    "{time:?} is no time; an example is before=2026-11-26T03:00:00Z"
                )),
            },
            None => match text.parse() {
                Ok(name) => Ok(Self::Named(name)),
                Err(error) => Err(format!("{error}; or say latest, or before=TIME")),
            },
        }
    }
}

/// The node that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// The only one.
    Only,
    /// By its host id.
    HostId(Uuid),
    /// By the pod that it ran in.
    Pod(String),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => write!(f, "a manifest that can be read"),
            Self::HostId(id) => write!(f, "node {id}"),
            Self::Pod(pod) => write!(f, "a node of pod {pod}"),
        }
    }
}

/// One node's share of one backup.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The backup.
    pub backup: BackupName,
    /// The node.
    pub host_id: Uuid,
    /// The pod that it ran in.
    pub pod: Option<String>,
    /// When its snapshot was taken.
    pub taken: Timestamp,
    /// Its data directories, as they were.
    pub directories: Vec<String>,
    /// Its manifest.
    pub manifest: Key,
}

/// Finds it.
pub async fn choose(
    store: &dyn Store,
    cluster: &ClusterId,
    which: &Which,
    node: &Node,
) -> Result<Chosen, RestoreError> {
    let before = match which {
        Which::Named(name) => {
            let backup = catalogue::read_one(store, cluster, name).await?;
            let found = found(&backup, node)?;
            return found.ok_or_else(|| no_node(cluster, node));
        }
        Which::Latest => Timestamp::MAX,
        Which::Before(time) => *time,
    };
    let mut backups = catalogue::read(store, cluster, Headers::One).await?;
    backups.retain(|backup| backup.started().is_some_and(|started| started < before));
    for backup in backups.iter().rev() {
        let backup = catalogue::read_one(store, cluster, &backup.name).await?;
        if let Some(chosen) = found(&backup, node)? {
            return Ok(chosen);
        }
    }
    Err(no_node(cluster, node))
}

fn no_node(cluster: &ClusterId, node: &Node) -> RestoreError {
    RestoreError::NoNode {
        cluster: cluster.clone(),
        node: node.clone(),
    }
}

/// The node's share of a backup, if it has one.
fn found(backup: &Backup, node: &Node) -> Result<Option<Chosen>, RestoreError> {
    let mut fitting = backup.headers.iter().filter(|(id, header)| match node {
        Node::Only => true,
        Node::HostId(wanted) => *id == wanted,
        Node::Pod(wanted) => header.node.pod.as_ref() == Some(wanted),
    });
    let Some((host_id, header)) = fitting.next() else {
        return Ok(None);
    };
    if fitting.next().is_some() {
        let nodes = backup
            .headers
            .iter()
            .map(|(id, header)| match &header.node.pod {
                Some(pod) => format!("{id} (pod {pod})"),
                None => id.to_string(),
            });
        return Err(RestoreError::WhichNode {
            backup: backup.name.clone(),
            nodes: nodes.collect(),
        });
    }
    Ok(backup.manifests.get(host_id).map(|stored| Chosen {
        backup: backup.name.clone(),
        host_id: *host_id,
        pod: header.node.pod.clone(),
        taken: header.snapshot.started_at,
        directories: header.node.data_directories.clone(),
        manifest: stored.key.clone(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_named_by_name_or_by_time() {
        assert_eq!("latest".parse(), Ok(Which::Latest));
        let time = "2026-11-26T03:00:00Z";
        let before = Which::Before(time.parse().unwrap());
        assert_eq!(format!("before={time}").parse(), Ok(before));
        assert_eq!("b-1".parse(), Ok(Which::Named("b-1".parse().unwrap())));
        for wrong in ["before=", "before=yesterday", "../x", ""] {
            assert!(wrong.parse::<Which>().is_err(), "{wrong}");
        }
    }
}
