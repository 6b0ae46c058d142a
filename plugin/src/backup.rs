//! A backup now.

use std::process::ExitCode;

use anyhow::Result;
use crds::CassandraBackup;
use serde_json::{Value, json};

use crate::arguments::BackupFlags;
use crate::connection::Connection;
use crate::defaults::{self, Place, Said};
use crate::follow;

pub async fn run(connection: &Connection, flags: &BackupFlags) -> Result<ExitCode> {
    let said = Said {
        cluster: flags.cluster.as_deref(),
        storage: flags.storage.as_deref(),
        selector: flags.selector.as_deref(),
    };
    let place = Place::of(&said, defaults::examples(connection).await?)?;
    println!("CassandraBackup {}: {}", flags.name, place.line());
    connection
        .create::<CassandraBackup>(resource(&place, flags))
        .await?;
    if flags.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    follow::run(connection, &format!("backup/{}", flags.name), false).await
}

fn resource(place: &Place, flags: &BackupFlags) -> Value {
    let mut spec = place.spec();
    spec["keyspaces"] = json!(flags.keyspaces);
    spec["tables"] = json!(flags.tables);
    if let Some(bandwidth) = &flags.bandwidth {
        spec["bandwidthPerNode"] = json!(bandwidth);
    }
    json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "CassandraBackup",
        "metadata": {"name": flags.name},
        "spec": spec,
    })
}
