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
        passed_over: Vec::new(),
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
        content: None,
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
    let mut survey = Survey::begin(&source, &facts, &all, Batches::new(1 << 40, false, None));
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
fn the_ring_stays_what_it_was_when_its_keyspaces_are_made_and_not_when_they_change() {
    let lines = [table("shop", "orders"), sstable_of((0, 9), 1000)];
    let plan = plan(cluster(&[0, 100], "dc1"), &lines).unwrap();
    let source = source();
    let ring = |schema: &str| {
        let mut cluster = cluster(&[0, 100], "dc1");
        cluster.replication = replications(&schema::split(schema));
        let facts = Facts {
            cluster,
            ring: "hash of the members".into(),
            ..Facts::default()
        };
        plan.ring(&source, &facts)
    };
    let before = ring("");
    assert_eq!(ring(SCHEMA), before);
    let other = "CREATE KEYSPACE other WITH replication = {'class': 'SimpleStrategy'};\n";
    assert_eq!(ring(&format!("{SCHEMA}{other}")), before);
    assert_ne!(ring(&SCHEMA.replace("'dc1': '1'", "'dc1': '2'")), before);
}
