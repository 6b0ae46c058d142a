//! What Prometheus may know.
//!
//! Series are few: those of nodes are there while their backup is at work, all others are one for
//! each cluster, schedule or storage and go with its resources.

mod backups;
mod book;
mod facts;
mod labels;
mod restores;
mod schedules;
mod storages;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use book::Book;
pub(crate) use book::page;
use facts::Facts;
use labels::{Cluster, ClusterAndResult, Controller, NodeStage, Schedule, Storage, StoredCluster};

type Figure = Gauge<f64, AtomicU64>;
/// Namespace and name.
type Name = (String, String);

/// What reconciliations are of.
const CONTROLLERS: [&str; 4] = ["backup", "restore", "schedule", "storage"];

/// All metrics.
pub(crate) struct Metrics {
    book: Book,
    known: Mutex<BTreeMap<Name, Facts>>,
    backups: Family<ClusterAndResult, Counter>,
    nodes: Family<ClusterAndResult, Counter>,
    uploaded: Family<Cluster, Counter>,
    reused: Family<Cluster, Counter>,
    failed: Family<Cluster, Counter>,
    last_success: Family<Cluster, Figure>,
    last_result: Family<ClusterAndResult, Gauge>,
    last_duration: Family<Cluster, Figure>,
    recovery_point: Family<Cluster, Figure>,
    node_stage: Family<NodeStage, Gauge>,
    active: Gauge,
    leader: Gauge,
    restores: Family<ClusterAndResult, Counter>,
    restored_bytes: Family<Cluster, Counter>,
    rehearsals: Family<ClusterAndResult, Counter>,
    slots_missed: Family<Schedule, Counter>,
    next_slot: Family<Schedule, Figure>,
    interval: Family<Schedule, Figure>,
    schedule_success: Family<Schedule, Figure>,
    schedule_followed: Family<Schedule, Gauge>,
    storage_up: Family<Storage, Gauge>,
    storage_probed: Family<Storage, Figure>,
    /// The clusters that each storage shows.
    stored: Mutex<BTreeMap<Name, Vec<StoredCluster>>>,
    stored_recovery_point: Family<StoredCluster, Figure>,
    schedule_verified: Family<Schedule, Figure>,
    purge_success: Family<Schedule, Figure>,
    purge_deleted: Family<Schedule, Counter>,
    purge_freed: Family<Schedule, Counter>,
    purge_failures: Family<Schedule, Counter>,
    errors: Family<Controller, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut book = Book::default();
        Self {
            known: Mutex::default(),
            backups: book.add("backups", "Backups that ended, by phase"),
            nodes: book.add("nodes", "Nodes' shares that ended, by reason"),
            uploaded: book.add("uploaded_bytes", "Bytes uploaded by nodes that are backed up"),
            reused: book.add("reused_bytes", "Bytes of nodes that are backed up that were in the storage already"),
            failed: book.add("failed_bytes", "Bytes that nodes which are not backed up would have had in their backup, as far as they had found out"),
            last_success: book.add("last_success_timestamp_seconds", "When the last backup of the whole cluster ended"),
            last_result: book.add("last_result", "1 for the phase of the backup that ended last"),
            last_duration: book.add("last_duration_seconds", "How long the backup took that ended last"),
            recovery_point: book.add("recovery_point_timestamp_seconds", "What was written before is in the last complete backup of all keyspaces"),
            node_stage: book.add("node_stage", "1 for the stage that a node is in, while its backup is at work"),
            active: book.add("active", "Backups at work"),
            leader: book.add("leader", "Whether this operator is the one that works: 1 or 0"),
            restores: book.add("restores", "Restores that ended, by phase, without rehearsals and dry runs"),
            restored_bytes: book.add("restored_bytes", "Bytes that restores which ended had fetched"),
            rehearsals: book.add("rehearsals", "Rehearsals that ended, by reason"),
            slots_missed: book.add("schedule_missed", "Times of a schedule that passed without a backup"),
            next_slot: book.add("schedule_next_timestamp_seconds", "When the next backup of a schedule begins"),
            interval: book.add("schedule_interval_seconds", "The longest time between two of the next backups of a schedule that is followed"),
            schedule_success: book.add("schedule_last_success_timestamp_seconds", "When the last backup of a schedule that succeeded ended"),
            schedule_followed: book.add("schedule_ready", "Whether a schedule is followed: 1 or 0"),
            storage_up: book.add("storage_up", "Whether a storage that is probed can be used: 1 or 0"),
            storage_probed: book.add("storage_last_probe_timestamp_seconds", "When a storage was probed last"),
            stored: Mutex::default(),
            stored_recovery_point: book.add("storage_recovery_point_timestamp_seconds", "What was written before is in the newest complete backup that a cluster has in a storage, as far as that backup's scope goes"),
            schedule_verified: book.add("schedule_last_verified_timestamp_seconds", "When the last rehearsal of a backup of a schedule that went well ended"),
            purge_success: book.add("purge_last_success_timestamp_seconds", "When the last purge of a schedule that went through began"),
            purge_deleted: book.add("purge_deleted_backups", "Backups that purges of a schedule deleted"),
            purge_freed: book.add("purge_freed_bytes", "Bytes of data that purges of a schedule deleted"),
            purge_failures: book.add("purge_failures", "Purges of a schedule that did not go through"),
            errors: book.add("reconcile_errors", "Reconciliations that did not go through"),
            book,
        }
    }
}

impl Metrics {
    /// The page that documents them.
    pub(crate) fn page(&self) -> String {
        page(&self.book.rows)
    }

    /// Shows that this operator works.
    pub(crate) fn leads(&self) {
        self.leader.set(1);
        // What is counted from nothing on is seen to increase.
        for controller in CONTROLLERS {
            drop(self.errors.get_or_create(&Controller { controller }));
        }
    }

    /// Counts a reconciliation that did not go through.
    pub(crate) fn failed(&self, controller: &'static str) {
        self.errors.get_or_create(&Controller { controller }).inc();
    }

    /// All metrics as text.
    pub(crate) fn text(&self, active: usize) -> Result<String, std::fmt::Error> {
        self.active.set(i64::try_from(active).unwrap_or(i64::MAX));
        self.book.text()
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_second() as f64
}

fn set<S>(figures: &Family<S, Figure>, of: &S, value: Option<f64>)
where
    S: Clone + Eq + std::hash::Hash,
{
    match value {
        Some(value) => {
            figures.get_or_create(of).set(value);
        }
        None => {
            figures.remove(of);
        }
    }
}

/// What the condition `Ready` says, if it says something.
fn is_ready(conditions: &[Condition]) -> Option<bool> {
    let ready = conditions.iter().find(|one| one.type_ == "Ready")?;
    match ready.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}
