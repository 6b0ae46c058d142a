//! What a node's configuration allows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use scylla::client::session::Session;
use uuid::Uuid;

use super::apply::{ApplyError, read};
use super::plan::SchemaPlan;
use super::statements::{Kind, Statement};
use crate::restore::TableName;

/// What is refused where its setting is off: how its statement begins, what is in that, its
/// setting by the names since 4.1 and in 4.0, and what it is.
const FEATURES: [(&str, &str, [&str; 2], &str); 4] = [
    (
        "CREATE TABLE",
        " MASKED WITH ",
        ["dynamic_data_masking_enabled"; 2],
        "masked columns",
    ),
    (
        "CREATE FUNCTION",
        "",
        [
            "user_defined_functions_enabled",
            "enable_user_defined_functions",
        ],
        "user-defined functions",
    ),
    (
        "CREATE CUSTOM INDEX",
        "SASIIndex",
        ["sasi_indexes_enabled", "enable_sasi_indexes"],
        "SASI indexes",
    ),
    (
        "CREATE MATERIALIZED VIEW",
        "",
        ["materialized_views_enabled", "enable_materialized_views"],
        "materialized views",
    ),
];

/// The settings of the node that is asked, as `system_views.settings` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

/// Reads them.
pub async fn settings(session: &Session) -> Result<Settings, ApplyError> {
    let table = "system_views.settings";
    let ask = "SELECT name, value FROM system_views.settings";
    let rows = read::<(String, Option<String>)>(session, table, ask).await?;
    let told = rows
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    Ok(Settings(told.collect()))
}

/// Tables of which Cassandra takes no snapshot before it truncates them (5.0 and later).
pub fn without_auto_snapshot(schema: &[Statement]) -> BTreeSet<TableName> {
    let tables = schema.iter().filter(|it| it.kind == Kind::Table);
    tables
        .filter(|it| it.text.contains("allow_auto_snapshot = false"))
        .map(|it| TableName::new(&it.keyspace, &it.name))
        .collect()
}

/// The host id of the node that answers.
pub async fn host_id(session: &Session) -> Result<Option<Uuid>, ApplyError> {
    let ask = "SELECT host_id FROM system.local";
    let rows = read::<(Option<Uuid>,)>(session, "system.local", ask).await?;
    Ok(rows.into_iter().next().and_then(|(id,)| id))
}

/// When tables of the node were last truncated, to the millisecond.
pub async fn truncations(session: &Session) -> Result<BTreeMap<TableName, Timestamp>, ApplyError> {
    let ask = "SELECT truncated_at FROM system.local";
    type Times = HashMap<Uuid, Vec<u8>>;
    let rows = read::<(Option<Times>,)>(session, "system.local", ask).await?;
    let times = rows.into_iter().next().and_then(|(times,)| times);
    let times = times.unwrap_or_default();
    let table = "system_schema.tables";
    let ask = "SELECT keyspace_name, table_name, id FROM system_schema.tables";
    let tables = read::<(String, String, Uuid)>(session, table, ask).await?;
    let found = tables.into_iter().filter_map(|(keyspace, table, id)| {
        Some((TableName { keyspace, table }, time(times.get(&id)?)?))
    });
    Ok(found.collect())
}

/// The end of a record of a truncation, behind the position in the commit log
/// (`SystemKeyspace.truncationAsMapEntry`).
fn time(record: &[u8]) -> Option<Timestamp> {
    let millis = record.last_chunk::<8>()?;
    Timestamp::from_millisecond(i64::from_be_bytes(*millis)).ok()
}

impl Settings {
    /// Whether Cassandra takes a snapshot before it truncates; `None` if the node does not say.
    pub fn auto_snapshot(&self) -> Option<bool> {
        self.0.get("auto_snapshot")?.parse().ok()
    }

    /// What the plan makes and the node refuses to make, with the settings that allow it.
    pub fn forbid(&self, plan: &SchemaPlan) -> Vec<String> {
        let made = |begin: &str, part: &str| {
            let mut all = plan.before.iter().chain(&plan.after);
            all.any(|text| text.starts_with(begin) && text.contains(part))
        };
        let off = |name: &&&str| self.0.get(**name).is_some_and(|value| value == "false");
        let features = FEATURES.iter();
        features
            .filter(|(begin, part, ..)| made(begin, part))
            .filter_map(|(_, _, names, what)| {
                let name = names.iter().find(off)?;
                Some(format!(
                    "the schema has {what}, and the node's {name} is false: make it true in cassandra.yaml"
                ))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_truncation_stands_behind_the_position_in_the_commit_log() {
        let mut record = vec![7; 12];
        assert_eq!(time(&record[..7]), None);
        record.extend(1_700_000_000_123_i64.to_be_bytes());
        let expected = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        assert_eq!(time(&record), Some(expected));
    }

    #[test]
    fn tables_that_leave_no_snapshot_are_found() {
        let schema = super::super::split(
            "CREATE TABLE a.b (k int PRIMARY KEY) WITH allow_auto_snapshot = true;\n\n\
             CREATE TABLE a.c (k int PRIMARY KEY) WITH ID = 1 AND allow_auto_snapshot = false;\n\n",
        );
        let found = without_auto_snapshot(&schema);
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [TableName::new("a", "c")]
        );
    }

    #[test]
    fn what_a_plan_makes_must_be_allowed() {
        let settings = |told: &[(&str, &str)]| {
            let told = told.iter().map(|(a, b)| ((*a).into(), (*b).into()));
            Settings(told.collect())
        };
        let plan = SchemaPlan {
            before: vec!["CREATE FUNCTION IF NOT EXISTS a.b".into()],
            after: vec!["CREATE CUSTOM INDEX IF NOT EXISTS c ON d.e (f) USING 'sai'".into()],
            ..SchemaPlan::default()
        };
        let node = settings(&[
            ("auto_snapshot", "true"),
            ("enable_user_defined_functions", "false"),
            ("sasi_indexes_enabled", "false"),
            ("materialized_views_enabled", "false"),
        ]);
        assert_eq!(node.auto_snapshot(), Some(true));
        assert_eq!(Settings::default().auto_snapshot(), None);
        let found = node.forbid(&plan);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("enable_user_defined_functions is false"));
        assert!(Settings::default().forbid(&plan).is_empty());
    }
}
