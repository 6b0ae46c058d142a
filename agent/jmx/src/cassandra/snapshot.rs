//! Snapshots: taking, listing, clearing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Cassandra, STORAGE_SERVICE, Table, typed};
use crate::argument::Argument;
use crate::client::CallOptions;
use crate::error::Error;
use crate::stream::{UnexpectedValue, Value};

/// Shortest time to live that Cassandra takes (`cassandra.snapshot.min_allowed_ttl_seconds`).
const MIN_TTL: Duration = Duration::from_secs(60);

/// The name of a snapshot, `[A-Za-z0-9_-]+`.
///
/// Never empty: clearing the snapshot with the empty name clears every snapshot of the node. Other
/// characters make directories that Cassandra does not recognise.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

/// A text that cannot be the name of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a snapshot: use letters, digits, '_' and '-', at least one and at most 255"
)]
pub struct InvalidTag(pub String);

impl Tag {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = InvalidTag;

    fn from_str(text: &str) -> Result<Self, InvalidTag> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
        // It names a directory.
        if (1..=255).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Tag(text.to_owned()))
        } else {
            Err(InvalidTag(text.to_owned()))
        }
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a snapshot covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entities {
    /// All keyspaces, system keyspaces included.
    All,
    /// All tables of these keyspaces; none given, nothing is done.
    Keyspaces(Vec<String>),
    /// These tables; none given, nothing is done.
    Tables(Vec<Table>),
}

impl Entities {
    /// As `takeSnapshot` takes them, where an empty list means all; `None` where nothing is meant.
    fn arguments(&self) -> Option<Vec<String>> {
        let names: Vec<String> = match self {
            Entities::All => return Some(Vec::new()),
            Entities::Keyspaces(keyspaces) => keyspaces.clone(),
            Entities::Tables(tables) => tables
                .iter()
                .map(|table| format!("{}.{}", table.keyspace, table.table))
                .collect(),
        };
        (!names.is_empty()).then_some(names)
    }
}

/// How a snapshot is taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// Leave out what is only in memtables.
    pub skip_flush: bool,
    /// Cassandra clears the snapshot by itself after this time, rounded up to seconds and to one
    /// minute at least. Cassandra 4.0 does not know it and keeps the snapshot.
    pub ttl: Option<Duration>,
}

impl SnapshotOptions {
    fn arguments(&self) -> Vec<(String, String)> {
        let mut options = vec![("skipFlush".to_owned(), self.skip_flush.to_string())];
        if let Some(ttl) = self.ttl {
            let ttl = ttl.max(MIN_TTL);
            let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
            options.push(("ttl".to_owned(), format!("{seconds}s")));
        }
        options
    }
}

/// The part of a snapshot that is of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotOfTable {
    /// Name of the snapshot, which need not be a [`Tag`]: others take snapshots too.
    pub tag: String,
    /// The keyspace.
    pub keyspace: String,
    /// The table.
    pub table: String,
    /// Size of what only the snapshot still holds, for people (`12.3 KiB`).
    pub true_size: String,
    /// Size of all its files, for people.
    pub size_on_disk: String,
    /// When it was taken, in ISO 8601; Cassandra 4.1 and later.
    pub created_at: Option<String>,
    /// When Cassandra will clear it; Cassandra 4.1 and later.
    pub expires_at: Option<String>,
}

impl Cassandra {
    /// Takes a snapshot: flushes (unless told not to) and links the files of table after table.
    ///
    /// Returns when the last table is done, which can take many minutes; hence `timeout`. The call
    /// is never repeated. After an error whose outcome is unknown, and in newer versions even after
    /// success, only the disk tells which tables have the snapshot; after a failure the tables
    /// before the failing one have it.
    pub async fn snapshot(
        &self,
        tag: &Tag,
        options: &SnapshotOptions,
        entities: &Entities,
        timeout: Duration,
    ) -> Result<(), Error> {
        let Some(entities) = entities.arguments() else {
            return Ok(());
        };
        let arguments = vec![
            Argument::string(tag.as_str()),
            Argument::map(options.arguments()),
            Argument::strings(entities),
        ];
        let options = CallOptions {
            timeout: Some(timeout),
            read_only: false,
        };
        self.storage_operation("takeSnapshot", arguments, options)
            .await?;
        Ok(())
    }

