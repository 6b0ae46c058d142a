//! What Prometheus may know.
//!
//! Series are few: those of nodes are there while their backup is at work, all others are one for
//! each cluster, schedule or storage and go with its resources.

mod book;
mod facts;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use crds::{
    BackupPhase, BackupStorage, BackupStorageStatus, CassandraBackup, CassandraBackupStatus,
    CronBackup, CronBackupStatus, NodePhase, NodeStatus,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use protocol::Reason;

use crate::retention::Ended;
use book::Book;
pub(crate) use book::page;
use facts::{Facts, Stage, Summary};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cluster {
    namespace: String,
    cluster: String,
}

impl Cluster {
    fn with(&self, result: &str) -> ClusterAndResult {
        ClusterAndResult {
            namespace: self.namespace.clone(),
            cluster: self.cluster.clone(),
            result: result.to_owned(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterAndResult {
    namespace: String,
    cluster: String,
    result: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NodeStage {
    namespace: String,
    cluster: String,
    backup: String,
    pod: String,
    stage: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Schedule {
    namespace: String,
    schedule: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Storage {
    namespace: String,
    storage: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

type Figure = Gauge<f64, AtomicU64>;
/// Namespace and name.
type Name = (String, String);

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
    slots_missed: Family<Schedule, Counter>,
    next_slot: Family<Schedule, Figure>,
    interval: Family<Schedule, Figure>,
    schedule_success: Family<Schedule, Figure>,
    schedule_followed: Family<Schedule, Gauge>,
    storage_up: Family<Storage, Gauge>,
    storage_probed: Family<Storage, Figure>,
    purge_success: Family<Schedule, Figure>,
    purge_deleted: Family<Schedule, Counter>,
    purge_freed: Family<Schedule, Counter>,
    purge_failures: Family<Schedule, Counter>,
    errors: Family<Controller, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            book: Book::default(),
            known: Mutex::default(),
            backups: Family::default(),
            nodes: Family::default(),
            uploaded: Family::default(),
            reused: Family::default(),
            failed: Family::default(),
            last_success: Family::default(),
            last_result: Family::default(),
            last_duration: Family::default(),
            recovery_point: Family::default(),
            node_stage: Family::default(),
            active: Gauge::default(),
            leader: Gauge::default(),
            slots_missed: Family::default(),
            next_slot: Family::default(),
            interval: Family::default(),
            schedule_success: Family::default(),
            schedule_followed: Family::default(),
            storage_up: Family::default(),
            storage_probed: Family::default(),
            purge_success: Family::default(),
            purge_deleted: Family::default(),
            purge_freed: Family::default(),
            purge_failures: Family::default(),
            errors: Family::default(),
        };
        let registry = &mut metrics.book;
        registry.register(
            "backups",
            "Backups that ended, by phase",
            metrics.backups.clone(),
        );
        registry.register(
            "nodes",
            "Nodes' shares that ended, by reason",
            metrics.nodes.clone(),
        );
        registry.register(
            "uploaded_bytes",
            "Bytes uploaded by nodes that are backed up",
            metrics.uploaded.clone(),
        );
        registry.register(
            "reused_bytes",
            "Bytes of nodes that are backed up that were in the storage already",
            metrics.reused.clone(),
        );
        registry.register(
            "failed_bytes",
            "Bytes that nodes which are not backed up would have had in their backup, as far as they had found out",
            metrics.failed.clone(),
        );
        registry.register(
            "last_success_timestamp_seconds",
            "When the last backup of the whole cluster ended",
            metrics.last_success.clone(),
        );
        registry.register(
            "last_result",
            "1 for the phase of the backup that ended last",
            metrics.last_result.clone(),
        );
        registry.register(
            "last_duration_seconds",
            "How long the backup took that ended last",
            metrics.last_duration.clone(),
        );
        registry.register(
            "recovery_point_timestamp_seconds",
            "What was written before is in the last complete backup of all keyspaces",
            metrics.recovery_point.clone(),
        );
        registry.register(
            "node_stage",
            "1 for the stage that a node is in, while its backup is at work",
            metrics.node_stage.clone(),
        );
        registry.register("active", "Backups at work", metrics.active.clone());
        registry.register(
            "leader",
            "Whether this operator is the one that works: 1 or 0",
            metrics.leader.clone(),
        );
        registry.register(
            "schedule_missed",
            "Times of a schedule that passed without a backup",
            metrics.slots_missed.clone(),
        );
        registry.register(
            "schedule_next_timestamp_seconds",
            "When the next backup of a schedule begins",
            metrics.next_slot.clone(),
        );
        registry.register(
            "schedule_interval_seconds",
            "The longest time between two of the next backups of a schedule that is followed",
            metrics.interval.clone(),
        );
        registry.register(
            "schedule_last_success_timestamp_seconds",
            "When the last backup of a schedule that succeeded ended",
            metrics.schedule_success.clone(),
        );
        registry.register(
            "schedule_ready",
            "Whether a schedule is followed: 1 or 0",
            metrics.schedule_followed.clone(),
        );
        registry.register(
            "storage_up",
            "Whether a storage that is probed can be used: 1 or 0",
            metrics.storage_up.clone(),
        );
        registry.register(
            "storage_last_probe_timestamp_seconds",
            "When a storage was probed last",
            metrics.storage_probed.clone(),
        );
        registry.register(
            "purge_last_success_timestamp_seconds",
            "When the last purge of a schedule that went through began",
            metrics.purge_success.clone(),
        );
        registry.register(
            "purge_deleted_backups",
            "Backups that purges of a schedule deleted",
            metrics.purge_deleted.clone(),
        );
        registry.register(
            "purge_freed_bytes",
            "Bytes of data that purges of a schedule deleted",
            metrics.purge_freed.clone(),
        );
        registry.register(
            "purge_failures",
            "Purges of a schedule that did not go through",
            metrics.purge_failures.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Reconciliations that did not go through",
            metrics.errors.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// The page that documents them.
    pub(crate) fn page(&self) -> String {
        page(&self.book.rows)
    }

    /// Counts what is new in a status that was written.
    pub(crate) fn observe(
        &self,
        backup: &CassandraBackup,
        old: Option<&CassandraBackupStatus>,
        new: &CassandraBackupStatus,
    ) {
        let of = Cluster {
            namespace: backup.namespace().unwrap_or_default(),
            cluster: backup.spec.cluster.clone(),
        };
        for node in new.nodes.iter().filter(|node| node.phase.is_final()) {
            let before = old.and_then(|old| old.nodes.iter().find(|other| other.pod == node.pod));
            if before.is_none_or(|before| !before.phase.is_final()) {
                self.count(&of, node);
            }
        }
        let ended = new.phase.filter(|phase| phase.is_final());
        if let Some(phase) = ended.filter(|_| old.and_then(|old| old.phase) != ended) {
            let result = of.with(&format!("{phase:?}"));
            self.backups.get_or_create(&result).inc();
        }
    }

    fn count(&self, of: &Cluster, node: &NodeStatus) {
        let result = of.with(node.reason.as_deref().unwrap_or_default());
        self.nodes.get_or_create(&result).inc();
        let add = |to: &Family<Cluster, Counter>, amount: Option<&crds::Amount>| {
            let bytes = amount.map_or(0, |amount| amount.bytes);
            let bytes = u64::try_from(bytes).unwrap_or(0);
            to.get_or_create(of).inc_by(bytes);
        };
        if node.phase == NodePhase::Succeeded {
            add(&self.uploaded, node.uploaded.as_ref());
            add(&self.reused, node.reused.as_ref());
        } else {
            add(&self.failed, node.total.as_ref());
        }
    }

    /// Shows what a backup's status says, also one of long ago: after a restart it is all there is.
    pub(crate) fn show(&self, backup: &CassandraBackup, status: &CassandraBackupStatus) {
        let name = (backup.namespace().unwrap_or_default(), backup.name_any());
        self.replace(name, Some(Facts::of(backup, status)));
    }

    /// Shows nothing any more of a backup that was deleted.
    pub(crate) fn forget_backup(&self, namespace: &str, name: &str) {
        self.replace((namespace.to_owned(), name.to_owned()), None);
    }

    fn replace(&self, name: Name, facts: Option<Facts>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let old = match &facts {
            Some(facts) => known.insert(name.clone(), facts.clone()),
            None => known.remove(&name),
        };
        if old == facts {
            return;
        }
        self.stages(&name, old.as_ref(), facts.as_ref());
        // A resource that was made anew may be of another cluster.
        let mut clusters: Vec<_> = old.iter().chain(&facts).map(|one| &one.cluster).collect();
        clusters.dedup();
        for cluster in clusters {
            let of = Cluster {
                namespace: name.0.clone(),
                cluster: cluster.clone(),
            };
            let mut backups = known
                .iter()
                .filter(|((namespace, _), facts)| *namespace == name.0 && facts.cluster == *cluster)
                .map(|(_, facts)| facts)
                .peekable();
            if backups.peek().is_none() {
                self.forget_counts(&of);
            }
            self.summary(&of, &Summary::of(backups));
        }
    }

    fn stages(&self, (namespace, backup): &Name, old: Option<&Facts>, new: Option<&Facts>) {
        let label = |facts: &Facts, stage: &Stage| NodeStage {
            namespace: namespace.clone(),
            cluster: facts.cluster.clone(),
            backup: backup.clone(),
            pod: stage.pod.clone(),
            stage: stage.phase.clone(),
        };
        for (facts, stage) in old
            .iter()
            .flat_map(|old| old.stages.iter().map(|s| (*old, s)))
        {
            if new.is_none_or(|new| new.cluster != facts.cluster || !new.stages.contains(stage)) {
                self.node_stage.remove(&label(facts, stage));
            }
        }
        for (facts, stage) in new
            .iter()
            .flat_map(|new| new.stages.iter().map(|s| (*new, s)))
        {
            self.node_stage.get_or_create(&label(facts, stage)).set(1);
        }
    }

    fn summary(&self, of: &Cluster, summary: &Summary) {
        set(&self.last_success, of, summary.last_success.map(seconds));
        set(
            &self.recovery_point,
            of,
            summary.recovery_point.map(seconds),
        );
        set(&self.last_duration, of, summary.last.map(|last| last.1));
        let last = summary.last.map(|(phase, _)| phase);
        for phase in ENDS {
            let result = of.with(&format!("{phase:?}"));
            if last == Some(phase) {
                self.last_result.get_or_create(&result).set(1);
            } else {
                self.last_result.remove(&result);
            }
        }
    }

    fn forget_counts(&self, of: &Cluster) {
        for phase in ENDS {
            self.backups.remove(&of.with(&format!("{phase:?}")));
        }
        for reason in Reason::ALL {
            self.nodes.remove(&of.with(reason.as_str()));
        }
        for bytes in [&self.uploaded, &self.reused, &self.failed] {
            bytes.remove(of);
        }
    }

    /// Shows what the status of a schedule says.
    pub(crate) fn schedule(
        &self,
        cron: &CronBackup,
        old: &CronBackupStatus,
        new: &CronBackupStatus,
    ) {
        let of = schedule(cron);
        let missed = u64::try_from(new.missed - old.missed).unwrap_or(0);
        self.slots_missed.get_or_create(&of).inc_by(missed);
        let retention = new.retention.as_ref();
        let purged = retention.and_then(|retention| retention.last_successful_time.clone());
        for (times, time) in [
            (&self.purge_success, &purged),
            (&self.next_slot, &new.next_schedule_time),
            (&self.schedule_success, &new.last_successful_time),
        ] {
            set(times, &of, time.as_ref().map(|time| seconds(time.0)));
        }
        let ready = is_ready(&new.conditions).unwrap_or(false);
        self.schedule_followed.get_or_create(&of).set(ready.into());
    }

    /// Shows how often a schedule makes backups; `None` if it makes none.
    pub(crate) fn schedule_interval(&self, cron: &CronBackup, interval: Option<SignedDuration>) {
        let interval = interval.map(|interval| interval.as_secs_f64());
        set(&self.interval, &schedule(cron), interval);
    }

    /// Counts what a purge of a schedule did.
    pub(crate) fn purged(&self, cron: &CronBackup, ended: &Ended) {
        let of = schedule(cron);
        let failed = u64::from(!ended.is_success());
        self.purge_failures.get_or_create(&of).inc_by(failed);
        if let Some(purged) = &ended.purged {
            let deleted = purged.expired.len() as u64 + purged.expired_unnamed;
            self.purge_deleted.get_or_create(&of).inc_by(deleted);
            let freed = purged.deleted.bytes;
            self.purge_freed.get_or_create(&of).inc_by(freed);
        }
    }

    /// Shows nothing any more of a schedule that was deleted.
    pub(crate) fn forget_schedule(&self, namespace: &str, name: &str) {
        let of = Schedule {
            namespace: namespace.into(),
            schedule: name.into(),
        };
        self.slots_missed.remove(&of);
        self.next_slot.remove(&of);
        self.interval.remove(&of);
        self.schedule_success.remove(&of);
        self.schedule_followed.remove(&of);
        self.purge_success.remove(&of);
        self.purge_deleted.remove(&of);
        self.purge_freed.remove(&of);
        self.purge_failures.remove(&of);
    }

    /// Shows what the status of a storage says. Of one that nobody has probed nothing is known.
    pub(crate) fn storage(&self, storage: &BackupStorage, status: &BackupStorageStatus) {
        let of = Storage {
            namespace: storage.namespace().unwrap_or_default(),
            storage: storage.name_any(),
        };
        let not_probed =
            |one: &Condition| one.type_ == "Ready" && one.reason == Reason::NotProbed.as_str();
        let ready = is_ready(&status.conditions);
        let up = ready.filter(|_| !status.conditions.iter().any(not_probed));
        match up {
            Some(up) => {
                self.storage_up.get_or_create(&of).set(up.into());
            }
            None => {
                self.storage_up.remove(&of);
            }
        }
        let probed = status.last_probe_time.as_ref().filter(|_| up.is_some());
        set(
            &self.storage_probed,
            &of,
            probed.map(|time| seconds(time.0)),
        );
    }

    /// Shows nothing any more of a storage that was deleted.
    pub(crate) fn forget_storage(&self, namespace: &str, name: &str) {
        let of = Storage {
            namespace: namespace.into(),
            storage: name.into(),
        };
        self.storage_up.remove(&of);
        self.storage_probed.remove(&of);
    }

    /// Shows that this operator works.
    pub(crate) fn leads(&self) {
        self.leader.set(1);
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

/// Phases that a backup ends in.
const ENDS: [BackupPhase; 5] = [
    BackupPhase::Succeeded,
    BackupPhase::PartiallyFailed,
    BackupPhase::Failed,
    BackupPhase::Cancelled,
    BackupPhase::Expired,
];

fn schedule(cron: &CronBackup) -> Schedule {
    Schedule {
        namespace: cron.namespace().unwrap_or_default(),
        schedule: cron.name_any(),
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
