//! A backup of a schedule now.

use std::process::ExitCode;

use anyhow::Result;
use crds::{CassandraBackup, CronBackup};
use jiff::Timestamp;

use crate::arguments::TriggerFlags;
use crate::connection::{Connection, told};
use crate::follow;

pub async fn run(connection: &Connection, flags: &TriggerFlags) -> Result<ExitCode> {
    let crons = connection.api::<CronBackup>();
    let cron = crons.get(&flags.name).await;
    let cron = cron.map_err(|error| told(error, "CronBackup"))?;
    let made = Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let name = format!("{}-now-{made}", flags.name);
    println!(
        "CassandraBackup {name}: as CronBackup {} makes them",
        flags.name
    );
    connection.create(backup(&name, &flags.name, &cron)).await?;
    if flags.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    follow::run(connection, &format!("backup/{name}"), false).await
}

/// As the template has it, and of the schedule's series. It is no child of the CronBackup: neither its history limits
/// nor its deletion nor its times are about it.
fn backup(name: &str, series: &str, cron: &CronBackup) -> CassandraBackup {
    let template = &cron.spec.template;
    let mut backup = CassandraBackup::new(name, template.spec.clone());
    backup.spec.series = Some(series.to_owned());
    if cron.spec.verify_schedule.is_some() {
        // Rehearsals are of that schedule, and of the newest backup then.
        backup.spec.verify = None;
    }
    backup.metadata.labels = Some(crds::untracked(&template.metadata.labels));
    backup.metadata.annotations = Some(crds::untracked(&template.metadata.annotations));
    backup
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_as_the_schedule_makes_them_and_nobody_prunes_it() {
        let cron: CronBackup = serde_json::from_value(json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
            "metadata": {"name": "nightly"},
            "spec": {
                "schedule": "@daily", "verifySchedule": "@weekly",
                "template": {
                    "metadata": {"labels": {"team": "shop", "argocd.argoproj.io/instance": "x"}},
                    "spec": {
                        "cluster": "prod", "storage": {"name": "main"}, "concurrentNodes": 1,
                        "cassandra": {"podSelector": {"matchLabels": {"app": "db"}}},
                        "verify": {"podTemplate": "stage"},
                    },
                },
            },
        }))
        .unwrap();
        let made = backup("nightly-now", "nightly", &cron);
        assert_eq!(made.spec.series.as_deref(), Some("nightly"));
        assert_eq!(
            (made.spec.concurrent_nodes, made.spec.verify),
            (Some(1), None)
        );
        assert_eq!(json!(made.metadata.labels), json!({"team": "shop"}));
        // Without a schedule of its own, each is proven.
        let mut each = cron.clone();
        each.spec.verify_schedule = None;
        let made = backup("nightly-now", "nightly", &each);
        assert_eq!(made.spec.verify, each.spec.template.spec.verify);
        assert!(made.spec.verify.is_some());
    }
}
