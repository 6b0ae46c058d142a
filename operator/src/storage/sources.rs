//! The secrets and config maps that a storage names, and whether they changed.
//!
//! They are looked at one by one and by their metadata alone. To watch them instead, the operator
//! would need the right to list secrets, and RBAC knows no list of metadata: whoever may list, may
//! read them all.

use std::collections::BTreeSet;

use crds::{BackupStorageSpec, CaCertificateSource, SourceKind, SourceVersion};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, PartialObjectMeta};
use kube::{Client, ResourceExt};

/// What the storage names, each once.
fn named(spec: &BackupStorageSpec) -> BTreeSet<(SourceKind, String)> {
    let mut named = BTreeSet::new();
    let mut certificates = Vec::new();
    let mut secrets = Vec::new();
    if let Some(s3) = &spec.s3 {
        certificates.extend(&s3.ca_certificate);
        let who = [&s3.credentials, &s3.maintenance_credentials];
        secrets.extend(who.into_iter().flatten().map(|it| &it.secret_name));
    }
    if let Some(gcs) = &spec.gcs {
        certificates.extend(&gcs.ca_certificate);
        let who = [&gcs.credentials, &gcs.maintenance_credentials];
        secrets.extend(who.into_iter().flatten().map(|it| &it.secret_name));
    }
    if let Some(azure) = &spec.azure {
        certificates.extend(&azure.ca_certificate);
        let who = [&azure.credentials, &azure.maintenance_credentials];
        secrets.extend(who.into_iter().flatten().map(|it| &it.secret_name));
    }
    named.extend(
        secrets
            .into_iter()
            .map(|name| (SourceKind::Secret, name.clone())),
    );
    named.extend(certificates.into_iter().filter_map(certificate));
    named
}

fn certificate(source: &CaCertificateSource) -> Option<(SourceKind, String)> {
    let secret = source
        .secret_name
        .clone()
        .map(|name| (SourceKind::Secret, name));
    let map = source.config_map_name.clone();
    secret.or(map.map(|name| (SourceKind::ConfigMap, name)))
}

/// How they are now.
pub(super) async fn versions(
    client: &Client,
    namespace: &str,
    spec: &BackupStorageSpec,
) -> Result<Vec<SourceVersion>, kube::Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let mut versions = Vec::new();
    for (kind, name) in named(spec) {
        let resource_version = match kind {
            SourceKind::Secret => version(secrets.get_metadata_opt(&name).await)?,
            SourceKind::ConfigMap => version(maps.get_metadata_opt(&name).await)?,
        };
        versions.push(SourceVersion {
            kind,
            name,
            resource_version,
        });
    }
    Ok(versions)
}

/// One that may not be read is told by whoever needs its content.
fn version<K>(
    found: Result<Option<PartialObjectMeta<K>>, kube::Error>,
) -> Result<Option<String>, kube::Error>
where
    PartialObjectMeta<K>: ResourceExt,
{
    match found {
        Ok(found) => Ok(found.and_then(|it| it.resource_version())),
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_secret_and_config_map_that_a_storage_names_is_looked_at_once() {
        let (pods, keeper) = (
            json!({"secretName": "pods"}),
            json!({"secretName": "keeper"}),
        );
        let expected = [
            (SourceKind::Secret, "keeper".to_owned()),
            (SourceKind::Secret, "pods".to_owned()),
            (SourceKind::ConfigMap, "ca".to_owned()),
        ];
        for (kind, place) in [
            ("s3", json!({"bucket": "backups"})),
            ("gcs", json!({"bucket": "backups"})),
            ("azure", json!({"account": "acme", "container": "backups"})),
        ] {
            let mut place = place;
            place["credentials"] = pods.clone();
            place["maintenanceCredentials"] = keeper.clone();
            place["caCertificate"] = json!({"configMapName": "ca"});
            let spec = |place| serde_json::from_value(json!({kind: place})).unwrap();
            assert_eq!(named(&spec(place.clone())), expected.clone().into());
            place["caCertificate"] = json!({"secretName": "pods"});
            assert_eq!(named(&spec(place)), expected[..2].iter().cloned().collect());
        }
        let file = serde_json::from_value(json!({"file": {"path": "/b"}})).unwrap();
        assert!(named(&file).is_empty());
    }
}
