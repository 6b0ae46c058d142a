//! Which backups of a CronBackup stay in the storage.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which backups of a CronBackup stay in the storage. A backup stays if any rule keeps it; only
/// complete backups count. The rules are those of `restic forget`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("has(self.keepWithin) || [self.keepLast, self.keepHourly, self.keepDaily, self.keepWeekly, self.keepMonthly, self.keepYearly].exists(n, n > 0)")
        .message("retention needs at least one rule that keeps something: keepLast, keepHourly, keepDaily, keepWeekly, keepMonthly, keepYearly or keepWithin; leave retention out to keep everything")
)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// The last N backups.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub keep_last: i32,
    /// The last backup of each of the newest N hours that have one.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub keep_hourly: i32,
    /// The last backup of each of the newest N days that have one, by the schedule's time zone.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub keep_daily: i32,
    /// The same by weeks, from Monday.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub keep_weekly: i32,
    /// The same by months.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub keep_monthly: i32,
    /// The same by years.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub keep_yearly: i32,
    /// All that are not older than the newest by more than this: hours, days or weeks, such as
    /// `36h`, `30d` or `8w`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^[1-9][0-9]{0,6}[hdw]$')")
        .message("keepWithin must be a number of hours, days or weeks, such as 36h, 30d or 8w"))]
    pub keep_within: Option<String>,
    /// At least this many complete backups stay, whatever the rules say.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub minimum_complete: i32,
    /// Data that no backup needs stays for so many hours after it was last uploaded or renewed.
    #[serde(default = "a_day")]
    #[schemars(range(min = 0, max = 8760))]
    pub grace_hours: i32,
}

fn one() -> i32 {
    1
}

fn a_day() -> i32 {
    24
}

impl Retention {
    /// The time that `keepWithin` says; `None` if it says none, or none that the schema allows.
    pub fn within(&self) -> Option<Duration> {
        let text = self.keep_within.as_deref()?;
        let unit = text.chars().last()?;
        let hours = match unit {
            'h' => 1,
            'd' => 24,
            'w' => 7 * 24,
            _ => return None,
        };
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs(count.checked_mul(hours * 3600)?))
    }
}

/// What came of retention so far.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RetentionStatus {
    /// When the last purge began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_time: Option<Time>,
    /// When the last purge that went through began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_successful_time: Option<Time>,
    /// What came of the last purge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_result: Option<PurgeResult>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Names what was deleted, or the thing, the cause and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How many backups the last purge that told so deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_backups: Option<i64>,
    /// Bytes of data that it deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed_bytes: Option<i64>,
    /// The bytes for people, such as `1.2 GiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freed: Option<String>,
    /// How many backups of this CronBackup it kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_backups: Option<i64>,
    /// How many purges in a row did not go through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<i32>,
    /// When the next purge begins at the latest; earlier if a backup succeeds before. It waits for
    /// backups of this CronBackup to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_time: Option<Time>,
}

/// What came of a purge.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeResult {
    /// All that was to go is gone.
    Succeeded,
    /// It stopped; the reason says why.
    Failed,
    /// It was not begun; the reason says why.
    NotRun,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_is_hours_days_or_weeks() {
        let hours = |text: &str| {
            let retention = Retention {
                keep_within: Some(text.into()),
                ..Retention::default()
            };
            retention.within().map(|within| within.as_secs() / 3600)
        };
        assert_eq!(hours("36h"), Some(36));
        assert_eq!(hours("30d"), Some(720));
        assert_eq!(hours("8w"), Some(1344));
        assert_eq!([hours("30"), hours("d"), hours("2y"), hours("")], [None; 4]);
    }
}
