//! Rows read back from a backup: fresh nodes, one for each that was backed up, which have nothing
//! but what the storage gives them.
//!
//! Each gets the tokens of its original; the schema is executed over CQL, with the tables' ids;
//! the files come under their original names and are imported. `system` is not restored: the nodes
//! are new ones in old places. Secondary indexes are built anew by the import.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;

use super::read::{Backup, Node};
use super::schema;
use super::storage::Storage;
use crate::host::progress::step;
use crate::parts::cassandra::cluster::Cluster;
use crate::parts::cassandra::cql::{self, Session};
use crate::parts::cassandra::host::{HostCassandra, Options};
use crate::parts::cassandra::manifests::{self, HOME};

/// Where files wait for their import, below a node's own directory: the same file system as the
/// data, so that they are moved and not copied.
const STAGING: &str = "restored";

/// A fresh node that takes files in.
trait Fresh: Sync {
    /// Its own directory, as this machine sees it and as the node does.
    fn directory(&self) -> (PathBuf, PathBuf);
    /// The user that must be able to move the files.
    fn uid(&self) -> u32;
    /// Runs nodetool against it.
    async fn nodetool(&self, args: &[&str]) -> Result<String>;
}

impl Fresh for HostCassandra {
    fn directory(&self) -> (PathBuf, PathBuf) {
        (self.home().to_owned(), self.home().to_owned())
    }

    fn uid(&self) -> u32 {
        rustix::process::getuid().as_raw()
    }

    async fn nodetool(&self, args: &[&str]) -> Result<String> {
        HostCassandra::nodetool(self, args).await
    }
}

/// A pod of a cluster.
struct PodOf<'a>(&'a Cluster<'a>, usize);

impl Fresh for PodOf<'_> {
    fn directory(&self) -> (PathBuf, PathBuf) {
        (self.0.volume(self.1), PathBuf::from(HOME))
    }

    fn uid(&self) -> u32 {
        self.0.options.uid
    }

    async fn nodetool(&self, args: &[&str]) -> Result<String> {
        self.0.nodetool(self.1, args).await
    }
}

/// Nodes on this machine that hold a backup's rows.
#[derive(Debug)]
pub struct Restored {
    /// The nodes, in the order of the backup's.
    pub nodes: Vec<HostCassandra>,
}

impl Restored {
    /// A session with all of them.
    pub async fn session(&self) -> Result<Session> {
        let addresses: Vec<_> = self.nodes.iter().map(HostCassandra::address).collect();
        cql::connect(&addresses, None).await
    }
}

/// Restores a backup to fresh nodes on this machine, one for each that was backed up.
pub async fn on_host(storage: &Storage, cluster: &str, name: &str) -> Result<Restored> {
    on_host_as(storage, cluster, name, Options::default()).await
}

/// The same to nodes with such options otherwise.
pub async fn on_host_as(
    storage: &Storage,
    cluster: &str,
    name: &str,
    fresh: Options,
) -> Result<Restored> {
    let backup = Backup::read(storage, cluster, name).await?;
    let options = |node: &Node| Options {
        cluster_name: "restored".into(),
        datacenter: node.tokens.datacenter.clone(),
        rack: node.tokens.rack.clone(),
        initial_tokens: node.tokens.tokens.clone(),
        ..fresh.clone()
    };
    let first = HostCassandra::start(options(&backup.nodes[0])).await?;
    let seed = first.address().to_owned();
    let others = backup.nodes[1..].iter().map(|node| {
        HostCassandra::start(Options {
            seed: Some(seed.clone()),
            ..options(node)
        })
    });
    let mut nodes = vec![first];
    nodes.extend(try_join_all(others).await?);
    let restored = Restored { nodes };
    let addresses: Vec<_> = restored.nodes.iter().map(HostCassandra::address).collect();
    cql::agree(&addresses, None).await?;
    let session = restored.session().await?;
    fill(
        storage,
        &backup,
        &session,
        &restored.nodes.iter().collect::<Vec<_>>(),
    )
    .await?;
    Ok(restored)
}

