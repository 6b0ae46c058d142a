//! A restore, or a look at what it would do.

use std::process::ExitCode;

use anyhow::Result;
use crds::{CassandraRestore, RestoreMode};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};
use serde_json::json;

use crate::arguments::{Mode, RestoreFlags};
use crate::connection::{Connection, Job};
use crate::defaults::{self, Example, Place, Said};
use crate::follow;
use crate::table::{columns, draw};

pub async fn run(connection: &Connection, flags: &RestoreFlags) -> Result<ExitCode> {
    let name = flags.name.clone().unwrap_or_else(|| {
        let kind = if flags.dry_run { "plan" } else { "restore" };
        format!("{kind}-{}", Timestamp::now().strftime("%Y%m%d-%H%M%S"))
    });
    let mut examples = defaults::examples(connection).await?;
    let mut said = Said {
        cluster: flags.cluster.as_deref(),
        storage: flags.storage.as_deref(),
        selector: flags.selector.as_deref(),
        empties: flags.mode == Mode::Replace && !flags.dry_run,
    };
    let named = match &flags.backup {
        None => None,
        Some(backup) => match connection.job(&format!("backup/{backup}")).await? {
            Job::Backup(backup) => Some(backup),
            Job::Restore(_) => None,
        },
    };
    if let Some(backup) = &named {
        said.cluster = said.cluster.or(Some(&backup.spec.cluster));
        said.storage = said.storage.or(Some(&backup.spec.storage.name));
        // Before all others, however old it is.
        examples.extend(Example::of((**backup).clone()).map(|example| Example {
            made: Some(Timestamp::MAX),
            failed: false,
            ..example
        }));
    }
    let place = Place::of(&said, examples)?;
    println!("CassandraRestore {name}: {}", place.line());
    let made = connection.create(resource(&name, &place, flags)?).await?;
    if flags.no_wait {
        return Ok(ExitCode::SUCCESS);
    }
    if flags.dry_run {
        return look(connection, &name, &made).await;
    }
    follow::run(connection, &format!("restore/{name}"), false).await
}

/// Shows the plan. The resource has then said what it was there for, and goes, however this ends.
async fn look(connection: &Connection, name: &str, made: &CassandraRestore) -> Result<ExitCode> {
    let name_of_job = format!("restore/{name}");
    let looked = async {
        let code = follow::run(connection, &name_of_job, false).await?;
        if let Job::Restore(restore) = connection.job(&name_of_job).await? {
            print!("{}", plan(&restore));
        }
        Ok(code)
    };
    let code = tokio::select! {
        code = looked => code,
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::from(130)),
    };
    let this_one = DeleteParams {
        preconditions: Some(Preconditions {
            uid: made.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let gone = connection.api::<CassandraRestore>();
    gone.delete(name, &this_one).await?;
    code
}

fn resource(name: &str, place: &Place, flags: &RestoreFlags) -> Result<CassandraRestore> {
    let of = &place.spec;
    let mut spec = json!({
        "cluster": of.cluster, "storage": of.storage, "cassandra": of.cassandra, "agent": of.agent,
    });
    spec["backup"] = match (&flags.backup, flags.before) {
        (Some(backup), _) => json!({"resource": backup}),
        (None, Some(before)) => json!({"before": before}),
        (None, None) => json!({"latest": true}),
    };
    spec["mode"] = json!(match flags.mode {
        Mode::Merge => RestoreMode::Merge,
        Mode::Replace => RestoreMode::Replace,
    });
    spec["keyspaces"] = json!(flags.keyspaces);
    spec["tables"] = json!(flags.tables);
    let renames = flags
        .rename
        .iter()
        .map(|(from, to)| json!({"from": from, "to": to}));
    spec["renames"] = renames.collect();
    spec["dryRun"] = json!(flags.dry_run);
    Ok(CassandraRestore::new(name, serde_json::from_value(spec)?))
}

/// What a dry run found, a line a node.
fn plan(restore: &CassandraRestore) -> String {
    let status = restore.status.clone().unwrap_or_default();
    let Some(all) = &status.plan else {
        return String::new();
    };
    let mut table = columns(["NODE", "TABLES", "SSTABLES", "BYTES", "PEAK", "FREE"]);
    let nodes = status
        .nodes
        .iter()
        .filter_map(|node| Some((node.pod.as_str(), node.plan.as_ref()?)));
    for (node, plan) in nodes.chain([("all", all)]) {
        table.add_row([
            node.to_owned(),
            plan.tables.to_string(),
            plan.sstables.to_string(),
            plan.total.size.clone(),
            plan.peak.size.clone(),
            plan.free.size.clone(),
        ]);
    }
    let mut text = draw(table);
    let backup = status.backup_name.unwrap_or_default();
    text.push_str(&format!("of backup {backup}; nothing was changed\n"));
    if all.statements > 0 {
        text.push_str(&format!(
            "{} statements would make what the schema lacks\n",
            all.statements
        ));
    }
    if all.degraded_ranges > 0 {
        text.push_str(&format!(
            "{} token ranges have no manifest of one of their nodes: it needs allowDegraded\n",
            all.degraded_ranges
        ));
    }
    if !all.not_empty.is_empty() {
        text.push_str(&format!("tables with rows: {}\n", all.not_empty.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    #[test]
    fn flags_become_a_resource_that_the_types_take() {
        let said = "kubectl-cassandra_backup restore back --before 2026-11-26T03:00:00Z --mode replace \
                    --tables shop.orders --rename shop.items=shop.copy --dry-run";
        let arguments = Arguments::parse_from(said.split_whitespace());
        let Command::Restore(flags) = arguments.command else {
            panic!("{arguments:?}")
        };
        let said = Said {
            cluster: Some("prod"),
            storage: Some("main"),
            selector: Some("app=db"),
            empties: false,
        };
        let place = Place::of(&said, vec![]).unwrap();
        let made = resource("back", &place, &flags).unwrap();
        let spec = made.spec;
        assert_eq!(spec.mode, RestoreMode::Replace);
        assert_eq!(
            spec.backup.before.unwrap().0.to_string(),
            "2026-11-26T03:00:00Z"
        );
        assert_eq!((spec.backup.resource, spec.backup.latest), (None, None));
        assert_eq!(spec.renames[0].to, "shop.copy");
        assert!(spec.dry_run);
    }
}
