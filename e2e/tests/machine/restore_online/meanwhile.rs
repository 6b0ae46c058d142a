//! What becomes of the ring while it is restored into: a node goes down, another one joins.

use std::fs;
use std::time::Duration;

use e2e::bed::wait::until;
use e2e::parts::cassandra::cql;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cluster::{Cluster, Restored, Storage, files};

const KEYS: std::ops::Range<i64> = 0..200;

async fn load(
    cluster: &Cluster,
    storage: &Storage,
    run: (Uuid, u32),
    node: usize,
    anew: bool,
) -> Value {
    let with = json!({"backup": "b1", "mode": "merge", "step": "load", "anew": anew});
    cluster.ask_as(run, node, storage, with).await
}

/// Has a node miss a change of the schema: it asks for it, if it has been up for a minute, another minute
/// later.
async fn disagree(cluster: &Cluster, left_behind: usize, on: usize) {
    let (behind, ahead) = (&cluster.nodes[left_behind], &cluster.nodes[on]);
    behind.pause().unwrap();
    let down = async || {
        let said = ahead.nodetool(&["status"]).await?;
        anyhow::ensure!(said.lines().any(|it| it.starts_with("DN")), "{said}");
        Ok(Some(()))
    };
    until("a node is missed", Duration::from_secs(120), down)
        .await
        .unwrap();
    // It is sent to those that are up.
    let session = cql::connect(&[ahead.address()], None).await.unwrap();
    let change = "CREATE TABLE shop.missed (k int PRIMARY KEY)";
    session.query_unpaged(change, ()).await.unwrap();
    behind.resume().unwrap();
    let two = async || {
        let said = ahead.nodetool(&["describecluster"]).await?;
        let versions = said.split("Schema versions:").nth(1).unwrap_or_default();
        let (versions, _) = versions.split_once("Stats").unwrap_or_default();
        let versions = versions.lines().filter(|it| it.contains(": ["));
        let known = versions.filter(|it| !it.contains("UNREACHABLE"));
        anyhow::ensure!(known.count() == 2, "{said}");
        Ok(Some(()))
    };
    until("the nodes have two schemas", Duration::from_secs(50), two)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_down_is_loaded_later_and_one_that_joins_has_all_loaded_anew() {
    let storage = Storage::new();
    let mut cluster = Cluster::start(2, &Options::default()).await;
    let session = cluster.session().await;
    // The first is imported before the second is fetched, which takes half a minute.
    let (first, second) = (
        Rows::new("shop", "early"),
        Rows::new("shop", "late").with_bytes(2000),
    );
    for table in [&first, &second] {
        table.create(&session, "dc1", 2).await.unwrap();
        table.write(&session, KEYS).await.unwrap();
    }
    cluster.back_up(&storage, "b1").await;
    cluster
        .run(&["TRUNCATE shop.early", "TRUNCATE shop.late"])
        .await;

    let flags = ["--backup=b1", "--mode=merge", "--step=load"];
    let prepare = ["--backup=b1", "--mode=merge", "--step=prepare"];
    cluster.restore(0, &storage, &prepare).await.expect(0);
    let slowly = [&flags[..], &["--bandwidth=15KiB"]].concat();
    let mut at_work = cluster.restoring(0, &storage, &slowly).await;
    let staged = cluster.nodes[0].data().join(".cassandra-backup-restore.d");
    let imported = async || {
        let journal = files(&staged)
            .into_iter()
            .find(|it| it.ends_with("journal.jsonl"));
        let text = journal.and_then(|path| fs::read_to_string(path).ok());
        anyhow::Ok(text.filter(|it| it.contains("\"imported\":")).map(drop))
    };
    until("the first is imported", Duration::from_secs(60), imported)
        .await
        .unwrap();
    cluster.nodes[1].kill().await.unwrap();
    assert!(at_work.try_wait().unwrap().is_none());
    Restored::of(at_work).await.expect(0);
    // It is needed for what is done once, and for itself.
    let finish = ["--backup=b1", "--mode=merge", "--step=finish"];
    let said = cluster.restore(1, &storage, &flags).await.expect(75);
    assert!(said.contains("JMX"), "{said}");
    cluster.nodes[1].restart().await.unwrap();
    cql::agree(&cluster.addresses(), None).await.unwrap();
    let (run, other) = (Uuid::new_v4(), Uuid::new_v4());
    let done = load(&cluster, &storage, (run, 1), 1, false).await;
    assert_eq!(done["reason"], "Succeeded", "{done}");
    cluster.restore(0, &storage, &finish).await.expect(0);
    let session = cluster.session().await;
    for table in [&first, &second] {
        table.check(&session, KEYS).await.unwrap();
    }

    // Another node joins after one was loaded.
    cluster
        .run(&["TRUNCATE shop.early", "TRUNCATE shop.late"])
        .await;
    disagree(&cluster, 0, 1).await;
    let said = cluster.restore(1, &storage, &prepare).await.expect(0);
    assert!(said.contains("do not agree on the schema"), "{said}");
    let done = load(&cluster, &storage, (run, 2), 0, false).await;
    assert_eq!(done["reason"], "Succeeded", "{done}");
    let seed = Some(cluster.nodes[0].address().to_owned());
    let options = Options {
        seed,
        ..Options::default()
    };
    cluster
        .nodes
        .push(HostCassandra::start(options).await.unwrap());
    cql::agree(&cluster.addresses(), None).await.unwrap();
    for (run, anew) in [
        ((other, 1), false),
        // It was this very run that cut it to the old ring, on other nodes too.
        ((run, 3), true),
    ] {
        let refused = load(&cluster, &storage, run, 0, anew).await;
        assert_eq!(refused["reason"], "RestoreRefused", "{refused}");
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("the ring has changed"), "{refused}");
    }
    // Each node has a run of its own: what one has done would be told of the others, since they share a state directory here.
    for node in 0..3 {
        let done = load(&cluster, &storage, (Uuid::new_v4(), 1), node, true).await;
        assert_eq!(done["reason"], "Succeeded", "{done}");
    }
    cluster.restore(0, &storage, &finish).await.expect(0);
    let session = cluster.session().await;
    for table in [&first, &second] {
        table.check(&session, KEYS).await.unwrap();
    }
}
