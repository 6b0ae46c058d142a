//! A backup now.

use std::process::ExitCode;

use anyhow::Result;
use crds::{CassandraBackup, CassandraBackupSpec, DeletionPolicy};

use crate::arguments::BackupFlags;
use crate::connection::Connection;
use crate::defaults::{self, Place, Said};
use crate::follow;

pub async fn run(connection: &Connection, flags: &BackupFlags) -> Result<ExitCode> {
    let said = Said {
        cluster: flags.cluster.as_deref(),
        storage: flags.storage.as_deref(),
        selector: flags.selector.as_deref(),
        empties: false,
    };
    let place = Place::of(&said, defaults::examples(connection).await?)?;
    println!("CassandraBackup {}: {}", flags.name, place.line());
    let backup = CassandraBackup::new(&flags.name, spec(place.spec, flags));
    connection.create(backup).await?;
    if flags.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    follow::run(connection, &format!("backup/{}", flags.name), false).await
}

/// As the last one, with its limits and datacenters; what it was of, and what became of it, was its own.
fn spec(last: CassandraBackupSpec, flags: &BackupFlags) -> CassandraBackupSpec {
    CassandraBackupSpec {
        keyspaces: flags.keyspaces.clone(),
        tables: flags.tables.clone(),
        bandwidth_per_node: flags.bandwidth.clone().or(last.bandwidth_per_node.clone()),
        backup_name: None,
        series: None,
        verify: None,
        cancel: false,
        imported: false,
        deletion_policy: DeletionPolicy::Retain,
        ..last
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::arguments::{Arguments, Command};

    #[test]
    fn limits_are_kept_and_what_was_only_the_last_ones_is_not() {
        let last: CassandraBackupSpec = serde_json::from_value(json!({
            "cluster": "prod", "storage": {"name": "main"},
            "cassandra": {"podSelector": {"matchLabels": {"app": "db"}}},
            "bandwidthPerNode": "50M", "concurrentNodes": 2, "datacenters": ["dc1"],
            "tables": ["shop.orders"], "series": "nightly", "backupName": "b", "cancel": true,
            "deletionPolicy": "Delete", "verify": {"podTemplate": "stage"},
        }))
        .unwrap();
        let flags = |more: &str| {
            let words = format!("kubectl-cassandra_backup backup b1 {more}");
            match Arguments::parse_from(words.split_whitespace()).command {
                Command::Backup(flags) => flags,
                other => panic!("{other:?}"),
            }
        };
        let made = spec(last.clone(), &flags(""));
        assert_eq!(made.bandwidth_per_node.as_deref(), Some("50M"));
        assert_eq!(
            (made.concurrent_nodes, &made.datacenters[..]),
            (Some(2), &["dc1".to_owned()][..])
        );
        assert!(made.tables.is_empty() && made.series.is_none() && made.backup_name.is_none());
        assert!(!made.cancel && made.verify.is_none());
        assert_eq!(made.deletion_policy, DeletionPolicy::Retain);
        let made = spec(last, &flags("--bandwidth 1M --keyspaces shop"));
        assert_eq!(made.bandwidth_per_node.as_deref(), Some("1M"));
        assert_eq!(made.keyspaces, ["shop"]);
    }
}
