//! The agent is one executable for every image: as root, on a read-only root file system, beside
//! another libc.

use crds::BackupPhase;
use e2e::backup::Backup;
use e2e::bed::Bed;
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::images;
use e2e::product::{BUCKET, back_up, bucket_server, ended, resources, s3_storage, start};
use serde_json::{Value, json};

const DB: &str = "db";

/// Backs up one node that is made this way, and reads the backup. The agent's file has to be in
/// `container`, once, and to belong to `owner`.
async fn backs_up(options: Options, more: Value, container: &str, owner: u32) {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("image").await.unwrap();
    let (minio, storage) = bucket_server().await.unwrap();
    let musl = images::musl().await.unwrap();
    bed.import(&musl).await.unwrap();
    let (cluster, _operator) = start(&bed, &namespace, options).await.unwrap();
    let rows = Rows::new("shop", "orders");
    let session = cluster.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..50).await.unwrap();
    s3_storage(&namespace, "bucket", &minio, BUCKET, minio.root())
        .await
        .unwrap();

    if !cluster.options.shell {
        back_up(&namespace, "refused", DB, "bucket", json!({}))
            .await
            .unwrap();
        let refused = ended(&namespace, "refused").await.unwrap();
        let (_, reason, message) = resources::condition(&refused, "Complete").unwrap();
        assert_eq!(reason, "AgentNotInjectable", "{message}");
        assert!(
            message.contains("db-0") && message.contains("no shell"),
            "{message}"
        );
        assert!(message.contains("spec.agent.mode: Container"), "{message}");
    }
    let mut inodes = Vec::new();
    for name in ["first", "second"] {
        back_up(&namespace, name, DB, "bucket", more.clone())
            .await
            .unwrap();
        let status = ended(&namespace, name).await.unwrap().status.unwrap();
        assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
        let read = Backup::read(&storage, DB, name).await.unwrap();
        read.verify(&storage).await.unwrap();
        // Inode, mode, owner.
        let list = "for dir in /tmp /var/tmp /dev/shm /var/lib/cassandra; do \
                    stat -c '%i %a %u %n' $dir/*cassandra-backup/cassandra-backup-* \
                    $dir/.cassandra-backup/cassandra-backup-*; done 2>/dev/null";
        let found = namespace
            .exec("db-0", Some(container), &["sh", "-c", list], None)
            .await
            .unwrap();
        inodes.push(String::from_utf8(found.stdout).unwrap());
    }
    // One file, of the user that the container runs as, and the same the second time.
    let words: Vec<_> = inodes[0].split_whitespace().collect();
    assert_eq!(words.len(), 4, "{inodes:?}");
    assert_eq!(words[1..3], ["700", &owner.to_string()]);
    assert_eq!(inodes[0], inodes[1]);
    assert!(cluster.snapshots().unwrap().is_empty());
    namespace.done().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_a_read_only_root_file_system_is_backed_up_as_its_own_user() {
    let options = Options {
        replicas: 1,
        read_only_root: true,
        ..Options::new(DB)
    };
    backs_up(options, json!({}), "cassandra", 999).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_runs_as_root_is_backed_up() {
    let options = Options {
        replicas: 1,
        uid: 0,
        ..Options::new(DB)
    };
    backs_up(options, json!({}), "cassandra", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_shell_is_backed_up_from_a_container_with_another_libc() {
    let musl = images::musl().await.unwrap();
    let beside = json!({
        "name": "beside",
        "image": musl.name,
        "imagePullPolicy": "Never",
        "securityContext": {"runAsUser": 999, "runAsGroup": 999},
        "volumeMounts": [{"name": "data", "mountPath": "/var/lib/cassandra"}],
    });
    let options = Options {
        replicas: 1,
        shell: false,
        containers: vec![serde_json::from_value(beside).unwrap()],
        ..Options::new(DB)
    };
    let more = json!({"cassandra": {"container": "beside"}});
    backs_up(options, more, "beside", 999).await;
}
