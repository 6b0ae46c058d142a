//! A rehearsal: whether Cassandra, after a restore, has what the backup recorded of each SSTable when
//! it was uploaded.
//!
//! Every file was compared with its hash when it was fetched, and Cassandra has read every row before it
//! took an SSTable. What is left to find out is whether it has all of them: their number, their
//! partitions and rows by Cassandra's own Statistics.db, and a sample of partition keys that it is asked
//! for. These count what files have, tombstones of rows with them, so that nothing depends on what is
//! shadowed by what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jmx::cassandra::Table;
use manifest::{ComponentName, Contents, Line};
use protocol::Rehearsed;

use super::Ready;
use super::error::OnlineError;
use super::node::{Facts, jmx_table};
use super::source::Source;
use super::survey::name_of;
use crate::backup::statistics::{self, Counts};
use crate::gentle;
use crate::read::ManifestStream;
use crate::restore::target::file;
use crate::restore::{TableName, schema};

/// Keys of a table that are looked up at the most.
const SAMPLE: usize = 128;
/// Differences that are told one by one.
const TOLD: usize = 10;

/// Gives each keyspace one replica: the node has everything, whatever datacenters the source had. A backup
/// of some datacenters is whole without the others.
pub(super) fn arrange(source: &mut Source, target: &mut Facts) {
    let header = source.headers.values().next();
    let datacenters = header.map_or_else(Vec::new, |it| it.scope.datacenters.clone());
    if !datacenters.is_empty() {
        let members = &mut source.cluster.members;
        members.retain(|it| datacenters.contains(&it.datacenter));
        let covered: BTreeSet<_> = members.iter().map(|it| it.host_id).collect();
        source.missing.retain(|id| covered.contains(id));
    }
    schema::with_single_replicas(&mut source.schema);
    for keyspace in source.cluster.replication.keys() {
        let of_target = target.cluster.replication.entry(keyspace.clone());
        of_target.or_insert_with(schema::single);
    }
}

/// What a table has, or should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    sstables: u64,
    partitions: u64,
    rows: u64,
    /// SSTables of which only that is known that they are there.
    unknown: u64,
}

impl Sums {
    fn add(&mut self, counts: Option<Counts>) {
        self.sstables += 1;
        match counts {
            Some(counts) => {
                self.partitions = self.partitions.saturating_add(counts.partitions);
                self.rows = self.rows.saturating_add(counts.rows);
            }
            None => self.unknown += 1,
        }
    }

    /// Whether partitions and rows of both are known.
    fn is_comparable(&self, found: &Self) -> bool {
        self.unknown == 0 && found.unknown == 0
    }

    /// How the table that was found differs, if it does.
    fn difference(&self, found: &Self) -> Option<String> {
        if self.sstables != found.sstables {
            return Some(format!(
                "{} SSTables instead of {}",
                found.sstables, self.sstables
            ));
        }
        let same = (self.partitions, self.rows) == (found.partitions, found.rows);
        (self.is_comparable(found) && !same).then(|| {
            format!(
                "{} partitions and {} rows instead of {} and {}",
                found.partitions, found.rows, self.partitions, self.rows
            )
        })
    }
}

/// Some keys of many: every one, then every second, then every fourth.
#[derive(Clone, Debug)]
struct Sample {
    keys: Vec<String>,
    stride: u64,
    seen: u64,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            stride: 1,
            seen: 0,
        }
    }
}

impl Sample {
    fn add(&mut self, key: String) {
        let taken = self.seen.is_multiple_of(self.stride);
        self.seen += 1;
        if !taken {
            return;
        }
        self.keys.push(key);
        if self.keys.len() > SAMPLE {
            let mut at = 0;
            self.keys.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.stride *= 2;
        }
    }
}

#[derive(Default)]
struct Recorded {
    sums: Sums,
    sample: Sample,
}

impl Recorded {
    fn add(&mut self, content: Option<Contents>) {
        self.sums.add(content.as_ref().map(|it| Counts {
            partitions: it.partitions,
            rows: it.rows,
        }));
        for key in content.into_iter().flat_map(|it| it.keys) {
            self.sample.add(key);
        }
    }
}

