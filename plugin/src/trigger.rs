//! A backup of a schedule now.

use std::process::ExitCode;

use anyhow::Result;
use crds::{CassandraBackup, CronBackup};
use jiff::Timestamp;
use serde_json::{Value, json};

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
    connection
        .create::<CassandraBackup>(resource(&name, &flags.name, &cron)?)
        .await?;
    if flags.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    follow::run(connection, &format!("backup/{name}"), false).await
}

/// As the template has it, and of the schedule's series. It is no child of the CronBackup: neither its history limits
/// nor its deletion are about it.
fn resource(name: &str, series: &str, cron: &CronBackup) -> Result<Value> {
    let template = &cron.spec.template;
    let mut spec = serde_json::to_value(&template.spec)?;
    spec["series"] = json!(series);
    Ok(json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "CassandraBackup",
        "metadata": {
            "name": name,
            "labels": template.metadata.labels,
            "annotations": template.metadata.annotations,
        },
        "spec": spec,
    }))
}
