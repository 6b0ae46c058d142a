//! From what a purge read of a storage to what retention judges.

use std::collections::BTreeSet;

use jiff::Timestamp;
use manifest::{BackupName, Scope};
use uuid::Uuid;

use crate::catalogue::{Backup as Listed, Completeness};
use crate::purge::Catalogue;

/// A backup as retention sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: BackupName,
    /// The schedule that it belongs to.
    pub series: Option<String>,
    /// What it covers.
    pub scope: Scope,
    /// When its first snapshot was taken.
    pub started: Timestamp,
    /// What became of it.
    pub state: State,
    /// The runs that made its manifests.
    pub runs: BTreeSet<Uuid>,
}

/// What became of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every node that belongs to it has a manifest.
    Complete,
    /// Nodes are missing, and none is at work on it.
    Incomplete,
    /// A node may still be at work on it.
    Running,
}

/// The backups that a listing found and whose headers can be read.
pub fn listed(backups: &[Listed], running: &BTreeSet<BackupName>) -> Vec<Candidate> {
    let of = |backup: &Listed| {
        let state = match backup.completeness() {
            Completeness::Complete => State::Complete,
            _ if running.contains(&backup.name) => State::Running,
            Completeness::Missing(_) | Completeness::Unknown => State::Incomplete,
        };
        Some(Candidate {
            name: backup.name.clone(),
            series: backup.series().map(str::to_owned),
            scope: backup.scope()?.clone(),
            started: backup.started()?,
            state,
            runs: backup
                .headers
                .values()
                .map(|header| header.run_id)
                .collect(),
        })
    };
    backups.iter().filter_map(of).collect()
}

/// The backups that have a manifest.
pub fn candidates(catalogue: &Catalogue) -> Vec<Candidate> {
    let of = |(name, backup): (&BackupName, &crate::purge::Backup)| {
        let state = if backup.is_complete() {
            State::Complete
        } else if catalogue.is_running(name) {
            State::Running
        } else {
            State::Incomplete
        };
        Candidate {
            name: name.clone(),
            series: backup.series.clone(),
            scope: backup.scope.clone(),
            started: backup.started_at,
            state,
            runs: backup.nodes.values().map(|node| node.run_id).collect(),
        }
    };
    catalogue.backups.iter().map(of).collect()
}
