//! Rows whose content follows from their key: written by one, recognised by another who knows
//! nothing but the key.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::{Context, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use scylla::client::session::Session;
use scylla::statement::Consistency;

use super::cql::quoted;

/// Requests under way at the same time.
const CONCURRENCY: usize = 32;

/// A table `(key bigint PRIMARY KEY, value blob)` with rows that follow from `seed` and key.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Keyspace.
    pub keyspace: String,
    /// Table.
    pub table: String,
    /// Other seeds give other values for the same keys.
    pub seed: u64,
    /// Bytes of each value.
    pub bytes: usize,
    /// Whether the table is compressed. Without compression, bytes written are bytes on disk.
    pub compressed: bool,
}

impl Rows {
    /// A table of values of 256 bytes, uncompressed.
    pub fn new(keyspace: &str, table: &str) -> Self {
        Self {
            keyspace: keyspace.into(),
            table: table.into(),
            seed: 1,
            bytes: 256,
            compressed: false,
        }
    }

    /// The same with values of `bytes` bytes.
    pub fn with_bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }

    /// The same with other values.
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Makes keyspace and table where they are missing, each row on `replicas` nodes of
    /// `datacenter`.
    pub async fn create(&self, session: &Session, datacenter: &str, replicas: usize) -> Result<()> {
        let keyspace = quoted(&self.keyspace);
        let table = self.name();
        let compression = if self.compressed {
            ""
        } else {
            " WITH compression = {'enabled': false}"
        };
        for statement in [
            format!(
                "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
                 {{'class': 'NetworkTopologyStrategy', '{datacenter}': {replicas}}}"
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (key bigint PRIMARY KEY, value blob){compression}"
            ),
        ] {
            session
                .query_unpaged(statement.clone(), ())
                .await
                .context(statement)?;
        }
        Ok(())
    }

    /// Writes the rows with these keys; all of them are acknowledged by all replicas when this
    /// returns.
    pub async fn write(&self, session: &Session, keys: Range<i64>) -> Result<()> {
        let statement = format!("INSERT INTO {} (key, value) VALUES (?, ?)", self.name());
        let mut insert = session.prepare(statement).await?;
        insert.set_consistency(Consistency::All);
        insert.set_is_idempotent(true);
        let insert = &insert;
        stream::iter(keys)
            .map(|key| async move {
                let written = session
                    .execute_unpaged(insert, (key, self.value(key)))
                    .await;
                written.with_context(|| format!("could not write row {key} of {}", self.name()))
            })
            .buffer_unordered(CONCURRENCY)
            .try_for_each(|_| async { Ok(()) })
            .await
    }

    /// Deletes the rows with these keys.
    pub async fn delete(&self, session: &Session, keys: Range<i64>) -> Result<()> {
        let statement = format!("DELETE FROM {} WHERE key = ?", self.name());
        let mut delete = session.prepare(statement).await?;
        delete.set_consistency(Consistency::All);
        for key in keys {
            session.execute_unpaged(&delete, (key,)).await?;
        }
        Ok(())
    }

    /// Reads the whole table from all replicas. An error unless it holds exactly these keys, each
    /// with its value.
    pub async fn check(&self, session: &Session, keys: Range<i64>) -> Result<()> {
        let statement = format!("SELECT key, value FROM {}", self.name());
        let mut select = session.prepare(statement).await?;
        select.set_consistency(Consistency::All);
        // Pages of a few megabytes.
        select.set_page_size((4 << 20) / i32::try_from(self.bytes.max(1024))?);
        let mut rows = session
            .execute_iter(select, ())
            .await
            .with_context(|| format!("could not read {}", self.name()))?
            .rows_stream::<(i64, Vec<u8>)>()?;
        let mut missing: BTreeSet<i64> = keys.collect();
        let (mut strange, mut wrong) = (Vec::new(), Vec::new());
        while let Some((key, value)) = rows.try_next().await? {
            if !missing.remove(&key) {
                strange.push(key);
            } else if value != self.value(key) {
                wrong.push(key);
            }
        }
        if missing.is_empty() && strange.is_empty() && wrong.is_empty() {
            return Ok(());
        }
        bail!(
            "{}: {} rows missing {:?}, {} with another value {:?}, {} that were never written {:?}",
            self.name(),
            missing.len(),
            missing.iter().take(5).collect::<Vec<_>>(),
            wrong.len(),
            wrong.iter().take(5).collect::<Vec<_>>(),
            strange.len(),
            strange.iter().take(5).collect::<Vec<_>>(),
        )
    }

    fn name(&self) -> String {
        format!("{}.{}", quoted(&self.keyspace), quoted(&self.table))
    }

    fn value(&self, key: i64) -> Vec<u8> {
        let mut value = vec![0; self.bytes];
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&self.seed.to_le_bytes())
            .update(&key.to_le_bytes());
        hasher.finalize_xof().fill(&mut value);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_from_seed_and_key() {
        let rows = Rows::new("k", "t").with_bytes(100);
        assert_eq!(rows.value(7), rows.clone().value(7));
        assert_eq!(rows.value(7).len(), 100);
        assert_ne!(rows.value(7), rows.value(8));
        assert_ne!(rows.value(7), rows.clone().with_seed(2).value(7));
    }
}
