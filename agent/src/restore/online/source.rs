//! What was backed up: the manifests of a backup, the ring at that time, and the schema.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use jiff::Timestamp;
use manifest::{BackupName, ClusterId, Header, NodeLayout, RingEndpoint, Scope, Tokens};
use store::{Key, Store};
use uuid::Uuid;

use super::error::OnlineError;
use super::plan::Cluster;
use super::ranges::Token;
use super::ring::{self, Member};
use super::selection::Selection;
use crate::catalogue::{self, Backup, Completeness, Headers, Unreadable};
use crate::restore::schema::{self, Kind, Replication, Statement};
use crate::restore::{RestoreError, Which};

/// Tokens files and schemas are smaller; larger ones are not ours.
const LARGEST: u64 = 64 << 20;

/// A backup that is restored.
#[derive(Debug)]
pub struct Source {
    /// Its name.
    pub backup: BackupName,
    /// When its first snapshot was taken.
    pub taken: Option<Timestamp>,
    /// Its manifests, by node.
    pub manifests: BTreeMap<Uuid, Key>,
    /// Headers, by node.
    pub headers: BTreeMap<Uuid, Header>,
    /// Nodes of the ring at that time without a manifest that can be read.
    pub missing: BTreeSet<Uuid>,
    /// Class name of the partitioner.
    pub partitioner: String,
    /// The ring.
    pub cluster: Cluster,
    /// The schema; empty where the backup has none.
    pub schema: Vec<Statement>,
    /// Of newer backups, which were not taken for that.
    pub passed_over: Vec<Unreadable>,
}

impl Source {
    /// Finds the backup and reads all but the SSTables.
    pub async fn read(
        store: &dyn Store,
        cluster: &ClusterId,
        which: &Which,
        selection: &Selection,
    ) -> Result<Self, OnlineError> {
        let (backup, passed_over) = choose(store, cluster, which, selection).await?;
        let newest = backup
            .headers
            .values()
            .max_by_key(|it| it.snapshot.started_at);
        let Some(newest) = newest else {
            return Err(OnlineError::Unreadable {
                backup: backup.name,
                why: backup.unreadable.into_values().collect(),
            });
        };
        let members = ring(store, cluster, &backup, newest.node.host_id).await?;
        let schema = match newest.schema.as_ref() {
            None => Vec::new(),
            Some(object) => {
                let layout = NodeLayout::new(cluster.clone(), newest.node.host_id);
                let key = Key::parse(&layout.node_schema(&object.object))?;
                let text = text(store, &key).await?;
                if blake3::hash(text.as_bytes()).to_hex().as_str() != object.blake3 {
                    return Err(OnlineError::OtherContent(key));
                }
                schema::split(&text)
            }
        };
        let replication = replications(&schema);
        let ids = members.iter().map(|it| it.host_id);
        let readable = |id: &Uuid| backup.headers.contains_key(id);
        let missing = ids.filter(|id| !readable(id)).collect();
        let manifests = backup.manifests.iter();
        let manifests = manifests
            .filter(|(id, _)| readable(id))
            .map(|(id, stored)| (*id, stored.key.clone()));
        Ok(Self {
            taken: backup.started(),
            manifests: manifests.collect(),
            partitioner: newest.node.partitioner.clone(),
            missing,
            cluster: Cluster {
                members,
                replication,
            },
            schema,
            passed_over,
            backup: backup.name,
            headers: backup.headers,
        })
    }

    /// A name in a manifest that is none of Cassandra's.
    pub fn wrong_name(&self, name: String) -> RestoreError {
        RestoreError::Name {
            backup: self.backup.clone(),
            name,
        }
    }

    /// How many ranges of these keyspaces had a replica on a node without a manifest.
    pub fn ranges_without_a_replica<'k>(&self, keyspaces: impl Iterator<Item = &'k str>) -> usize {
        let missing = |ids: &BTreeSet<Uuid>| !ids.is_disjoint(&self.missing);
        let lacking = keyspaces.map(|keyspace| {
            let replication = self.cluster.replication.get(keyspace);
            let ranges = ring::replicas(&self.cluster.members, replication);
            ranges.iter().filter(|(_, ids)| missing(ids)).count()
        });
        lacking.sum()
    }

    /// The nodes with a manifest.
    pub fn nodes(&self) -> BTreeSet<Uuid> {
        self.manifests.keys().copied().collect()
    }
}

/// How the keyspaces of a schema are replicated.
pub fn replications(schema: &[Statement]) -> BTreeMap<String, Replication> {
    let keyspaces = schema.iter().filter(|it| it.kind == Kind::Keyspace);
    let replications =
        keyspaces.filter_map(|it| Some((it.keyspace.clone(), schema::replication(it)?)));
    replications.collect()
}

