//! `CronBackup`: backups of one cluster, again and again.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::backup::CassandraBackupSpec;
use crate::retention::{Retention, RetentionStatus};
use crate::rules::{changeable, schedule};
use crate::status::BackupPhase;

/// Makes a CassandraBackup at each time of a schedule.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "cassandrabackup.io",
    version = "v1alpha1",
    kind = "CronBackup",
    doc = "Makes a CassandraBackup at each time of a schedule.",
    namespaced,
    status = "CronBackupStatus",
    derive = "PartialEq",
    category = "cassandra-backup",
    shortname = "cronb",
    validation = Rule::new("self.metadata.name.size() <= 52")
        .message("the name of a CronBackup must not be longer than 52 characters: its backups' names are made of it"),
    printcolumn(name = "Schedule", type_ = "string", json_path = ".spec.schedule"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.timeZone"),
    printcolumn(name = "Suspend", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = ".status.active[0]",
        description = "A backup that is at work"
    ),
    printcolumn(
        name = "Result",
        type_ = "string",
        json_path = ".status.lastResult",
        description = "How the last backup that ended did"
    ),
    printcolumn(
        name = "Last Success",
        type_ = "date",
        json_path = ".status.lastSuccessfulTime"
    ),
    printcolumn(
        name = "Next",
        type_ = "string",
        json_path = ".status.nextScheduleTime"
    ),
    printcolumn(name = "Missed", type_ = "integer", json_path = ".status.missed"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        priority = "1"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = "1"
    )
)]
#[x_kube(validation = Rule::new("!has(self.verifySchedule) || has(self.template.spec.verify)")
    .message("verifySchedule says when backups are proven: set template.spec.verify, which says how"))]
#[serde(rename_all = "camelCase")]
pub struct CronBackupSpec {
    /// When backups are made: minute, hour, day of month, month and day of week, as in cron, such
    /// as `30 2 * * *`; or `@hourly`, `@daily`, `@weekly`, `@monthly` or `@yearly`.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = schedule("schedule"))]
    pub schedule: String,
    /// Time zone of the schedule, by its name in the IANA database, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$') && self != 'Local'")
        .message("timeZone must be the name of a time zone of the IANA database, such as Europe/Berlin or Etc/UTC"))]
    pub time_zone: String,
    /// Make no backups for now. Times that pass meanwhile are not made up for, and are not counted
    /// as missed. A backup that is at work goes on.
    #[serde(default)]
    pub suspend: bool,
    /// Make a backup as soon as this resource is made, besides those of the schedule. It has no
    /// effect when it is set later.
    #[serde(default)]
    pub immediate: bool,
    /// What happens when it is time for a backup and an earlier one is still at work.
    #[serde(default)]
    pub concurrency_policy: ConcurrencyPolicy,
    /// How late a backup may begin; later than that, it is counted as missed. Without it, it may
    /// begin until the next one is due. Never more than the latest is made up for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10))]
    pub starting_deadline_seconds: Option<i64>,
    /// Backups begin up to so much later than the schedule says: how much is a function of
    /// namespace and name, always the same for this resource.
    #[serde(default)]
    #[schemars(range(min = 0, max = 86400))]
    pub jitter_seconds: i64,
    /// When the newest of its backups is proven as `template.spec.verify` says, in the same form and
    /// time zone as `schedule`. Without it, each is proven when it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = schedule("verifySchedule"))]
    pub verify_schedule: Option<String>,
    /// What happens when a backup fails.
    #[serde(default)]
    pub retry: CronRetry,
    /// How many backups that succeeded stay as resources; their data stays in any case. Those of
    /// the last time of the schedule stay until the next one.
    #[serde(default = "three")]
    #[schemars(range(min = 0, max = 1000))]
    pub successful_backups_history_limit: i32,
    /// How many backups that failed, partially or in all, or were cancelled stay as resources.
    /// Those of the last time of the schedule stay until the next one.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub failed_backups_history_limit: i32,
    /// Which of its backups stay in the storage. Without it, all of them do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// What each CassandraBackup is made of. A change holds for those that are made after it.
    pub template: BackupTemplate,
}