impl Ready<'_> {
    /// Keeps Cassandra from compacting what it imports: what it has then can be counted.
    pub(super) async fn hold_still(&self) -> Result<(), OnlineError> {
        let failed = OnlineError::jmx("cannot keep Cassandra from compacting, over JMX");
        for plan in self.plan.tables.values() {
            let TableName { keyspace, table } = &plan.into;
            let cassandra = &self.node.cassandra;
            let tables = [table.as_str()];
            let disabled = cassandra.disable_auto_compaction(keyspace, &tables);
            disabled.await.map_err(&failed)?;
        }
        Ok(())
    }

    /// Compares what the node has with what the backup recorded.
    pub(super) async fn compare(&self) -> Result<Rehearsed, OnlineError> {
        let mut sum = Rehearsed::default();
        let mut differences = Vec::new();
        for (into, recorded) in self.recorded().await? {
            let found = self.found(&into).await?;
            let table = jmx_table(&into);
            let missing = self.missing(&table, &recorded.sample).await?;
            let more = recorded.sums.difference(&found);
            differences.extend(more.map(|how| format!("{into} has {how}")));
            differences.extend(
                missing.map(|key| format!("{into} does not have the partition with key 0x{key}")),
            );
            sum.tables += 1;
            sum.sstables += found.sstables;
            if recorded.sums.is_comparable(&found) {
                sum.partitions = sum.partitions.saturating_add(found.partitions);
                sum.rows = sum.rows.saturating_add(found.rows);
            } else {
                sum.unrecorded += found.sstables;
            }
            sum.keys += recorded.sample.keys.len() as u64;
        }
        if differences.is_empty() {
            return Ok(sum);
        }
        let more = differences.len().saturating_sub(TOLD);
        differences.truncate(TOLD);
        if more > 0 {
            differences.push(format!("and {more} more"));
        }
        Err(OnlineError::Differs(differences))
    }

    /// What the manifests say of the SSTables that were to be imported, by table of the target.
    async fn recorded(&self) -> Result<BTreeMap<TableName, Recorded>, OnlineError> {
        let tables = self.plan.tables.values();
        let mut all: BTreeMap<_, _> = tables
            .map(|plan| (plan.into.clone(), Recorded::default()))
            .collect();
        for (host_id, key) in &self.source.manifests {
            let mut lines = ManifestStream::open(self.store, key).await?;
            let mut table = None;
            while let Some(line) = lines.next().await? {
                match (line, &table) {
                    (Line::Table(next), _) => table = Some(name_of(&next)),
                    (Line::SsTable(sstable), Some(name)) => {
                        let selection = &self.order.selection;
                        let into = self.plan.takes(selection, *host_id, name, &sstable);
                        if let Some(into) = into {
                            all.entry(into).or_default().add(sstable.content);
                        }
                    }
                    _ => {}
                }
            }
            lines.end()?;
        }
        Ok(all)
    }

    /// What is there.
    async fn found(&self, table: &TableName) -> Result<Sums, OnlineError> {
        let failed = OnlineError::jmx("cannot read where a table is, over JMX");
        let cassandra = &self.node.cassandra;
        let directories = cassandra.table_directories(&jmx_table(table)).await;
        let mut sums = Sums::default();
        for directory in directories.map_err(failed)? {
            count(Path::new(&directory), &mut sums)?;
        }
        // What counts is what Cassandra knows, not what lies there.
        sums.sstables = self.node.sstables(table).await?;
        Ok(sums)
    }

    /// The first key that no SSTable has.
    async fn missing(&self, table: &Table, sample: &Sample) -> Result<Option<String>, OnlineError> {
        let failed = OnlineError::jmx("cannot look up a partition key over JMX");
        for key in &sample.keys {
            let found = self.node.cassandra.sstables_with(table, key).await;
            if found.map_err(&failed)? == 0 {
                return Ok(Some(key.clone()));
            }
        }
        Ok(None)
    }
}

