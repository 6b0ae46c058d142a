//! The resource of a backup that was found.

use std::collections::BTreeMap;

use crds::{
    AgentSource, BackupStorage, CassandraAccess, CassandraBackup, CassandraBackupSpec,
    DeletionPolicy, Retry, StorageRef,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use protocol::BackupFound;
use uuid::Uuid;

/// Label of a resource that was made for a backup that was found.
pub(super) const LABEL: &str = "cassandrabackup.io/imported";

/// A name longer than this gets one that is cut.
const LONGEST_NAME: usize = 200;

/// What a resource for a backup of this cluster has in its spec, whichever it is. Its pods are those
/// that mount the storage; a bucket needs none, and no pod has our label.
pub(super) fn spec(storage: &BackupStorage, cluster: &str) -> CassandraBackupSpec {
    let pods = storage.spec.file.as_ref().and_then(|it| it.pods.as_ref());
    let none = || LabelSelector {
        match_labels: Some(label()),
        match_expressions: None,
    };
    CassandraBackupSpec {
        cluster: cluster.to_owned(),
        storage: StorageRef {
            name: storage.name_any(),
        },
        cassandra: CassandraAccess {
            pod_selector: pods.map_or_else(none, |pods| pods.pod_selector.clone()),
            container: pods.and_then(|pods| pods.container.clone()),
            ..CassandraAccess::default()
        },
        keyspaces: Vec::new(),
        tables: Vec::new(),
        datacenters: Vec::new(),
        start_together: true,
        bandwidth_per_node: None,
        concurrent_nodes: None,
        allow_corrupt: false,
        agent: AgentSource::default(),
        retry: Retry::default(),
        active_deadline_seconds: None,
        cancel: false,
        verify: None,
        backup_name: None,
        series: None,
        deletion_policy: DeletionPolicy::Retain,
        imported: true,
    }
}

fn label() -> BTreeMap<String, String> {
    BTreeMap::from([(LABEL.to_owned(), "true".to_owned())])
}

/// The resource of this name.
pub(super) fn build(
    storage: &BackupStorage,
    cluster: &str,
    found: &BackupFound,
    name: &str,
) -> CassandraBackup {
    let mut backup = CassandraBackup::new(name, spec(storage, cluster));
    backup.spec.backup_name = Some(found.backup.clone());
    backup.spec.series = found.series.clone();
    backup.spec.keyspaces = found.scope.keyspaces.clone();
    backup.spec.tables = found.scope.tables.clone();
    backup.spec.datacenters = found.scope.datacenters.clone();
    backup.metadata = ObjectMeta {
        name: backup.metadata.name,
        namespace: storage.namespace(),
        labels: Some(label()),
        // It goes with the storage, and GitOps tools leave alone what has an owner.
        owner_references: Some(vec![OwnerReference {
            api_version: BackupStorage::api_version(&()).into(),
            kind: BackupStorage::kind(&()).into(),
            name: storage.name_any(),
            uid: storage.uid().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..ObjectMeta::default()
    };
    backup
}

/// Names for the resource of a cluster's backup, the nicest first; two backups may share that one.
pub(super) fn names(cluster: &str, backup: &str) -> [String; 2] {
    let plain = format!("{cluster}-{backup}");
    let id = Uuid::new_v5(
        &Uuid::NAMESPACE_OID,
        format!("{cluster}/{backup}").as_bytes(),
    );
    let id = &id.simple().to_string()[..8];
    let tame = tame(&plain);
    let own = format!("{tame}-{id}");
    if tame == plain {
        [plain, own]
    } else {
        [own.clone(), own]
    }
}

/// The name as a resource may have it.
fn tame(name: &str) -> String {
    let mut tame = String::new();
    for letter in name.to_ascii_lowercase().chars().take(LONGEST_NAME) {
        match letter {
            'a'..='z' | '0'..='9' => tame.push(letter),
            // Never two in a row: neither `..` nor `.-` is allowed.
            '.' if tame.ends_with(|it: char| it.is_ascii_alphanumeric()) => tame.push('.'),
            _ if !tame.ends_with(['-', '.']) => tame.push('-'),
            '-' if tame.ends_with('-') => tame.push('-'),
            _ => {}
        }
    }
    let tame = tame.trim_matches(|it: char| !it.is_ascii_alphanumeric());
    tame.to_owned()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_name_is_the_nicest_that_a_resource_may_have_and_one_is_nobody_elses() {
        let first = |cluster, backup| {
            let [first, _] = names(cluster, backup);
            first
        };
        assert_eq!(first("prod", "nightly-1"), "prod-nightly-1");
        assert_eq!(first("prod.eu", "b--2"), "prod.eu-b--2");
        for (cluster, backup, begin) in [
            ("Prod", "b", "prod-b-"),
            ("a_b", "c", "a-b-c-"),
            ("a.", "b", "a.b-"),
            ("a", "b.", "a-b-"),
            ("a..b", "c-", "a.b-c-"),
            ("a-.-b", "c", "a--b-c-"),
        ] {
            let name = first(cluster, backup);
            assert!(
                name.starts_with(begin) && name.len() == begin.len() + 8,
                "{name}"
            );
        }
        let long = first(&"c".repeat(128), &"b".repeat(128));
        assert_eq!(long.len(), 209);
        let [one, own] = names("a", "b-c");
        let [other, others] = names("a-b", "c");
        assert_eq!(one, other);
        assert_ne!(own, others);
    }
}
