//! What a storage has of a cluster, as retention judges it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use manifest::{BackupName, Header, ManifestKey, Scope};
use uuid::Uuid;

use super::look::Found;

/// All backups of a cluster.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// The storage's clock.
    pub now: SystemTime,
    /// By name.
    pub backups: BTreeMap<BackupName, Backup>,
    /// Nodes with an intent that is still honoured, by backup: runs that may be at work, also of
    /// backups that have no manifest yet.
    pub running: BTreeMap<BackupName, BTreeSet<Uuid>>,
}

impl Catalogue {
    /// Whether a node may still be at work on a backup: one that announced itself and has not
    /// committed.
    pub fn is_running(&self, name: &BackupName) -> bool {
        let committed = |node: &Uuid| {
            let backup = self.backups.get(name);
            backup.is_some_and(|backup| backup.nodes.contains_key(node))
        };
        let announced = self.running.get(name);
        announced.is_some_and(|nodes| !nodes.iter().all(committed))
    }
}

/// A backup with at least one manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The schedule that it belongs to.
    pub series: Option<String>,
    /// What is covered.
    pub scope: Scope,
    /// When the first snapshot began.
    pub started_at: Timestamp,
    /// When the last one ended.
    pub ended_at: Timestamp,
    /// The nodes that its headers name.
    pub expected: BTreeSet<Uuid>,
    /// The nodes that have a manifest.
    pub nodes: BTreeMap<Uuid, NodeManifest>,
}

/// The manifest of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeManifest {
    /// Bytes of the manifest itself.
    pub size: u64,
    /// When it was written.
    pub modified: SystemTime,
    /// The run that wrote it.
    pub run_id: Uuid,
}

impl Backup {
    /// Whether every node that its headers name has a manifest.
    pub fn is_complete(&self) -> bool {
        self.expected
            .iter()
            .all(|node| self.nodes.contains_key(node))
    }

    fn new(first: &Summary) -> Self {
        Self {
            series: first.series.clone(),
            scope: Scope::clone(&first.scope),
            started_at: first.started_at,
            ended_at: first.ended_at,
            expected: BTreeSet::new(),
            nodes: BTreeMap::new(),
        }
    }
}

/// What retention needs of a header. Most of one cluster are alike, so what is large is shared.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    series: Option<String>,
    scope: Arc<Scope>,
    started_at: Timestamp,
    ended_at: Timestamp,
    expected: Arc<[Uuid]>,
    run_id: Uuid,
}

impl Summary {
    /// Of a header; `like` is another one.
    pub fn new(header: Header, like: Option<&Self>) -> Self {
        let scope = like
            .map(|like| &like.scope)
            .filter(|scope| ***scope == header.scope);
        let expected = like
            .map(|like| &like.expected)
            .filter(|expected| ***expected == *header.expected_host_ids);
        Self {
            scope: scope.cloned().unwrap_or_else(|| Arc::new(header.scope)),
            expected: expected
                .cloned()
                .unwrap_or_else(|| header.expected_host_ids.into()),
            series: header.series,
            started_at: header.snapshot.started_at,
            ended_at: header.snapshot.ended_at,
            run_id: header.run_id,
        }
    }
}

/// The backups that manifests make.
pub(super) fn backups<'m>(
    manifests: impl Iterator<Item = (&'m ManifestKey, &'m Found)>,
) -> BTreeMap<BackupName, Backup> {
    let mut backups = BTreeMap::new();
    for (key, found) in manifests {
        let summary = &found.summary;
        let backup = backups
            .entry(key.backup.clone())
            .or_insert_with(|| Backup::new(summary));
        backup.started_at = backup.started_at.min(summary.started_at);
        backup.ended_at = backup.ended_at.max(summary.ended_at);
        backup.expected.extend(summary.expected.iter());
        let manifest = NodeManifest {
            size: found.size,
            modified: found.modified,
            run_id: summary.run_id,
        };
        backup.nodes.insert(key.host_id, manifest);
    }
    backups
}
