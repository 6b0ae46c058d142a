//! The data that is backed up: what it is made of, how it is made quickly.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jmx::Endpoint;
use jmx::cassandra::{Cassandra, Entities, SnapshotOptions, Tag};

use super::{latency, residency};
use crate::host::progress::step;
use crate::parts::cassandra::cql::Session;
use crate::parts::cassandra::host::{HostCassandra, Options};
use crate::parts::cassandra::rows::Rows;

/// The keyspace of the data.
pub const KEYSPACE: &str = "bench";
/// Its tables.
pub const TABLES: usize = 20;
/// Bytes of a row: few statements make much data.
const LARGE_ROW: usize = 64 << 10;
/// Components of an SSTable without compression: Data, Index, Filter, Summary, Statistics, Digest,
/// CRC, TOC.
const COMPONENTS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(300);

/// A node with random values of `bytes` bytes in all, without compression, in [`TABLES`] tables;
/// and with a small table for the reader.
pub async fn large(bytes: u64) -> Result<HostCassandra> {
    let cassandra = node().await?;
    let session = cassandra.session().await?;
    let rows = i64::try_from(bytes)? / TABLES as i64 / LARGE_ROW as i64;
    let write = async {
        for number in 0..TABLES {
            let table = table(&session, number, LARGE_ROW).await?;
            table.write(&session, 0..rows.max(1)).await?;
        }
        reads(&session).await?;
        flush(&cassandra).await
    };
    let label = format!("write {} MiB to {TABLES} tables", bytes >> 20);
    step(label, write).await?;
    Ok(cassandra)
}

/// A node with this many components of small SSTables in [`TABLES`] tables.
pub async fn many(components: usize) -> Result<HostCassandra> {
    let mut cassandra = node().await?;
    let session = cassandra.session().await?;
    let write = async {
        for number in 0..TABLES {
            let table = table(&session, number, 256).await?;
            table.write(&session, 0..20).await?;
        }
        flush(&cassandra).await
    };
    step(format!("write {TABLES} small tables"), write).await?;
    drop(session);
    cassandra.stop().await?;
    let sstables = components.div_ceil(TABLES * COMPONENTS);
    for entry in fs::read_dir(cassandra.data().join(KEYSPACE))? {
        multiply(&entry?.path(), sstables)?;
    }
    cassandra.restart().await?;
    Ok(cassandra)
}

async fn node() -> Result<HostCassandra> {
    let options = Options {
        // As much as twenty memtables and thousands of SSTables need.
        jvm: vec!["-Xms768M".into(), "-Xmx768M".into()],
        ..Options::default()
    };
    HostCassandra::start(options).await
}

/// A table that is never compacted: what is backed up stays the same over all runs.
async fn table(session: &Session, number: usize, bytes: usize) -> Result<Rows> {
    // Without the commit log half as much is written.
    let keyspace = format!(
        "CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH durable_writes = false AND replication = \
         {{'class': 'NetworkTopologyStrategy', 'dc1': 1}}"
    );
    session.query_unpaged(keyspace, ()).await?;
    let rows = Rows::new(KEYSPACE, &format!("t{number:02}"))
        .with_bytes(bytes)
        .with_seed(number as u64);
    rows.create(session, "dc1", 1).await?;
    let still = format!(
        "ALTER TABLE {KEYSPACE}.{} WITH compaction = \
         {{'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}}",
        rows.table
    );
    session.query_unpaged(still, ()).await?;
    Ok(rows)
}

async fn reads(session: &Session) -> Result<()> {
    let (keyspace, table) = latency::TABLE.split_once('.').context("a table's name")?;
    let rows = Rows::new(keyspace, table).with_bytes(latency::BYTES);
    rows.create(session, "dc1", 1).await?;
    rows.write(session, 0..latency::ROWS).await
}

async fn flush(cassandra: &HostCassandra) -> Result<()> {
    let jmx = connect(cassandra).await?;
    let keyspaces = jmx.keyspaces().await?;
    for keyspace in [KEYSPACE, "reads"] {
        if keyspaces.iter().any(|name| name == keyspace) {
            jmx.flush(keyspace, &[], PATIENCE).await?;
        }
    }
    Ok(jmx.close().await?)
}

/// Copies the SSTables of a table that is not open, under new numbers, until there are `wanted`.
fn multiply(table: &Path, wanted: usize) -> Result<()> {
    let files: Vec<_> = residency::files(table)?
        .into_iter()
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let rest = name.strip_prefix("nb-")?;
            let (number, component) = rest.split_once('-')?;
            (number == "1").then(|| (path.clone(), component.to_owned()))
        })
        .collect();
    ensure!(
        files.len() == COMPONENTS,
        "{} has {} components of its first SSTable, not {COMPONENTS}",
        table.display(),
        files.len()
    );
    // Beyond all numbers that the node has given.
    for number in 1001..1000 + wanted {
        for (path, component) in &files {
            fs::copy(path, table.join(format!("nb-{number}-{component}")))?;
        }
    }
    Ok(())
}

/// A JMX client.
pub async fn connect(cassandra: &HostCassandra) -> Result<Cassandra> {
    let endpoint = Endpoint::new("127.0.0.1", cassandra.jmx_port());
    Ok(Cassandra::connect(&endpoint).await?)
}

/// How many seconds the bare calls `takeSnapshot` of everything and `clearSnapshot` take, over a
/// connection that is open.
pub async fn bare_snapshot(jmx: &Cassandra) -> Result<(f64, f64)> {
    let tag: Tag = "bare-call".parse()?;
    let options = SnapshotOptions::default();
    let began = Instant::now();
    jmx.snapshot(&tag, &options, &Entities::All, PATIENCE)
        .await?;
    let taken = began.elapsed().as_secs_f64();
    jmx.clear_snapshot(&tag).await?;
    Ok((taken, began.elapsed().as_secs_f64() - taken))
}

/// Takes a snapshot and links its files into `folder`, as `keyspace/table/file`: what the tools
/// that know no Cassandra copy. Returns the files.
pub async fn link_snapshot(cassandra: &HostCassandra, folder: &Path) -> Result<Vec<PathBuf>> {
    let jmx = connect(cassandra).await?;
    let tag: Tag = "raw".parse()?;
    let options = SnapshotOptions::default();
    jmx.snapshot(&tag, &options, &Entities::All, PATIENCE)
        .await?;
    let data = cassandra.data();
    for path in residency::files(&data)? {
        let below: Vec<_> = path.strip_prefix(&data)?.iter().collect();
        let [keyspace, table, snapshots, of, file] = below.as_slice() else {
            continue;
        };
        if *snapshots != "snapshots" || *of != "raw" {
            continue;
        }
        let folder = folder.join(keyspace).join(table);
        fs::create_dir_all(&folder)?;
        fs::hard_link(&path, folder.join(file))?;
    }
    jmx.clear_snapshot(&tag).await?;
    jmx.close().await?;
    residency::files(folder)
}

/// Bytes of these files.
pub fn bytes(files: &[PathBuf]) -> Result<u64> {
    files.iter().try_fold(0, |sum, file| {
        Ok(sum
            + fs::metadata(file)
                .with_context(|| file.display().to_string())?
                .len())
    })
}
