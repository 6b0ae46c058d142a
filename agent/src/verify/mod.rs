//! Whether what manifests name is in the storage: that it is there, of the right size, or of the
//! right content.
//!
//! Manifests are streamed and each object is looked at once, however many backups share it (again
//! only where they differ over it, which no two manifests of ours do), so memory goes with the number
//! of a node's objects and not with that of its backups.

mod check;
mod claims;
mod repair;

use std::collections::{BTreeMap, BTreeSet};

use manifest::{BackupName, ClusterId};
use store::{InvalidKey, Store};
use uuid::Uuid;

use crate::catalogue::{Backup, Completeness, Unreadable};
use crate::read::ReadFailure;

pub use repair::{RepairError, RepairOptions, Repaired, repair};

/// Problems of each kind that a report names one by one; more are counted.
pub const NAMED_PROBLEMS: usize = 10_000;

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The object is there.
    Exists,
    /// And has the size that the manifest says.
    Size,
    /// And its bytes have the BLAKE3 that the manifest says: every object is read.
    Content,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The storage.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A key of ours.
    #[error("a name cannot be stored: {0}")]
    Key(#[from] InvalidKey),
    /// A file of ours in the storage.
    #[error(transparent)]
    Read(#[from] ReadFailure),
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not there.
    Missing,
    /// Its size differs.
    Size {
        /// In the storage, in bytes.
        found: u64,
    },
    /// Its content differs.
    Content {
        /// BLAKE3 of what the storage holds, in hex.
        found: String,
    },
}

/// An object that is not as its manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its key below the cluster id.
    pub key: String,
    /// The size that it should have, in bytes.
    pub bytes: u64,
    /// The BLAKE3 that it should have, in hex; empty for tokens files, of which nobody says it.
    pub blake3: String,
    /// What is wrong.
    pub problem: Problem,
    /// The first backup that was seen to need it so; others may too.
    pub backup: BackupName,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Manifests that were read.
    pub manifests: u64,
    /// Objects that were looked at, each once; again where manifests expect other things of it.
    pub objects: u64,
    /// Their bytes, as the manifests say.
    pub bytes: u64,
    /// Bytes that were read back.
    pub read: u64,
    /// What is wrong.
    pub findings: Findings,
    /// Manifests that cannot be believed.
    pub unreadable: Vec<Unreadable>,
    /// Nodes without a manifest, by backup.
    pub missing_nodes: BTreeMap<BackupName, BTreeSet<Uuid>>,
    /// Backups of which no node has a manifest.
    pub without_manifest: BTreeSet<BackupName>,
}

/// Objects that are not as their manifests say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Of what is missing and of what is not as it should be at most [`NAMED_PROBLEMS`] each.
    pub named: Vec<Finding>,
    /// How many there are.
    pub count: u64,
    /// How many are named of objects that are there, and of those that are not.
    kinds: [usize; 2],
}

impl Report {
    /// Whether every backup can be restored as far as was looked.
    pub fn is_sound(&self) -> bool {
        self.findings.count == 0
            && self.unreadable.is_empty()
            && self.missing_nodes.is_empty()
            && self.without_manifest.is_empty()
    }
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.count += 1;
        // What is missing must not crowd out what a repair can remove.
        let kind = &mut self.kinds[usize::from(finding.problem == Problem::Missing)];
        if *kind < NAMED_PROBLEMS {
            *kind += 1;
            self.named.push(finding);
        }
    }

    fn extend(&mut self, other: Self) {
        self.count += other.count - other.named.len() as u64;
        other
            .named
            .into_iter()
            .for_each(|finding| self.add(finding));
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Objects.
    pub objects: u64,
    /// Bytes that were read back.
    pub read: u64,
}

/// Looks at all objects of these backups, at most `concurrency` of them at the same time.
pub async fn verify(
    store: &dyn Store,
    cluster: &ClusterId,
    backups: &[Backup],
    level: Level,
    concurrency: usize,
    seen: &(dyn Fn(Seen) + Sync),
) -> Result<Report, VerifyError> {
    let mut report = Report::default();
    for backup in backups {
        match backup.completeness() {
            Completeness::Complete => {}
            Completeness::Missing(nodes) => {
                report.missing_nodes.insert(backup.name.clone(), nodes);
            }
            // Manifests that are there are told of when they are read.
            Completeness::Unknown if !backup.manifests.is_empty() => {}
            Completeness::Unknown => {
                report.without_manifest.insert(backup.name.clone());
            }
        }
    }
    let nodes: BTreeSet<Uuid> = backups
        .iter()
        .flat_map(|backup| backup.manifests.keys().copied())
        .collect();
    for node in nodes {
        let mut checker = check::Checker::new(store, cluster, node, level, concurrency).await?;
        for backup in backups {
            if let Some(stored) = backup.manifests.get(&node) {
                checker.backup(backup, stored, &mut report, seen).await?;
            }
        }
    }
    Ok(report)
}
