//! What a node is to import of a backup: the plan, from all manifests, with its reasons and bytes.

use std::collections::{BTreeMap, BTreeSet};

use manifest::{ComponentName, Line, SsTable, Table};
use serde::Serialize;
use store::Store;
use uuid::Uuid;

use super::batch::Batches;
use super::error::OnlineError;
use super::node::Facts;
use super::plan::{KeyspacePlan, Question, Why};
use super::ring;
use super::selection::{Selection, TableName, is_name};
use super::source::Source;
use crate::read::ManifestStream;
use crate::restore::path::{directory, plain};
use crate::restore::schema;

/// What is to be imported into a node.
#[derive(Debug)]
pub struct Plan {
    /// By keyspace as it was and as it is to be.
    pub keyspaces: BTreeMap<(String, String), KeyspacePlan>,
    /// Tables, in order of their names.
    pub tables: BTreeMap<TableName, TablePlan>,
    /// Views of the backup, which are built anew.
    pub views: BTreeSet<TableName>,
    /// Damaged SSTables that the backup does not have.
    pub left_out: Vec<String>,
    /// Bytes that the data directories need at the worst moment.
    pub peak: u64,
    /// Bytes that they have.
    pub free: u64,
    /// Whether Cassandra has to copy what is staged, since it cannot move it.
    pub copies: bool,
}

/// What is to be imported into a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TablePlan {
    /// Its name in the target, as `keyspace.table`.
    pub into: String,
    /// SSTables that are imported.
    pub sstables: u64,
    /// Their files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// SSTables that are imported since the node of the source with the same place had them.
    pub same_place: u64,
    /// SSTables that are imported since they have tokens which the node replicates, or may have.
    pub overlapping: u64,
    /// SSTables of the backup that are not for this node.
    pub not_for_node: u64,
}

impl Plan {
    /// Reads all manifests, and changes nothing.
    pub async fn make(
        store: &dyn Store,
        source: &Source,
        node: &Facts,
        selection: &Selection,
    ) -> Result<Self, OnlineError> {
        let mut survey = Survey::begin(source, node, selection, node.room()?);
        for (host_id, key) in &source.manifests {
            let mut lines = ManifestStream::open(store, key).await?;
            while let Some(line) = lines.next().await? {
                survey.add(*host_id, line)?;
            }
            survey.end_batch();
            let left_out = lines.end()?.left_out.into_iter();
            let left_out = left_out.filter(|it| survey.plan.has_table_of(it));
            let left_out: Vec<_> = left_out.collect();
            survey.plan.left_out.extend(left_out);
        }
        let mut plan = survey.plan;
        plan.peak = survey.batches.peak();
        plan.has_all_that_was_named(source, selection)?;
        Ok(plan)
    }

    fn has_all_that_was_named(
        &self,
        source: &Source,
        selection: &Selection,
    ) -> Result<(), OnlineError> {
        let table = |name: &&TableName| !self.tables.contains_key(name);
        let keyspace = |name: &&String| !self.tables.keys().any(|table| table.keyspace == **name);
        let mut names: Vec<String> = selection
            .named()
            .filter(table)
            .map(|it| it.to_string())
            .collect();
        names.extend(selection.keyspaces().iter().filter(keyspace).cloned());
        if names.is_empty() {
            return Ok(());
        }
        Err(OnlineError::NotInBackup {
            backup: source.backup.clone(),
            names,
        })
    }

    /// The ranges of the node that a replica without a manifest had, over all keyspaces.
    pub fn degraded(&self) -> usize {
        self.keyspaces.values().map(|it| it.degraded.len()).sum()
    }

    /// Whether an SSTable, as `keyspace/directory/sstable`, is of a table that is restored.
    fn has_table_of(&self, sstable: &str) -> bool {
        let mut parts = sstable.split('/');
        let keyspace = parts.next().unwrap_or_default();
        let directory = parts.next().unwrap_or_default();
        let table = directory.split('-').next().unwrap_or_default();
        let mut tables = self.tables.keys();
        tables.any(|it| it.keyspace == keyspace && it.table == table)
    }

