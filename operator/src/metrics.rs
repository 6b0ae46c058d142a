//! What Prometheus may know.

use std::sync::atomic::AtomicU64;

use crds::{
    BackupPhase, CassandraBackup, CassandraBackupStatus, CronBackup, CronBackupStatus, NodePhase,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::retention::Ended;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cluster {
    namespace: String,
    cluster: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClusterAndResult {
    namespace: String,
    cluster: String,
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Schedule {
    namespace: String,
    schedule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

/// All metrics.
pub(crate) struct Metrics {
    registry: Registry,
    backups: Family<ClusterAndResult, Counter>,
    nodes: Family<ClusterAndResult, Counter>,
    uploaded: Family<Cluster, Counter>,
    last_success: Family<Cluster, Gauge<f64, AtomicU64>>,
    active: Gauge,
    slots_missed: Family<Schedule, Counter>,
    next_slot: Family<Schedule, Gauge<f64, AtomicU64>>,
    schedule_success: Family<Schedule, Gauge<f64, AtomicU64>>,
    schedule_followed: Family<Schedule, Gauge>,
    purge_success: Family<Schedule, Gauge<f64, AtomicU64>>,
    purge_deleted: Family<Schedule, Counter>,
    purge_freed: Family<Schedule, Counter>,
    purge_failures: Family<Schedule, Counter>,
    errors: Family<Controller, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("cassandra_backup"),
            backups: Family::default(),
            nodes: Family::default(),
            uploaded: Family::default(),
            last_success: Family::default(),
            active: Gauge::default(),
            slots_missed: Family::default(),
            next_slot: Family::default(),
            schedule_success: Family::default(),
            schedule_followed: Family::default(),
            purge_success: Family::default(),
            purge_deleted: Family::default(),
            purge_freed: Family::default(),
            purge_failures: Family::default(),
            errors: Family::default(),
        };
        let registry = &mut metrics.registry;
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
            "last_success_timestamp_seconds",
            "When the last backup of the whole cluster ended",
            metrics.last_success.clone(),
        );
        registry.register("active", "Backups at work", metrics.active.clone());
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
    /// Counts what is new in a status that was written.
    pub(crate) fn observe(
        &self,
        backup: &CassandraBackup,
        old: Option<&CassandraBackupStatus>,
        new: &CassandraBackupStatus,
    ) {
        let (namespace, cluster) = (
            backup.namespace().unwrap_or_default(),
            backup.spec.cluster.clone(),
        );
        let of = Cluster {
            namespace: namespace.clone(),
            cluster: cluster.clone(),
        };
        let with = |result: String| ClusterAndResult {
            namespace: namespace.clone(),
            cluster: cluster.clone(),
            result,
        };
        for node in new.nodes.iter().filter(|node| node.phase.is_final()) {
            let before = old.and_then(|old| old.nodes.iter().find(|other| other.pod == node.pod));
            if before.is_some_and(|before| before.phase.is_final()) {
                continue;
            }
            self.nodes
                .get_or_create(&with(node.reason.clone().unwrap_or_default()))
                .inc();
            if node.phase == NodePhase::Succeeded {
                let bytes = node.uploaded.as_ref().map_or(0, |amount| amount.bytes);
                self.uploaded
                    .get_or_create(&of)
                    .inc_by(u64::try_from(bytes).unwrap_or(0));
            }
        }
        let Some(phase) = new.phase.filter(|phase| phase.is_final()) else {
            return;
        };
        if old.and_then(|old| old.phase) == Some(phase) {
            return;
        }
        self.backups
            .get_or_create(&with(format!("{phase:?}")))
            .inc();
        if let (BackupPhase::Succeeded, Some(ended)) = (phase, &new.completion_time) {
            self.last_success
                .get_or_create(&of)
                .set(ended.0.as_second() as f64);
        }
    }

    /// Shows what the status of a schedule says.
    pub(crate) fn schedule(
        &self,
        cron: &CronBackup,
        old: &CronBackupStatus,
        new: &CronBackupStatus,
    ) {
        let of = Schedule {
            namespace: cron.namespace().unwrap_or_default(),
            schedule: cron.name_any(),
        };
        let missed = u64::try_from(new.missed - old.missed).unwrap_or(0);
        self.slots_missed.get_or_create(&of).inc_by(missed);
        let retention = new.retention.as_ref();
        let purged = retention.and_then(|retention| retention.last_successful_time.clone());
        for (times, time) in [
            (&self.purge_success, &purged),
            (&self.next_slot, &new.next_schedule_time),
            (&self.schedule_success, &new.last_successful_time),
        ] {
            match time {
                Some(time) => {
                    let seconds = time.0.as_second() as f64;
                    times.get_or_create(&of).set(seconds);
                }
                None => {
                    times.remove(&of);
                }
            }
        }
        let ready = |one: &Condition| one.type_ == "Ready" && one.status == "True";
        let ready = new.conditions.iter().any(ready);
        self.schedule_followed.get_or_create(&of).set(ready.into());
    }

    /// Counts what a purge of a schedule did.
    pub(crate) fn purged(&self, cron: &CronBackup, ended: &Ended) {
        let of = Schedule {
            namespace: cron.namespace().unwrap_or_default(),
            schedule: cron.name_any(),
        };
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
        self.schedule_success.remove(&of);
        self.schedule_followed.remove(&of);
        self.purge_success.remove(&of);
        self.purge_deleted.remove(&of);
        self.purge_freed.remove(&of);
        self.purge_failures.remove(&of);
    }

    /// Counts a reconciliation that did not go through.
    pub(crate) fn failed(&self, controller: &'static str) {
        self.errors.get_or_create(&Controller { controller }).inc();
    }

    /// All metrics as text.
    pub(crate) fn text(&self, active: usize) -> Result<String, std::fmt::Error> {
        self.active.set(i64::try_from(active).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
