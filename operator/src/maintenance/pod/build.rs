//! The pod as it is applied.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::{BackupStorage, MaintenancePod};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, LocalObjectReference, Pod, PodSecurityContext,
    PodSpec, ResourceRequirements, SeccompProfile, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::FIELD_MANAGER;
use crate::maintenance::Home;
use crate::pod::PodView;

pub(super) const CONTAINER: &str = "agent";
/// Where the agent keeps its journals, and a purge the list of what it is about to delete.
pub(super) const STATE: &str = "/tmp/state";
/// Longest name that leaves room for what the API server adds, and for our suffix.
const LONGEST_NAME: usize = 200;
/// The operator's own user in its image.
const USER: i64 = 65532;

/// The storage's uid.
const OF: &str = "cassandrabackup.io/maintenance-of";
/// The process that waits for the pod.
const MADE_BY: &str = "cassandrabackup.io/made-by";

/// A pod that waits to be told what to do, and ends by itself after `lifetime`; none where it is
/// not known which image has the agent.
pub(super) fn pod(
    storage: &BackupStorage,
    how: &MaintenancePod,
    home: &Home,
    maker: &str,
    lifetime: Duration,
) -> Option<Pod> {
    let image = home.image.clone()?;
    Some(Pod {
        metadata: metadata(storage, how, maker),
        spec: Some(PodSpec {
            service_account_name: Some(how.service_account_name.clone()),
            // What binds an identity to the service account brings a token of its own.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            restart_policy: Some("Never".into()),
            active_deadline_seconds: i64::try_from(lifetime.as_secs()).ok(),
            termination_grace_period_seconds: Some(5),
            node_selector: Some(how.node_selector.clone()),
            tolerations: Some(how.tolerations.clone()),
            image_pull_secrets: Some(secrets(&how.image_pull_secrets)),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            containers: vec![container(home, image)],
            volumes: Some(vec![Volume {
                name: "tmp".into(),
                empty_dir: Some(EmptyDirVolumeSource {
                    size_limit: Some(Quantity("1Gi".into())),
                    ..Default::default()
                }),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        status: None,
    })
}

fn metadata(storage: &BackupStorage, how: &MaintenancePod, maker: &str) -> ObjectMeta {
    let mut labels = how.labels.clone();
    if storage.spec.azure.is_some() {
        labels.insert("azure.workload.identity/use".into(), "true".into());
    }
    labels.insert("app.kubernetes.io/managed-by".into(), FIELD_MANAGER.into());
    labels.insert(OF.into(), storage.uid().unwrap_or_default());
    labels.insert(MADE_BY.into(), maker.into());
    let name: String = storage.name_any().chars().take(LONGEST_NAME).collect();
    ObjectMeta {
        generate_name: Some(format!("{name}-maintenance-")),
        labels: Some(labels),
        annotations: Some(how.annotations.clone()),
        // Not the controller's: nobody makes it again.
        owner_references: storage.owner_ref(&()).map(|owner| vec![owner]),
        ..Default::default()
    }
}

fn container(home: &Home, image: String) -> Container {
    let quantities = |all: &[(&str, &str)]| {
        let all = all.iter();
        Some(BTreeMap::from_iter(all.map(|(name, quantity)| {
            ((*name).to_owned(), Quantity((*quantity).to_owned()))
        })))
    };
    Container {
        name: CONTAINER.into(),
        image: Some(image),
        image_pull_policy: home.image_pull_policy.clone(),
        command: Some(vec![home.operator.display().to_string(), "idle".into()]),
        resources: Some(ResourceRequirements {
            requests: quantities(&[("cpu", "20m"), ("memory", "64Mi")]),
            // A purge of a million objects takes up to 128 MiB.
            limits: quantities(&[("memory", "256Mi")]),
            ..Default::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".into()]),
                ..Default::default()
            }),
            ..Default::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: "tmp".into(),
            mount_path: "/tmp".into(),
            ..Default::default()
        }]),
        ..Default::default()
    }
}

fn secrets(names: &[String]) -> Vec<LocalObjectReference> {
    names
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() })
        .collect()
}

/// Selects the pods of this storage.
pub(super) fn all_of(storage: &BackupStorage) -> String {
    format!("{OF}={}", storage.uid().unwrap_or_default())
}

/// Whether nobody waits for a pod: another process made it, or it has ended.
pub(super) fn is_left(pod: &Pod, maker: &str) -> bool {
    let ours = pod.labels().get(MADE_BY).is_some_and(|by| by == maker);
    !ours || PodView::of(pod).ended
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn storage() -> BackupStorage {
        serde_json::from_value(json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "BackupStorage",
            "metadata": {"name": "a".repeat(253), "namespace": "shop", "uid": "u1"},
            "spec": {
                "azure": {"account": "acme", "container": "backups"},
                "maintenancePod": {
                    "serviceAccountName": "keeper",
                    "labels": {"team": "db", OF: "another"},
                    "imagePullSecrets": ["registry"],
                },
            },
        }))
        .unwrap()
    }

    fn made(image: Option<&str>) -> Option<Pod> {
        let home = Home {
            agent: "/agent".into(),
            operator: "/operator".into(),
            image: image.map(Into::into),
            image_pull_policy: None,
        };
        let storage = storage();
        let how = storage.spec.maintenance_pod.as_ref().unwrap();
        pod(&storage, how, &home, "m1", Duration::from_secs(90))
    }

    #[test]
    fn it_has_the_identity_that_is_named_and_no_other_and_goes_with_its_storage() {
        let pod = made(Some("operator:1")).unwrap();
        let (meta, spec) = (pod.metadata, pod.spec.unwrap());
        assert_eq!(spec.service_account_name.as_deref(), Some("keeper"));
        assert_eq!(spec.automount_service_account_token, Some(false));
        assert_eq!(spec.active_deadline_seconds, Some(90));
        assert_eq!(spec.image_pull_secrets.unwrap()[0].name, "registry");
        assert!(meta.generate_name.unwrap().len() < 250);
        assert_eq!(meta.owner_references.unwrap()[0].uid, "u1");
        // What the operator finds its pods by is not for others to say.
        let labels = meta.labels.unwrap();
        let label = |name: &str| labels[name].as_str();
        let ours = (label(OF), label(MADE_BY), label("team"));
        assert_eq!(ours, ("u1", "m1", "db"));
        assert_eq!(label("azure.workload.identity/use"), "true");
    }

    #[test]
    fn what_others_made_or_what_has_ended_is_left() {
        assert_eq!(all_of(&storage()), "cassandrabackup.io/maintenance-of=u1");
        let mut pod = made(Some("operator:1")).unwrap();
        assert!(!is_left(&pod, "m1"));
        assert!(is_left(&pod, "m2"));
        pod.status = serde_json::from_value(json!({"phase": "Failed"})).unwrap();
        assert!(is_left(&pod, "m1"));
    }

    #[test]
    fn without_an_image_there_is_none() {
        assert!(made(None).is_none());
    }
}