    /// The keyspaces as they were.
    pub fn keyspaces(&self) -> impl Iterator<Item = &str> {
        self.keyspaces.keys().map(|(from, _)| from.as_str())
    }

    /// The tables as the schema is asked for them.
    pub fn wanted(&self) -> Vec<schema::Wanted> {
        let wanted = |(from, plan): (&TableName, &TablePlan)| {
            let (keyspace, table) = plan.into.split_once('.').unwrap_or_default();
            schema::Wanted {
                keyspace: from.keyspace.clone(),
                table: from.table.clone(),
                into_keyspace: keyspace.to_owned(),
                into_table: table.to_owned(),
            }
        };
        self.tables.iter().map(wanted).collect()
    }

    /// Files and bytes of all tables.
    pub fn sum(&self) -> (u64, u64) {
        let sum = |(files, bytes): (u64, u64), it: &TablePlan| (files + it.files, bytes + it.bytes);
        self.tables.values().fold((0, 0), sum)
    }
}

struct Survey<'a> {
    source: &'a Source,
    node: &'a Facts,
    selection: &'a Selection,
    nodes: BTreeSet<Uuid>,
    batches: Batches,
    /// The keyspace of the batch at hand, and whether it is cleaned up.
    batch_of: Option<(String, bool)>,
    table: Option<Table>,
    plan: Plan,
}

impl<'a> Survey<'a> {
    /// Of a node whose data directories have so much room, and whether they are on several file
    /// systems.
    fn begin(
        source: &'a Source,
        node: &'a Facts,
        selection: &'a Selection,
        (free, copies): (u64, bool),
    ) -> Self {
        let views = schema::views(&source.schema).into_iter();
        let views = views.map(|(keyspace, table)| TableName { keyspace, table });
        Self {
            source,
            node,
            selection,
            nodes: source.nodes(),
            batches: Batches::new(free, copies),
            batch_of: None,
            table: None,
            plan: Plan {
                keyspaces: BTreeMap::new(),
                tables: BTreeMap::new(),
                views: views.filter(|it| selection.wants(it)).collect(),
                left_out: Vec::new(),
                peak: 0,
                free,
                copies,
            },
        }
    }

    fn add(&mut self, host_id: Uuid, line: Line) -> Result<(), OnlineError> {
        match line {
            Line::Table(table) => {
                self.table = None;
                let name = name_of(&table);
                for name in [&name.keyspace, &name.table] {
                    if !is_name(name) {
                        return Err(self.source.wrong_name(name.clone()).into());
                    }
                }
                if self.selection.wants(&name) && !self.plan.views.contains(&name) {
                    self.open(&name)?;
                    self.table = Some(table);
                }
            }
            Line::SsTable(sstable) if sstable.index.is_none() => {
                if let Some(table) = self.table.take() {
                    self.sstable(host_id, &table, &sstable)?;
                    self.table = Some(table);
                }
            }
            Line::SsTable(_) | Line::Header(_) | Line::Footer(_) => {}
        }
        Ok(())
    }

    /// Makes the plan of a table's keyspace, and an empty one of the table itself.
    fn open(&mut self, name: &TableName) -> Result<(), OnlineError> {
        let into = self.selection.target(name);
        let table = self.plan.tables.entry(name.clone()).or_default();
        table.into = into.to_string();
        let pair = (name.keyspace.clone(), into.keyspace.clone());
        if self.plan.keyspaces.contains_key(&pair) {
            return Ok(());
        }
        let is_there = self.node.cluster.replication.contains_key(&into.keyspace);
        if !is_there && let Some(replication) = self.source.cluster.replication.get(&name.keyspace)
        {
            let members = &self.node.cluster.members;
            let datacenters = ring::foreign_datacenters(members, replication);
            if !datacenters.is_empty() {
                return Err(OnlineError::ForeignDatacenter {
                    keyspace: into.keyspace,
                    datacenters,
                });
            }
        }
        let question = Question {
            source: &self.source.cluster,
            manifests: &self.nodes,
            target: &self.node.cluster,
            node: self.node.host_id,
        };
        let own = self.node.ranges.get(&into.keyspace).cloned();
        let plan = question.keyspace(&name.keyspace, &into.keyspace, own);
        self.plan.keyspaces.insert(pair, plan);
        Ok(())
    }

