//! Storages of each kind, for the pods and for what the operator runs itself.

use crds::{
    AzureCredentialSource, AzureStorage, BackupStorageSpec, CaCertificateSource, GcsStorage,
    GcsTouch, S3EncryptionType, S3Storage,
};
use protocol::{
    AzureAccess, AzureCredentials, GcsAccess, GcsCredentials, S3Access, S3Credentials,
    S3Encryption, Secret, StorageAccess,
};

use super::AccessError;
use super::secrets::{Held, certificate};
use crate::cluster::Cluster;

/// A storage as the agents in the pods use it.
pub(crate) async fn storage(
    cluster: &dyn Cluster,
    namespace: &str,
    spec: &BackupStorageSpec,
) -> Result<StorageAccess, AccessError> {
    match (&spec.file, &spec.s3, &spec.gcs, &spec.azure) {
        (Some(file), None, None, None) => Ok(StorageAccess::File {
            path: file.path.clone(),
        }),
        (None, Some(place), None, None) => {
            Ok(StorageAccess::S3(s3(cluster, namespace, place).await?))
        }
        (None, None, Some(place), None) => {
            Ok(StorageAccess::Gcs(gcs(cluster, namespace, place).await?))
        }
        (None, None, None, Some(place)) => Ok(StorageAccess::Azure(
            azure(cluster, namespace, place).await?,
        )),
        _ => Err(AccessError::NoKind),
    }
}

/// A storage as the operator itself uses it, with the right to delete. A read-only storage is not
/// maintained.
pub(crate) async fn maintenance_storage(
    cluster: &dyn Cluster,
    namespace: &str,
    spec: &BackupStorageSpec,
) -> Result<StorageAccess, AccessError> {
    match spec.read_only {
        true => Err(AccessError::ReadOnly),
        false => keeper_storage(cluster, namespace, spec).await,
    }
}

/// A storage with the identity of maintenance, for whatever is done with it. Never that of the
/// operator's own environment, which is not for tenants to borrow: without an identity of its own,
/// the access is for a maintenance pod. A `file` storage has no identities; only pods that mount it
/// can use it.
pub(crate) async fn keeper_storage(
    cluster: &dyn Cluster,
    namespace: &str,
    spec: &BackupStorageSpec,
) -> Result<StorageAccess, AccessError> {
    if spec.maintenance_pod.is_some() {
        return storage(cluster, namespace, &without_credentials(spec)).await;
    }
    let missing = |kind| AccessError::NoMaintenanceIdentity { kind };
    let mut spec = spec.clone();
    if let Some(s3) = &mut spec.s3 {
        let own = s3.maintenance_credentials.take();
        s3.credentials = own.or(s3.credentials.take());
        s3.credentials.as_ref().ok_or_else(|| missing("s3"))?;
    }
    if let Some(gcs) = &mut spec.gcs {
        let own = gcs.maintenance_credentials.take();
        gcs.credentials = own.or(gcs.credentials.take());
        if gcs.credentials.is_none() && !gcs.anonymous {
            return Err(missing("gcs"));
        }
    }
    if let Some(azure) = &mut spec.azure {
        let own = azure.maintenance_credentials.take();
        azure.credentials = own.or(azure.credentials.take());
        azure.credentials.as_ref().ok_or_else(|| missing("azure"))?;
    }
    let access = storage(cluster, namespace, &spec).await?;
    match access {
        StorageAccess::Gcs(_) if !has_identity(&access) => Err(missing("gcs")),
        access => Ok(access),
    }
}

fn without_credentials(spec: &BackupStorageSpec) -> BackupStorageSpec {
    let mut spec = spec.clone();
    if let Some(s3) = &mut spec.s3 {
        s3.credentials = None;
    }
    if let Some(gcs) = &mut spec.gcs {
        gcs.credentials = None;
    }
    if let Some(azure) = &mut spec.azure {
        azure.credentials = None;
    }
    spec
}

/// Whether it comes with an identity of its own, so that the operator may use it. Without, the
/// operator's would be used, which is not for tenants to borrow. A federation of Google's is none: its
/// file says which file or URL of the machine is sent to which address, and so could name our
/// service account's token.
pub(crate) fn has_identity(storage: &StorageAccess) -> bool {
    match storage {
        StorageAccess::File { .. } => false,
        StorageAccess::S3(s3) => s3.credentials.is_some(),
        StorageAccess::Gcs(gcs) => match &gcs.credentials {
            None => false,
            Some(GcsCredentials::Anonymous) => true,
            Some(GcsCredentials::Json(file)) => {
                let file: serde_json::Value =
                    serde_json::from_str(file.reveal()).unwrap_or_default();
                matches!(
                    file["type"].as_str(),
                    Some("service_account" | "authorized_user")
                )
            }
        },
        StorageAccess::Azure(azure) => azure.credentials.is_some(),
    }
}

