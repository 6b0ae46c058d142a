//! Names of keyspaces and tables.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A table by its names.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TableName {
    /// Its keyspace.
    pub keyspace: String,
    /// Its name.
    pub table: String,
}

impl TableName {
    /// Of a keyspace and a name in it.
    pub fn new(keyspace: &str, table: &str) -> Self {
        Self {
            keyspace: keyspace.to_owned(),
            table: table.to_owned(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.keyspace, self.table)
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for TableName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for TableName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('.') {
            Some((keyspace, table)) if is_name(keyspace) && is_name(table) => {
                Ok(Self::new(keyspace, table))
            }
            _ => Err(format!(
                "{text:?} is no table; an example is shop.orders, with upper and lower case as in the schema and without quotes"
            )),
        }
    }
}

/// Whether Cassandra has keyspaces and tables of such a name.
pub fn is_name(text: &str) -> bool {
    let plain = |it: char| it.is_ascii_alphanumeric() || it == '_';
    (1..=222).contains(&text.len()) && text.chars().all(plain)
}

/// Whether Cassandra makes a keyspace by itself (`SchemaConstants` of 4.0 to 6.0). Others may have
/// names that begin like these.
pub fn is_cassandras_own(keyspace: &str) -> bool {
    matches!(
        keyspace,
        "system"
            | "system_auth"
            | "system_cluster_metadata"
            | "system_distributed"
            | "system_schema"
            | "system_traces"
            | "system_views"
            | "system_virtual_schema"
            | "system_accord"
            | "system_accord_debug"
    )
}
