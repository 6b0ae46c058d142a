//! What is shown of backups, for each cluster.

use std::sync::PoisonError;

use crds::{BackupPhase, CassandraBackup, CassandraBackupStatus, NodePhase, NodeStatus};
use kube::ResourceExt;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use protocol::Reason;

use super::facts::{Facts, Stage, Summary};
use super::labels::{Cluster, NodeStage};
use super::{Metrics, Name, seconds, set};

/// Phases that a backup ends in.
const ENDS: [BackupPhase; 5] = [
    BackupPhase::Succeeded,
    BackupPhase::PartiallyFailed,
    BackupPhase::Failed,
    BackupPhase::Cancelled,
    BackupPhase::Expired,
];

impl Metrics {
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

    /// The same for all backups of which this does not know that they are there.
    pub(crate) fn forget_gone(&self, is_there: impl Fn(&str, &str) -> bool) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<Name> = known
            .keys()
            .filter(|(namespace, name)| !is_there(namespace, name))
            .cloned()
            .collect();
        drop(known);
        for name in gone {
            self.replace(name, None);
        }
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
        self.forget_restores(of);
    }
}