async fn s3(
    cluster: &dyn Cluster,
    namespace: &str,
    place: &S3Storage,
) -> Result<S3Access, AccessError> {
    let credentials = match &place.credentials {
        None => None,
        Some(source) => {
            let secret = Held::read(cluster, namespace, &source.secret_name).await?;
            Some(S3Credentials {
                access_key: secret.text(&source.keys.access_key_id)?,
                secret_key: Secret::new(secret.text(&source.keys.secret_access_key)?),
                session_token: secret
                    .optional_text(&source.keys.session_token)?
                    .map(Secret::new),
            })
        }
    };
    let encryption = place.encryption.as_ref().map(|how| match how.type_ {
        S3EncryptionType::S3 => S3Encryption::S3,
        S3EncryptionType::Kms => S3Encryption::Kms {
            key_id: how.key_id.clone(),
        },
    });
    Ok(S3Access {
        bucket: place.bucket.clone(),
        prefix: place.prefix.clone(),
        region: place.region.clone(),
        endpoint: place.endpoint.clone(),
        path_style: place.path_style,
        ca_pem: ca_pem(cluster, namespace, place.ca_certificate.as_ref()).await?,
        storage_class: place.storage_class.clone(),
        encryption,
        credentials,
    })
}

async fn gcs(
    cluster: &dyn Cluster,
    namespace: &str,
    place: &GcsStorage,
) -> Result<GcsAccess, AccessError> {
    let credentials = match &place.credentials {
        None => place.anonymous.then_some(GcsCredentials::Anonymous),
        Some(source) => {
            let secret = Held::read(cluster, namespace, &source.secret_name).await?;
            let json = Secret::new(secret.text(&source.key)?);
            Some(GcsCredentials::Json(json))
        }
    };
    Ok(GcsAccess {
        bucket: place.bucket.clone(),
        prefix: place.prefix.clone(),
        endpoint: place.endpoint.clone(),
        ca_pem: ca_pem(cluster, namespace, place.ca_certificate.as_ref()).await?,
        storage_class: place.storage_class.clone(),
        touch: match place.touch {
            GcsTouch::Rewrite => protocol::GcsTouch::Rewrite,
            GcsTouch::CustomTime => protocol::GcsTouch::CustomTime,
        },
        credentials,
    })
}

async fn azure(
    cluster: &dyn Cluster,
    namespace: &str,
    place: &AzureStorage,
) -> Result<AzureAccess, AccessError> {
    let credentials = match &place.credentials {
        None => None,
        Some(source) => Some(azure_credentials(cluster, namespace, source).await?),
    };
    Ok(AzureAccess {
        account: place.account.clone(),
        container: place.container.clone(),
        prefix: place.prefix.clone(),
        endpoint: place.endpoint.clone(),
        ca_pem: ca_pem(cluster, namespace, place.ca_certificate.as_ref()).await?,
        credentials,
    })
}

/// What the secret has says which way it is; with two, nobody could tell which one is meant.
async fn azure_credentials(
    cluster: &dyn Cluster,
    namespace: &str,
    source: &AzureCredentialSource,
) -> Result<AzureCredentials, AccessError> {
    let keys = &source.keys;
    let secret = Held::read(cluster, namespace, &source.secret_name).await?;
    let ways = [&keys.account_key, &keys.sas_token, &keys.client_secret];
    let found: Vec<&str> = ways
        .into_iter()
        .map(String::as_str)
        .filter(|key| secret.has(key))
        .collect();
    match found.as_slice() {
        [key] if *key == keys.account_key => {
            Ok(AzureCredentials::AccountKey(Secret::new(secret.text(key)?)))
        }
        [key] if *key == keys.sas_token => {
            Ok(AzureCredentials::SasToken(Secret::new(secret.text(key)?)))
        }
        [key] => Ok(AzureCredentials::ServicePrincipal {
            tenant_id: secret.text(&keys.tenant_id)?,
            client_id: secret.text(&keys.client_id)?,
            client_secret: Secret::new(secret.text(key)?),
            authority: secret.optional_text(&keys.authority)?,
        }),
        others => Err(AccessError::NotOneWay {
            namespace: namespace.into(),
            name: source.secret_name.clone(),
            ways: ways.map(String::as_str).join(", "),
            found: match others {
                [] => "none".into(),
                several => several.join(", "),
            },
        }),
    }
}

async fn ca_pem(
    cluster: &dyn Cluster,
    namespace: &str,
    source: Option<&CaCertificateSource>,
) -> Result<Option<String>, AccessError> {
    match source {
        None => Ok(None),
        Some(source) => Ok(Some(certificate(cluster, namespace, source).await?)),
    }
}
