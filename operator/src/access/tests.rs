//! What the agent is given of what the resources name.

use std::collections::BTreeMap;

use async_trait::async_trait;
use crds::{BackupStorage, BackupStorageSpec, JmxSettings};
use kube::core::Selector;
use protocol::{
    AzureCredentials, ClientCertificate, GcsAccess, GcsCredentials, JmxTls, Reason, S3Encryption,
    Secret, StorageAccess,
};
use serde_json::{Value, json};

use super::*;
use crate::cluster::Cluster;
use crate::pod::PodView;

/// Secrets by name, key and value; every config map has one certificate.
struct Secrets(Value);

#[async_trait]
impl Cluster for Secrets {
    async fn pod(&self, _: &str, _: &str) -> Result<Option<PodView>, kube::Error> {
        unreachable!("no pod is asked for")
    }
    async fn pods(&self, _: &str, _: &Selector) -> Result<Vec<PodView>, kube::Error> {
        unreachable!("no pod is asked for")
    }
    async fn storage(&self, _: &str, _: &str) -> Result<Option<BackupStorage>, kube::Error> {
        unreachable!("no storage is asked for")
    }
    async fn secret(
        &self,
        _: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, kube::Error> {
        let held: Option<BTreeMap<String, String>> =
            serde_json::from_value(self.0[name].clone()).unwrap();
        Ok(held.map(|held| {
            held.into_iter()
                .map(|(key, value)| (key, value.into_bytes()))
                .collect()
        }))
    }
    async fn config_map(
        &self,
        _: &str,
        _: &str,
    ) -> Result<Option<BTreeMap<String, String>>, kube::Error> {
        Ok(Some([("ca.crt".to_owned(), "PEM".to_owned())].into()))
    }
}

fn spec(spec: Value) -> BackupStorageSpec {
    serde_json::from_value(spec).unwrap()
}

fn secrets() -> Secrets {
    let s3 = |id: &str| json!({"AWS_ACCESS_KEY_ID": id, "AWS_SECRET_ACCESS_KEY": "k\n"});
    Secrets(json!({
        "pods": s3("of-pods"),
        "keeper": s3("of-the-keeper"),
        "google": {"key.json": "{}"},
        "azure-key": {"AZURE_STORAGE_ACCOUNT_KEY": "a"},
        "azure-sas": {"AZURE_STORAGE_SAS_TOKEN": "b"},
        "azure-app": {"AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "d"},
        "azure-two": {"AZURE_STORAGE_ACCOUNT_KEY": "a", "AZURE_STORAGE_SAS_TOKEN": "b"},
        "azure-none": {"AZURE_TENANT_ID": "t"},
        "tls": {"tls.crt": "CERT\n", "tls.key": "KEY"},
    }))
}

#[tokio::test]
async fn an_s3_storage_is_given_with_keys_certificates_and_encryption() {
    let encrypted = |encryption: Value| {
        spec(json!({"s3": {
            "bucket": "backups", "credentials": {"secretName": "pods"},
            "caCertificate": {"configMapName": "ca"}, "encryption": encryption,
        }}))
    };
    for (typed, expected) in [
        (json!({"type": "SSE-S3"}), S3Encryption::S3),
        (
            json!({"type": "SSE-KMS"}),
            S3Encryption::Kms { key_id: None },
        ),
        (
            json!({"type": "SSE-KMS", "keyId": "arn"}),
            S3Encryption::Kms {
                key_id: Some("arn".into()),
            },
        ),
    ] {
        let access = storage(&secrets(), "shop", &encrypted(typed)).await;
        let Ok(StorageAccess::S3(s3)) = access else {
            panic!("{access:?}")
        };
        assert_eq!(s3.encryption, Some(expected));
        assert_eq!(s3.ca_pem.as_deref(), Some("PEM"));
        let keys = s3.credentials.unwrap();
        assert_eq!(
            (keys.access_key.as_str(), keys.secret_key.reveal()),
            ("of-pods", "k")
        );
    }
}

#[tokio::test]
async fn maintenance_has_its_own_keys_and_by_default_those_of_the_pods() {
    let (pods, keeper) = (
        json!({"secretName": "pods"}),
        json!({"secretName": "keeper"}),
    );
    for (typed, for_pods, for_maintenance) in [
        (json!({"credentials": pods}), Some("of-pods"), "of-pods"),
        (
            json!({"credentials": pods, "maintenanceCredentials": keeper}),
            Some("of-pods"),
            "of-the-keeper",
        ),
        (
            json!({"maintenanceCredentials": keeper}),
            None,
            "of-the-keeper",
        ),
    ] {
        let mut s3 = json!({"bucket": "backups"});
        s3.as_object_mut()
            .unwrap()
            .extend(typed.as_object().unwrap().clone());
        let spec = spec(json!({"s3": s3}));
        let key = |access: Result<StorageAccess, AccessError>| match access {
            Ok(StorageAccess::S3(s3)) => s3.credentials.map(|keys| keys.access_key),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            key(storage(&secrets(), "shop", &spec).await).as_deref(),
            for_pods
        );
        let maintenance = maintenance_storage(&secrets(), "shop", &spec).await;
        assert_eq!(key(maintenance).as_deref(), Some(for_maintenance));
    }
}

#[tokio::test]
async fn the_operator_maintains_nothing_with_an_identity_that_is_not_given_to_it() {
    for typed in [
        json!({"s3": {"bucket": "backups"}}),
        json!({"gcs": {"bucket": "backups"}}),
        json!({"azure": {"account": "acme", "container": "backups"}}),
    ] {
        let error = maintenance_storage(&secrets(), "shop", &spec(typed))
            .await
            .unwrap_err();
        assert_eq!(
            error.reason(),
            Reason::MaintenanceCredentialsMissing,
            "{error}"
        );
        assert!(
            error.to_string().contains(".maintenanceCredentials"),
            "{error}"
        );
    }
    let anonymous = spec(json!({"gcs": {
        "bucket": "backups", "endpoint": "http://gcs", "anonymous": true,
    }}));
    let access = maintenance_storage(&secrets(), "shop", &anonymous).await;
    assert!(
        matches!(&access, Ok(StorageAccess::Gcs(gcs)) if gcs.credentials == Some(GcsCredentials::Anonymous)),
        "{access:?}"
    );
}

#[tokio::test]
async fn a_maintenance_pod_gets_no_credentials_of_a_secret() {
    let pod = json!({"serviceAccountName": "keeper"});
    for (read_only, typed) in [
        (false, json!({"bucket": "backups"})),
        (
            false,
            json!({"bucket": "backups", "credentials": {"secretName": "pods"}}),
        ),
        (true, json!({"bucket": "backups"})),
    ] {
        let spec = spec(json!({"s3": typed, "maintenancePod": pod, "readOnly": read_only}));
        let access = keeper_storage(&secrets(), "shop", &spec).await.unwrap();
        assert!(!has_identity(&access), "{access:?}");
        let deletes = maintenance_storage(&secrets(), "shop", &spec).await;
        assert_eq!(deletes.is_ok(), !read_only, "{deletes:?}");
    }
}

#[tokio::test]
async fn nothing_is_deleted_from_a_read_only_storage() {
    let spec = spec(json!({
        "s3": {"bucket": "backups", "credentials": {"secretName": "pods"}}, "readOnly": true,
    }));
    let error = maintenance_storage(&secrets(), "shop", &spec)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::StorageReadOnly);
    assert!(storage(&secrets(), "shop", &spec).await.is_ok());
}

#[tokio::test]
async fn a_gcs_storage_is_given_with_the_file_of_its_account() {
    let spec = spec(json!({"gcs": {"bucket": "backups", "credentials": {"secretName": "google"}}}));
    let access = storage(&secrets(), "shop", &spec).await;
    assert!(
        matches!(&access, Ok(StorageAccess::Gcs(gcs)) if gcs.credentials == Some(GcsCredentials::Json(Secret::new("{}")))),
        "{access:?}"
    );
}

#[tokio::test]
async fn what_the_secret_has_says_how_azure_is_entered() {
    let azure = |secret: &str| {
        spec(json!({"azure": {
            "account": "acme", "container": "backups", "credentials": {"secretName": secret},
        }}))
    };
    let application = AzureCredentials::ServicePrincipal {
        tenant_id: "t".into(),
        client_id: "c".into(),
        client_secret: Secret::new("d"),
        authority: None,
    };
    for (secret, expected) in [
        ("azure-key", AzureCredentials::AccountKey(Secret::new("a"))),
        ("azure-sas", AzureCredentials::SasToken(Secret::new("b"))),
        ("azure-app", application),
    ] {
        let access = storage(&secrets(), "shop", &azure(secret)).await;
        assert!(
            matches!(&access, Ok(StorageAccess::Azure(azure)) if azure.credentials.as_ref() == Some(&expected)),
            "{access:?}"
        );
    }
    for (secret, found) in [
        (
            "azure-two",
            "it has AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN",
        ),
        ("azure-none", "it has none"),
    ] {
        let error = storage(&secrets(), "shop", &azure(secret))
            .await
            .unwrap_err();
        assert_eq!(error.reason(), Reason::SecretNotFound);
        assert!(error.to_string().contains(found), "{error}");
    }
}

#[tokio::test]
async fn jmx_is_given_its_authorities_and_our_certificate() {
    let settings: JmxSettings = serde_json::from_value(json!({"port": 7299, "tls": {
        "caCertificate": {"configMapName": "ca"},
        "clientCertificate": {"secretName": "tls"},
        "serverName": "cassandra", "plainRegistry": true,
    }}))
    .unwrap();
    let access = jmx(&secrets(), "shop", &settings).await.unwrap();
    assert_eq!((access.port, access.credentials), (7299, None));
    let expected = JmxTls {
        ca_pem: "PEM".into(),
        client: Some(ClientCertificate {
            certificate_pem: "CERT".into(),
            key_pem: Secret::new("KEY"),
        }),
        server_name: Some("cassandra".into()),
        plain_registry: true,
    };
    assert_eq!(access.tls, Some(expected));
}

/// Its file says what of the machine is sent where: here our own token, to somebody else.
#[tokio::test]
async fn a_federation_of_google_is_for_the_pods_and_never_for_the_operator() {
    let file = |type_: &str| {
        let file = json!({
            "type": type_, "subject_token_type": "x", "token_url": "http://evil/",
            "credential_source": {"file": "/var/run/secrets/kubernetes.io/serviceaccount/token"},
        });
        StorageAccess::Gcs(GcsAccess {
            credentials: Some(GcsCredentials::Json(Secret::new(file.to_string()))),
            ..GcsAccess::default()
        })
    };
    for type_ in [
        "external_account",
        "impersonated_service_account",
        "gdch_service_account",
        "",
    ] {
        assert!(!has_identity(&file(type_)), "{type_}");
    }
    assert!(has_identity(&file("service_account")));
    let broken = GcsCredentials::Json(Secret::new("no json"));
    assert!(!has_identity(&StorageAccess::Gcs(GcsAccess {
        credentials: Some(broken),
        ..GcsAccess::default()
    })));
}
