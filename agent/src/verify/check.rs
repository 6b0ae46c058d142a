//! The objects of one node.

use futures::{TryStreamExt, stream};
use manifest::{BackupName, ClusterId, ClusterLayout, Line, ObjectKeys, SchemaObject};
use store::{Key, Store};
use uuid::Uuid;

use super::{Finding, Findings, Level, Problem, Report, Seen, VerifyError};
use crate::catalogue::{Backup, StoredManifest, Unreadable};
use crate::named::{Named, digest};
use crate::read::{ManifestStream, ReadFailure};

/// An object as a manifest names it.
pub(super) struct Expected {
    pub key: String,
    pub bytes: u64,
    pub blake3: String,
}

/// Looks at the objects of one node, each once.
pub(super) struct Checker<'a> {
    store: &'a dyn Store,
    layout: ClusterLayout,
    node: Uuid,
    level: Level,
    concurrency: usize,
    stored: Listing,
    looked_at: Looked,
}

/// What the storage holds of a node: by [`digest`], in that order, with sizes.
struct Listing(Vec<(u128, u64)>);

/// Objects, by their position in a [`Listing`] where they are in it: with a [`fingerprint`] of what
/// was expected of them, or zero where nobody asked.
struct Looked {
    listed: Vec<u32>,
    missing: Named,
}

impl Listing {
    fn new(mut objects: Vec<(u128, u64)>) -> Self {
        objects.sort_unstable();
        Self(objects)
    }

    fn position(&self, key: &str) -> Option<usize> {
        let digest = digest(key);
        self.0.binary_search_by_key(&digest, |(it, _)| *it).ok()
    }

    fn size(&self, position: Option<usize>) -> Option<u64> {
        Some(self.0[position?].1)
    }
}

impl Looked {
    fn none_of(listing: &Listing) -> Self {
        Self {
            listed: vec![0; listing.0.len()],
            missing: Named::default(),
        }
    }

    /// Whether somebody expected the same of it.
    fn contains(&self, position: Option<usize>, expected: &Expected) -> bool {
        match position {
            Some(position) => self.listed[position] == fingerprint(expected),
            None => self.missing.contains(&expected.key),
        }
    }

    /// Whether nobody had expected the same of it.
    fn insert(&mut self, position: Option<usize>, expected: &Expected) -> bool {
        match position {
            Some(position) => {
                let new = fingerprint(expected);
                std::mem::replace(&mut self.listed[position], new) != new
            }
            None => self.missing.insert(&expected.key),
        }
    }

    fn extend(&mut self, other: Self) {
        for (ours, theirs) in self.listed.iter_mut().zip(other.listed) {
            if theirs != 0 {
                *ours = theirs;
            }
        }
        self.missing.extend(other.missing);
    }
}

/// Tells what manifests expect of one object apart, and is never zero. One key is one content, so
/// they differ only where a manifest is wrong.
fn fingerprint(expected: &Expected) -> u32 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&expected.bytes.to_le_bytes());
    hasher.update(expected.blake3.as_bytes());
    let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
    u32::from_le_bytes([a, b, c, d]).max(1)
}

impl<'a> Checker<'a> {
    /// Lists what the storage holds of the node.
    pub async fn new(
        store: &'a dyn Store,
        cluster: &ClusterId,
        node: Uuid,
        level: Level,
        concurrency: usize,
    ) -> Result<Self, VerifyError> {
        let layout = ClusterLayout::new(cluster.clone());
        let mut stored = Vec::new();
        let data = Key::parse(&format!("{}/{node}", layout.data_prefix()))?;
        let mut objects = store.list(&data);
        while let Some(object) = objects.try_next().await? {
            let key = layout.below_cluster(object.key.as_str());
            stored.push((digest(key), object.size));
        }
        let stored = Listing::new(stored);
        let looked_at = Looked::none_of(&stored);
        Ok(Self {
            store,
            layout,
            node,
            level,
            concurrency: concurrency.max(1),
            stored,
            looked_at,
        })
    }

