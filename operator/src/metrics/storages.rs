//! What is shown of storages.

use std::sync::PoisonError;

use crds::{BackupStorage, BackupStorageStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use protocol::Reason;

use super::labels::{Storage, StoredCluster};
use super::{Metrics, is_ready, seconds, set};

impl Metrics {
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
        self.stored(&of, &status.clusters);
    }

    /// Shows the recovery points of a storage's clusters, and those alone.
    fn stored(&self, of: &Storage, clusters: &[crds::StoredCluster]) {
        let points = clusters.iter().filter_map(|one| {
            let labels = StoredCluster {
                namespace: of.namespace.clone(),
                storage: of.storage.clone(),
                cluster: one.cluster.clone(),
            };
            Some((labels, seconds(one.last_restorable.as_ref()?.time.0)))
        });
        let shown: Vec<StoredCluster> = points
            .map(|(labels, time)| {
                set(&self.stored_recovery_point, &labels, Some(time));
                labels
            })
            .collect();
        let name = (of.namespace.clone(), of.storage.clone());
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in stored.remove(&name).unwrap_or_default() {
            if !shown.contains(&gone) {
                self.stored_recovery_point.remove(&gone);
            }
        }
        if !shown.is_empty() {
            stored.insert(name, shown);
        }
    }

    /// Shows nothing any more of a storage that was deleted.
    pub(crate) fn forget_storage(&self, namespace: &str, name: &str) {
        let of = Storage {
            namespace: namespace.into(),
            storage: name.into(),
        };
        self.storage_up.remove(&of);
        self.storage_probed.remove(&of);
        self.stored(&of, &[]);
    }
}
