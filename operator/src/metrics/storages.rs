//! What is shown of storages.

use crds::{BackupStorage, BackupStorageStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use protocol::Reason;

use super::labels::Storage;
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
}
