//! Resources that are lost and come back from the storages.

use std::collections::{BTreeMap, BTreeSet};

use crds::{BackupPhase, BackupStorage, CassandraBackup, CassandraBackupStatus};
use e2e::bed::Namespace;
use e2e::parts::filesystem::Filesystem;
use e2e::product::resources;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use super::{DB, MINUTES};

/// All resources of backups are lost; the storages bring them back, and take one away whose backup
/// is gone.
pub async fn resources_come_back_from_the_storages(namespace: &Namespace, disk: &Filesystem) {
    let backups = namespace.api::<CassandraBackup>();
    let before = backups.list(&ListParams::default()).await.unwrap().items;
    let before: BTreeMap<String, CassandraBackup> = before
        .into_iter()
        .map(|backup| (backup.metadata.name.clone().unwrap(), backup))
        .collect();
    backups
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
        .unwrap();
    for name in ["files", "bucket"] {
        let wanted = json!({"spec": {"importBackups": true, "probeIntervalSeconds": 10}});
        let storages = namespace.api::<BackupStorage>();
        storages
            .patch(name, &PatchParams::default(), &Patch::Merge(wanted))
            .await
            .unwrap();
        let storage = imported(namespace, name, 4).await;
        let found = &storage.status.unwrap().clusters;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((found[0].backups, found[0].complete), (4, 4));
        let points = [
            ("1", &found[0].first_restorable),
            ("4", &found[0].last_restorable),
        ];
        for (number, point) in points {
            let point = point.clone().unwrap();
            assert_eq!(point.backup, format!("{name}-{number}"));
            let made = before[&point.backup].status.as_ref().unwrap();
            let snapshots = made.nodes.iter().map(|it| it.snapshot.as_ref().unwrap());
            let first = snapshots.map(|it| it.started_at.0).min().unwrap();
            // A status has whole seconds.
            assert_eq!(point.time.0.as_second(), first.as_second());
        }
        for number in 1..=4 {
            let made = &before[&format!("{name}-{number}")];
            let mirror = backups.get(&format!("{DB}-{name}-{number}")).await.unwrap();
            is_a_mirror_of(&mirror, made);
        }
    }
    // Its data stays: somebody else has expired it.
    let manifests = disk.path().join(format!("{DB}/manifests/files-1"));
    std::fs::remove_dir_all(manifests).unwrap();
    let storage = imported(namespace, "files", 3).await;
    assert_eq!(storage.status.unwrap().clusters[0].backups, 3);
    let gone = backups.get_opt(&format!("{DB}-files-1")).await.unwrap();
    assert!(gone.is_none_or(|it| it.metadata.deletion_timestamp.is_some()));
}

/// Waits until a storage has so many mirrors.
async fn imported(namespace: &Namespace, name: &str, count: usize) -> BackupStorage {
    let expected = format!("{count} backups that were found here have resources");
    let is = |storage: &BackupStorage| {
        let conditions = storage.status.iter().flat_map(|status| &status.conditions);
        let mut imported = conditions.filter(|it| it.type_ == "Imported");
        imported.any(|it| it.status == "True" && it.message == expected)
    };
    namespace
        .wait_for::<BackupStorage>(name, &expected, MINUTES, is)
        .await
        .unwrap()
}

/// The same backup, as far as the storage knows it.
fn is_a_mirror_of(mirror: &CassandraBackup, made: &CassandraBackup) {
    let (spec, of) = (&mirror.spec, &made.spec);
    assert!(spec.imported && !of.imported);
    assert_eq!(spec.keyspaces, of.keyspaces);
    let (said, status) = (
        mirror.status.as_ref().unwrap(),
        made.status.as_ref().unwrap(),
    );
    assert_eq!(said.phase, Some(BackupPhase::Succeeded), "{said:#?}");
    assert_eq!(said.backup_name, status.backup_name);
    assert_eq!(said.nodes_done, status.nodes_done);
    let nodes = |status: &CassandraBackupStatus| -> BTreeSet<_> {
        let nodes = status.nodes.iter();
        nodes
            .map(|it| {
                let snapshot = it.snapshot.as_ref().unwrap().started_at.0.as_second();
                (
                    it.pod.clone(),
                    it.host_id.clone(),
                    it.run_id.clone(),
                    snapshot,
                )
            })
            .collect()
    };
    assert_eq!(nodes(said), nodes(status));
    let (complete, reason, _) = resources::condition(mirror, "Complete").unwrap();
    assert_eq!((complete, reason), ("True", "Succeeded"));
}
