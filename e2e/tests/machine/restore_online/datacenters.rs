//! Two datacenters, into two of other sizes.

use e2e::parts::cassandra::cql;
use e2e::parts::cassandra::host::Options;
use e2e::parts::cassandra::rows::Rows;

use super::cluster::{Cluster, Storage};

/// Nodes of these datacenters.
async fn ring(datacenters: &[&str]) -> Cluster {
    let of_node = |datacenter: &&str| Options {
        datacenter: (*datacenter).to_owned(),
        ..Options::default()
    };
    let options: Vec<_> = datacenters.iter().map(of_node).collect();
    Cluster::of(&options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_datacenter_gets_the_rows_of_its_replicas_wherever_they_were() {
    let storage = Storage::new();
    let both = Rows::new("shop", "orders").with_bytes(300);
    let one = Rows::new("away", "events").with_bytes(300);
    {
        let source = ring(&["dc1", "dc1", "dc2"]).await;
        let session = source.session().await;
        let replicas = "'class': 'NetworkTopologyStrategy', 'dc1': 1, 'dc2': 1";
        let make = format!("CREATE KEYSPACE shop WITH replication = {{{replicas}}}");
        session.query_unpaged(make, ()).await.unwrap();
        both.create(&session, "dc1", 1).await.unwrap();
        one.create(&session, "dc2", 1).await.unwrap();
        for table in [&both, &one] {
            table.write(&session, 0..300).await.unwrap();
        }
        both.delete(&session, 250..300).await.unwrap();
        source.back_up(&storage, "b1").await;
        for node in 0..2 {
            source.back_up_one(node, &storage, "half").await;
        }
    }
    let target = ring(&["dc1", "dc2", "dc2"]).await;
    target
        .restore_all(&storage, &["--backup=b1", "--mode=merge"])
        .await;
    let check = async || {
        let session = target.session().await;
        both.check(&session, 0..250).await.unwrap();
        one.check(&session, 0..300).await.unwrap();
    };
    check().await;

    // Of the other datacenter nothing was backed up, and what only its replicas had would be missing.
    let half = ["--backup=half", "--mode=replace"];
    let prepare = [&half[..], &["--step=prepare"]].concat();
    for node in 0..3 {
        let said = target.restore(node, &storage, &prepare).await.expect(2);
        assert!(said.contains("DegradedCover"), "{said}");
    }
    check().await;
    // All replicas had the same, so that one datacenter is enough, where that is said.
    let known = [&half[..], &["--keyspaces=shop", "--allow-degraded"]].concat();
    target.restore_all(&storage, &known).await;
    cql::agree(&target.addresses(), None).await.unwrap();
    check().await;
}
