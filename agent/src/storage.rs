//! From what a request says of a storage to the storage itself.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::{AzureAccess, GcsAccess, Reason, S3Access, S3Encryption, StorageAccess};
use store::{
    AzureConfig, AzureCredentials, AzureStore, Credentials, Encryption, FileStore, FileSystem,
    GcsConfig, GcsCredentials, GcsStore, GcsTouch, S3Config, S3Store, Store,
};

/// A directory that must not hold a storage.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// What is written there would be on the disk that it is to save, or in a container's layer; and
    /// what was written elsewhere is not there.
    #[error("{path} is on the same device as {other}: mount a volume of its own there")]
    Shared {
        /// The storage's directory.
        path: String,
        /// Whose device it is.
        other: String,
    },
    /// One of the others.
    #[error("cannot look at {path}: {cause}", path = .path.display())]
    Look {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
}

/// Opens the storage.
pub async fn open(access: &StorageAccess) -> Result<Arc<dyn Store>, store::Error> {
    match access {
        StorageAccess::File { path } => Ok(Arc::new(FileStore::open(PathBuf::from(path))?)),
        StorageAccess::S3(access) => Ok(Arc::new(S3Store::connect(s3_config(access)).await?)),
        StorageAccess::Gcs(access) => Ok(Arc::new(GcsStore::connect(gcs_config(access)).await?)),
        StorageAccess::Azure(access) => Ok(Arc::new(AzureStore::connect(azure_config(access))?)),
    }
}

/// Makes sure that a directory, on the file system on which it was reached, is on none of the
/// devices of `others`. Other kinds of storage are on none.
pub fn own_device<'a>(
    access: &StorageAccess,
    reached: Option<FileSystem>,
    others: impl IntoIterator<Item = &'a Path>,
) -> Result<(), DeviceError> {
    let (StorageAccess::File { path }, Some(reached)) = (access, reached) else {
        return Ok(());
    };
    for other in others {
        let metadata = std::fs::metadata(other).map_err(|cause| DeviceError::Look {
            path: other.to_owned(),
            cause,
        })?;
        if metadata.dev() == reached.device {
            return Err(DeviceError::Shared {
                path: path.clone(),
                other: other.display().to_string(),
            });
        }
    }
    Ok(())
}

/// The word for an error of the storage.
pub fn reason(error: &store::Error) -> Reason {
    use store::Error as E;
    match error {
        E::Denied { .. } => Reason::StorageDenied,
        E::NoSpace { .. } => Reason::NoSpace,
        E::Throttled { .. } | E::Unavailable { .. } => Reason::StorageUnavailable,
        E::StorageMissing { .. } => Reason::StorageNotFound,
        E::Corrupt { .. } | E::Differs { .. } => Reason::ContentMismatch,
        E::Invalid { .. } => Reason::InvalidRequest,
        E::NotFound { .. }
        | E::AlreadyExists { .. }
        | E::Source { .. }
        | E::TooLarge { .. }
        | E::Refused { .. } => Reason::Failed,
    }
}

fn s3_config(access: &S3Access) -> S3Config {
    let credentials = match &access.credentials {
        Some(keys) => Credentials::Explicit {
            access_key: keys.access_key.clone(),
            secret_key: keys.secret_key.reveal().to_owned(),
            session_token: keys
                .session_token
                .as_ref()
                .map(|token| token.reveal().to_owned()),
        },
        None => Credentials::Ambient,
    };
    let mut config = S3Config::new(&access.bucket, credentials);
    config.prefix = access.prefix.clone();
    config.region = access.region.clone();
    config.endpoint = access.endpoint.clone();
    config.path_style = access.path_style;
    config.ca_pem = access.ca_pem.clone();
    config.storage_class = access.storage_class.clone();
    config.encryption = match access.encryption.clone() {
        None => Encryption::BucketDefault,
        Some(S3Encryption::S3) => Encryption::S3,
        Some(S3Encryption::Kms { key_id }) => Encryption::Kms { key_id },
    };
    config
}

fn azure_config(access: &AzureAccess) -> AzureConfig {
    use protocol::AzureCredentials as C;
    let credentials = match &access.credentials {
        Some(C::AccountKey(key)) => AzureCredentials::AccountKey(key.reveal().to_owned()),
        Some(C::SasToken(sas)) => AzureCredentials::Sas(sas.reveal().to_owned()),
        Some(C::ServicePrincipal {
            tenant_id,
            client_id,
            client_secret,
            authority,
        }) => AzureCredentials::ServicePrincipal {
            tenant: tenant_id.clone(),
            client_id: client_id.clone(),
            client_secret: client_secret.reveal().to_owned(),
            authority: authority.clone(),
        },
        None => AzureCredentials::Ambient,
    };
    let mut config = AzureConfig::new(&access.account, &access.container, credentials);
    config.prefix = access.prefix.clone();
    config.endpoint = access.endpoint.clone();
    config.ca_pem = access.ca_pem.clone();
    config
}

fn gcs_config(access: &GcsAccess) -> GcsConfig {
    use protocol::GcsCredentials as C;
    let credentials = match &access.credentials {
        Some(C::Json(json)) => GcsCredentials::Explicit(json.reveal().to_owned()),
        Some(C::Anonymous) => GcsCredentials::Anonymous,
        None => GcsCredentials::Ambient,
    };
    let mut config = GcsConfig::new(&access.bucket, credentials);
    config.prefix = access.prefix.clone();
    config.endpoint = access.endpoint.clone();
    config.ca_pem = access.ca_pem.clone();
    config.storage_class = access.storage_class.clone();
    config.touch = match access.touch {
        protocol::GcsTouch::Rewrite => GcsTouch::Rewrite,
        protocol::GcsTouch::CustomTime => GcsTouch::CustomTime,
    };
    config
}
