//! What a rehearsal makes: a pod, and the CassandraRestore into it.

use std::collections::BTreeMap;

use crds::{
    BackupChoice, CassandraAccess, CassandraBackup, CassandraRestore, CassandraRestoreSpec,
    Rehearsal, RestoreMode, Retry,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{Resource, ResourceExt};

use crate::FIELD_MANAGER;

/// Label of all that belongs to the rehearsals of a backup: its uid.
const OF: &str = "cassandrabackup.io/rehearsal-of";
/// Label by which a restore selects its pod: the name of both.
const REHEARSAL: &str = "cassandrabackup.io/rehearsal";
/// Characters of a backup's name in that of its rehearsals: a pod's name is a host name, of at most 63.
const LONGEST_NAME: usize = 40;
/// More attempts after the first.
const RETRIES: i32 = 5;

/// What a rehearsal is of.
pub(super) struct Subject<'a> {
    pub(super) backup: &'a CassandraBackup,
    pub(super) verify: &'a Rehearsal,
    /// Name of its pod and of its CassandraRestore.
    pub(super) name: &'a str,
}

/// Selects all pods of the rehearsals of a backup.
pub(super) fn all_of(backup: &CassandraBackup) -> String {
    format!("{OF}={}", backup.uid().unwrap_or_default())
}

/// Name of the pod and of the CassandraRestore of a rehearsal that begins now: what is asked for once more
/// is another one.
pub(super) fn name(backup: &CassandraBackup, request: &str, now: Timestamp) -> String {
    let own: String = backup.name_any().chars().take(LONGEST_NAME).collect();
    let own = own.trim_end_matches(['-', '.']);
    let of = format!("{}/{request}/{now}", backup.uid().unwrap_or_default());
    let hash = blake3::hash(of.as_bytes()).to_hex();
    format!("{own}-rehearsal-{}", &hash[..8])
}