    fn sstable(
        &mut self,
        host_id: Uuid,
        table: &Table,
        sstable: &SsTable,
    ) -> Result<(), OnlineError> {
        let name = name_of(table);
        let into = self.selection.target(&name);
        let pair = (name.keyspace.clone(), into.keyspace);
        let (Some(of_keyspace), Some(tally)) = (
            self.plan.keyspaces.get(&pair),
            self.plan.tables.get_mut(&name),
        ) else {
            return Ok(());
        };
        match of_keyspace.choose(host_id, sstable) {
            Ok(Why::SamePlace) => tally.same_place += 1,
            Ok(Why::Overlaps | Why::UnknownTokens) => tally.overlapping += 1,
            Err(_) => {
                tally.not_for_node += 1;
                return Ok(());
            }
        }
        let source = self.source;
        let wrong = |name| source.wrong_name(name);
        directory(table, sstable).map_err(wrong)?;
        let (mut files, mut bytes) = (0, 0);
        for component in imported(sstable) {
            plain(&component.name).map_err(wrong)?;
            is_readable(&self.node.version, &component.name)?;
            files += 1;
            bytes = u64::saturating_add(bytes, component.bytes);
        }
        tally.sstables += 1;
        tally.files += files;
        tally.bytes = tally.bytes.saturating_add(bytes);
        let (kept, cleaned) = (
            of_keyspace.kept(sstable, bytes),
            of_keyspace.needs_cleanup(),
        );
        let other = |(keyspace, _): &(String, bool)| *keyspace != pair.0;
        if self.batch_of.as_ref().is_some_and(other) || self.batches.is_full(bytes) {
            self.end_batch();
        }
        self.batch_of = Some((pair.0, cleaned));
        self.batches.add(bytes, kept);
        Ok(())
    }

    fn end_batch(&mut self) {
        if let Some((_, cleaned)) = self.batch_of.take() {
            self.batches.end(cleaned);
        }
    }
}

/// A table by its names.
pub fn name_of(table: &Table) -> TableName {
    TableName {
        keyspace: table.keyspace.clone(),
        table: table.table.clone(),
    }
}

/// The files of an SSTable that are imported. Those of attached indexes are not, and the list of files
/// that names them: Cassandra builds the indexes that the target has, and the list.
pub fn imported(sstable: &SsTable) -> impl Iterator<Item = &manifest::Component> {
    let of_index = |name: &str| {
        let parsed = name.parse::<ComponentName>();
        parsed.is_ok_and(|it| it.component.starts_with("SAI") || it.component.starts_with("SI_"))
    };
    let indexed = sstable.components.iter().any(|it| of_index(&it.name));
    let components = sstable.components.iter();
    let is_list = move |name: &str| indexed && name.ends_with("-TOC.txt");
    components.filter(move |it| !of_index(&it.name) && !is_list(&it.name))
}

/// Makes sure that a release reads a format. It reads those of the releases before.
fn is_readable(release: &str, file: &str) -> Result<(), OnlineError> {
    // The newest of each release; of what comes later nothing is known.
    let newest: &[(&str, &str)] = match release.split('.').next() {
        Some("4") => &[("big", "nb")],
        Some("5") => &[("big", "oz"), ("bti", "dz")],
        _ => return Ok(()),
    };
    let Ok(name) = file.parse::<ComponentName>() else {
        return Ok(());
    };
    let descriptor = &name.descriptor;
    let known = newest.iter().any(|(format, version)| {
        let version_of_file = descriptor.version();
        // None of them reads what is older than 3.0.
        let since = if *format == "big" { "ma" } else { "da" };
        descriptor.format() == *format && (since..=*version).contains(&version_of_file)
    });
    if known {
        return Ok(());
    }
    Err(OnlineError::Format {
        version: release.to_owned(),
        format: format!("{}-{}", descriptor.version(), descriptor.format()),
    })
}

