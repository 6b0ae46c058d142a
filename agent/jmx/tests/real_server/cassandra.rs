//! The typed layer, against beans with the signatures of Cassandra's.

use std::time::Duration;

use jmx::Error;
use jmx::cassandra::{
    Cassandra, Entities, Ownership, SnapshotOptions, State, Status, Table, Tag, snapshot_exists,
};

use crate::support::{Server, name, shared};

const MINUTE: Duration = Duration::from_secs(60);

async fn node(server: &Server) -> Cassandra {
    Cassandra::connect(&server.endpoint()).await.unwrap()
}

/// What the server was asked to do, in its own words.
async fn calls(node: &Cassandra) -> Vec<String> {
    let storage = name("org.apache.cassandra.db:type=StorageService");
    let calls = node.client().get_attribute(&storage, "Calls").await;
    calls.unwrap().into_strings().unwrap()
}

fn table(keyspace: &str, table: &str) -> Table {
    Table {
        keyspace: keyspace.to_owned(),
        table: table.to_owned(),
    }
}

#[tokio::test]
async fn a_node_tells_about_itself() {
    let node = node(shared()).await;
    let id = "8d5ed9f4-7764-4dbd-bad8-43fddce94b7c";
    assert_eq!(node.host_id().await.unwrap(), id);
    let tokens = ["-9223372036854775808", "0", "42"];
    assert_eq!(node.tokens().await.unwrap(), tokens);
    assert_eq!(node.cluster_name().await.unwrap(), "Тест cluster");
    let partitioner = "org.apache.cassandra.dht.Murmur3Partitioner";
    assert_eq!(node.partitioner().await.unwrap(), partitioner);
    assert_eq!(node.operation_mode().await.unwrap(), "NORMAL");
    assert_eq!(node.release_version().await.unwrap(), "5.0.9");
    let schema = "54e17321-3f2e-37ca-9b08-d91ba7bdd369";
    assert_eq!(node.schema_version().await.unwrap(), schema);
    assert_eq!(
        node.data_directories().await.unwrap(),
        ["/data/a", "/data/b"]
    );
    assert_eq!(node.keyspaces().await.unwrap(), ["shop", "system"]);
    assert_eq!(node.datacenter().await.unwrap(), "dc1");
    assert_eq!(node.rack().await.unwrap(), "r1");
    let versions = node.schema_versions().await.unwrap();
    assert_eq!(versions["v1"], ["127.0.0.1", "127.0.0.3"]);
    assert_eq!(versions["UNREACHABLE"], ["127.0.0.2"]);
    node.close().await.unwrap();
}

#[tokio::test]
async fn tables_are_listed_without_indexes() {
    let node = node(shared()).await;
    let tables = node.tables().await.unwrap();
    let expected = [
        table("shop", "items"),
        table("shop", "orders"),
        table("system", "local"),
    ];
    assert_eq!(tables, expected);
    node.close().await.unwrap();
}

#[tokio::test]
async fn the_ring_has_for_each_endpoint_what_nodetool_shows() {
    let node = node(shared()).await;
    let ring = node.ring(Some("shop")).await.unwrap();
    let keyspace = Some("shop".to_owned());
    assert_eq!(ring.ownership, Ownership::Effective { keyspace });
    let addresses: Vec<_> = ring.members.iter().map(|m| m.address.as_str()).collect();
    assert_eq!(
        addresses,
        ["127.0.0.1:7000", "127.0.0.2:7000", "127.0.0.3:7000"]
    );

    let first = &ring.members[0];
    assert_eq!(first.datacenter, "dc1");
    assert_eq!(first.rack, "rack of 127.0.0.1:7000");
    assert_eq!((first.status, first.state), (Status::Up, State::Normal));
    assert_eq!(first.load.as_deref(), Some("103.49 KiB"));
    assert_eq!(first.owns, Some(1.0));
    assert_eq!(first.tokens, ["-9223372036854775808", "0"]);
    assert_eq!(
        first.host_id.as_deref(),
        Some("8d5ed9f4-7764-4dbd-bad8-43fddce94b7c")
    );

    let second = &ring.members[1];
    assert_eq!((second.status, second.load.as_ref()), (Status::Down, None));
    let third = &ring.members[2];
    assert_eq!(
        (third.datacenter.as_str(), third.state),
        ("dc2", State::Joining)
    );
    node.close().await.unwrap();
}

#[tokio::test]
async fn the_ring_says_when_ownership_is_not_effective() {
    let node = node(shared()).await;
    // The server has no OwnershipWithPort, so this is the older form, by InetAddress.
    let ring = node.ring(None).await.unwrap();
    assert_eq!(ring.ownership, Ownership::TokenRange);

    let error = node.ring(Some("nope")).await.unwrap_err();
    assert!(
        matches!(&error, Error::Mbean { message, .. } if message.contains("does not exist")),
        "{error:?}"
    );
    node.close().await.unwrap();
}

#[tokio::test]
async fn snapshots_are_taken_listed_and_cleared_by_their_tag() {
    let server = Server::start(&[]);
    let node = node(&server).await;
    assert_eq!(node.snapshots().await.unwrap(), []);

    let tag: Tag = "backup-1".parse().unwrap();
    let options = SnapshotOptions {
        skip_flush: false,
        ttl: Some(Duration::from_secs(3600)),
    };
    let tables = Entities::Tables(vec![table("shop", "orders"), table("shop", "items")]);
    node.snapshot(&tag, &options, &tables, MINUTE)
        .await
        .unwrap();
    let mut snapshots = node.snapshots().await.unwrap();
    snapshots.sort_by(|a, b| a.table.cmp(&b.table));
    assert_eq!(snapshots.len(), 2);
    assert_eq!(snapshots[0].tag, "backup-1");
    assert_eq!(
        (snapshots[0].keyspace.as_str(), snapshots[0].table.as_str()),
        ("shop", "items")
    );
    assert_eq!(snapshots[0].true_size, "1.5 KiB");
    assert_eq!(snapshots[0].size_on_disk, "7 KiB");
    assert_eq!(
        snapshots[0].created_at.as_deref(),
        Some("2026-11-23T08:00:00Z")
    );
    assert_eq!(snapshots[0].expires_at, None);

    let plain = SnapshotOptions::default();
    let again = node.snapshot(&tag, &plain, &Entities::All, MINUTE).await;
    assert!(snapshot_exists(&again.unwrap_err()));

    let missing = Entities::Keyspaces(vec!["missing".to_owned()]);
    let other: Tag = "backup-2".parse().unwrap();
    let error = node
        .snapshot(&other, &plain, &missing, MINUTE)
        .await
        .unwrap_err();
    assert!(!snapshot_exists(&error));
    assert!(
        error
            .to_string()
            .contains("Keyspace missing does not exist"),
        "{error}"
    );

    let nothing = Entities::Keyspaces(vec![]);
    node.snapshot(&other, &plain, &nothing, MINUTE)
        .await
        .unwrap();
    node.flush("shop", &["orders"], MINUTE).await.unwrap();
    node.clear_snapshot(&tag).await.unwrap();
    assert_eq!(node.snapshots().await.unwrap(), []);
    assert_eq!(
        calls(&node).await,
        [
            "takeSnapshot backup-1 {skipFlush=false, ttl=3600s} [shop.orders, shop.items]",
            "takeSnapshot backup-1 {skipFlush=false} []",
            "takeSnapshot backup-2 {skipFlush=false} [missing]",
            "forceKeyspaceFlush shop [orders]",
            "clearSnapshot backup-1 []",
        ]
    );
    node.close().await.unwrap();
}