impl Subject<'_> {
    /// The pod as the template says; none where the template has no spec.
    pub(super) fn pod(&self, template: &PodTemplate) -> Option<Pod> {
        let template = template.template.clone()?;
        let mut spec = template.spec?;
        let limit = self.verify.active_deadline_seconds;
        // What failed in it has to be seen, and whatever becomes of us, it ends.
        spec.restart_policy = Some("Never".into());
        spec.active_deadline_seconds =
            Some(spec.active_deadline_seconds.unwrap_or(limit).min(limit));
        let of_template = template.metadata.unwrap_or_default();
        let mut metadata = self.metadata();
        let mut labels = of_template.labels.unwrap_or_default();
        labels.extend(metadata.labels.take().unwrap_or_default());
        metadata.labels = Some(labels);
        metadata.annotations = of_template.annotations;
        Some(Pod {
            metadata,
            spec: Some(spec),
            status: None,
        })
    }

    /// The restore into it.
    pub(super) fn restore(&self) -> CassandraRestore {
        let (of, verify) = (&self.backup.spec, self.verify);
        let in_storage = self.backup.status.as_ref();
        let selected = BTreeMap::from([(REHEARSAL.to_owned(), self.name.to_owned())]);
        CassandraRestore {
            metadata: self.metadata(),
            spec: CassandraRestoreSpec {
                cluster: of.cluster.clone(),
                storage: of.storage.clone(),
                backup: BackupChoice {
                    name: in_storage.and_then(|it| it.backup_name.clone()),
                    ..BackupChoice::default()
                },
                cassandra: CassandraAccess {
                    pod_selector: LabelSelector {
                        match_labels: Some(selected),
                        ..LabelSelector::default()
                    },
                    container: verify.container.clone(),
                    jmx: verify.jmx.clone(),
                    cql: verify.cql.clone(),
                },
                mode: RestoreMode::Rehearse,
                keyspaces: verify.keyspaces.clone(),
                tables: verify.tables.clone(),
                renames: Vec::new(),
                allow_degraded: false,
                dry_run: false,
                bandwidth_per_node: of.bandwidth_per_node.clone(),
                agent: of.agent.clone(),
                retry: Retry { limit: RETRIES },
                active_deadline_seconds: Some(verify.active_deadline_seconds),
                cancel: false,
            },
            status: None,
        }
    }

    fn metadata(&self) -> ObjectMeta {
        let labels = [
            ("app.kubernetes.io/managed-by", FIELD_MANAGER.to_owned()),
            (OF, self.backup.uid().unwrap_or_default()),
            (REHEARSAL, self.name.to_owned()),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value));
        ObjectMeta {
            name: Some(self.name.to_owned()),
            namespace: self.backup.namespace(),
            labels: Some(BTreeMap::from(labels)),
            // It goes with its backup.
            owner_references: self
                .backup
                .controller_owner_ref(&())
                .map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn backup(name: &str) -> CassandraBackup {
        serde_json::from_value(json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
            "metadata": {"name": name, "namespace": "shop", "uid": "u1"},
            "spec": {
                "cluster": "prod", "storage": {"name": "s3"},
                "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
                "verify": {
                    "podTemplate": "small", "keyspaces": ["shop"], "activeDeadlineSeconds": 900,
                },
            },
            "status": {"backupName": "nightly-1"},
        }))
        .unwrap()
    }

    fn pod_of(template: Value) -> Option<Value> {
        let backup = backup("nightly");
        let subject = Subject {
            backup: &backup,
            verify: backup.spec.verify.as_ref().unwrap(),
            name: "n",
        };
        let template = serde_json::from_value(template).unwrap();
        let pod = subject.pod(&template)?;
        Some(serde_json::to_value(pod).unwrap())
    }

    #[test]
    fn the_pod_is_the_templates_and_ends_and_goes_with_its_backup() {
        let pod = pod_of(json!({"template": {
            "metadata": {"labels": {"team": "db", REHEARSAL: "another"}, "annotations": {"a": "b"}},
            "spec": {
                "containers": [{"name": "cassandra", "image": "cassandra:5.0"}],
                "restartPolicy": "Always", "activeDeadlineSeconds": 1000,
            },
        }}))
        .unwrap();
        let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
        assert_eq!(spec["containers"][0]["image"], "cassandra:5.0");
        assert_eq!(
            (&spec["restartPolicy"], &spec["activeDeadlineSeconds"]),
            (&json!("Never"), &json!(900))
        );
        assert_eq!(metadata["ownerReferences"][0]["uid"], "u1");
        assert_eq!(metadata["annotations"]["a"], "b");
        let labels = &metadata["labels"];
        assert_eq!(labels["team"], "db");
        // What the restore selects it by is not for the template to say.
        assert_eq!(labels[REHEARSAL], metadata["name"]);
        assert!(pod_of(json!({"template": {}})).is_none());
    }

    #[test]
    fn the_restore_is_into_that_pod_alone() {
        let backup = backup("nightly");
        let subject = Subject {
            backup: &backup,
            verify: backup.spec.verify.as_ref().unwrap(),
            name: "n",
        };
        let restore = subject.restore();
        let spec = restore.spec;
        assert_eq!(spec.backup.name.as_deref(), Some("nightly-1"));
        assert_eq!(spec.mode, RestoreMode::Rehearse);
        assert_eq!(spec.keyspaces, ["shop"]);
        let labels = spec.cassandra.pod_selector.match_labels.unwrap();
        assert_eq!(labels, BTreeMap::from([(REHEARSAL.into(), "n".into())]));
    }

    #[test]
    fn names_are_host_names_and_differ_by_what_is_asked_for() {
        let long = backup(&format!("{}.{}", "n".repeat(39), "m".repeat(200)));
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = name(&long, "r", at(1));
        assert!(first.len() < 63);
        assert!(first.starts_with(&format!("{}-rehearsal-", "n".repeat(39))));
        assert_ne!(first, name(&long, "s", at(1)));
        assert_ne!(first, name(&long, "r", at(2)));
        assert_eq!(first, name(&long, "r", at(1)));
    }
}