#[cfg(test)]
mod tests {
    use store::Key;

    use super::*;
    use crate::restore::online::plan::Cluster;
    use crate::restore::online::ring::Member;
    use crate::restore::online::source::replications;

    const SCHEMA: &str = "CREATE KEYSPACE shop WITH replication = \
        {'class': 'NetworkTopologyStrategy', 'dc1': '1'};\n\n\
        CREATE TABLE shop.orders (k int PRIMARY KEY);\n\n\
        CREATE MATERIALIZED VIEW shop.by_k AS SELECT k FROM shop.orders WHERE k IS NOT NULL \
        PRIMARY KEY (k);\n\n";

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    /// A ring of nodes with a token each, in a datacenter.
    fn cluster(tokens: &[i128], datacenter: &str) -> Cluster {
        let member = |(number, token): (usize, &i128)| Member {
            host_id: id(number as u128 + 1),
            datacenter: datacenter.into(),
            rack: "r".into(),
            tokens: vec![*token],
        };
        Cluster {
            members: tokens.iter().enumerate().map(member).collect(),
            replication: BTreeMap::new(),
        }
    }

    /// A backup of two nodes.
    fn source() -> Source {
        let schema = schema::split(SCHEMA);
        let manifest = |number| (id(number), Key::parse(&format!("c/{number}")).unwrap());
        Source {
            backup: "b1".parse().unwrap(),
            taken: None,
            manifests: [manifest(1), manifest(2)].into(),
            headers: BTreeMap::new(),
            missing: BTreeSet::new(),
            partitioner: "p".into(),
            cluster: Cluster {
                replication: replications(&schema),
                ..cluster(&[0, 100], "dc1")
            },
            schema,
        }
    }

    fn table(keyspace: &str, table: &str) -> Line {
        Line::Table(Table {
            keyspace: keyspace.into(),
            table: table.into(),
            id: "0af".into(),
            directory: "orders-0af".into(),
            schema: None,
        })
    }

    fn sstable_of(bounds: (i64, i64), bytes: u64) -> Line {
        let component = manifest::Component {
            name: "nb-1-big-Data.db".into(),
            object: "nb-1-big-Data.db".into(),
            bytes,
            blake3: String::new(),
        };
        Line::SsTable(SsTable {
            sstable: "nb-1-big.00000001.17".into(),
            index: None,
            data_directory: 0,
            first_token: Some(bounds.0.to_string()),
            last_token: Some(bounds.1.to_string()),
            components: vec![component],
        })
    }

    /// What a node of a target imports, of lines of the two nodes.
    fn plan(target: Cluster, lines: &[Line]) -> Result<Plan, OnlineError> {
        let source = source();
        let facts = Facts {
            host_id: id(1),
            version: "5.0.9".into(),
            cluster: target,
            ..Facts::default()
        };
        let all = Selection::default();
        let mut survey = Survey::begin(&source, &facts, &all, (1 << 40, false));
        for node in [1, 2] {
            for line in lines {
                survey.add(id(node), line.clone())?;
            }
            survey.end_batch();
        }
        survey.plan.peak = survey.batches.peak();
        Ok(survey.plan)
    }

    #[test]
    fn views_and_what_is_cassandras_own_are_not_imported() {
        let lines = [
            table("system", "local"),
            sstable_of((0, 9), 1),
            table("shop", "by_k"),
            sstable_of((0, 9), 1),
            table("shop", "orders"),
            sstable_of((0, 9), 1000),
        ];
        let plan = plan(cluster(&[0, 100], "dc1"), &lines).unwrap();
        let tables: Vec<String> = plan.tables.keys().map(TableName::to_string).collect();
        assert_eq!(tables, ["shop.orders"]);
        let orders = plan.tables.values().next().unwrap();
        let seen = (orders.same_place, orders.overlapping, orders.not_for_node);
        assert_eq!((seen, plan.sum()), ((1, 0, 1), (1, 1000)));
        assert_eq!(plan.peak, 1000);
    }