/// The options of a fresh cluster in Kubernetes that has a place for each node of a backup.
pub async fn options(
    storage: &Storage,
    cluster: &str,
    name: &str,
    fresh: manifests::Options,
) -> Result<manifests::Options> {
    let backup = Backup::read(storage, cluster, name).await?;
    let tokens = || backup.nodes.iter().map(|node| &node.tokens);
    Ok(manifests::Options {
        replicas: backup.nodes.len(),
        places: tokens()
            .map(|one| (one.datacenter.clone(), one.rack.clone()))
            .collect(),
        initial_tokens: tokens().map(|one| one.tokens.clone()).collect(),
        ..fresh
    })
}

/// Restores a backup into a fresh cluster with such options.
pub async fn in_kubernetes(
    storage: &Storage,
    cluster: &str,
    name: &str,
    fresh: &Cluster<'_>,
) -> Result<()> {
    let backup = Backup::read(storage, cluster, name).await?;
    let pods: Vec<_> = (0..backup.nodes.len())
        .map(|pod| PodOf(fresh, pod))
        .collect();
    let pods: Vec<_> = pods.iter().collect();
    fill(storage, &backup, &fresh.session().await?, &pods).await
}

async fn fill<F: Fresh>(
    storage: &Storage,
    backup: &Backup,
    session: &Session,
    fresh: &[&F],
) -> Result<()> {
    let first = &backup.nodes[0];
    let schema = first.schema(&backup.cluster)?;
    let (key, stored) = schema.with_context(|| format!("{} has no schema", first.host_id))?;
    let schema = storage
        .get_checked(&key, stored.bytes, &stored.blake3)
        .await?;
    for statement in schema::users(&String::from_utf8(schema)?) {
        let made = session.query_unpaged(statement.clone(), ()).await;
        made.with_context(|| format!("{key}: {statement}"))?;
    }
    let work = fresh
        .iter()
        .zip(&backup.nodes)
        .map(|(fresh, node)| import(storage, backup, node, *fresh));
    let work = async { try_join_all(work).await };
    step(format!("import {} from the storage", backup.name), work).await?;
    Ok(())
}

/// Fetches a node's files and has them imported, table by table.
async fn import<F: Fresh>(
    storage: &Storage,
    backup: &Backup,
    node: &Node,
    fresh: &F,
) -> Result<()> {
    let (here, there) = fresh.directory();
    let mut tables: BTreeMap<(&str, &str), PathBuf> = BTreeMap::new();
    for table in node
        .tables
        .iter()
        .filter(|table| !table.keyspace.starts_with("system"))
    {
        let folder = Path::new(STAGING)
            .join(&table.keyspace)
            .join(&table.directory);
        for sstable in table
            .sstables
            .iter()
            .filter(|sstable| sstable.index.is_none())
        {
            make_folder(&here, &folder, fresh.uid())?;
            for file in &sstable.components {
                ensure!(
                    !file.name.contains('/'),
                    "a component called {:?}",
                    file.name
                );
                let key = node.key(&backup.cluster, table, sstable, file);
                let stored = &file.stored;
                let content = storage
                    .get_checked(&key, stored.bytes, &stored.blake3)
                    .await?;
                let path = here.join(&folder).join(&file.name);
                ensure!(!path.exists(), "{} comes twice", path.display());
                fs::write(&path, content)?;
                chown(&path, Some(fresh.uid()), Some(fresh.uid()))?;
            }
            tables.insert((&table.keyspace, &table.table), there.join(&folder));
        }
    }
    for ((keyspace, table), folder) in tables {
        let text = folder.to_str().context("a path that is not UTF-8")?;
        fresh.nodetool(&["import", keyspace, table, text]).await?;
        let left = data_files(&here.join(folder.strip_prefix(&there)?))?;
        ensure!(
            left.is_empty(),
            "Cassandra took no notice of {left:?} for {keyspace}.{table}: is that format beyond \
             its storage_compatibility_mode?"
        );
    }
    Ok(())
}

/// The SSTables that an import has left in its folder. Cassandra reports success when it skips
/// those of a format that its mode does not know.
fn data_files(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with("-Data.db") {
            found.push(name);
        }
    }
    Ok(found)
}

fn make_folder(here: &Path, folder: &Path, uid: u32) -> Result<()> {
    let mut path = here.to_owned();
    for part in folder {
        path.push(part);
        if !path.exists() {
            fs::create_dir(&path)?;
            chown(&path, Some(uid), Some(uid))?;
        }
    }
    Ok(())
}
