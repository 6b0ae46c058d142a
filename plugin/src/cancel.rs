//! Cancelling.

use std::process::ExitCode;

use anyhow::Result;
use crds::{CassandraBackup, CassandraRestore};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::connection::{Connection, Job, told};
use crate::look::Look;

pub async fn run(connection: &Connection, name: &str) -> Result<ExitCode> {
    let job = connection.job(name).await?;
    let look = Look::of(&job);
    if look.ended.is_some() {
        println!("{} has ended already: {}", look.title, look.phase);
        return Ok(ExitCode::FAILURE);
    }
    let (patch, params) = (
        Patch::Merge(json!({"spec": {"cancel": true}})),
        PatchParams::default(),
    );
    let cancelled = match &job {
        Job::Backup(one) => {
            let api = connection.api::<CassandraBackup>();
            api.patch(&one.name_any(), &params, &patch).await.map(drop)
        }
        Job::Restore(one) => {
            let api = connection.api::<CassandraRestore>();
            api.patch(&one.name_any(), &params, &patch).await.map(drop)
        }
    };
    cancelled.map_err(|error| told(error, &look.title))?;
    println!("{} is being cancelled", look.title);
    Ok(ExitCode::SUCCESS)
}
