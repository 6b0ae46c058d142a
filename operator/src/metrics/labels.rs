//! What tells the series of a metric apart.

use crds::CronBackup;
use kube::ResourceExt;
use prometheus_client::encoding::EncodeLabelSet;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Cluster {
    pub(super) namespace: String,
    pub(super) cluster: String,
}

impl Cluster {
    pub(super) fn with(&self, result: &str) -> ClusterAndResult {
        ClusterAndResult {
            namespace: self.namespace.clone(),
            cluster: self.cluster.clone(),
            result: result.to_owned(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClusterAndResult {
    pub(super) namespace: String,
    pub(super) cluster: String,
    pub(super) result: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct NodeStage {
    pub(super) namespace: String,
    pub(super) cluster: String,
    pub(super) backup: String,
    pub(super) pod: String,
    pub(super) stage: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Schedule {
    pub(super) namespace: String,
    pub(super) schedule: String,
}

impl Schedule {
    pub(super) fn of(cron: &CronBackup) -> Self {
        Self {
            namespace: cron.namespace().unwrap_or_default(),
            schedule: cron.name_any(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Storage {
    pub(super) namespace: String,
    pub(super) storage: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StoredCluster {
    pub(super) namespace: String,
    pub(super) storage: String,
    pub(super) cluster: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Controller {
    pub(super) controller: &'static str,
}