fn utc() -> String {
    "Etc/UTC".into()
}

fn three() -> i32 {
    3
}

fn one() -> i32 {
    1
}

/// What happens when it is time for a backup and an earlier one is still at work.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConcurrencyPolicy {
    /// Both are made.
    Allow,
    /// The new one waits until the earlier one has ended, at most for the starting deadline and
    /// until the next one is due; then it is counted as missed.
    #[default]
    Forbid,
    /// The earlier one is cancelled, and the new one begins once it has ended.
    Replace,
}

/// What happens when a backup fails.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CronRetry {
    /// How many more backups are made when the first of a time of the schedule failed, partially
    /// or in all. None is made once the next time is due.
    #[schemars(range(min = 0, max = 10))]
    pub limit: i32,
    /// Seconds from the failure to the first retry; they double with each further one.
    #[schemars(range(min = 1, max = 86400))]
    pub backoff_seconds: i64,
}

impl Default for CronRetry {
    fn default() -> Self {
        Self {
            limit: 0,
            backoff_seconds: 300,
        }
    }
}

/// What each CassandraBackup is made of.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.spec.backupName)")
        .message("template.spec must not set backupName: each backup needs a name of its own"),
    validation = Rule::new("!has(self.spec.series)")
        .message("template.spec must not set series: it is the name of the CronBackup"),
    validation = Rule::new("!self.spec.cancel")
        .message("template.spec must not set cancel: use suspend to make no backups"),
    validation = Rule::new("!self.spec.imported")
        .message("template.spec must not set imported: a CronBackup makes backups"),
    validation = Rule::new("self.spec.deletionPolicy != 'Delete'")
        .message("template.spec must not set deletionPolicy Delete: children of a CronBackup never delete data; use retention")
)]
#[serde(rename_all = "camelCase")]
pub struct BackupTemplate {
    /// Labels and annotations of the CassandraBackups.
    #[serde(default)]
    pub metadata: TemplateMetadata,
    /// What and how to back up.
    #[schemars(schema_with = "template_spec")]
    pub spec: CassandraBackupSpec,
}

/// The schema of a CassandraBackup's spec, without the rule that it cannot be changed.
fn template_spec(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = generator.subschema_for::<CassandraBackupSpec>();
    changeable(&mut schema);
    schema
}

/// Labels and annotations of the CassandraBackups.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TemplateMetadata {
    /// Labels, except those by which GitOps tools track what they own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations, except those by which GitOps tools track what they own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What came of the schedule so far.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CronBackupStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The schedule and time zone that are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_schedule: Option<String>,
    /// The time of the schedule of which the last backup was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<Time>,
    /// Retries of that backup so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<i32>,
    /// When the next backup begins, jitter included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<Time>,
    /// A time of the schedule whose backup waits for another one to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_schedule_time: Option<Time>,
    /// Times of the schedule up to here are dealt with: a backup was made, or was missed, or was
    /// not to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_until: Option<Time>,
    /// When the last backup that succeeded ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,
    /// When the last backup that ended did so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_completion_time: Option<Time>,
    /// How that one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_result: Option<BackupPhase>,
    /// The time of `verifySchedule` of which the last rehearsal was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verify_schedule_time: Option<Time>,
    /// The `verifySchedule` and time zone that are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective_verify_schedule: Option<String>,
    /// When the last rehearsal of one of its backups ended that went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verified_time: Option<Time>,
    /// How many times of the schedule passed without a backup that should have been made.
    #[serde(default)]
    pub missed: i64,
    /// Names of the CassandraBackups that are at work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub active: Vec<String>,
    /// What came of retention so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionStatus>,
    /// `Ready` says whether the schedule is followed, and if not, why. `Stalled` is as kstatus
    /// wants it. `RetentionReady` says whether the last purge went through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}