/// The backup that is meant, with all its headers.
async fn choose(
    store: &dyn Store,
    cluster: &ClusterId,
    which: &Which,
    selection: &Selection,
) -> Result<(Backup, Vec<Unreadable>), OnlineError> {
    let before = match which {
        Which::Named(name) => {
            let backup = catalogue::read_one(store, cluster, name).await?;
            return match backup.scope().is_none_or(|it| selection.is_covered_by(it)) {
                true => Ok((backup, Vec::new())),
                false => Err(OnlineError::NotInScope {
                    backup: backup.name,
                }),
            };
        }
        Which::Latest => Timestamp::MAX,
        Which::Before(time) => *time,
    };
    let backups = catalogue::read(store, cluster, Headers::One).await?;
    let mut passed_over = Vec::new();
    for backup in backups.iter().rev() {
        let in_time = backup.started().is_some_and(|it| it < before);
        // The newest of all may be of one table.
        let whole = |it: &Scope| it.keyspaces.is_empty() && it.tables.is_empty();
        let fits = |it: &Scope| selection.is_covered_by(it) && (!selection.is_all() || whole(it));
        // When it was begun is not known.
        if backup.headers.is_empty() {
            passed_over.extend(backup.unreadable(|_| true));
        }
        let covers = backup.scope().is_some_and(fits);
        if !in_time || !covers || backup.completeness() != Completeness::Complete {
            continue;
        }
        // One header says that it is complete; the others may be damaged.
        let backup = catalogue::read_one(store, cluster, &backup.name).await?;
        if backup.completeness() == Completeness::Complete && backup.unreadable.is_empty() {
            return Ok((backup, passed_over));
        }
        passed_over.extend(backup.unreadable(|_| true));
    }
    match passed_over.is_empty() {
        true => Err(OnlineError::NoCompleteBackup {
            cluster: cluster.clone(),
        }),
        false => Err(OnlineError::AllPassedOver {
            cluster: cluster.clone(),
            passed_over,
        }),
    }
}

/// The ring as a node had it when it was backed up; what the headers say of their nodes counts more.
async fn ring(
    store: &dyn Store,
    cluster: &ClusterId,
    backup: &Backup,
    node: Uuid,
) -> Result<Vec<Member>, OnlineError> {
    let layout = NodeLayout::new(cluster.clone(), node);
    let key = Key::parse(&layout.tokens(&backup.name))?;
    let text = text(store, &key).await?;
    let tokens = Tokens::from_yaml(&text).map_err(|source| OnlineError::Tokens {
        key: key.clone(),
        source,
    })?;
    let mut members = BTreeMap::new();
    for endpoint in &tokens.ring {
        if let Some(member) = member_of(endpoint)? {
            members.insert(member.host_id, member);
        }
    }
    for header in backup.headers.values() {
        let node = &header.node;
        let member = Member {
            host_id: node.host_id,
            datacenter: node.datacenter.clone(),
            rack: node.rack.clone(),
            tokens: parse(&node.tokens)?,
        };
        members.insert(node.host_id, member);
    }
    Ok(members.into_values().collect())
}

/// An endpoint that owns data; one that was joining does not yet.
fn member_of(endpoint: &RingEndpoint) -> Result<Option<Member>, OnlineError> {
    let Some(host_id) = endpoint.host_id.filter(|_| endpoint.state != "Joining") else {
        return Ok(None);
    };
    Ok(Some(Member {
        host_id,
        datacenter: endpoint.datacenter.clone(),
        rack: endpoint.rack.clone(),
        tokens: parse(&endpoint.tokens)?,
    }))
}

/// Tokens of a partitioner that has numbers.
pub fn parse(tokens: &[String]) -> Result<Vec<Token>, OnlineError> {
    let parsed = tokens.iter().map(|token| {
        token
            .parse()
            .map_err(|_| OnlineError::Partitioner(token.clone()))
    });
    parsed.collect()
}

/// The whole of a small object.
async fn text(store: &dyn Store, key: &Key) -> Result<String, OnlineError> {
    let content = store.get(key, Some(0..LARGEST)).await?;
    let mut all = Vec::new();
    let mut chunks = content.chunks;
    while let Some(chunk) = chunks.try_next().await? {
        all.extend_from_slice(&chunk);
    }
    String::from_utf8(all).map_err(|_| OnlineError::OtherContent(key.clone()))
}

#[cfg(test)]
mod tests {
    use store::FileStore;

    use super::*;

    #[tokio::test]
    async fn where_nothing_else_is_left_it_is_told_why_the_newest_is_not_taken() {
        let home = tempfile::tempdir().unwrap();
        let store = FileStore::open(home.path()).unwrap();
        let cluster: ClusterId = "prod".parse().unwrap();
        let all = Selection::default();
        let chosen = choose(&store, &cluster, &Which::Latest, &all).await;
        assert!(matches!(chosen, Err(OnlineError::NoCompleteBackup { .. })));

        let backup = home.path().join("prod/manifests/b1");
        std::fs::create_dir_all(&backup).unwrap();
        let node = Uuid::from_u128(1);
        std::fs::write(backup.join(format!("{node}.jsonl")), b"{").unwrap();
        let error = choose(&store, &cluster, &Which::Latest, &all).await;
        let Err(error @ OnlineError::AllPassedOver { .. }) = error else {
            panic!("it is passed over");
        };
        let told = error.to_string();
        let what = format!("the manifest of node {node} in backup b1 cannot be used: ");
        assert!(told.contains(&what), "{told}");
        assert_eq!(error.reason(), protocol::Reason::ContentMismatch);
    }
}
