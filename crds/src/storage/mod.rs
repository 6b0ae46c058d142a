//! `BackupStorage`: a place to keep backups.

mod azure;
mod file;
mod gcs;
mod maintenance_pod;
mod s3;
mod status;

pub use azure::{AzureCredentialKeys, AzureCredentialSource, AzureStorage};
pub use file::{FilePods, FileStorage};
pub use gcs::{GcsCredentialSource, GcsStorage, GcsTouch};
pub use maintenance_pod::MaintenancePod;
pub use s3::{S3CredentialKeys, S3CredentialSource, S3Encryption, S3EncryptionType, S3Storage};
pub use status::{BackupStorageStatus, RestorablePoint, SourceKind, SourceVersion, StoredCluster};

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::rules::exactly_one;

/// Half of a backup must not end up elsewhere, and what is kept must not be lost sight of.
const PLACE_IS_FIXED: &str =
    "the place of a storage cannot be changed: make a new BackupStorage instead";

const KINDS: &[&str] = &["file", "s3", "gcs", "azure"];

/// A bucket does not become a directory.
fn same_kind() -> kube::core::Rule {
    let same: Vec<_> = KINDS
        .iter()
        .map(|kind| format!("has(self.{kind}) == has(oldSelf.{kind})"))
        .collect();
    kube::core::Rule::new(same.join(" && ")).message(PLACE_IS_FIXED)
}

/// Nobody could tell which of two is meant.
fn one_maintenance_identity() -> kube::core::Rule {
    let other: Vec<_> = KINDS[1..]
        .iter()
        .map(|kind| format!("(has(self.{kind}) && has(self.{kind}.maintenanceCredentials))"))
        .collect();
    let anonymous = "(has(self.gcs) && self.gcs.anonymous)";
    kube::core::Rule::new(format!(
        "!has(self.maintenancePod) || !({} || {anonymous})",
        other.join(" || ")
    ))
    .message("maintenancePod has an identity of its own: leave maintenanceCredentials and anonymous out, or maintenancePod")
}

/// A place to keep backups: a directory that all Cassandra pods mount, or a bucket.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "cassandrabackup.io",
    version = "v1alpha1",
    kind = "BackupStorage",
    doc = "A place to keep backups of Cassandra: a directory that all Cassandra pods mount, or a bucket.",
    namespaced,
    status = "BackupStorageStatus",
    derive = "PartialEq",
    category = "cassandra-backup",
    printcolumn(name = "Kind", type_ = "string", json_path = ".status.kind"),
    printcolumn(name = "Location", type_ = "string", json_path = ".status.location"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[x_kube(
    validation = exactly_one(KINDS, "name exactly one kind of storage: file, s3, gcs or azure"),
    validation = same_kind(),
    validation = Rule::new("!has(self.maintenancePod) || !has(self.file)")
        .message("maintenancePod is for buckets: a directory is looked after in the pods that mount it"),
    validation = one_maintenance_identity()
)]
#[serde(rename_all = "camelCase")]
pub struct BackupStorageSpec {
    /// A directory on a volume that every Cassandra pod mounts, such as NFS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileStorage>,
    /// A bucket of S3, or of a server that speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Storage>,
    /// A bucket of Google Cloud Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcs: Option<GcsStorage>,
    /// A container of Azure Blob Storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureStorage>,
    /// With which identity the operator looks after a bucket, where no Secret has credentials for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_pod: Option<MaintenancePod>,
    /// Backups are read from here and none is made into it. Probes do not write.
    #[serde(default)]
    pub read_only: bool,
    /// Make a CassandraBackup, with `imported: true`, for each backup that the storage has and no
    /// CassandraBackup of this namespace is about, and delete those again whose backup is gone.
    #[serde(default)]
    pub import_backups: bool,
    /// Seconds between two probes of a storage that works. One that does not is probed more often.
    #[serde(default = "probe_interval")]
    #[schemars(range(min = 10, max = 86_400))]
    pub probe_interval_seconds: i64,
}

impl BackupStorageSpec {
    /// Whether a directory has to be on a volume of its own.
    pub fn requires_own_device(&self) -> bool {
        self.file
            .as_ref()
            .is_some_and(|file| !file.allow_shared_device)
    }
}

fn probe_interval() -> i64 {
    600
}
