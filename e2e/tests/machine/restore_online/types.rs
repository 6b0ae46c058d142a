//! All that a schema can have: types, counters, statics, collections, times to live, tombstones, a
//! dropped column, a view, the three kinds of index; and from one release into the next.

use std::collections::BTreeMap;

use e2e::parts::cassandra::Version;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use jmx::cassandra::ImportOptions;

use super::cluster::{Cluster, Storage, rows, run};

const SCHEMA: [&str; 11] = [
    "CREATE KEYSPACE shop WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': 1}",
    "CREATE TYPE shop.street (name text, number int)",
    "CREATE TYPE shop.address (street frozen<street>, city text)",
    "CREATE TABLE shop.people (id int, line int, company text static, home frozen<address>, \
     phones set<text>, scores map<text, int>, notes list<text>, gone text, \"Mixed\" text, \
     colour text, name text, price int, PRIMARY KEY (id, line)) \
     WITH CLUSTERING ORDER BY (line DESC)",
    "CREATE TABLE shop.hits (id int PRIMARY KEY, count counter)",
    "CREATE TABLE shop.late (id int PRIMARY KEY, value text) WITH default_time_to_live = 86400",
    "CREATE FUNCTION shop.double (x int) RETURNS NULL ON NULL INPUT RETURNS int LANGUAGE java \
     AS 'return x * 2; '",
    "CREATE INDEX by_colour ON shop.people (colour)",
    "CREATE CUSTOM INDEX by_name ON shop.people (name) USING \
     'org.apache.cassandra.index.sasi.SASIIndex' WITH OPTIONS = {'mode': 'CONTAINS'}",
    "CREATE TABLE shop.\"Quoted\" (\"Key\" int PRIMARY KEY, v text)",
    "INSERT INTO shop.\"Quoted\" (\"Key\", v) VALUES (1, 'one')",
];

const QUESTIONS: [&str; 8] = [
    "SELECT JSON * FROM shop.people",
    "SELECT JSON id, company FROM shop.people WHERE id = 3",
    "SELECT JSON id, line FROM shop.people WHERE colour = 'red'",
    "SELECT JSON id, line FROM shop.people WHERE name LIKE '%ame 1%'",
    "SELECT JSON id, line, price FROM shop.by_price",
    "SELECT JSON * FROM shop.hits",
    "SELECT JSON id, value FROM shop.late",
    "SELECT JSON * FROM shop.\"Quoted\"",
];

async fn fill(cluster: &Cluster, sai: bool) {
    cluster.run(&SCHEMA).await;
    if sai {
        cluster
            .run(&["CREATE CUSTOM INDEX by_price_too ON shop.people (price) USING 'StorageAttachedIndex'"])
            .await;
    }
    let session = cluster.session().await;
    for id in 0..20 {
        let colour = ["red", "green"][id % 2];
        run(
            &session,
            &[
                &format!(
                    "INSERT INTO shop.people (id, line, company, home, phones, scores, notes, gone, \"Mixed\", colour, name, price) \
                     VALUES ({id}, 1, 'company {id}', {{street: {{name: 'a', number: {id}}}, city: 'x'}}, \
                     {{'1', '{id}'}}, {{'k': {id}}}, ['n', 'm'], 'gone', 'M', '{colour}', 'name {id}', {id})"
                ),
                &format!("INSERT INTO shop.people (id, line, colour) VALUES ({id}, 2, 'blue')"),
                &format!("UPDATE shop.hits SET count = count + {id} WHERE id = {}", id % 5),
                &format!("INSERT INTO shop.late (id, value) VALUES ({id}, 'v')"),
                &format!("INSERT INTO shop.late (id, value) VALUES (10{id}, 'gone') USING TTL 1"),
            ],
        )
        .await;
        if id == 9 {
            // Two SSTables, and tombstones of what the first has.
            cluster.nodes[0].nodetool(&["flush", "shop"]).await.unwrap();
        }
    }
    run(
        &session,
        &[
            "DELETE FROM shop.people WHERE id = 4",
            "DELETE FROM shop.people WHERE id = 5 AND line = 2",
            "UPDATE shop.people SET phones = phones - {'1'}, scores['k'] = null WHERE id = 6 AND line = 1",
            "DELETE FROM shop.late WHERE id = 7",
            "ALTER TABLE shop.people DROP gone",
            // Columns of a table with a view cannot be dropped.
    "CREATE MATERIALIZED VIEW shop.by_price AS SELECT price, id, line, colour FROM shop.people WHERE price IS NOT NULL \
     AND id IS NOT NULL AND line IS NOT NULL PRIMARY KEY (price, id, line)",
        ],
    )
    .await;
}

