//! Which backup, and which of its nodes.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use manifest::{BackupName, ClusterId};
use store::{Key, Store};
use uuid::Uuid;

use super::RestoreError;
use crate::catalogue::{self, Backup, Headers, Unreadable};

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
    /// Of newer backups, which were not taken for that.
    pub passed_over: Vec<Unreadable>,
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
            let found = found.ok_or_else(|| none(cluster, node, unreadable(&backup, node)))?;
            if !is_whole(&backup) {
                return Err(RestoreError::NotWhole {
                    backup: backup.name,
                });
            }
            return Ok(found);
        }
        Which::Latest => Timestamp::MAX,
        Which::Before(time) => *time,
    };
    let mut backups = catalogue::read(store, cluster, Headers::One).await?;
    let unknown = |it: &Backup| it.headers.is_empty() && !it.unreadable.is_empty();
    backups.retain(|backup| (is_whole(backup) || unknown(backup)) && may_have(backup, node));
    let mut newest: Option<Chosen> = None;
    let mut passed_over = Vec::new();
    for backup in backups.iter().rev() {
        // By one header they were in order; a node's own snapshot may have been later or earlier.
        if newest
            .as_ref()
            .is_some_and(|it| backup.started() < Some(it.taken))
        {
            break;
        }
        let backup = catalogue::read_one(store, cluster, &backup.name).await?;
        match found(&backup, node)? {
            Some(chosen) => {
                let is_newer = newest.as_ref().is_none_or(|it| it.taken < chosen.taken);
                if chosen.taken < before && is_newer {
                    newest = Some(chosen);
                }
            }
            // When one was begun of which nothing can be read is not known.
            None if newest.is_none()
                && (backup.headers.is_empty() || backup.started() < Some(before)) =>
            {
                passed_over.extend(unreadable(&backup, node));
            }
            None => {}
        }
    }
    match newest {
        Some(chosen) => Ok(Chosen {
            passed_over,
            ..chosen
        }),
        None => Err(none(cluster, node, passed_over.into_iter().next())),
    }
}

/// The manifest for which nobody can tell whether the backup has the node.
fn unreadable(backup: &Backup, node: &Node) -> Option<Unreadable> {
    backup.unreadable(|id| match node {
        Node::HostId(wanted) => id == *wanted,
        Node::Only | Node::Pod(_) => true,
    })
}

/// Whether it is of all that nodes have.
fn is_whole(backup: &Backup) -> bool {
    let scope = backup.scope();
    scope.is_some_and(|scope| scope.keyspaces.is_empty() && scope.tables.is_empty())
}

/// Whether it is worth reading on.
fn may_have(backup: &Backup, node: &Node) -> bool {
    match node {
        Node::HostId(id) => backup.manifests.contains_key(id),
        Node::Only | Node::Pod(_) => true,
    }
}

/// Why there is none: that one cannot be read, or that nobody has the node.
fn none(cluster: &ClusterId, node: &Node, unreadable: Option<Unreadable>) -> RestoreError {
    let no_node = || RestoreError::NoNode {
        cluster: cluster.clone(),
        node: node.clone(),
    };
    unreadable.map_or_else(no_node, RestoreError::from)
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
    // Nor is it the only one where others have no manifest, or none that can be read.
    let mut all = backup.expected();
    all.extend(backup.manifests.keys());
    let others = *node == Node::Only && all.len() > 1;
    if fitting.next().is_some() || others {
        let pod = |id: &Uuid| backup.headers.get(id)?.node.pod.clone();
        let nodes = all.iter().map(|id| match pod(id) {
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
        passed_over: Vec::new(),
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