    /// Looks at what a backup of the node needs and no other backup before it needed.
    pub async fn backup(
        &mut self,
        backup: &Backup,
        manifest: &StoredManifest,
        report: &mut Report,
        seen: &(dyn Fn(Seen) + Sync),
    ) -> Result<(), VerifyError> {
        let mut findings = Findings::default();
        let looked = self
            .look(&backup.name, manifest, report, &mut findings, seen)
            .await;
        let sound = looked.is_ok() && findings.count == 0;
        if !sound && self.is_gone(manifest).await? {
            return Ok(());
        }
        match looked {
            Ok(fresh) => {
                self.looked_at.extend(fresh);
                report.manifests += 1;
                report.findings.extend(findings);
                Ok(())
            }
            Err(VerifyError::Read(ReadFailure::Store(error))) => Err(error.into()),
            // Also one that names what cannot be in a storage.
            Err(damaged @ (VerifyError::Read(_) | VerifyError::Key(_))) => {
                report.unreadable.push(Unreadable {
                    backup: backup.name.clone(),
                    host_id: self.node,
                    why: damaged.to_string(),
                });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a purge deleted the backup while it was looked at.
    async fn is_gone(&self, manifest: &StoredManifest) -> Result<bool, VerifyError> {
        match self.store.stat(&manifest.key).await {
            Ok(_) => Ok(false),
            Err(store::Error::NotFound { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The tokens file, of which a manifest says only where it is.
    async fn tokens(&self, key: &str, backup: &BackupName) -> Result<Option<Finding>, VerifyError> {
        let missing = || Finding {
            key: key.to_owned(),
            bytes: 0,
            blake3: String::new(),
            problem: Problem::Missing,
            backup: backup.clone(),
        };
        let whole = Key::parse(&self.layout.key_in_cluster(key))?;
        match self.store.stat(&whole).await {
            Ok(_) => Ok(None),
            Err(store::Error::NotFound { .. }) => Ok(Some(missing())),
            Err(error) => Err(error.into()),
        }
    }

    /// What of it nobody had looked at so; its tokens file besides.
    async fn look(
        &self,
        backup: &BackupName,
        manifest: &StoredManifest,
        report: &mut Report,
        findings: &mut Findings,
        seen: &(dyn Fn(Seen) + Sync),
    ) -> Result<Looked, VerifyError> {
        let mut manifest = ManifestStream::open(self.store, &manifest.key).await?;
        let mut keys = ObjectKeys::new(self.node);
        let (store, layout, level) = (self.store, &self.layout, self.level);
        let (stored, looked_at) = (&self.stored, &self.looked_at);
        // Only what a manifest names that is to be believed, and that stays meanwhile, counts as
        // looked at.
        let mut fresh = Looked::none_of(stored);
        let lines = stream::try_unfold(&mut manifest, async |manifest| {
            let line = manifest.next().await?;
            Ok::<_, VerifyError>(line.map(|line| (line, manifest)))
        });
        let new = lines
            .map_ok(|line| {
                let mut new = Vec::new();
                for expected in named(&mut keys, &line) {
                    let position = stored.position(&expected.key);
                    if !looked_at.contains(position, &expected) && fresh.insert(position, &expected)
                    {
                        new.push(Ok::<_, VerifyError>((expected, stored.size(position))));
                    }
                }
                stream::iter(new)
            })
            .try_flatten();
        let checks = new.map_ok(|(expected, listed)| async move {
            let checked = check(store, layout, level, &expected, listed).await?;
            Ok((expected, checked))
        });
        let mut checks = Box::pin(checks.try_buffer_unordered(self.concurrency));
        while let Some((expected, (problem, read))) = checks.try_next().await? {
            report.objects += 1;
            report.bytes += expected.bytes;
            report.read += read;
            if let Some(problem) = problem {
                findings.add(Finding {
                    key: expected.key,
                    bytes: expected.bytes,
                    blake3: expected.blake3,
                    problem,
                    backup: backup.clone(),
                });
            }
            seen(Seen {
                objects: report.objects,
                read: report.read,
            });
        }
        drop(checks);
        let footer = manifest.end()?;
        let missing = self.tokens(&footer.tokens, backup).await?;
        missing.into_iter().for_each(|it| findings.add(it));
        Ok(fresh)
    }
}

/// What a line names.
pub(super) fn named(keys: &mut ObjectKeys, line: &Line) -> Vec<Expected> {
    let mut facts = facts(line).into_iter();
    let mut named = Vec::new();
    keys.of(line, |key| {
        let (bytes, blake3) = facts.next().unwrap_or_default();
        named.push(Expected {
            key: key.to_owned(),
            bytes,
            blake3,
        });
    });
    named
}

/// Size and hash of the objects of a line, in the order in which [`ObjectKeys`] names them.
fn facts(line: &Line) -> Vec<(u64, String)> {
    let schema = |schema: &Option<SchemaObject>| {
        let facts = |schema: &SchemaObject| (schema.bytes, schema.blake3.clone());
        schema.iter().map(facts).collect()
    };
    match line {
        Line::Header(header) => schema(&header.schema),
        Line::Table(table) => schema(&table.schema),
        Line::SsTable(sstable) => sstable
            .components
            .iter()
            .map(|component| (component.bytes, component.blake3.clone()))
            .collect(),
        Line::Footer(_) => Vec::new(),
    }
}

/// What is wrong with an object, and how many bytes of it were read.
pub(super) async fn check(
    store: &dyn Store,
    layout: &ClusterLayout,
    level: Level,
    expected: &Expected,
    listed: Option<u64>,
) -> Result<(Option<Problem>, u64), VerifyError> {
    let key = Key::parse(&layout.key_in_cluster(&expected.key))?;
    let Some(found) = listed else {
        return Ok((Some(Problem::Missing), 0));
    };
    if level >= Level::Size && found != expected.bytes {
        return Ok((Some(Problem::Size { found }), 0));
    }
    if level < Level::Content {
        return Ok((None, 0));
    }
    let mut content = match store.get(&key, None).await {
        Err(store::Error::NotFound { .. }) => return Ok((Some(Problem::Missing), 0)),
        content => content?,
    };
    let mut hasher = blake3::Hasher::new();
    let mut read = 0;
    while let Some(chunk) = content.chunks.try_next().await? {
        hasher.update(&chunk);
        read += chunk.len() as u64;
    }
    let found = hasher.finalize().to_hex().to_string();
    let problem = (found != expected.blake3).then_some(Problem::Content { found });
    Ok((problem, read))
}
