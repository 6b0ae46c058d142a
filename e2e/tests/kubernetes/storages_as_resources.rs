//! Storages of Google and Azure as resources, and a Cassandra whose JMX asks for a certificate: what
//! the operator finds of them, and backups with them.

use std::time::Duration;

use crds::{BackupPhase, BackupStorage};
use e2e::backup::{Backup, Storage};
use e2e::bed::{Bed, Namespace};
use e2e::parts::azurite::Azurite;
use e2e::parts::cassandra::config::{Credentials, Jmx, JmxServer, JmxTls};
use e2e::parts::cassandra::manifests::{Mount, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::cassandra::tls::Certificates;
use e2e::parts::fake_gcs::FakeGcs;
use e2e::parts::network;
use e2e::product::{BUCKET, back_up, ended, resources, start};
use serde_json::{Value, json};

const DB: &str = "db";
/// Where the pods see Cassandra's key stores.
const STORES: &str = "/stores";

#[tokio::test(flavor = "multi_thread")]
async fn backups_go_to_google_and_azure_from_a_cassandra_that_asks_for_a_certificate() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("kinds").await.unwrap();
    let certificates = Certificates::make().await.unwrap();
    let credentials = Credentials::new("operator", "over-jmx");
    let options = Options {
        replicas: 1,
        // The key stores are for nobody else.
        uid: 0,
        jmx: Jmx::Tls(JmxTls {
            credentials: credentials.clone(),
            stores: STORES.into(),
            client_certificate: true,
            server: JmxServer::Cassandra,
        }),
        mounts: vec![Mount {
            name: "stores".into(),
            host: certificates.stores().unwrap().into(),
            path: STORES.into(),
        }],
        ..Options::new(DB)
    };
    let (cluster, _operator) = start(&bed, &namespace, options).await.unwrap();
    let rows = Rows::new("shop", "orders");
    let session = cluster.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..100).await.unwrap();
    let jmx = jmx(&namespace, &certificates, &credentials).await;

    let address = network::NODE.parse().unwrap();
    let google = FakeGcs::start(address).await.unwrap();
    google.bucket(BUCKET).unwrap();
    let gcs = json!({"gcs": {
        "bucket": BUCKET, "prefix": "some/prefix", "endpoint": google.endpoint(), "anonymous": true,
    }});
    let root = Storage::File(google.objects(BUCKET).join("some/prefix"));
    backed_up(&namespace, "google", gcs, &root, &jmx).await;

    let azurite = Azurite::start(address).await.unwrap();
    azurite.container(BUCKET).await.unwrap();
    secret(
        &namespace,
        "azure",
        json!({"AZURE_STORAGE_ACCOUNT_KEY": azurite.key()}),
    )
    .await;
    let azure = json!({"azure": {
        "account": azurite.account(), "container": BUCKET, "endpoint": azurite.endpoint(),
        "credentials": {"secretName": "azure"},
    }});
    let root = Storage::container(&azurite, BUCKET).unwrap();
    backed_up(&namespace, "azure", azure, &root, &jmx).await;
    assert!(cluster.snapshots().unwrap().is_empty());
    namespace.done().await.unwrap();
}

/// How Cassandra is reached, with the Secrets for that.
async fn jmx(
    namespace: &Namespace,
    certificates: &Certificates,
    credentials: &Credentials,
) -> Value {
    let pem = |name: &str| std::fs::read_to_string(certificates.file(name)).unwrap();
    secret(namespace, "jmx-ca", json!({"ca.crt": pem("ca.pem")})).await;
    let client = json!({"tls.crt": pem("client.pem"), "tls.key": pem("client.key")});
    secret(namespace, "jmx-client", client).await;
    let password = json!({"username": credentials.user, "password": credentials.password});
    secret(namespace, "jmx-password", password).await;
    json!({
        "credentials": {"secretName": "jmx-password"},
        "tls": {
            "caCertificate": {"secretName": "jmx-ca"},
            "clientCertificate": {"secretName": "jmx-client"},
            "serverName": "node.bed",
        },
    })
}

async fn secret(namespace: &Namespace, name: &str, data: Value) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data,
    });
    namespace.apply(&secret.to_string()).await.unwrap();
}

/// All works on the storage that can work there, and a backup in it is whole.
async fn backed_up(namespace: &Namespace, name: &str, spec: Value, root: &Storage, jmx: &Value) {
    let storage = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "BackupStorage",
        "metadata": {"name": name}, "spec": spec,
    });
    namespace.apply(&storage.to_string()).await.unwrap();
    let works = |storage: &BackupStorage| {
        let is_true = |kind: &str| {
            let mut all = storage.status.iter().flat_map(|status| &status.conditions);
            all.any(|one| one.type_ == kind && one.status == "True")
        };
        let all = [
            "Ready",
            "Readable",
            "Writable",
            "CreateOnly",
            "Touchable",
            "Deletable",
        ];
        all.into_iter().all(is_true)
    };
    let minute = Duration::from_secs(60);
    namespace
        .wait_for::<BackupStorage>(name, "all works", minute, works)
        .await
        .unwrap();
    let over_tls = json!({"cassandra": {"jmx": jmx}});
    back_up(namespace, name, DB, name, over_tls).await.unwrap();
    let backup = ended(namespace, name).await.unwrap();
    let phase = resources::phase(&backup);
    assert_eq!(phase, Some(BackupPhase::Succeeded), "{:#?}", backup.status);
    let read = Backup::read(root, DB, name).await.unwrap();
    read.verify(root).await.unwrap();
}
