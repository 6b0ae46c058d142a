//! Bringing SSTables into a node that is up, and looking for what they had.

use std::path::Path;
use std::time::Duration;

use super::{Cassandra, Table, bean, typed};
use crate::argument::Argument;
use crate::client::CallOptions;
use crate::error::Error;
use crate::name::ObjectName;
use crate::stream::{JavaObject, Value};

/// Attribute of a table's MBean, in 4.0 and later.
const KEEP_TOMBSTONES: &str = "NeverPurgeTombstones";

/// What `forceKeyspaceCleanup` returns where all went well.
const SUCCESSFUL: i64 = 0;

/// How an import is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Files are copied, else moved, which Cassandra can do within a file system only.
    pub copy: bool,
    /// Every row is read first, and an SSTable with one that cannot be read is not imported.
    pub read_all: bool,
}

impl Cassandra {
    /// Imports the SSTables in some directories into a table (`nodetool import`), whose names the last
    /// two parts of each path have to be: `…/<keyspace>/<table>-<id>`. Level and repair state are
    /// cleared, tokens are not looked at, and content only where that is asked for: an SSTable may have
    /// rows that the node does not replicate, and was compared with its hash before. Secondary indexes
    /// are built.
    ///
    /// Returns the directories that could not be imported, whose files are as they were; Cassandra's
    /// log says why. What was imported stays imported.
    pub async fn import(
        &self,
        table: &Table,
        directories: &[&Path],
        how: ImportOptions,
        timeout: Duration,
    ) -> Result<Vec<String>, Error> {
        let mbean = table_bean(table)?;
        let ImportOptions { copy, read_all } = how;
        // resetLevel, clearRepaired, verifySSTables, verifyTokens, invalidateCaches, extendedVerify
        let flags = [true, true, read_all, false, true, read_all, copy];
        let arguments = |more: &[bool]| {
            let paths = directories.iter().map(|it| it.to_string_lossy());
            let mut all = vec![Argument::set(paths)];
            all.extend(flags.iter().chain(more).map(|it| Argument::boolean(*it)));
            all
        };
        let options = CallOptions {
            timeout: Some(timeout),
            read_only: false,
        };
        let name = "importNewSSTables";
        let call = |more: &[bool]| {
            let arguments = arguments(more);
            async {
                self.client
                    .invoke_with(&mbean, name, arguments, options)
                    .await
            }
        };
        // 5.0 has failOnMissingIndex and validateIndexChecksum besides; what 4.0 and 4.1 have is
        // deprecated there.
        let failed = match call(&[false, true]).await {
            Err(error) if error.is_missing_member() => call(&[]).await?,
            result => result?,
        };
        match failed {
            Value::Null => Ok(Vec::new()),
            failed => typed(name, failed, Value::into_strings),
        }
    }

    /// Removes the rows that the node does not replicate from tables (`nodetool cleanup`). Returns when
    /// it is done, which can take hours; whether all of it was.
    pub async fn cleanup(
        &self,
        keyspace: &str,
        tables: &[&str],
        timeout: Duration,
    ) -> Result<bool, Error> {
        let arguments = vec![
            // As many at a time as Cassandra has compactors for.
            Argument::int(0),
            Argument::string(keyspace),
            Argument::strings(tables.iter().copied()),
        ];
        // What is clean stays clean.
        let options = CallOptions {
            timeout: Some(timeout),
            read_only: true,
        };
        let name = "forceKeyspaceCleanup";
        let status = self.storage_operation(name, arguments, options).await?;
        typed(name, status, |value| value.as_i64()).map(|status| status == SUCCESSFUL)
    }

    /// Whether compactions and cleanups keep tombstones of a table, however old.
    pub async fn keeps_tombstones(&self, table: &Table) -> Result<bool, Error> {
        let mbean = table_bean(table)?;
        let value = self.client.get_attribute(&mbean, KEEP_TOMBSTONES).await?;
        typed(KEEP_TOMBSTONES, value, |value| value.as_bool())
    }

    /// Sets that, until Cassandra is started again.
    pub async fn keep_tombstones(&self, table: &Table, keep: bool) -> Result<(), Error> {
        let mbean = table_bean(table)?;
        let value = JavaObject::Boolean(keep);
        self.client
            .set_attribute(&mbean, KEEP_TOMBSTONES, value)
            .await
    }

    /// Keeps Cassandra from compacting tables by itself, until it is started again.
    pub async fn disable_auto_compaction(
        &self,
        keyspace: &str,
        tables: &[&str],
    ) -> Result<(), Error> {
        let arguments = vec![
            Argument::string(keyspace),
            Argument::strings(tables.iter().copied()),
        ];
        let options = CallOptions {
            timeout: None,
            read_only: true,
        };
        self.storage_operation("disableAutoCompaction", arguments, options)
            .await?;
        Ok(())
    }

    /// The directories of a table, one in each data directory.
    pub async fn table_directories(&self, table: &Table) -> Result<Vec<String>, Error> {
        let name = "DataPaths";
        let value = self.client.get_attribute(&table_bean(table)?, name).await?;
        typed(name, value, Value::into_strings)
    }

    /// How many SSTables of the node have a partition, whose key is given in hex.
    pub async fn sstables_with(&self, table: &Table, key: &str) -> Result<usize, Error> {
        let name = "getSSTablesForKey";
        let arguments = vec![Argument::string(key), Argument::boolean(true)];
        let options = CallOptions {
            timeout: None,
            read_only: true,
        };
        let found = self
            .client
            .invoke_with(&table_bean(table)?, name, arguments, options)
            .await?;
        typed(name, found, Value::into_strings).map(|all| all.len())
    }

    /// How many SSTables a table has on the node.
    pub async fn live_sstables(&self, table: &Table) -> Result<u64, Error> {
        let Table { keyspace, table } = table;
        let mbean = format!(
            "org.apache.cassandra.metrics:type=Table,keyspace={keyspace},scope={table},name=LiveSSTableCount"
        );
        let count = self.attribute(&mbean, "Value").await?;
        let count = typed("LiveSSTableCount", count, |value| value.as_i64())?;
        Ok(count.try_into().unwrap_or_default())
    }
}

fn table_bean(table: &Table) -> Result<ObjectName, Error> {
    let Table { keyspace, table } = table;
    bean(&format!(
        "org.apache.cassandra.db:type=Tables,keyspace={keyspace},table={table}"
    ))
}
