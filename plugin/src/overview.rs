//! What there is in the namespace, and how it is.

use std::process::ExitCode;

use anyhow::Result;
use comfy_table::Table;
use crds::{BackupStorage, CassandraBackup, CassandraRestore, CronBackup};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt;

use crate::connection::{Connection, Job};
use crate::look::Look;
use crate::table::{columns, draw};

/// Prints storages, schedules, and what is at work. The exit code is 1 where a storage or a schedule is not ready.
pub async fn run(connection: &Connection) -> Result<ExitCode> {
    let now = Timestamp::now();
    let storages = connection.all::<BackupStorage>().await?;
    let crons = connection.all::<CronBackup>().await?;
    let backups = connection.all::<CassandraBackup>().await?;
    let restores = connection.all::<CassandraRestore>().await?;
    let mut bad = false;

    let mut table = columns([
        "STORAGE",
        "WHERE",
        "READY",
        "CLUSTER",
        "COMPLETE",
        "LAST RESTORABLE",
        "SEEN",
        "WHY",
    ]);
    for storage in &storages {
        let status = storage.status.clone().unwrap_or_default();
        let (ready, why) = ready(&status.conditions);
        bad |= ready == "False";
        let clusters = status.clusters.iter();
        let last = |time: &Option<crds::RestorablePoint>| {
            time.as_ref()
                .map_or("none".into(), |it| ago(Some(&it.time), now))
        };
        let mut rows: Vec<_> = clusters
            .map(|one| {
                let complete = format!("{} of {}", one.complete, one.backups);
                [one.cluster.clone(), complete, last(&one.last_restorable)]
            })
            .collect();
        if rows.is_empty() {
            rows.push(Default::default());
        }
        for [cluster, complete, last] in rows {
            let (name, place) = (storage.name_any(), status.location.clone());
            let place = place.unwrap_or_default();
            table.add_row([
                name,
                place,
                ready.into(),
                cluster,
                complete,
                last,
                ago(status.last_probe_time.as_ref(), now),
                why.clone(),
            ]);
        }
    }
    print(table, storages.is_empty(), "no BackupStorage");

    let mut table = columns([
        "SCHEDULE",
        "WHEN",
        "READY",
        "LAST RESULT",
        "LAST SUCCESS",
        "PROVEN",
        "NEXT",
        "WHY",
    ]);
    for cron in &crons {
        let status = cron.status.clone().unwrap_or_default();
        let (ready, why) = ready(&status.conditions);
        bad |= ready == "False";
        table.add_row([
            cron.name_any(),
            cron.spec.schedule.clone(),
            if cron.spec.suspend {
                "suspended"
            } else {
                ready
            }
            .into(),
            status
                .last_result
                .map_or(String::new(), |it| format!("{it:?}")),
            ago(status.last_successful_time.as_ref(), now),
            ago(status.last_verified_time.as_ref(), now),
            ahead(status.next_schedule_time.as_ref(), now),
            why,
        ]);
    }
    print(table, crons.is_empty(), "no CronBackup");

    let jobs = backups.into_iter().map(|one| Job::Backup(Box::new(one)));
    let jobs = jobs.chain(restores.into_iter().map(|one| Job::Restore(Box::new(one))));
    let looks: Vec<_> = jobs.map(|job| Look::of(&job)).collect();
    let at_work = looks.iter().filter(|look| look.ended.is_none());
    let mut table = columns(["AT WORK", "PHASE", "NODES", "WHY"]);
    let mut none = true;
    for look in at_work {
        none = false;
        let nodes = look.nodes.len().to_string();
        table.add_row([
            look.title.clone(),
            look.phase.clone(),
            nodes,
            look.why.clone(),
        ]);
    }
    print(table, none, "nothing is at work");
    Ok(if bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn print(table: Table, empty: bool, instead: &str) {
    if empty {
        println!("{instead}\n");
    } else {
        println!("{}", draw(table));
    }
}

/// The condition Ready, and why it is not True.
fn ready(conditions: &[Condition]) -> (&'static str, String) {
    let found = conditions.iter().find(|one| one.type_ == "Ready");
    match found {
        Some(one) if one.status == "True" => ("True", String::new()),
        Some(one) if one.status == "False" => ("False", format!("{}: {}", one.reason, one.message)),
        _ => ("Unknown", "the operator has not looked at it yet".into()),
    }
}

/// How long ago, with its two largest units.
pub fn ago(time: Option<&Time>, now: Timestamp) -> String {
    time.map_or("never".into(), |time| {
        format!("{} ago", span(now.as_second() - time.0.as_second()))
    })
}

fn ahead(time: Option<&Time>, now: Timestamp) -> String {
    time.map_or(String::new(), |time| {
        match time.0.as_second() - now.as_second() {
            left if left <= 0 => "now".into(),
            left => format!("in {}", span(left)),
        }
    })
}

fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match (
        seconds / 86_400,
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    ) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, ..) => format!("{d}d{h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_their_two_largest_units() {
        for (seconds, expected) in [
            (-5, "0s"),
            (59, "59s"),
            (61, "1m1s"),
            (7_260, "2h1m"),
            (90_000, "1d1h"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }
}