    #[test]
    fn another_ring_takes_from_both_what_overlaps_and_needs_room_for_what_it_removes() {
        let lines = [
            table("shop", "orders"),
            sstable_of((1, 100), 1000),
            sstable_of((60, 80), 500),
        ];
        // (100, 50] is the node's.
        let plan = plan(cluster(&[50, 100], "dc1"), &lines).unwrap();
        let orders = plan.tables.values().next().unwrap();
        let seen = (orders.same_place, orders.overlapping, orders.not_for_node);
        assert_eq!((seen, plan.sum()), ((0, 2, 2), (2, 2000)));
        // The second of two batches of which half is kept, beside what is kept of the first.
        assert_eq!(plan.peak, 500 + 1000 + 500);
    }

    #[test]
    fn a_manifest_leads_to_no_other_place() {
        let inside = sstable_of((0, 9), 1);
        for (keyspace, name) in [
            ("..", "orders"),
            ("shop", "../../etc"),
            ("a,b", "c"),
            ("", "t"),
        ] {
            let lines = [table(keyspace, name), inside.clone()];
            let error = plan(cluster(&[0, 100], "dc1"), &lines).unwrap_err();
            assert_eq!(error.reason(), protocol::Reason::ContentMismatch, "{error}");
        }
        let mut outside = inside;
        if let Line::SsTable(sstable) = &mut outside {
            sstable.components[0].name = "../nb-1-big-Data.db".into();
        }
        let lines = [table("shop", "orders"), outside];
        assert!(plan(cluster(&[0, 100], "dc1"), &lines).is_err());
    }

    #[test]
    fn a_datacenter_that_is_not_there_is_told() {
        let lines = [table("shop", "orders"), sstable_of((0, 9), 1)];
        let error = plan(cluster(&[0, 100], "dc2"), &lines).unwrap_err();
        assert!(error.to_string().contains("replicas in dc1"), "{error}");
    }

    #[test]
    fn a_release_reads_what_came_before_it() {
        let reads = |release, file| is_readable(release, file).is_ok();
        assert!(reads("4.0.19", "nb-1-big-Data.db") && reads("4.1.10", "me-1-big-Data.db"));
        assert!(!reads("4.1.10", "la-1-big-Data.db"));
        assert!(!reads("4.1.10", "oa-1-big-Data.db") && !reads("4.1.10", "da-1-bti-Data.db"));
        assert!(reads("5.0.9", "oa-1-big-Data.db") && reads("5.0.9", "da-1-bti-Data.db"));
        assert!(!reads("5.0.9", "pa-1-big-Data.db") && reads("6.0.0", "zz-1-new-Data.db"));
    }

    #[test]
    fn attached_indexes_are_built_anew() {
        let sstable = |names: &[&str]| SsTable {
            sstable: "nb-1-big.00000001.17".into(),
            index: None,
            data_directory: 0,
            first_token: None,
            last_token: None,
            components: names
                .iter()
                .map(|name| manifest::Component {
                    name: format!("nb-1-big-{name}"),
                    object: String::new(),
                    bytes: 1,
                    blake3: String::new(),
                })
                .collect(),
        };
        let names = |given: &[&str]| -> Vec<String> {
            imported(&sstable(given))
                .map(|it| it.name.clone())
                .collect()
        };
        assert_eq!(names(&["Data.db", "TOC.txt"]).len(), 2);
        let with_index = names(&["Data.db", "SAI+aa+GroupMeta.db", "SI_x.db", "TOC.txt"]);
        assert_eq!(with_index, ["nb-1-big-Data.db"]);
    }
}
