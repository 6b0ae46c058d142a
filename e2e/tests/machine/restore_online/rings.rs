//! From rings into rings: the same tokens, other tokens, fewer nodes, more nodes.

use e2e::parts::cassandra::cql::{self, Consistency};
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use scylla::statement::unprepared::Statement;

use super::cluster::{Cluster, Storage, rows};
use super::rehearsal;

const MERGE: [&str; 2] = ["--backup=b1", "--mode=merge"];

/// What replicas do not agree on: rows, deletions and counts that only some have.
async fn disagree(cluster: &mut Cluster) {
    let session = cluster.session().await;
    let everywhere = "CREATE TABLE shop.split (key int PRIMARY KEY, value text) \
                      WITH read_repair = 'NONE'";
    session.query_unpaged(everywhere, ()).await.unwrap();
    for key in 0..60 {
        let insert = format!("INSERT INTO shop.split (key, value) VALUES ({key}, 'old')");
        change(&session, insert, Consistency::All).await;
    }
    let counters = "CREATE TABLE shop.hits (id int PRIMARY KEY, count counter)";
    session.query_unpaged(counters, ()).await.unwrap();
    for id in 0..4 {
        let count = format!("UPDATE shop.hits SET count = count + 10 WHERE id = {id}");
        change(&session, count, Consistency::All).await;
    }
    // Kept out without a trace: nobody hands over what it misses.
    for node in &cluster.nodes {
        node.nodetool(&["disablehandoff"]).await.unwrap();
        node.nodetool(&["flush"]).await.unwrap();
    }
    for down in 0..3 {
        cluster.nodes[down].stop().await.unwrap();
        let up = (down + 1) % 3;
        let session = cql::connect(&[cluster.nodes[up].address()], None)
            .await
            .unwrap();
        for key in down * 20..down * 20 + 20 {
            let one = match key % 2 {
                0 => format!("DELETE FROM shop.split WHERE key = {key}"),
                _ => format!("UPDATE shop.split SET value = 'new' WHERE key = {key}"),
            };
            change(&session, one, Consistency::One).await;
        }
        let count = format!("UPDATE shop.hits SET count = count + 1 WHERE id = {down}");
        change(&session, count, Consistency::One).await;
        for node in [up, (down + 2) % 3] {
            cluster.nodes[node].nodetool(&["flush"]).await.unwrap();
        }
        cluster.nodes[down].restart().await.unwrap();
        cluster.nodes[down]
            .nodetool(&["disablehandoff"])
            .await
            .unwrap();
        cql::agree(&cluster.addresses(), None).await.unwrap();
    }
}

async fn change(session: &cql::Session, statement: String, consistency: Consistency) {
    let mut statement = Statement::new(statement);
    statement.set_consistency(consistency);
    session.query_unpaged(statement, ()).await.unwrap();
}

