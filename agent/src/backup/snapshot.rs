//! Takes the snapshot, sees on disk that it is whole, and removes it whatever happens.

use std::time::Duration;

use jiff::Timestamp;
use jmx::cassandra::{Cassandra, SnapshotOptions, Tag};
use protocol::{JmxAccess, Reason, SnapshotTimes};

use super::error::{Error, chain};
use super::node::{self, Coverage, Node};
use super::scan::{self, ScanError, SnapshotTable};
use crate::run_context::Run;

/// All our snapshots begin so; others are never touched.
pub const PREFIX: &str = "cassandra-backup-";

/// Beyond the deadline of the run, so that Cassandra never clears what is being uploaded.
const TTL_MARGIN: Duration = Duration::from_secs(3600);

/// Flushing and linking thousands of tables takes minutes.
const CALL_TIMEOUT: Duration = Duration::from_secs(3600);

/// How long a snapshot is removed again that Cassandra may still be taking.
const SETTLE_ROUNDS: u32 = 15;
const SETTLE_PAUSE: Duration = Duration::from_secs(2);

/// A snapshot on disk.
pub struct Snapshot {
    /// Its tag.
    pub tag: Tag,
    /// When it was taken.
    pub times: SnapshotTimes,
    /// What it consists of.
    pub tables: Vec<SnapshotTable>,
}

/// What is to happen to rows that are in memory only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memtables {
    /// They are flushed, and so part of the snapshot.
    Flushed,
    /// They stay where they are, and the snapshot is of what is on disk.
    Left,
}

/// The tag of an attempt.
pub fn tag(run: &Run) -> Result<Tag, Error> {
    format!("{PREFIX}{}-{}", run.id.simple(), run.attempt)
        .parse()
        .map_err(|error| Error::Request(format!("{error}")))
}

/// Takes the snapshot, at the agreed time if there is one, and looks at what is on disk.
pub async fn take(
    cassandra: &Cassandra,
    node: &Node,
    coverage: &Coverage,
    tag: &Tag,
    at: Option<Timestamp>,
    lifetime: Duration,
    memtables: Memtables,
) -> Result<Snapshot, Error> {
    if let Some(at) = at
        && at > Timestamp::now()
    {
        flush(cassandra, coverage).await?;
        let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::time::sleep(wait).await;
    }
    let options = SnapshotOptions {
        skip_flush: memtables == Memtables::Left,
        ttl: Some(lifetime + TTL_MARGIN),
    };
    let started_at = Timestamp::now();
    cassandra
        .snapshot(tag, &options, &coverage.entities, CALL_TIMEOUT)
        .await
        .map_err(Error::jmx("cannot take the snapshot"))?;
    let times = SnapshotTimes {
        started_at,
        ended_at: Timestamp::now(),
        late_ms: at.map(|at| started_at.duration_since(at).as_millis() as i64),
    };
    let tables = verify(cassandra, node, coverage, tag).await?;
    Ok(Snapshot {
        tag: tag.clone(),
        times,
        tables,
    })
}

/// Writes memtables beforehand, so that the snapshot itself is short.
async fn flush(cassandra: &Cassandra, coverage: &Coverage) -> Result<(), Error> {
    let mut keyspaces: Vec<&str> = coverage.tables.iter().map(|(k, _)| k.as_str()).collect();
    keyspaces.dedup();
    for keyspace in keyspaces {
        let tables = coverage.tables.iter().filter(|(k, _)| k == keyspace);
        let tables: Vec<&str> = tables.map(|(_, table)| table.as_str()).collect();
        cassandra
            .flush(keyspace, &tables, CALL_TIMEOUT)
            .await
            .map_err(Error::jmx("cannot flush before the snapshot"))?;
    }
    Ok(())
}

async fn verify(
    cassandra: &Cassandra,
    node: &Node,
    coverage: &Coverage,
    tag: &Tag,
) -> Result<Vec<SnapshotTable>, Error> {
    let mut expected = coverage.tables.clone();
    loop {
        let (directories, tag, tables) = (
            node.data_directories.clone(),
            tag.to_string(),
            expected.clone(),
        );
        let found =
            tokio::task::spawn_blocking(move || scan::scan(&directories, &tag, &tables)).await?;
        match found {
            // A table that was dropped after we asked which there are is not missing.
            Err(ScanError::TableMissing {
                tag,
                keyspace,
                table,
            }) => {
                let failed = Error::jmx("cannot list the tables over JMX");
                let there = cassandra.tables().await.map_err(failed)?;
                if there
                    .iter()
                    .any(|t| t.keyspace == keyspace && t.table == table)
                {
                    return Err(ScanError::TableMissing {
                        tag,
                        keyspace,
                        table,
                    }
                    .into());
                }
                expected.remove(&(keyspace, table));
            }
            found => return Ok(found?),
        }
    }
}

/// Removes the snapshot of this attempt; a warning tells where that failed. Where the call that
/// takes it is not known to have `returned`, Cassandra may still be at it, table after table: then
/// it is removed until none comes back.
pub async fn clear(run: &Run, access: &JmxAccess, tag: &Tag, returned: bool) {
    let cleared = async {
        let cassandra = node::connect(access).await?;
        cassandra
            .clear_snapshot(tag)
            .await
            .map_err(Error::jmx("clearSnapshot failed"))?;
        if !returned {
            clear_until_gone(&cassandra, tag).await?;
        }
        let _ = cassandra.close().await;
        Ok::<_, Error>(())
    };
    if let Err(error) = cleared.await {
        let text = format!("snapshot {tag} is still on the node: {}", chain(&error));
        run.warn(Reason::SnapshotNotCleared, text);
    }
}

async fn clear_until_gone(cassandra: &Cassandra, tag: &Tag) -> Result<(), Error> {
    for _ in 0..SETTLE_ROUNDS {
        tokio::time::sleep(SETTLE_PAUSE).await;
        let failed = Error::jmx("cannot list the snapshots over JMX");
        let all = cassandra.snapshots().await.map_err(failed)?;
        if !all.iter().any(|snapshot| snapshot.tag == tag.as_str()) {
            return Ok(());
        }
        cassandra
            .clear_snapshot(tag)
            .await
            .map_err(Error::jmx("clearSnapshot failed"))?;
    }
    Ok(())
}
