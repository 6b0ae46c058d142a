//! The agent as a command line beside a real Cassandra on the host, with no Kubernetes: its rows
//! come back from what it wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime};

use e2e::backup::{Backup, Storage, restore};
use e2e::parts::azurite::Azurite;
use e2e::parts::binaries;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::fake_gcs::{Account, FakeGcs, Identity};
use serde_json::{Value, json};

struct Agent<'a> {
    cassandra: &'a HostCassandra,
    storage: [&'a str; 4],
    environment: Vec<(&'a str, String)>,
    state: &'a Path,
}

impl Agent<'_> {
    async fn backup(&self, name: &str, more: &[&str]) -> Output {
        let agent = binaries::build().await.unwrap().agent;
        let mut command = tokio::process::Command::new(agent);
        command
            .args(["backup", "--cluster", "prod", "--output", "json"])
            .args([
                "--name",
                name,
                "--jmx-port",
                &self.cassandra.jmx_port().to_string(),
            ])
            .args(["--cql-host", self.cassandra.address()])
            .args(self.storage)
            .envs(self.environment.iter().cloned())
            .arg("--state-dir")
            .arg(self.state)
            .args(more);
        command.output().await.unwrap()
    }

    /// Runs a command that looks at the storage. Gives its document.
    async fn ask(&self, arguments: &[&str]) -> Value {
        let agent = binaries::build().await.unwrap().agent;
        let mut command = tokio::process::Command::new(agent);
        command
            .args(arguments)
            .args(["--cluster", "prod", "--output", "json"])
            .args(self.storage)
            .envs(self.environment.iter().cloned())
            .arg("--state-dir")
            .arg(self.state);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn file(root: &Path) -> [&str; 4] {
    let root = root.to_str().unwrap();
    ["--blob-storage", "file", "--filebackup-location", root]
}

fn result(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    let event: Value = serde_json::from_str(last)
        .unwrap_or_else(|e| panic!("{e}: {text}\n{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(event["event"], "result", "{event}");
    event
}

fn number(event: &Value, path: &str) -> u64 {
    event.pointer(path).and_then(Value::as_u64).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_from_what_the_command_line_wrote_and_a_second_backup_uploads_only_what_is_new()
 {
    let root = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(2000);
    let storage = Storage::File(root.path().to_owned());
    {
        let cassandra = HostCassandra::start(Options::default()).await.unwrap();
        let agent = Agent {
            cassandra: &cassandra,
            storage: file(root.path()),
            environment: Vec::new(),
            state: state.path(),
        };
        let session = cassandra.session().await.unwrap();
        rows.create(&session, "dc1", 1).await.unwrap();
        rows.write(&session, 0..300).await.unwrap();

        let first = agent.backup("b1", &[]).await;
        let event = result(&first);
        assert!(first.status.success(), "{event}");
        assert_eq!(event["reason"], "Succeeded", "{event}");
        assert!(number(&event, "/progress/uploaded/files") > 0);
        let warnings = String::from_utf8_lossy(&first.stdout);
        assert!(!warnings.contains("SchemaIncomplete"), "{warnings}");
        let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
        let shared = device(root.path()) == device(&cassandra.data());
        let told = warnings.contains("one failure takes both");
        assert_eq!(told, shared, "{warnings}");
        assert_tree_is_the_layout(&storage).await;
        let backup = Backup::read(&storage, "prod", "b1").await.unwrap();
        backup.verify(&storage).await.unwrap();
        assert_ring_is_nodetools(&cassandra, &backup).await;
        assert_no_snapshot(&cassandra).await;

        rows.write(&session, 300..400).await.unwrap();
        let before = storage.list("prod/data").await.unwrap();
        let second = result(&agent.backup("b2", &["--keyspaces", "shop"]).await);
        assert_eq!(second["reason"], "Succeeded", "{second}");
        assert!(number(&second, "/progress/reused/files") > 0, "{second}");
        let after = storage.list("prod/data").await.unwrap();
        let backup = Backup::read(&storage, "prod", "b2").await.unwrap();
        backup.verify(&storage).await.unwrap();
        let reused: Vec<_> = backup
            .objects()
            .into_keys()
            .filter(|k| before.contains_key(k))
            .collect();
        assert!(!reused.is_empty());
        for key in &reused {
            assert!(
                after[key].modified > before[key].modified,
                "{key} was not touched"
            );
        }
        assert!(after.len() > before.len());

        let third = result(&agent.backup("b3", &["--keyspaces", "shop"]).await);
        assert_eq!(number(&third, "/progress/uploaded/bytes"), 0, "{third}");

        let keys = storage.list("prod").await.unwrap();
        let planned = agent.backup("b4", &["--dry-run"]).await;
        assert!(planned.status.success(), "{planned:?}");
        let plan: Value = serde_json::from_slice(&planned.stdout).unwrap();
        let files = plan["files"].as_array().unwrap();
        let does = |action: &str, keyspace: &str| {
            let of = |file: &&Value| file["action"] == action && file["keyspace"] == keyspace;
            files.iter().filter(of).count()
        };
        assert!(
            does("touch", "shop") > 0 && does("upload", "shop") == 0,
            "{plan}"
        );
        assert_eq!(storage.list("prod").await.unwrap(), keys);
        assert_no_snapshot(&cassandra).await;

        let taken = agent.backup("b1", &[]).await;
        assert_eq!(taken.status.code(), Some(2));
        assert_eq!(result(&taken)["reason"], "BackupExists");
        let missing = agent.backup("b4", &["--keyspaces", "shpo"]).await;
        let event = result(&missing);
        assert_eq!(event["reason"], "KeyspaceNotFound", "{event}");
        assert!(event["message"].as_str().unwrap().contains("shpo"));
        assert_no_snapshot(&cassandra).await;

        // A generation number comes again with other content: both backups stay right.
        session
            .query_unpaged("TRUNCATE shop.orders", ())
            .await
            .unwrap();
        drop(session);
        let mut cassandra = cassandra;
        cassandra.restart().await.unwrap();
        let session = cassandra.session().await.unwrap();
        rows.clone()
            .with_seed(7)
            .write(&session, 0..50)
            .await
            .unwrap();
        let agent = Agent {
            cassandra: &cassandra,
            storage: file(root.path()),
            environment: Vec::new(),
            state: state.path(),
        };
        let reborn = result(&agent.backup("b5", &["--keyspaces", "shop"]).await);
        assert_eq!(reborn["reason"], "Succeeded", "{reborn}");
        for name in ["b1", "b2", "b5"] {
            let backup = Backup::read(&storage, "prod", name).await.unwrap();
            backup.verify(&storage).await.unwrap();
        }
        let (old, new) = (
            generations(&storage, "b1").await,
            generations(&storage, "b5").await,
        );
        let again = old
            .iter()
            .find(|(id, dir)| new.get(*id).is_some_and(|other| other != *dir));
        assert!(again.is_some(), "no number came again: {old:?} {new:?}");
    }
    let restored = restore::on_host(&storage, "prod", "b1").await.unwrap();
    rows.check(&restored.session().await.unwrap(), 0..300)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_from_google_by_a_service_accounts_key_and_by_workload_identity() {
    let mut google = FakeGcs::start(Ipv4Addr::LOCALHOST.into()).await.unwrap();
    google.bucket("backups").unwrap();
    let endpoint = google.endpoint();
    let all = ["GET", "POST", "DELETE"];
    let account = Account::new(&endpoint, "backup", &all).unwrap();
    let pod = Identity::of_the_machine(&all);
    google.admit(&[&account.identity, &pod]).await.unwrap();
    // What the server stores are files with the objects' names, so the judge needs no other client.
    let storage = Storage::File(google.objects("backups"));

    let state = tempfile::tempdir().unwrap();
    let key = state.path().join("key.json");
    std::fs::write(&key, &account.json).unwrap();
    let key = key.to_str().unwrap().to_owned();
    let rows = Rows::new("shop", "orders").with_bytes(2000);
    {
        let cassandra = HostCassandra::start(Options::default()).await.unwrap();
        let mut agent = Agent {
            cassandra: &cassandra,
            storage: ["--blob-storage", "gcp", "--bucket", "backups"],
            environment: vec![("GOOGLE_APPLICATION_CREDENTIALS", key.clone())],
            state: state.path(),
        };
        let endpoint = ["--endpoint", &endpoint];
        let session = cassandra.session().await.unwrap();
        rows.create(&session, "dc1", 1).await.unwrap();
        rows.write(&session, 0..300).await.unwrap();
        let first = result(&agent.backup("b1", &endpoint).await);
        assert_eq!(first["reason"], "Succeeded", "{first}");
        assert_tree_is_the_layout(&storage).await;

        let before = storage.list("prod/data").await.unwrap();
        let metadata = ("GCE_METADATA_HOST", google.address().to_string());
        agent.environment = vec![metadata, ("HOME", "/nowhere".into())];
        let second = result(&agent.backup("b2", &endpoint).await);
        assert_eq!(second["reason"], "Succeeded", "{second}");
        assert!(number(&second, "/progress/reused/files") > 0, "{second}");
        let after = storage.list("prod/data").await.unwrap();
        for name in ["b1", "b2"] {
            let backup = Backup::read(&storage, "prod", name).await.unwrap();
            backup.verify(&storage).await.unwrap();
        }
        let backup = Backup::read(&storage, "prod", "b2").await.unwrap();
        let objects = backup.objects();
        let reused: Vec<_> = objects.keys().filter(|k| before.contains_key(*k)).collect();
        assert!(!reused.is_empty());
        for key in reused {
            assert!(
                after[key].modified > before[key].modified,
                "{key} was not touched"
            );
        }

        // With a key that nobody knows nothing is stored, and the reason is told.
        let stranger = Account::new(endpoint[1], "stranger", &all).unwrap();
        std::fs::write(&key, &stranger.json).unwrap();
        agent.environment = vec![("GOOGLE_APPLICATION_CREDENTIALS", key)];
        let refused = agent.backup("b3", &endpoint).await;
        assert_eq!(refused.status.code(), Some(12));
        assert_eq!(result(&refused)["reason"], "StorageDenied");
        assert_no_snapshot(&cassandra).await;
    }
    let restored = restore::on_host(&storage, "prod", "b1").await.unwrap();
    rows.check(&restored.session().await.unwrap(), 0..300)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_from_azure_which_is_asked_for_only_what_is_new_and_purged_of_the_old() {
    let azurite = Azurite::start(Ipv4Addr::LOCALHOST.into()).await.unwrap();
    azurite.container("backups").await.unwrap();
    let storage = Storage::container(&azurite, "backups").unwrap();
    let endpoint = azurite.endpoint();
    let endpoint = ["--endpoint", &endpoint];
    let state = tempfile::tempdir().unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(2000);
    {
        let cassandra = HostCassandra::start(Options::default()).await.unwrap();
        let agent = Agent {
            cassandra: &cassandra,
            storage: ["--blob-storage", "azure", "--bucket", "backups"],
            environment: vec![
                ("AZURE_STORAGE_ACCOUNT_NAME", azurite.account().to_owned()),
                ("AZURE_STORAGE_ACCOUNT_KEY", azurite.key()),
            ],
            state: state.path(),
        };
        let back_up = async |name: &str| {
            let flags = [&endpoint[..], &["--keyspaces", "shop"]].concat();
            let event = result(&agent.backup(name, &flags).await);
            assert_eq!(event["reason"], "Succeeded", "{event}");
            event
        };
        let ask = async |arguments: &[&str]| agent.ask(&[arguments, &endpoint].concat()).await;
        let session = cassandra.session().await.unwrap();
        rows.create(&session, "dc1", 1).await.unwrap();
        rows.write(&session, 0..300).await.unwrap();
        let first = back_up("b1").await;
        assert!(number(&first, "/progress/uploaded/files") > 0, "{first}");
        assert_tree_is_the_layout(&storage).await;

        let before = storage.list("prod/data").await.unwrap();
        // Azure tells whole seconds, by this machine's clock: in the next one a touch can be seen.
        let newest = before.values().map(|object| object.modified).max();
        let next = newest.unwrap() + Duration::from_secs(1);
        while let Ok(left) = next.duration_since(SystemTime::now()) {
            tokio::time::sleep(left).await;
        }
        let second = back_up("b2").await;
        assert_eq!(number(&second, "/progress/uploaded/files"), 0, "{second}");
        let after = storage.list("prod/data").await.unwrap();
        assert!(before.keys().eq(after.keys()), "{before:?} {after:?}");
        for (key, object) in &before {
            assert!(
                after[key].modified > object.modified,
                "{key} was not touched"
            );
        }

        rows.write(&session, 300..400).await.unwrap();
        cassandra.nodetool(&["flush", "shop"]).await.unwrap();
        cassandra.nodetool(&["compact", "shop"]).await.unwrap();
        back_up("b3").await;
        let listed = ask(&["list"]).await;
        let listed = listed["backups"].as_array().unwrap();
        let named = |name| {
            let mut of = listed.iter().filter(|backup| backup["name"] == name);
            of.next().unwrap()["state"] == "Complete"
        };
        assert!(listed.len() == 3 && ["b1", "b2", "b3"].into_iter().all(named));
        let report = ask(&["verify", "--all", "--level", "content"]).await;
        assert_eq!(report["manifests"], 3, "{report}");
        assert!(number(&report, "/readBytes") > 0, "{report}");

        let keys = storage.list("prod").await.unwrap();
        let purge = ["purge", "--keep-last", "1", "--grace", "0s"];
        ask(&[&purge[..], &["--dry-run"]].concat()).await;
        assert_eq!(storage.list("prod").await.unwrap(), keys);
        // What the attempts announced is honoured until their deadlines, which takes a day.
        let purged = ask(&purge).await;
        assert_eq!(purged["expired"], json!(["b1", "b2"]), "{purged}");
        assert_eq!(purged["deleted"]["objects"], 0, "{purged}");
        for intent in keys.keys().filter(|key| key.ends_with(".intent")) {
            azurite.delete(&format!("backups/{intent}")).await.unwrap();
        }
        let purged = ask(&purge).await;
        assert!(number(&purged, "/deleted/objects") > 0, "{purged}");
        let kept = Backup::read(&storage, "prod", "b3").await.unwrap();
        kept.verify(&storage).await.unwrap();
        let schema = kept.nodes[0].schema("prod").unwrap().unwrap().0;
        let mut kept: BTreeSet<String> = kept.objects().into_keys().collect();
        kept.insert(schema);
        let left = storage.list("prod/data").await.unwrap();
        assert!(left.keys().eq(&kept), "{left:?} {kept:?}");
        assert!(before.keys().any(|key| !left.contains_key(key)));
        for gone in ["b1", "b2"] {
            assert!(Backup::read(&storage, "prod", gone).await.is_err());
        }
        assert_no_snapshot(&cassandra).await;
    }
    let restored = restore::on_host(&storage, "prod", "b3").await.unwrap();
    rows.check(&restored.session().await.unwrap(), 0..400)
        .await
        .unwrap();
}

/// SSTable directories of the table by descriptor.
async fn generations(storage: &Storage, name: &str) -> BTreeMap<String, String> {
    let backup = Backup::read(storage, "prod", name).await.unwrap();
    let tables = backup.nodes.iter().flat_map(|node| &node.tables);
    tables
        .filter(|table| table.table == "orders")
        .flat_map(|table| &table.sstables)
        .map(|sstable| {
            let id = sstable.sstable.split('.').next().unwrap();
            (id.to_owned(), sstable.sstable.clone())
        })
        .collect()
}

async fn assert_tree_is_the_layout(storage: &Storage) {
    let objects = storage.list("prod").await.unwrap();
    let manifests = objects
        .keys()
        .filter(|k| k.starts_with("prod/manifests/b1/"))
        .count();
    assert_eq!(
        manifests,
        2,
        "one manifest and one intent: {:?}",
        objects.keys()
    );
    for key in objects.keys() {
        let parts: Vec<_> = key.split('/').collect();
        let known = match parts[1] {
            "data" => parts.len() >= 4,
            "manifests" => parts[3].ends_with(".jsonl") || parts[3].ends_with(".1.intent"),
            "tokens" => parts[3].ends_with(".yaml"),
            _ => false,
        };
        assert!(known, "{key}");
    }
}

async fn assert_ring_is_nodetools(cassandra: &HostCassandra, backup: &Backup) {
    let ring = cassandra.nodetool(&["ring"]).await.unwrap();
    let tokens = &backup.nodes[0].tokens;
    assert_eq!(tokens.tokens.len(), tokens.num_tokens);
    for token in &tokens.tokens {
        assert!(ring.contains(token.as_str()), "{token} not in {ring}");
    }
}

async fn assert_no_snapshot(cassandra: &HostCassandra) {
    let snapshots = cassandra.nodetool(&["listsnapshots"]).await.unwrap();
    assert!(!snapshots.contains("cassandra-backup-"), "{snapshots}");
}
