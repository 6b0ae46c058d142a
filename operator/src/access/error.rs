//! Why a request cannot be given what it needs.

use protocol::Reason;

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
    #[error(
        "secret {name} in namespace {namespace} must have exactly one of {ways}; it has {found}: add or remove keys"
    )]
    NotOneWay {
        namespace: String,
        name: String,
        ways: String,
        found: String,
    },
    #[error("the storage names no kind: set file, s3, gcs or azure")]
    NoKind,
    #[error("the storage has readOnly: true: nothing is written to it or deleted from it")]
    ReadOnly,
    #[error(
        "the storage has neither maintenanceCredentials nor credentials, and what the pods are is not for the operator to be: set spec.{kind}.maintenanceCredentials, or spec.maintenancePod"
    )]
    NoMaintenanceIdentity { kind: &'static str },
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
            | Self::NotOneWay { .. }
            | Self::ConfigMapNotFound { .. } => Reason::SecretNotFound,
            Self::NoKind => Reason::InvalidRequest,
            Self::ReadOnly => Reason::StorageReadOnly,
            Self::NoMaintenanceIdentity { .. } => Reason::MaintenanceCredentialsMissing,
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