    /// Clears the snapshot in all keyspaces. One that does not exist is no error.
    pub async fn clear_snapshot(&self, tag: &Tag) -> Result<(), Error> {
        let no_keyspaces: [&str; 0] = [];
        let arguments = vec![
            Argument::string(tag.as_str()),
            Argument::strings(no_keyspaces),
        ];
        // Clearing twice does what clearing once does.
        let options = CallOptions {
            timeout: None,
            read_only: true,
        };
        self.storage_operation("clearSnapshot", arguments, options)
            .await?;
        Ok(())
    }

    /// All snapshots on the node, table by table.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotOfTable>, Error> {
        let name = "SnapshotDetails";
        let value = self.attribute(STORAGE_SERVICE, name).await?;
        typed(name, value, parse_details)
    }
}

/// Whether `takeSnapshot` failed because the tag is taken. After an attempt whose outcome is
/// unknown this says that the attempt did reach Cassandra.
pub fn snapshot_exists(error: &Error) -> bool {
    matches!(error, Error::Mbean { message, .. } if message.contains("already exists"))
}

fn parse_details(value: Value) -> Result<Vec<SnapshotOfTable>, UnexpectedValue> {
    let mut details = Vec::new();
    for (tag, rows) in value.entries()? {
        for row in rows.items()? {
            let item = |name| row.field(name).map_or(Ok(""), Value::as_str);
            let optional = |name| match row.field(name) {
                Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
                _ => None,
            };
            details.push(SnapshotOfTable {
                tag: tag.as_str()?.to_owned(),
                keyspace: item("Keyspace name")?.to_owned(),
                table: item("Column family name")?.to_owned(),
                true_size: item("True size")?.to_owned(),
                size_on_disk: item("Size on disk")?.to_owned(),
                created_at: optional("Creation time"),
                expires_at: optional("Expiration time"),
            });
        }
    }
    Ok(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_never_empty_and_never_leaves_its_directory() {
        let long = "x".repeat(256);
        for bad in ["", "a/b", "..", "a b", "a.b", "é", "a\0", long.as_str()] {
            assert_eq!(bad.parse::<Tag>(), Err(InvalidTag(bad.to_owned())));
        }
        let tag: Tag = "cb-9f3_Z".parse().unwrap();
        assert_eq!(tag.as_str(), "cb-9f3_Z");
    }

    #[test]
    fn an_empty_list_of_entities_does_not_mean_all() {
        assert_eq!(Entities::All.arguments(), Some(vec![]));
        assert_eq!(Entities::Keyspaces(vec![]).arguments(), None);
        assert_eq!(Entities::Tables(vec![]).arguments(), None);
        let table = Table {
            keyspace: "shop".to_owned(),
            table: "orders".to_owned(),
        };
        assert_eq!(
            Entities::Tables(vec![table]).arguments(),
            Some(vec!["shop.orders".to_owned()])
        );
    }

    #[test]
    fn a_time_to_live_is_whole_seconds_and_not_below_the_minimum() {
        let ttl = |ttl| {
            let options = SnapshotOptions {
                skip_flush: true,
                ttl: Some(ttl),
            };
            options.arguments()
        };
        let option = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let flush = option("skipFlush", "true");
        assert_eq!(
            ttl(Duration::from_secs(1)),
            [flush.clone(), option("ttl", "60s")]
        );
        assert_eq!(
            ttl(Duration::from_millis(90_001)),
            [flush, option("ttl", "91s")]
        );
    }
}
