//! Some minutes of a schedule, as `/metrics` showed them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::{DB, Ground, NODES, REHEARSED, ROWS, STAGE, STORAGE};
use crate::parts::victoria::Victoria;

/// How often `/metrics` is read.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// How long the schedule is followed at least.
const LONG: Duration = Duration::from_secs(300);
/// How long all of it may take: a third of that is enough on two idle cores.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How often there is something new to be backed up, and how many rows: 20 MB on each node, ten seconds of a backup.
const GROWS: Duration = Duration::from_secs(60);
const NEW: i64 = 1000;
/// Shown as soon as there is a schedule.
const SCHEDULE: &str = "cassandra_backup_schedule_ready{";
/// What comes last of all that the dashboard shows.
const LAST: [&str; 3] = [
    "cassandra_backup_schedule_last_verified_timestamp_seconds{",
    "cassandra_backup_storage_recovery_point_timestamp_seconds{",
    "cassandra_backup_purge_deleted_backups_total{",
];

/// All that was read.
pub(super) struct History {
    /// Who keeps it.
    pub(super) victoria: Victoria,
    /// When it was read first.
    pub(super) from: Timestamp,
    /// When it was read last: a backup was at work.
    pub(super) to: Timestamp,
}

/// Applies a CronBackup that makes a backup every minute, has the newest proven, and keeps two.
pub(super) async fn schedule(ground: &Ground<'_>) -> Result<()> {
    let cron = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
        "metadata": {"name": "minutely"},
        "spec": {
            "schedule": "* * * * *",
            "verifySchedule": "* * * * *",
            "retention": {"keepLast": 2},
            "template": {"spec": {
                "cluster": DB, "storage": {"name": STORAGE},
                "cassandra": {"podSelector": {"matchLabels": {"app": DB}}},
                "bandwidthPerNode": "2Mi",
                "verify": {"podTemplate": STAGE, "tables": [format!("shop.{REHEARSED}")]},
            }},
        },
    });
    ground.namespace.apply(&cron.to_string()).await
}

/// Reads on until the schedule was followed long enough, all that the dashboard shows has come, and a backup is at
/// work.
pub(super) async fn read(ground: &Ground<'_>) -> Result<History> {
    let victoria = Victoria::start().await?;
    let (began, from) = (Instant::now(), Timestamp::now());
    let (mut scheduled, mut rows) = (None::<Instant>, ROWS);
    let mut times = tokio::time::interval(EVERY);
    // Never closer together: what was not read in that time is taken for gone.
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let to = Timestamp::now();
        let shown = ground.operator.metrics().await?;
        victoria.import(&shown, to).await?;
        let missing = missing(&shown);
        ensure!(
            began.elapsed() < PATIENCE,
            "after {} s the operator has not shown at once: {}",
            PATIENCE.as_secs(),
            missing.join(", ")
        );
        if !shown.contains(SCHEDULE) {
            continue;
        }
        let since = *scheduled.get_or_insert_with(Instant::now);
        if since.elapsed() > LONG && missing.is_empty() {
            victoria.flush().await?;
            return Ok(History { victoria, from, to });
        }
        let grown = (rows - ROWS) / NEW;
        if since.elapsed().as_secs() / GROWS.as_secs() >= u64::try_from(grown)? {
            let new = rows..rows + NEW;
            ground.orders.write(&ground.session, new).await?;
            rows += NEW;
        }
    }
}

/// What has not come yet.
fn missing(shown: &str) -> Vec<&'static str> {
    let stage = |line: &&str| line.starts_with("cassandra_backup_node_stage{");
    let stages: Vec<_> = shown.lines().filter(stage).collect();
    let uploading = |line: &&str| line.contains("stage=\"Uploading\"");
    let at_work = stages.len() == NODES && stages.iter().any(uploading);
    let last = LAST.into_iter().filter(|name| !shown.contains(*name));
    last.chain((!at_work).then_some("a backup that uploads"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(pod: usize, stage: &str) -> String {
        format!("cassandra_backup_node_stage{{pod=\"prod-{pod}\",stage=\"{stage}\"}} 1\n")
    }

    #[test]
    fn all_has_come_when_every_node_is_at_work_and_what_comes_last_is_there() {
        let mut shown = LAST
            .map(|name| format!("{name}schedule=\"m\"}} 1\n"))
            .concat();
        shown += &stage(0, "Uploading");
        shown += &stage(1, "Committing");
        assert_eq!(missing(&shown), ["a backup that uploads"]);
        assert!(missing(&(shown.clone() + &stage(2, "Planning"))).is_empty());
        let before = shown.replace("Uploading", "Planning") + &stage(2, "Planning");
        assert_eq!(missing(&before), ["a backup that uploads"]);
        assert_eq!(missing("").len(), LAST.len() + 1);
    }
}
