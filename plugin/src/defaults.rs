//! What is not said is as it was the last time: people back up and restore the same cluster again and again.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use crds::{BackupPhase, CassandraBackup, CassandraBackupSpec, CronBackup};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use serde_json::json;

use crate::connection::Connection;

/// A backup as it would be made, and where what was not said is from.
#[derive(Debug, PartialEq)]
pub struct Place {
    pub spec: CassandraBackupSpec,
    /// The resource that told what was not said.
    pub from: Option<String>,
}

/// What was said.
#[derive(Debug, Default)]
pub struct Said<'a> {
    pub cluster: Option<&'a str>,
    pub storage: Option<&'a str>,
    pub selector: Option<&'a str>,
    /// Whether tables are emptied. Then a cluster must be meant: one whose backups have all failed may be the one.
    pub empties: bool,
}

/// A backup as an example: its name, when it was made, what it says.
pub struct Example {
    pub name: String,
    pub made: Option<jiff::Timestamp>,
    /// Whether it did not work: it may be what was written wrongly. One that has not ended has not failed.
    pub failed: bool,
    pub spec: CassandraBackupSpec,
}

/// The backups and schedules of the namespace.
pub async fn examples(connection: &Connection) -> Result<Vec<Example>> {
    let backups = connection.all::<CassandraBackup>().await?;
    let crons = connection.all::<CronBackup>().await?;
    let backups = backups.into_iter().filter_map(Example::of);
    let crons = crons.into_iter().map(|one| Example {
        name: format!("CronBackup {}", one.name_any()),
        made: one.creation_timestamp().map(|time| time.0),
        failed: one.status.is_some_and(|it| {
            it.last_successful_time.is_none() && it.last_result.is_some_and(is_failure)
        }),
        spec: one.spec.template.spec,
    });
    Ok(backups.chain(crons).collect())
}

impl Example {
    fn phase(backup: &CassandraBackup) -> Option<BackupPhase> {
        backup.status.as_ref().and_then(|it| it.phase)
    }

    /// A backup as an example, unless it was found in a storage: nobody knows the pods of such a one.
    pub fn of(backup: CassandraBackup) -> Option<Self> {
        (!backup.spec.imported).then(|| Self {
            name: format!("CassandraBackup {}", backup.name_any()),
            made: backup.creation_timestamp().map(|time| time.0),
            failed: Self::phase(&backup).is_some_and(is_failure),
            spec: backup.spec,
        })
    }
}

fn is_failure(phase: BackupPhase) -> bool {
    matches!(phase, BackupPhase::Failed | BackupPhase::Cancelled)
}

impl Place {
    /// The newest example that does not contradict what was said, in the storage that was said, and that did not fail
    /// where there is another and nothing is emptied; without one, what was said.
    pub fn of(said: &Said<'_>, mut examples: Vec<Example>) -> Result<Self> {
        let selector = said.selector.map(labels).transpose()?;
        examples.retain(|one| {
            said.cluster.is_none_or(|it| it == one.spec.cluster)
                && selector
                    .as_ref()
                    .is_none_or(|it| one.spec.cassandra.pod_selector == by(it))
        });
        if !said.empties && examples.iter().any(|one| !one.failed) {
            examples.retain(|one| !one.failed);
        }
        let mut clusters: Vec<_> = examples.iter().map(|one| &one.spec.cluster).collect();
        clusters.sort();
        clusters.dedup();
        if let [_, _, ..] = clusters[..] {
            let names: Vec<_> = clusters.into_iter().cloned().collect();
            bail!(
                "the namespace has backups of several clusters ({}): say which by --cluster",
                names.join(", ")
            );
        }
        // One of the same storage knows more of it than a newer one of another.
        let same = |one: &Example| said.storage.is_none_or(|it| it == one.spec.storage.name);
        examples.sort_by_key(|one| (same(one), one.made));
        if let Some(last) = examples.pop() {
            let mut spec = last.spec;
            if let Some(storage) = said.storage {
                spec.storage.name = storage.to_owned();
            }
            return Ok(Self {
                spec,
                from: Some(last.name),
            });
        }
        match (said.cluster, said.storage, selector) {
            (Some(cluster), Some(storage), Some(selector)) => {
                let spec = json!({
                    "cluster": cluster,
                    "storage": {"name": storage},
                    "cassandra": {"podSelector": {"matchLabels": selector}},
                });
                Ok(Self {
                    spec: serde_json::from_value(spec)?,
                    from: None,
                })
            }
            _ => bail!(
                "there is no backup to take it from: say --cluster ID, --storage NAME and --selector LABELS"
            ),
        }
    }

