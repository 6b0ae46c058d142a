//! What is not said is as it was the last time: people back up and restore the same cluster again and again.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use crds::{CassandraBackup, CassandraBackupSpec, CronBackup};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::connection::Connection;

/// Cluster id, storage and pods, and where they are from.
#[derive(Debug, PartialEq)]
pub struct Place {
    pub cluster: String,
    pub storage: String,
    pub cassandra: Value,
    pub agent: Option<Value>,
    /// The resource that told what was not said.
    pub from: Option<String>,
}

/// What was said.
#[derive(Debug, Default)]
pub struct Said<'a> {
    pub cluster: Option<&'a str>,
    pub storage: Option<&'a str>,
    pub selector: Option<&'a str>,
}

/// A backup as an example: its name, when it was made, what it says.
pub struct Example {
    pub name: String,
    pub made: Option<jiff::Timestamp>,
    pub spec: CassandraBackupSpec,
}

/// The backups and schedules of the namespace.
pub async fn examples(connection: &Connection) -> Result<Vec<Example>> {
    let backups = connection.all::<CassandraBackup>().await?;
    let crons = connection.all::<CronBackup>().await?;
    let made = |time: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.map(|time| time.0)
    };
    let backups = backups.into_iter().filter(|one| !one.spec.imported);
    let backups = backups.map(|one| Example {
        name: format!("CassandraBackup {}", one.name_any()),
        made: made(one.creation_timestamp()),
        spec: one.spec,
    });
    let crons = crons.into_iter().map(|one| Example {
        name: format!("CronBackup {}", one.name_any()),
        made: made(one.creation_timestamp()),
        spec: one.spec.template.spec,
    });
    Ok(backups.chain(crons).collect())
}

impl Place {
    /// What was said, and for the rest the newest example that does not contradict it.
    pub fn of(said: &Said<'_>, mut examples: Vec<Example>) -> Result<Self> {
        let selector = said.selector.map(labels).transpose()?;
        if let (Some(cluster), Some(storage), Some(selector)) =
            (said.cluster, said.storage, &selector)
        {
            return Ok(Self {
                cluster: cluster.into(),
                storage: storage.into(),
                cassandra: json!({"podSelector": {"matchLabels": selector}}),
                agent: None,
                from: None,
            });
        }
        let fits = |one: &Example| {
            said.cluster.is_none_or(|it| it == one.spec.cluster)
                && said.storage.is_none_or(|it| it == one.spec.storage.name)
                && selector
                    .as_ref()
                    .is_none_or(|it| one.spec.cassandra.pod_selector == by(it))
        };
        examples.retain(fits);
        let mut clusters: Vec<_> = examples
            .iter()
            .map(|one| one.spec.cluster.clone())
            .collect();
        clusters.sort();
        clusters.dedup();
        if clusters.len() > 1 {
            bail!(
                "the namespace has backups of several clusters ({}): say which by --cluster",
                clusters.join(", ")
            );
        }
        examples.sort_by_key(|one| one.made);
        let last = examples.pop().context(
            "there is no backup to take it from: say --cluster ID, --storage NAME and --selector LABELS",
        )?;
        Ok(Self {
            cluster: last.spec.cluster,
            storage: last.spec.storage.name,
            cassandra: serde_json::to_value(last.spec.cassandra)?,
            agent: Some(serde_json::to_value(last.spec.agent)?),
            from: Some(last.name),
        })
    }

    /// The spec that it makes, to which more is added.
    pub fn spec(&self) -> Value {
        let mut spec = json!({
            "cluster": self.cluster,
            "storage": {"name": self.storage},
            "cassandra": self.cassandra,
        });
        if let Some(agent) = &self.agent {
            spec["agent"] = agent.clone();
        }
        spec
    }

    /// One line that says what it will be about.
    pub fn line(&self) -> String {
        let from = self.from.as_ref();
        let from = from.map_or(String::new(), |from| format!(", as in {from}"));
        format!("cluster {}, storage {}{from}", self.cluster, self.storage)
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
            spec: serde_json::from_value(json!({
                "cluster": cluster, "storage": {"name": "main"},
                "cassandra": {"podSelector": {"matchLabels": {"app": app}}},
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
    }

    #[test]
    fn two_clusters_are_not_guessed_between_and_nothing_is_made_up() {
        let examples = vec![example("a", 1, "prod", "db"), example("b", 2, "test", "db")];
        let error = Place::of(&Said::default(), examples)
            .unwrap_err()
            .to_string();
        assert!(error.contains("prod, test"), "{error}");
        let error = Place::of(&Said::default(), vec![]).unwrap_err().to_string();
        assert!(error.contains("--selector LABELS"), "{error}");
        let said = Said {
            cluster: Some("prod"),
            storage: Some("main"),
            selector: Some("app=db, tier==data"),
        };
        let place = Place::of(&said, vec![]).unwrap();
        let labels = &place.cassandra["podSelector"]["matchLabels"];
        assert_eq!(*labels, json!({"app": "db", "tier": "data"}));
        let said = Said {
            selector: Some("cassandra"),
            ..Said::default()
        };
        assert!(Place::of(&said, vec![]).is_err());
    }
}
