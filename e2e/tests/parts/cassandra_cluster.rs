//! Cassandra in the bed's Kubernetes: three nodes that agree, restart and forget nothing.

use e2e::bed::Bed;
use e2e::parts::cassandra::cluster::Cluster;
use e2e::parts::cassandra::config::{Credentials, Jmx};
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::images;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_hold_every_row_and_one_comes_back_with_its_data() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("cassandra").await.unwrap();
    let cluster = Cluster::start(&bed, &namespace, Options::new("db"))
        .await
        .unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(1000);
    let session = cluster.session().await.unwrap();
    rows.create(&session, "dc1", 3).await.unwrap();
    rows.write(&session, 0..300).await.unwrap();

    let ring = cluster.nodetool(2, &["ring"]).await.unwrap();
    assert_eq!(ring.matches("Normal").count(), 3 * 4, "{ring}");
    let id = cluster
        .exec(1, &["id", "-u"])
        .await
        .unwrap()
        .text()
        .unwrap();
    assert_eq!(id, "999\n");

    cluster.restart(1).await.unwrap();
    // All three, the restarted one under a new address.
    rows.check(&cluster.session().await.unwrap(), 0..300)
        .await
        .unwrap();

    cluster
        .nodetool(0, &["snapshot", "-t", "s1", "shop"])
        .await
        .unwrap();
    let snapshots = cluster.snapshots().unwrap();
    assert_eq!(snapshots.len(), 1, "{snapshots:?}");
    assert_eq!(snapshots[0].0, "db-0");
    assert!(snapshots[0].1.join("manifest.json").exists());
    namespace.done().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_runs_as_root_on_a_read_only_file_system_with_passwords_that_no_process_shows() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("cassandra").await.unwrap();
    let options = Options {
        replicas: 1,
        uid: 0,
        read_only_root: true,
        jmx: Jmx::Password(Credentials::new("operator", "over-jmx")),
        cql: Some(Credentials::new("owner", "over-cql")),
        ..Options::new("db")
    };
    let cluster = Cluster::start(&bed, &namespace, options).await.unwrap();
    let rows = Rows::new("shop", "orders");
    let session = cluster.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..10).await.unwrap();
    let info = cluster.nodetool(0, &["info"]).await.unwrap();
    assert!(info.contains("Native Transport active: true"), "{info}");
    let refused = cluster.exec(0, &["nodetool", "info"]).await.unwrap();
    assert_ne!(refused.code, 0);
    let read_only = cluster.exec(0, &["touch", "/opt/x"]).await.unwrap();
    assert_ne!(read_only.code, 0);
    let shown = cluster
        .exec(0, &["sh", "-c", "cat /proc/*/cmdline /proc/*/environ"])
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("CassandraDaemon") || shown.contains("cassandra.args"),
        "{shown}"
    );
    assert!(!shown.contains("over-jmx") && !shown.contains("over-cql"));
    namespace.done().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_shell_shares_its_data_with_a_container_of_another_libc() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("cassandra").await.unwrap();
    let musl = images::musl().await.unwrap();
    bed.import(&musl).await.unwrap();
    let beside = serde_json::json!({
        "name": "beside",
        "image": musl.name,
        "imagePullPolicy": "Never",
        "securityContext": {"runAsUser": 999, "runAsGroup": 999},
        "volumeMounts": [{"name": "data", "mountPath": "/var/lib/cassandra"}],
    });
    let options = Options {
        replicas: 1,
        shell: false,
        jmx: Jmx::Off,
        containers: vec![serde_json::from_value(beside).unwrap()],
        ..Options::new("db")
    };
    let cluster = Cluster::start(&bed, &namespace, options).await.unwrap();
    assert!(
        cluster
            .exec(0, &["/bin/sh", "-c", "true"])
            .await
            .is_err_and(|error| { format!("{error:#}").contains("/bin/sh") })
    );
    let list = [
        "/bin/sh",
        "-c",
        "ls -d /var/lib/cassandra/data/system && ls /lib",
    ];
    let seen = namespace
        .exec("db-0", Some("beside"), &list, None)
        .await
        .unwrap()
        .text()
        .unwrap();
    assert_eq!(
        seen,
        "/var/lib/cassandra/data/system\nld-musl-x86_64.so.1\n"
    );
    let refused = cluster.nodetool(0, &["info"]).await.unwrap_err();
    assert!(
        format!("{refused:#}").contains("Connection refused"),
        "{refused:#}"
    );
    namespace.done().await.unwrap();
}
