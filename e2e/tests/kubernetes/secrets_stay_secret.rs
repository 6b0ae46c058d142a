//! Passwords and keys go to the agent by its standard input and nowhere else: they are in no
//! process's arguments or environment, and in nothing that anybody could read afterwards.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crds::{BackupPhase, BackupStorage, CassandraBackup, NodePhase};
use e2e::bed::Bed;
use e2e::parts::cassandra::config::{Credentials, Jmx};
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::minio::{Key, Setup, User};
use e2e::product::{BUCKET, back_up, bucket_server, ended, resources, s3_storage, start};
use k8s_openapi::api::core::v1::Event as CoreEvent;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::json;

const DB: &str = "db";
/// What the agent needs of a bucket: deleting is not part of it.
const ACTIONS: &[&str] = &["s3:ListBucket", "s3:GetObject", "s3:PutObject"];

/// Where a secret was found: `/proc/<pid>/environ`, with the program's name.
fn shown_by_processes(secrets: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap() {
        let process = process.unwrap().path();
        for file in ["cmdline", "environ"] {
            // Of a process that has just ended there is nothing to read.
            let content = fs::read(process.join(file)).unwrap_or_default();
            if holds(&content, secrets) {
                let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
                found.push(format!("{} {file} {}", process.display(), name.trim()));
            }
        }
    }
    found
}

fn holds(content: &[u8], secrets: &[String]) -> bool {
    let text = String::from_utf8_lossy(content);
    secrets.iter().any(|secret| text.contains(secret))
}

/// A secret that is in nothing else, and that no byte of needs escaping anywhere.
fn secret() -> String {
    format!("secret-{}", uuid::Uuid::new_v4().simple())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_process_a_log_a_status_an_event_a_journal_or_the_storage() {
    let secrets = [secret(), secret(), secret()];
    let [jmx, cql, s3] = secrets.clone();
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("secrets").await.unwrap();
    let (minio, storage) = bucket_server().await.unwrap();
    let setup = Setup {
        users: vec![User::allowed("writer", &s3, ACTIONS, &[BUCKET])],
        ..Setup::default()
    };
    minio.set_up(setup).await.unwrap();
    let options = Options {
        replicas: 1,
        jmx: Jmx::Password(Credentials::new("operator", &jmx)),
        cql: Some(Credentials::new("reader", &cql)),
        ..Options::new(DB)
    };
    let (cluster, operator) = start(&bed, &namespace, options).await.unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(20_000);
    let session = cluster.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..100).await.unwrap();
    for (name, user, password) in [("jmx", "operator", &jmx), ("cql", "reader", &cql)] {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": {"username": user, "password": password},
        });
        namespace.apply(&secret.to_string()).await.unwrap();
    }
    let key = Key {
        id: "writer".into(),
        secret: s3,
    };
    s3_storage(&namespace, "bucket", &minio, BUCKET, &key)
        .await
        .unwrap();

    // Uploads for some seconds, watched all along.
    let more = json!({
        "bandwidthPerNode": "300Ki",
        "cassandra": {
            "jmx": {"credentials": {"secretName": "jmx"}},
            "cql": {"credentials": {"secretName": "cql"}},
        },
    });
    back_up(&namespace, "quiet", DB, "bucket", more)
        .await
        .unwrap();
    let uploads = |backup: &CassandraBackup| {
        let nodes = backup.status.iter().flat_map(|status| &status.nodes);
        nodes
            .into_iter()
            .any(|node| node.phase == NodePhase::Uploading)
    };
    let watch = async {
        loop {
            let shown = shown_by_processes(&secrets);
            assert!(shown.is_empty(), "{shown:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let during = async {
        resources::reaches(&namespace, "quiet", "uploads", uploads)
            .await
            .unwrap();
        ended(&namespace, "quiet").await.unwrap()
    };
    let backup = tokio::select! {
        backup = during => backup,
        () = watch => unreachable!(),
    };
    let status = backup.status.clone().unwrap();
    assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
    // The passwords were right, or the schema would be missing.
    assert!(status.warnings.is_empty(), "{:?}", status.warnings);
    // What looks for secrets finds one that is shown.
    let mut canary = Command::new("sleep")
        .arg("60")
        .env("PASSWORD", &secrets[0])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let shown = shown_by_processes(&secrets);
    canary.kill().unwrap();
    canary.wait().unwrap();
    assert!(
        shown.len() == 1 && shown[0].contains("environ"),
        "{shown:?}"
    );

    let all = ListParams::default();
    let storages = namespace.api::<BackupStorage>().list(&all).await.unwrap();
    let events = namespace.api::<Event>().list(&all).await.unwrap();
    assert!(!events.items.is_empty());
    let older = namespace.api::<CoreEvent>().list(&all).await.unwrap();
    let journal = "find /tmp/cassandra-backup/state -type f -exec cat {} +";
    let journal = cluster.exec(0, &["sh", "-c", journal]).await.unwrap();
    let journal = journal.text().unwrap();
    assert!(journal.contains("\"result\""), "{journal}");
    let texts = [
        ("the backup", format!("{backup:?}")),
        ("the storage", format!("{storages:?}")),
        ("an Event", format!("{events:?} {older:?}")),
        ("the operator's log", operator.logs().await.unwrap()),
        ("Cassandra's log", cluster.logs(0).await.unwrap()),
        ("the journal", journal),
    ];
    for (what, text) in texts {
        assert!(
            !text.is_empty() && !holds(text.as_bytes(), &secrets),
            "{what}"
        );
    }
    let keys = storage.list("").await.unwrap();
    assert!(keys.keys().any(|key| key.ends_with(".jsonl")), "{keys:?}");
    for key in keys.keys() {
        assert!(!holds(&storage.get(key).await.unwrap(), &secrets), "{key}");
    }
    namespace.done().await.unwrap();
}
