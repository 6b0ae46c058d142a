//! The backups, and what they could bring back.

use std::process::ExitCode;

use anyhow::Result;
use crds::{BackupPhase, CassandraBackup};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::arguments::ListFlags;
use crate::connection::Connection;
use crate::look::{self, Proof};
use crate::overview::ago;
use crate::table::{columns, draw};

pub async fn run(connection: &Connection, flags: &ListFlags) -> Result<ExitCode> {
    let now = Timestamp::now();
    let mut backups = connection.all::<CassandraBackup>().await?;
    backups.retain(|one| {
        flags
            .cluster
            .as_ref()
            .is_none_or(|it| *it == one.spec.cluster)
    });
    backups.sort_by_key(|one| std::cmp::Reverse(begun(one)));
    if backups.is_empty() {
        println!("no backups in namespace {}", connection.namespace);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = columns([
        "NAME",
        "CLUSTER",
        "STORAGE",
        "BACKUP",
        "PHASE",
        "NODES",
        "SIZE",
        "BEGUN",
        "PROVEN",
        "BRINGS BACK",
    ]);
    for backup in &backups {
        let status = backup.status.clone().unwrap_or_default();
        let verified = status.verification.as_ref();
        let verified = verified.and_then(|it| it.verified_time.as_ref());
        table.add_row([
            backup.name_any(),
            backup.spec.cluster.clone(),
            backup.spec.storage.name.clone(),
            status.backup_name.unwrap_or_default(),
            status.phase.map_or(String::new(), |it| format!("{it:?}")),
            status.nodes_done.unwrap_or_default(),
            status.total.map_or(String::new(), |it| it.size),
            ago(status.start_time.as_ref(), now),
            proven(look::proof(backup), verified, now),
            brings_back(backup).into(),
        ]);
    }
    print!("{}", draw(table));
    Ok(ExitCode::SUCCESS)
}

/// When it was proven, or that this did not go well or is not known.
fn proven(proof: Option<Proof>, verified: Option<&Time>, now: Timestamp) -> String {
    match proof {
        Some(Proof {
            good: Some(false),
            since,
            ..
        }) => format!("failed {}", ago(since.as_ref(), now)),
        Some(Proof { good: None, .. }) if verified.is_none() => "not known".into(),
        _ => ago(verified, now),
    }
}

fn begun(backup: &CassandraBackup) -> Option<Timestamp> {
    let begun = backup.status.as_ref().and_then(|it| it.start_time.clone());
    begun
        .or_else(|| backup.creation_timestamp())
        .map(|time| time.0)
}

/// What of the cluster a restore of it could give back.
fn brings_back(backup: &CassandraBackup) -> &'static str {
    let spec = &backup.spec;
    let all = spec.keyspaces.is_empty() && spec.tables.is_empty();
    match backup.status.as_ref().and_then(|it| it.phase) {
        Some(BackupPhase::Succeeded) if all => "everything",
        Some(BackupPhase::Succeeded) => "what it is of",
        Some(BackupPhase::PartiallyFailed) => "in part",
        Some(phase) if phase.is_final() => "nothing",
        _ => "nothing yet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_that_failed_is_told_before_an_older_one_that_went_well() {
        let time = |second| Timestamp::from_second(second).unwrap();
        let (now, older) = (time(1_000), Time(time(100)));
        let proof = |good| {
            Some(Proof {
                good,
                since: Some(Time(time(940))),
                told: String::new(),
            })
        };
        for (proof, verified, expected) in [
            (None, None, "never"),
            (proof(Some(true)), Some(&older), "15m0s ago"),
            (proof(Some(false)), Some(&older), "failed 1m0s ago"),
            (proof(None), Some(&older), "15m0s ago"),
            (proof(None), None, "not known"),
        ] {
            assert_eq!(proven(proof, verified, now), expected);
        }
    }
}
