//! The custom resources of `cassandrabackup.io/v1alpha1`: types, validation rules, printer columns.
//!
//! The custom resource definitions are generated from these types by `cargo generate`; a test
//! compares them with what is committed. There is nothing here that talks to a cluster.

// Each `printcolumn(...)` has the same keys, which is not what the lint means.
#![allow(clippy::duplicated_attributes)]

mod backup;
mod cron;
mod names;
mod quantity;
mod restore;
mod retention;
mod rules;
mod status;
mod storage;
mod tls;
mod tracking;
mod verify;
mod yaml;

pub use backup::{
    AgentMode, AgentSource, CassandraAccess, CassandraBackup, CassandraBackupSpec, CqlSettings,
    DeletionPolicy, JmxSettings, PasswordKeys, PasswordSource, Retry, StorageRef,
};
pub use cron::{
    BackupTemplate, ConcurrencyPolicy, CronBackup, CronBackupSpec, CronBackupStatus, CronRetry,
    TemplateMetadata,
};
pub use names::{ALLOWED_NAME, MAX_NAME_LENGTH};
pub use quantity::{InvalidQuantity, parse_quantity};
pub use restore::{
    BackupChoice, CassandraRestore, CassandraRestoreSpec, CassandraRestoreStatus, RestoreMode,
    RestoreNodePhase, RestoreNodeStatus, RestorePhase, RestorePlanStatus, RestoreStep, Size,
    TableRename,
};
pub use retention::{PurgeResult, Retention, RetentionStatus};
pub use status::{
    Amount, BackupPhase, CassandraBackupStatus, CoverageStatus, KeyspaceUncovered,
    MemberWithoutPod, NodePhase, NodeStatus, NodeWarning, RingStatus, SnapshotStatus,
};
pub use storage::{
    AzureCredentialKeys, AzureCredentialSource, AzureStorage, BackupStorage, BackupStorageSpec,
    BackupStorageStatus, FilePods, FileStorage, GcsCredentialSource, GcsStorage, GcsTouch,
    MaintenancePod, RestorablePoint, S3CredentialKeys, S3CredentialSource, S3Encryption,
    S3EncryptionType, S3Storage, SourceKind, SourceVersion, StoredCluster,
};
pub use tls::{CaCertificateSource, ClientCertificateSource, JmxTlsSettings};
pub use tracking::untracked;
pub use verify::{Rehearsal, RehearsedStatus, VerificationLevel, VerificationStatus};
pub use yaml::{CustomResource, custom_resources};

/// The API group of all our kinds.
pub const GROUP: &str = "cassandrabackup.io";
/// The API version of all our kinds.
pub const VERSION: &str = "v1alpha1";