/// When the rows of `late` end, by id, in seconds since 1970.
async fn ends(cluster: &Cluster) -> BTreeMap<i64, i64> {
    let question = "SELECT JSON id, ttl(value) AS left FROM shop.late";
    let rows = rows(&cluster.session().await, question).await;
    let now = jiff::Timestamp::now().as_second();
    let ends = rows.iter().map(|row| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        let [id, left] = ["id", "left"].map(|field| row[field].as_i64().unwrap());
        (id, now + left)
    });
    ends.collect()
}

async fn answers(cluster: &Cluster, sai: bool) -> Vec<Vec<String>> {
    let session = cluster.session().await;
    let mut all = Vec::new();
    for question in QUESTIONS {
        all.push(rows(&session, question).await);
    }
    if sai {
        all.push(
            rows(
                &session,
                "SELECT JSON id, line FROM shop.people WHERE price > 12",
            )
            .await,
        );
    }
    all
}

/// Views and indexes are built in the background.
async fn wait_for(cluster: &Cluster, sai: bool, expected: &[Vec<String>]) {
    let began = std::time::Instant::now();
    loop {
        let found = answers(cluster, sai).await;
        if found == expected {
            return;
        }
        assert!(began.elapsed().as_secs() < 60, "{found:#?}\n{expected:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

/// By an import of nothing it is waited for one that was cut off: each release has to take it.
async fn imports_nothing(node: &HostCassandra) {
    let endpoint = jmx::Endpoint::new("127.0.0.1", node.jmx_port());
    let cassandra = jmx::cassandra::Cassandra::connect(&endpoint).await.unwrap();
    let table = jmx::cassandra::Table {
        keyspace: "shop".into(),
        table: "hits".into(),
    };
    let folder = node.home().join(format!("shop/hits-{:032}", 0));
    std::fs::create_dir_all(&folder).unwrap();
    let how = ImportOptions {
        copy: false,
        read_all: false,
    };
    let minute = std::time::Duration::from_secs(60);
    let refused = cassandra.import(&table, &[&folder], how, minute).await;
    assert_eq!(refused.unwrap(), Vec::<String>::new());
}

async fn from_into(from: &Options, into: &Options, sai: bool) {
    let storage = Storage::new();
    let (before, ends_before) = {
        let source = Cluster::start(1, from).await;
        fill(&source, sai).await;
        source.back_up(&storage, "b1").await;
        // What lived for a second is over.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        (answers(&source, sai).await, ends(&source).await)
    };
    assert!(before.iter().all(|rows| !rows.is_empty()), "{before:?}");
    let target = Cluster::start(1, into).await;
    let flags = ["--backup=b1", "--mode=merge"];
    target.restore(0, &storage, &flags).await.expect(0);
    wait_for(&target, sai, &before).await;
    let ends = ends(&target).await;
    assert_eq!(ends.len(), 19);
    for (id, end) in &ends {
        // Seconds are cut off, and the question takes its time.
        let apart = (end - ends_before[id]).abs();
        assert!(apart <= 5, "{id} ends {apart} s from when it did");
    }
    imports_nothing(&target.nodes[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_a_schema_can_have_comes_back() {
    let options = Options {
        data_directories: 2,
        ..Options::default()
    };
    from_into(&options, &options, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_releases_restore_and_come_into_the_newer_ones() {
    let of = |version| Options {
        version,
        ..Options::default()
    };
    from_into(&of(Version::V4_0), &of(Version::V4_0), false).await;
    from_into(&of(Version::V4_1), &of(Version::V5_0), false).await;
}