    /// One line that says what it will be about.
    pub fn line(&self) -> String {
        let from = self.from.as_ref();
        let from = from.map_or(String::new(), |from| format!(", as in {from}"));
        let (cluster, storage) = (&self.spec.cluster, &self.spec.storage.name);
        format!("cluster {cluster}, storage {storage}{from}")
    }
}

/// `a=b,c=d`.
fn labels(text: &str) -> Result<BTreeMap<String, String>> {
    let pairs = text.split(',').map(|pair| {
        let (key, value) = pair
            .split_once('=')
            .with_context(|| format!("--selector {text}: write it as app=cassandra"))?;
        Ok((
            key.trim().to_owned(),
            value.trim_start_matches('=').trim().to_owned(),
        ))
    });
    pairs.collect()
}

fn by(labels: &BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels.clone()),
        ..LabelSelector::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(name: &str, minute: i64, cluster: &str, app: &str) -> Example {
        Example {
            name: name.into(),
            made: Some(jiff::Timestamp::from_second(minute * 60).unwrap()),
            failed: false,
            spec: serde_json::from_value(json!({
                "cluster": cluster, "storage": {"name": "main"},
                "cassandra": {
                    "podSelector": {"matchLabels": {"app": app}}, "container": "c",
                },
            }))
            .unwrap(),
        }
    }

    #[test]
    fn what_is_not_said_is_as_in_the_newest_that_fits() {
        let examples = || {
            vec![
                example("new", 2, "prod", "db"),
                example("old", 1, "prod", "other"),
            ]
        };
        let said = Said::default();
        let place = Place::of(&said, examples()).unwrap();
        assert_eq!(place.line(), "cluster prod, storage main, as in new");
        let said = Said {
            selector: Some("app=other"),
            ..Said::default()
        };
        let place = Place::of(&said, examples()).unwrap();
        assert_eq!(place.from.as_deref(), Some("old"));
        // Passwords and containers are of the pods, whatever the storage.
        let said = Said {
            cluster: Some("prod"),
            storage: Some("elsewhere"),
            selector: Some("app=db"),
            ..Said::default()
        };
        let place = Place::of(&said, examples()).unwrap();
        assert_eq!(place.line(), "cluster prod, storage elsewhere, as in new");
        assert_eq!(place.spec.cassandra.container.as_deref(), Some("c"));
    }

    #[test]
    fn a_backup_that_was_found_in_a_storage_is_an_example_for_nobody() {
        let mut spec = example("b", 1, "prod", "db").spec;
        let made = CassandraBackup::new("b", spec.clone());
        assert_eq!(Example::of(made).unwrap().name, "CassandraBackup b");
        spec.imported = true;
        assert!(Example::of(CassandraBackup::new("b", spec)).is_none());
    }

    #[test]
    fn two_clusters_are_not_guessed_between_and_nothing_is_made_up() {
        let examples = vec![example("a", 1, "prod", "db"), example("b", 2, "test", "db")];
        let error = Place::of(&Said::default(), examples)
            .unwrap_err()
            .to_string();
        assert!(error.contains("prod, test"), "{error}");
        // What was written wrongly once is in nobody's way.
        let examples = |wrong| vec![example("a", 1, "prod", "db"), wrong];
        let failed = || Example {
            failed: true,
            ..example("c", 3, "prdo", "db")
        };
        let place = Place::of(&Said::default(), examples(failed()));
        assert_eq!(place.unwrap().from.as_deref(), Some("a"));
        // But for whoever empties tables: which of them is the real one, nobody knows.
        let said = Said {
            empties: true,
            ..Said::default()
        };
        let error = Place::of(&said, examples(failed())).unwrap_err();
        assert!(error.to_string().contains("prdo, prod"), "{error}");
        let error = Place::of(&Said::default(), vec![]).unwrap_err().to_string();
        assert!(error.contains("--selector LABELS"), "{error}");
        let mut said = Said {
            cluster: Some("prod"),
            storage: Some("main"),
            selector: Some("app=db, tier==data"),
            ..Said::default()
        };
        let place = Place::of(&said, vec![]).unwrap();
        let labels = place.spec.cassandra.pod_selector.match_labels.unwrap();
        assert_eq!(json!(labels), json!({"app": "db", "tier": "data"}));
        said.selector = None;
        assert!(Place::of(&said, vec![]).is_err());
        said.selector = Some("cassandra");
        assert!(Place::of(&said, vec![]).is_err());
    }
}