/// What a read of all replicas finds after that.
async fn check_split(cluster: &Cluster) {
    let session = cluster.session().await;
    let found = rows(&session, "SELECT JSON key, value FROM shop.split").await;
    let expected = (0..60).filter(|key| key % 2 == 1);
    let mut expected: Vec<String> = expected
        .map(|key| format!(r#"{{"key": {key}, "value": "new"}}"#))
        .collect();
    expected.sort();
    assert_eq!(found, expected);
    let counted = rows(&session, "SELECT JSON id, count FROM shop.hits").await;
    let expected = [(0, 11), (1, 11), (2, 11), (3, 10)];
    let expected = expected.map(|(id, count)| format!(r#"{{"id": {id}, "count": {count}}}"#));
    assert_eq!(counted, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_three_comes_back_into_rings_of_any_shape() {
    let storage = Storage::new();
    let options = Options::default();
    let once = Rows::new("alone", "events").with_bytes(300);
    let thrice = Rows::new("shop", "orders").with_bytes(300);
    let source_tokens;
    {
        let mut source = Cluster::start(3, &options).await;
        source_tokens = source.tokens().await;
        let session = source.session().await;
        once.create(&session, "dc1", 1).await.unwrap();
        thrice.create(&session, "dc1", 3).await.unwrap();
        for table in [&once, &thrice] {
            table.write(&session, 0..300).await.unwrap();
        }
        thrice.delete(&session, 250..300).await.unwrap();
        disagree(&mut source).await;
        source.back_up(&storage, "b1").await;
    }
    let check = async |cluster: &Cluster| {
        let session = cluster.session().await;
        once.check(&session, 0..300).await.unwrap();
        thrice.check(&session, 0..250).await.unwrap();
        check_split(cluster).await;
    };

    // The same places, in another order.
    {
        let mut tokens = source_tokens.clone();
        tokens.rotate_left(1);
        let same = Cluster::with_tokens(&tokens, &options).await;
        // One command is not enough for a ring.
        let said = same.restore(0, &storage, &MERGE).await.expect(2);
        assert!(said.contains("--step prepare"), "{said}");
        let load = [&MERGE[..], &["--step=load"]].concat();
        let said = same.restore(1, &storage, &load).await.expect(2);
        assert!(said.contains("--step prepare on one node first"), "{said}");
        same.restore_all(&storage, &MERGE).await;
        check(&same).await;
        // All of it once more, over what is there now: and each node takes its own.
        let replace = ["--backup=b1", "--mode=replace"];
        let said = same
            .restore(1, &storage, &[&replace[..], &["--step=load"]].concat())
            .await
            .expect(2);
        assert!(said.contains("was to be empty"), "{said}");
        let dry = [
            &replace[..],
            &["--step=prepare", "--dry-run", "--output=json"],
        ]
        .concat();
        let plan = same.restore(0, &storage, &dry).await.document();
        for table in plan["tables"].as_array().unwrap() {
            assert_eq!(table["overlapping"], 0, "{table}");
        }
        thrice.write(&same.session().await, 250..280).await.unwrap();
        let step = |name: &'static str| [&replace[..], &[name]].concat();
        for name in ["--step=prepare", "--step=load"] {
            same.restore(0, &storage, &step(name)).await.expect(0);
        }
        // Given again, it empties nothing; and what somebody else has emptied is imported again.
        let said = same
            .restore(0, &storage, &step("--step=prepare"))
            .await
            .expect(2);
        assert!(
            said.contains("was prepared or loaded on this node"),
            "{said}"
        );
        same.run(&["TRUNCATE shop.orders"]).await;
        for node in 0..3 {
            same.restore(node, &storage, &step("--step=load"))
                .await
                .expect(0);
        }
        same.restore(0, &storage, &step("--step=finish"))
            .await
            .expect(0);
        check(&same).await;
    }
    // Other tokens.
    {
        let other = Cluster::start(3, &options).await;
        // In many batches, each with a cleanup of its own.
        let small = [&MERGE[..], &["--batch=20KiB"]].concat();
        other.restore_all(&storage, &small).await;
        check(&other).await;
        // What a node does not replicate is gone: without a cleanup each would have all of it.
        let mut partitions = 0;
        for node in &other.nodes {
            partitions += partitions_of(node).await;
        }
        assert!(partitions < 450, "{partitions}");
    }
    // One node, of a datacenter that the source does not have.
    {
        let elsewhere = Options {
            datacenter: "elsewhere".into(),
            ..options.clone()
        };
        let one = Cluster::start(1, &elsewhere).await;
        let session = one.session().await;
        let said = one.restore(0, &storage, &MERGE).await.expect(2);
        assert!(said.contains("has replicas in dc1"), "{said}");
        rehearsal::shows_what_is_and_what_is_not_there(&one, &storage).await;
        check(&one).await;
        one.run(&["DROP KEYSPACE alone", "DROP KEYSPACE shop"])
            .await;
        // Three replicas on one node would be refused at ALL.
        for keyspace in ["alone", "shop"] {
            let make = format!(
                "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
            );
            session.query_unpaged(make, ()).await.unwrap();
        }
        one.restore(0, &storage, &MERGE).await.expect(0);
        check(&one).await;
        one.run(&["DROP KEYSPACE alone", "DROP KEYSPACE shop"])
            .await;
        rehearsal::finds_what_cassandra_cannot_read(&one, &storage).await;
    }
}

/// How many partitions a node's files have of the table with one replica.
async fn partitions_of(node: &HostCassandra) -> u64 {
    let stats = node
        .nodetool(&["tablestats", "alone.events"])
        .await
        .unwrap();
    let line = stats
        .lines()
        .find(|line| line.contains("Number of partitions"));
    let number = line.and_then(|line| line.rsplit(' ').next());
    number.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_comes_back_into_three_and_a_missing_replica_is_told() {
    let storage = Storage::new();
    let options = Options::default();
    let orders = Rows::new("shop", "orders").with_bytes(300);
    {
        let one = Cluster::start(1, &options).await;
        let session = one.session().await;
        orders.create(&session, "dc1", 1).await.unwrap();
        orders.write(&session, 0..300).await.unwrap();
        one.back_up(&storage, "b1").await;
    }
    let mut three = Cluster::start(3, &options).await;
    three.restore_all(&storage, &MERGE).await;
    orders.check(&three.session().await, 0..300).await.unwrap();

    // Of three nodes two are backed up.
    for node in 0..2 {
        three.back_up_one(node, &storage, "b2").await;
    }
    let flags = ["--backup=b2", "--mode=replace", "--step=load"];
    let said = three.restore(2, &storage, &flags).await.expect(2);
    assert!(said.contains("DegradedCover"), "{said}");
    let latest = ["--backup=latest", "--mode=merge", "--step=prepare"];
    let said = three.restore(0, &storage, &latest).await.expect(2);
    assert!(said.contains("name the backup"), "{said}");
    let latest = [
        "--backup=latest",
        "--mode=merge",
        "--step=prepare",
        "--dry-run",
        "--output=json",
    ];
    let plan = three.restore(0, &storage, &latest).await.document();
    assert_eq!(plan["backup"], "b1", "the newest that is complete: {plan}");

    // A node that is down is named before a table is emptied.
    let down = three.nodes[2].address().to_owned();
    three.nodes[2].stop().await.unwrap();
    let flags = ["--backup=b1", "--mode=replace", "--step=prepare"];
    let seen_down = async || {
        let said = three
            .restore(0, &storage, &[&flags[..], &["--dry-run"]].concat())
            .await;
        anyhow::Ok(said.complaints().contains(&down).then_some(said))
    };
    let minute = std::time::Duration::from_secs(60);
    let said = e2e::bed::wait::until("the node is seen down", minute, seen_down)
        .await
        .unwrap();
    assert!(said.expect(75).contains("needs all nodes"));
    three.nodes[2].restart().await.unwrap();
    cql::agree(&three.addresses(), None).await.unwrap();
    orders.check(&three.session().await, 0..300).await.unwrap();
}
