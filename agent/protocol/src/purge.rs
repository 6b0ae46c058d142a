//! Deleting backups: by rules, or by name.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{StorageAccess, Tally};

/// Expired backups that an outcome names; it counts the others.
pub const NAMED_BACKUPS: usize = 500;

/// Delete the backups that no rule keeps, and data that no backup needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PurgeRequest {
    /// Where the backups are.
    pub storage: StorageAccess,
    /// Cluster id in the storage.
    pub cluster: String,
    /// Judge only the backups of this series; the others stay. Without it, each series is judged
    /// alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// What stays. Without a rule, every backup does.
    #[serde(default)]
    pub policy: RetentionPolicy,
    /// How it goes about it.
    #[serde(default)]
    pub limits: PurgeLimits,
    /// Say what would go and why, and delete nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Backups that the caller takes to be there: the outcome says which of them are gone, whoever
    /// deleted them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<String>,
}

/// Delete one backup, and the data that only it needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteRequest {
    /// Where the backup is.
    pub storage: StorageAccess,
    /// Cluster id in the storage.
    pub cluster: String,
    /// Its name.
    pub backup: String,
    /// The runs that made it: a backup of that name of which another run made a part is somebody
    /// else's, and nothing is deleted. Without them, it does not matter who made it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<MadeBy>,
    /// Delete it even if it is the newest complete backup of its series and scope.
    #[serde(default)]
    pub even_newest: bool,
    /// How it goes about it.
    #[serde(default)]
    pub limits: PurgeLimits,
}

/// A run that made a node's part of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MadeBy {
    /// Its id.
    pub run_id: Uuid,
    /// It told that it had committed, and there was no other attempt of it: it writes nothing more,
    /// and what its intent names need not be kept for it.
    #[serde(default)]
    pub ended: bool,
}

/// How much is kept of each series and scope. A rule of 0 is no rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionPolicy {
    /// The last N backups.
    pub keep_last: u32,
    /// The last backup of each of the newest N hours that have one.
    pub keep_hourly: u32,
    /// The same by days.
    pub keep_daily: u32,
    /// The same by weeks, from Monday.
    pub keep_weekly: u32,
    /// The same by months.
    pub keep_monthly: u32,
    /// The same by years.
    pub keep_yearly: u32,
    /// All that are not older than the newest by more than so many seconds.
    pub keep_within_seconds: Option<u64>,
    /// At least this many complete backups, whatever the rules say; 0 counts as 1.
    pub minimum_complete: u32,
    /// Whose midnight divides days, by its name in the IANA database; UTC without it.
    pub time_zone: Option<String>,
}

/// How a purge goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PurgeLimits {
    /// Data younger than this is left alone, whether a backup needs it or not.
    pub grace_seconds: u64,
    /// Nothing is deleted later than this after the start.
    pub deadline_seconds: u64,
    /// How long other clients of a file system believe what they cached.
    pub attribute_cache_seconds: u64,
    /// Refuse a directory on the root file system: nothing is mounted there, and an empty directory
    /// would pass for a storage without backups.
    pub require_own_device: bool,
}

impl Default for PurgeLimits {
    fn default() -> Self {
        Self {
            grace_seconds: 24 * 3600,
            deadline_seconds: 6 * 3600,
            attribute_cache_seconds: 60,
            require_own_device: false,
        }
    }
}

/// What a purge or a deletion did, or with `dryRun` would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Purged {
    /// Nothing was deleted; it is what would be.
    pub dry_run: bool,
    /// Backups of which all manifests were deleted, oldest first, at most [`NAMED_BACKUPS`] of them.
    pub expired: Vec<ExpiredBackup>,
    /// How many more there are.
    pub expired_unnamed: u64,
    /// Backups that were judged and stay.
    pub kept: u64,
    /// Expired backups that stay for now, because a run relies on them or they changed meanwhile.
    pub held: u64,
    /// Manifests that were deleted, one for each node of a backup. Those of a backup that is not among the
    /// expired are deleted in part, where it ended early.
    pub manifests: u64,
    /// Data that was deleted.
    pub deleted: Tally,
    /// Data that no backup needs, too young to be deleted.
    pub young: Tally,
    /// Backups of `known` that are not in the storage.
    pub gone: Vec<String>,
    /// Whether all that was to go is gone.
    pub finished: bool,
    /// Why uploads that nobody goes on with could not be ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unswept: Option<String>,
}

/// A backup that is no more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExpiredBackup {
    /// Its name in the storage.
    pub backup: String,
    /// Why it went.
    pub reason: String,
}
