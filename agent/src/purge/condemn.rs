//! What is to be deleted: found by listing, kept as the list that is published.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use manifest::{FORMAT_VERSION, IntentError, ManifestKey};
use store::{Key, Object, Store};
use uuid::Uuid;

use super::look::{Expired, Look};
use super::{Amount, Purge, PurgeError, PurgeReport, PurgeStep};
use crate::lease::Deadline;
use crate::named::Named;
use crate::spool::Spool;

/// How often progress is told, in objects.
const TELL_EVERY: u64 = 10_000;

/// The list: first the expired manifests and dead intents, then data and tokens.
pub(super) struct Condemned {
    spool: Spool,
    /// Lines before the first of data and tokens, the head included.
    before_data: usize,
    /// Bytes of each object of data and tokens.
    sizes: Vec<u64>,
}

impl Condemned {
    /// Whether there is nothing to delete.
    pub fn is_empty(&self) -> bool {
        self.before_data == 1 && self.sizes.is_empty()
    }

    /// Data and tokens.
    pub fn amount(&self) -> Amount {
        Amount {
            objects: self.sizes.len() as u64,
            bytes: self.sizes.iter().sum(),
        }
    }

    /// How many objects of data and tokens.
    pub fn sizes_len(&self) -> u64 {
        self.sizes.len() as u64
    }

    /// Writes the list into the storage; false if there is one of this purge.
    pub async fn publish(&self, store: &dyn Store, key: &Key) -> Result<bool, PurgeError> {
        Ok(self.spool.create(store, key).await?)
    }

    /// Data and tokens, below the cluster id, with their bytes.
    pub fn data(
        &self,
    ) -> Result<impl Iterator<Item = Result<(String, u64), PurgeError>> + '_, PurgeError> {
        let lines = self.spool.read()?.lines().skip(self.before_data);
        Ok(lines.zip(&self.sizes).map(|(line, size)| {
            let parsed = serde_json::from_str(&line?);
            let key = parsed.map_err(|source| IntentError::Line { line: 0, source })?;
            Ok((key, *size))
        }))
    }

    fn push(&mut self, key: &str) -> Result<(), PurgeError> {
        let json = |source| IntentError::Line { line: 0, source };
        serde_json::to_writer(&mut self.spool, key).map_err(json)?;
        Ok(self.spool.write_all(b"\n")?)
    }
}

/// What all data is judged by.
struct Judge<'a> {
    first: &'a Look,
    expired: &'a Expired,
    oldest_kept: SystemTime,
}

impl Purge<'_> {
    /// Finds what nobody names. Reads every manifest to its end, so that one that cannot be read
    /// stops the purge.
    pub(super) async fn condemn(
        &self,
        first: &Look,
        expired: &Expired,
        deadline: &Deadline,
        report: &mut PurgeReport,
    ) -> Result<Condemned, PurgeError> {
        let mut condemned = self.begin(first, expired, deadline)?;
        let judge = Judge {
            first,
            expired,
            oldest_kept: first
                .now
                .checked_sub(self.options.grace)
                .unwrap_or(SystemTime::UNIX_EPOCH),
        };
        self.condemn_tokens(&judge, &mut condemned).await?;
        self.condemn_data(&judge, &mut condemned, report).await?;
        condemned.spool.flush()?;
        Ok(condemned)
    }

    fn begin(
        &self,
        first: &Look,
        expired: &Expired,
        deadline: &Deadline,
    ) -> Result<Condemned, PurgeError> {
        let head = manifest::Condemned {
            format_version: FORMAT_VERSION.into(),
            purge_id: self.options.purge_id,
            deadline: Timestamp::try_from(deadline.at()).unwrap_or(Timestamp::MAX),
        };
        let keys: Vec<&str> = expired
            .manifests
            .values()
            .chain(&first.dead)
            .map(|key| self.layout.below_cluster(key.as_str()))
            .collect();
        let before_data = 1 + keys.len();
        let spool = Spool::new(&self.options.directory, "condemned");
        Ok(Condemned {
            spool: head.write(spool, keys)?,
            before_data,
            sizes: Vec::new(),
        })
    }

    async fn condemn_tokens(
        &self,
        judge: &Judge<'_>,
        condemned: &mut Condemned,
    ) -> Result<(), PurgeError> {
        let prefix = Key::parse(&self.layout.tokens_prefix())?;
        let mut objects = self.store.list(&prefix);
        while let Some(object) = objects.try_next().await? {
            let Some(of) = ManifestKey::parse_tokens(object.key.as_str()) else {
                continue;
            };
            let goes = match judge.first.manifests.contains_key(&of) {
                true => judge.expired.manifests.contains_key(&of),
                false => object.modified <= judge.oldest_kept,
            };
            let key = self.layout.below_cluster(object.key.as_str());
            if goes && !judge.first.intents.contains(key) {
                condemned.push(key)?;
                condemned.sizes.push(object.size);
            }
        }
        Ok(())
    }

    /// Node after node, as lists give them, so that only one node's keys are in memory. A list in
    /// another order would only take longer.
    async fn condemn_data(
        &self,
        judge: &Judge<'_>,
        condemned: &mut Condemned,
        report: &mut PurgeReport,
    ) -> Result<(), PurgeError> {
        let prefix = Key::parse(&self.layout.data_prefix())?;
        let mut objects = self.store.list(&prefix);
        let mut node = None;
        let mut named = Named::default();
        let mut read = BTreeSet::new();
        let mut listed = 0;
        while let Some(object) = objects.try_next().await? {
            listed += 1;
            if listed % TELL_EVERY == 0 {
                self.tell(PurgeStep::Looking, listed, None);
            }
            let Some(host_id) = host_of(&object, &prefix) else {
                // Not ours: no agent writes there.
                continue;
            };
            if node != Some(host_id) {
                drop(std::mem::take(&mut named));
                named = self.named_by_manifests(judge, host_id).await?;
                node = Some(host_id);
                read.insert(host_id);
            }
            let key = self.layout.below_cluster(object.key.as_str());
            if named.contains(key) || judge.first.intents.contains(key) {
                continue;
            }
            if object.modified > judge.oldest_kept {
                report.young.add(object.size);
                continue;
            }
            condemned.push(key)?;
            condemned.sizes.push(object.size);
        }
        let nodes: BTreeSet<Uuid> = judge.first.manifests.keys().map(|m| m.host_id).collect();
        for host_id in nodes.difference(&read) {
            self.named_by_manifests(judge, *host_id).await?;
        }
        Ok(())
    }

    /// What the manifests of a node name that have not expired; the others are read too.
    async fn named_by_manifests(
        &self,
        judge: &Judge<'_>,
        host_id: Uuid,
    ) -> Result<Named, PurgeError> {
        let manifests = || {
            judge
                .first
                .manifests
                .iter()
                .filter(|(key, _)| key.host_id == host_id)
        };
        let named = Mutex::new(Named::default());
        stream::iter(manifests().map(|(key, found)| {
            let stays = !judge.expired.manifests.contains_key(key);
            self.read_manifest(key, &found.key, stays.then_some(&named))
        }))
        .buffer_unordered(self.options.concurrency.max(1))
        .try_collect::<()>()
        .await?;
        Ok(named.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The node below whose directory an object is.
fn host_of(object: &Object, data: &Key) -> Option<Uuid> {
    let (node, _) = object.key.below(data)?.split_once('/')?;
    node.parse().ok()
}
