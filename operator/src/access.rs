//! Storage and passwords as the agent needs them: the only place where secrets are read. They stay
//! in memory, and go nowhere but into a request.

use std::collections::BTreeMap;

use crds::{BackupStorageSpec, CaCertificateSource, PasswordSource, S3Storage};
use protocol::{Password, Reason, S3Access, S3Credentials, Secret, StorageAccess};

use crate::cluster::Cluster;

/// What a request needs cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    #[error("secret {name} does not exist in namespace {namespace}: create it or correct its name")]
    SecretNotFound { namespace: String, name: String },
    #[error("secret {name} in namespace {namespace} has no key {key}: add it or name another key")]
    KeyNotFound {
        namespace: String,
        name: String,
        key: String,
    },
    #[error("key {key} of secret {name} in namespace {namespace} is not text in UTF-8")]
    NotText {
        namespace: String,
        name: String,
        key: String,
    },
    #[error("config map {name} with key {key} does not exist in namespace {namespace}")]
    ConfigMapNotFound {
        namespace: String,
        name: String,
        key: String,
    },
    #[error("the storage names no kind: set file or s3")]
    NoKind,
    #[error("the API server did not give {what}: {cause}")]
    Api {
        what: String,
        cause: Box<kube::Error>,
    },
}

impl AccessError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::SecretNotFound { .. }
            | Self::KeyNotFound { .. }
            | Self::NotText { .. }
            | Self::ConfigMapNotFound { .. } => Reason::SecretNotFound,
            Self::NoKind => Reason::InvalidRequest,
            Self::Api { .. } => Reason::Failed,
        }
    }

    /// Whether the same may succeed later without anybody changing anything.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Api { cause, .. } => !matches!(&**cause, kube::Error::Api(s) if s.is_forbidden()),
            _ => false,
        }
    }
}

/// A secret that was read, with its name for messages.
struct Held<'a> {
    namespace: &'a str,
    name: &'a str,
    data: BTreeMap<String, Vec<u8>>,
}

impl<'a> Held<'a> {
    async fn read(
        cluster: &dyn Cluster,
        namespace: &'a str,
        name: &'a str,
    ) -> Result<Self, AccessError> {
        let data = cluster
            .secret(namespace, name)
            .await
            .map_err(|cause| AccessError::Api {
                what: format!("secret {name}"),
                cause: Box::new(cause),
            })?;
        match data {
            Some(data) => Ok(Self {
                namespace,
                name,
                data,
            }),
            None => Err(AccessError::SecretNotFound {
                namespace: namespace.into(),
                name: name.into(),
            }),
        }
    }

    /// A value. Secrets are often made with `echo`, so a line end is not part of it.
    fn text(&self, key: &str) -> Result<String, AccessError> {
        self.optional_text(key)?
            .ok_or_else(|| AccessError::KeyNotFound {
                namespace: self.namespace.into(),
                name: self.name.into(),
                key: key.into(),
            })
    }

    fn optional_text(&self, key: &str) -> Result<Option<String>, AccessError> {
        let Some(bytes) = self.data.get(key) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(bytes).map_err(|_| AccessError::NotText {
            namespace: self.namespace.into(),
            name: self.name.into(),
            key: key.into(),
        })?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// A storage with its credentials.
pub(crate) async fn storage(
    cluster: &dyn Cluster,
    namespace: &str,
    spec: &BackupStorageSpec,
) -> Result<StorageAccess, AccessError> {
    match (&spec.file, &spec.s3) {
        (Some(file), None) => Ok(StorageAccess::File {
            path: file.path.clone(),
        }),
        (None, Some(s3)) => Ok(StorageAccess::S3(self::s3(cluster, namespace, s3).await?)),
        _ => Err(AccessError::NoKind),
    }
}

/// The same, with the credentials that may delete.
pub(crate) async fn maintenance_storage(
    cluster: &dyn Cluster,
    namespace: &str,
    spec: &BackupStorageSpec,
) -> Result<StorageAccess, AccessError> {
    storage(cluster, namespace, spec).await
}

async fn s3(
    cluster: &dyn Cluster,
    namespace: &str,
    s3: &S3Storage,
) -> Result<S3Access, AccessError> {
    let credentials = match &s3.credentials {
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
    let ca_pem = match &s3.ca_certificate {
        None => None,
        Some(source) => Some(certificate(cluster, namespace, source).await?),
    };
    Ok(S3Access {
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone(),
        region: s3.region.clone(),
        endpoint: s3.endpoint.clone(),
        path_style: s3.path_style,
        ca_pem,
        storage_class: s3.storage_class.clone(),
        encryption: None,
        credentials,
    })
}

async fn certificate(
    cluster: &dyn Cluster,
    namespace: &str,
    source: &CaCertificateSource,
) -> Result<String, AccessError> {
    if let Some(name) = &source.secret_name {
        return Held::read(cluster, namespace, name)
            .await?
            .text(&source.key);
    }
    let name = source.config_map_name.clone().unwrap_or_default();
    let data = cluster
        .config_map(namespace, &name)
        .await
        .map_err(|cause| AccessError::Api {
            what: format!("config map {name}"),
            cause: Box::new(cause),
        })?;
    data.and_then(|mut data| data.remove(&source.key))
        .ok_or_else(|| AccessError::ConfigMapNotFound {
            namespace: namespace.into(),
            name,
            key: source.key.clone(),
        })
}

/// A user name with its password.
pub(crate) async fn password(
    cluster: &dyn Cluster,
    namespace: &str,
    source: Option<&PasswordSource>,
) -> Result<Option<Password>, AccessError> {
    let Some(source) = source else {
        return Ok(None);
    };
    let secret = Held::read(cluster, namespace, &source.secret_name).await?;
    Ok(Some(Password {
        username: secret.text(&source.keys.username)?,
        password: Secret::new(secret.text(&source.keys.password)?),
    }))
}