/// Adds up the SSTables in a directory of a table; its own directories are those of indexes.
fn count(directory: &Path, sums: &mut Sums) -> Result<(), OnlineError> {
    let failed = |source| OnlineError::from(file(directory, source));
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Ok(component) = name.parse::<ComponentName>() else {
            continue;
        };
        if component.component == "Statistics.db" {
            let bytes = gentle::read(&path).map_err(|source| file(&path, source))?;
            sums.add(statistics::counts(&bytes, &component.descriptor));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::plan::Cluster;
    use super::super::ring::Member;
    use super::super::source::replications;
    use super::*;

    fn sums(all: &[Option<(u64, u64)>]) -> Sums {
        let mut sums = Sums::default();
        for one in all {
            sums.add(one.map(|(partitions, rows)| Counts { partitions, rows }));
        }
        sums
    }

    fn member(id: u128, datacenter: &str) -> Member {
        Member {
            host_id: Uuid::from_u128(id),
            datacenter: datacenter.into(),
            rack: "r".into(),
            tokens: vec![0],
        }
    }

    /// A backup of a ring with a node in each of two datacenters, of which the second has no manifest.
    fn source(datacenters: &[&str]) -> Source {
        let header = serde_json::json!({
            "formatVersion": "1.0", "backup": "b1", "runId": Uuid::nil(), "cluster": "c",
            "scope": {"datacenters": datacenters}, "ringHash": {"before": "", "after": ""},
            "expectedHostIds": [], "schemaVersion": {"before": "", "after": ""},
            "node": {
                "hostId": Uuid::from_u128(1), "datacenter": "dc1", "rack": "r", "addresses": [],
                "cassandraVersion": "5.0.9", "partitioner": "p", "tokens": [], "dataDirectories": [],
            },
            "snapshot": {
                "tag": "t", "startedAt": "2026-11-23T03:00:00Z", "endedAt": "2026-11-23T03:00:01Z",
            },
            "agentVersion": "0.1.0",
        });
        let text = "CREATE KEYSPACE \"Shop\" WITH replication = \
            {'class': 'NetworkTopologyStrategy', 'dc1': '1', 'dc2': '1'};\n";
        let schema = schema::split(text);
        Source {
            backup: "b1".parse().unwrap(),
            taken: None,
            manifests: BTreeMap::new(),
            headers: [(Uuid::from_u128(1), serde_json::from_value(header).unwrap())].into(),
            missing: [Uuid::from_u128(2)].into(),
            partitioner: "p".into(),
            cluster: Cluster {
                members: vec![member(1, "dc1"), member(2, "dc2")],
                replication: replications(&schema),
            },
            schema,
            passed_over: Vec::new(),
        }
    }

    #[test]
    fn keyspaces_get_one_replica_where_they_are_not_there() {
        let (mut source, mut target) = (source(&[]), Facts::default());
        arrange(&mut source, &mut target);
        assert_eq!(target.cluster.replication["Shop"], schema::single());
        let made = &source.schema[0];
        assert_eq!(schema::replication(made), Some(schema::single()));
        assert!(made.text.contains("\"Shop\""), "{}", made.text);
        // Which replicas there were is still known: one without a manifest is missed.
        assert_eq!(source.cluster.members.len(), 2);
        assert_ne!(source.cluster.replication["Shop"], schema::single());
        assert_eq!(source.missing.len(), 1);
    }

    #[test]
    fn a_backup_of_one_datacenter_misses_nothing_of_another() {
        let mut source = source(&["dc1"]);
        arrange(&mut source, &mut Facts::default());
        assert_eq!(source.cluster.members.len(), 1);
        assert!(source.missing.is_empty());
        assert_eq!(source.ranges_without_a_replica(["Shop"].into_iter()), 0);
    }

    #[test]
    fn what_is_missing_or_too_much_is_a_difference() {
        let recorded = sums(&[Some((1, 5)), Some((2, 6))]);
        assert_eq!(
            recorded.difference(&sums(&[Some((2, 5)), Some((1, 6))])),
            None
        );
        let told = |found: &[Option<(u64, u64)>]| recorded.difference(&sums(found)).unwrap();
        assert_eq!(told(&[Some((3, 11))]), "1 SSTables instead of 2");
        assert_eq!(
            told(&[Some((1, 5)), Some((2, 5))]),
            "3 partitions and 10 rows instead of 3 and 11"
        );
        assert!(told(&[Some((1, 5)), Some((3, 6))]).contains("4 partitions"));
        assert!(told(&[Some((1, 5)), Some((2, 6)), Some((0, 0))]).contains("3 SSTables"));
    }

    #[test]
    fn where_something_was_not_recorded_only_the_number_counts() {
        let recorded = sums(&[Some((1, 5)), None]);
        assert_eq!(
            recorded.difference(&sums(&[Some((1, 5)), Some((9, 9))])),
            None
        );
        assert!(recorded.difference(&sums(&[None])).is_some());
    }

    #[test]
    fn a_sample_is_spread_over_all_and_bounded() {
        let mut sample = Sample::default();
        for key in 0..100_000 {
            sample.add(key.to_string());
        }
        let keys: Vec<u64> = sample.keys.iter().map(|it| it.parse().unwrap()).collect();
        assert!(keys.len() > SAMPLE / 2 && keys.len() <= SAMPLE);
        let gaps: Vec<_> = keys.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(gaps.iter().all(|gap| *gap == sample.stride), "{gaps:?}");
        assert!(*keys.last().unwrap() > 99_000);
    }
}
