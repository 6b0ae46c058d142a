//! What Prometheus may know.

use std::sync::atomic::AtomicU64;

use crds::{BackupPhase, CassandraBackup, CassandraBackupStatus, NodePhase};
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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
