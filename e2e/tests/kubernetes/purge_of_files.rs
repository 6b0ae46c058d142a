//! What goes from a storage of files, which only the pods of Cassandra reach: by retention, and with the resource
//! of a backup. What was freed is told to the byte.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crds::{BackupPhase, CassandraBackup, CronBackup};
use e2e::backup::{Backup, Storage};
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::parts::cassandra::cluster::Cluster;
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::filesystem::Filesystem;
use e2e::product::{DISK, Operator, back_up, ended, file_storage, resources, shared_disk, start};
use jiff::{Span, Timestamp};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::sleep;

const DB: &str = "db";
const MINUTES: Duration = Duration::from_secs(300);

struct Ground<'n> {
    namespace: &'n Namespace,
    cluster: Cluster<'n>,
    operator: Operator<'n>,
    disk: Filesystem,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_from_files_goes_through_a_cassandra_pod_and_is_counted() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("files").await.unwrap();
    let (disk, mount) = shared_disk(&bed, &namespace, 256 << 20).await.unwrap();
    let options = Options {
        replicas: 1,
        mounts: vec![mount],
        ..Options::new(DB)
    };
    let (cluster, operator) = start(&bed, &namespace, options).await.unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(20_000);
    let session = cluster.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..100).await.unwrap();
    file_storage(&namespace, "disk", DISK).await.unwrap();
    let ground = Ground {
        namespace: &namespace,
        cluster,
        operator,
        disk,
    };
    ground.retention_takes_what_only_the_old_one_needs().await;
    ground.data_goes_with_its_resource().await;
    ground.status_is_written_now_and_then().await;
    ground.lines_say_what_they_are_about().await;
    namespace.done().await.unwrap();
}

impl Ground<'_> {
    fn storage(&self) -> Storage {
        Storage::File(self.disk.path().to_owned())
    }

    async fn succeeded(&self, name: &str, more: Value) {
        back_up(self.namespace, name, DB, "disk", more)
            .await
            .unwrap();
        let backup = ended(self.namespace, name).await.unwrap();
        let phase = resources::phase(&backup);
        assert_eq!(phase, Some(BackupPhase::Succeeded), "{:#?}", backup.status);
    }

    async fn retention_takes_what_only_the_old_one_needs(&self) {
        self.succeeded("old", json!({"series": "kept"})).await;
        let old = Backup::whole(&self.storage(), DB, "old").await.unwrap();
        let tokens = self.storage().list(&format!("{DB}/tokens/old")).await;
        let tokens: u64 = tokens.unwrap().values().map(|it| it.bytes).sum();
        hours_pass(&self.disk.path().join(DB));
        let compact = ["compact", "shop", "orders"];
        self.cluster.nodetool(0, &["flush"]).await.unwrap();
        self.cluster.nodetool(0, &compact).await.unwrap();

        let cron = json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
            "metadata": {"name": "kept"},
            "spec": {
                "schedule": "0 0 1 1 *", "immediate": true,
                "retention": {"keepLast": 1, "graceHours": 1},
                "template": {"spec": {
                    "cluster": DB, "storage": {"name": "disk"},
                    "cassandra": {"podSelector": {"matchLabels": {"app": DB}}},
                }},
            },
        });
        self.namespace.apply(&cron.to_string()).await.unwrap();
        let purged = |cron: &CronBackup| {
            let retention = cron.status.iter().find_map(|it| it.retention.as_ref());
            retention.is_some_and(|it| it.deleted_backups == Some(1))
        };
        let cron = self
            .namespace
            .wait_for("kept", "has purged", MINUTES, purged)
            .await
            .unwrap();
        let status = cron.status.unwrap();
        let of_cron = ListParams::default().labels("cassandrabackup.io/cron-backup=kept");
        let children = self.namespace.api::<CassandraBackup>();
        let children = children.list(&of_cron).await.unwrap().items;
        let [child] = &children[..] else {
            panic!("{children:#?}")
        };
        let name = child.status.as_ref().unwrap().backup_name.clone().unwrap();
        let new = Backup::whole(&self.storage(), DB, &name).await.unwrap();
        let (old, new) = (old.objects(), new.objects());
        let only_old: Vec<_> = old
            .iter()
            .filter(|(key, _)| !new.contains_key(*key))
            .collect();
        assert!(!only_old.is_empty(), "nothing was to go");
        let bytes: u64 = only_old.iter().map(|(_, stored)| stored.bytes).sum();
        let freed = status.retention.unwrap().freed_bytes;
        assert_eq!(freed, Some((bytes + tokens).cast_signed()));
        let left = self.storage().list(DB).await.unwrap();
        let gone = |key: &String| !left.contains_key(key);
        assert!(only_old.iter().all(|(key, _)| gone(key)), "{left:?}");
        assert!(!left.keys().any(|key| key.contains("/old/")), "{left:?}");
    }

    async fn data_goes_with_its_resource(&self) {
        let mortal = json!({"cluster": "mortal", "deletionPolicy": "Delete"});
        self.succeeded("mortal", mortal).await;
        hours_pass(&self.disk.path().join("mortal"));
        let long_ago = Timestamp::now() - Span::new().hours(2);
        let status = json!({"status": {"completionTime": long_ago.to_string()}});
        let backups = self.namespace.api::<CassandraBackup>();
        backups
            .patch_status("mortal", &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
        let now = DeleteParams::default();
        backups.delete("mortal", &now).await.unwrap();
        let gone = async || Ok(backups.get_opt("mortal").await?.is_none().then_some(()));
        until("the resource is gone", MINUTES, gone).await.unwrap();
        // It is told once the resource is let go.
        let events = self.namespace.api::<Event>();
        let told = async || {
            let events = events.list(&ListParams::default()).await?;
            let is_it = |event: &Event| {
                let of = event.regarding.as_ref();
                let ours = of.is_some_and(|it| it.name.as_deref() == Some("mortal"));
                ours && event.reason.as_deref() == Some("DataDeleted")
            };
            Ok(events.iter().any(is_it).then_some(()))
        };
        until("an Event tells of it", MINUTES, told).await.unwrap();
        let left = self.storage().list("mortal").await.unwrap();
        assert!(left.is_empty(), "{left:?}");
        let others = self.storage().list(DB).await.unwrap();
        assert!(others.keys().any(|key| key.ends_with(".jsonl")));
    }

    /// While a backup is at work its turns are told at once, and its figures every five seconds at most.
    async fn status_is_written_now_and_then(&self) {
        let slow = json!({"cluster": "slow", "bandwidthPerNode": "60Ki", "keyspaces": ["shop"]});
        back_up(self.namespace, "slow", DB, "disk", slow)
            .await
            .unwrap();
        let began = Instant::now();
        let backups = self.namespace.api::<CassandraBackup>();
        let (mut writes, mut version, mut turns) = (0_u64, None, Vec::new());
        // Often enough to see each write that follows another one after some time.
        loop {
            let backup = backups.get("slow").await.unwrap();
            let changed = version != backup.resource_version();
            version = backup.resource_version();
            let status = backup.status.unwrap_or_default();
            let is_over = status.phase.is_some_and(BackupPhase::is_final);
            let turn = (status.phase, status.conditions);
            if turns.last() != Some(&turn) {
                turns.push(turn);
            } else if changed {
                writes += 1;
            }
            if is_over {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        let took = began.elapsed().as_secs();
        assert!(took > 20, "it was over in {took} s");
        assert!(
            (2..=took / 5 + 1).contains(&writes),
            "{writes} in {took} s: {turns:#?}"
        );
    }

    /// Each line of the log is a JSON object, and what is about a node's share names it, its backup and its run.
    async fn lines_say_what_they_are_about(&self) {
        let log = self.operator.logs().await.unwrap();
        let lines = log.lines().map(serde_json::from_str);
        let lines: Vec<Value> = lines.collect::<Result<_, _>>().unwrap();
        let about = |line: &&Value| {
            let node = &line["span"];
            (&node["backup"], &node["pod"]) == (&json!("old"), &json!("db-0"))
        };
        let mut about = lines.iter().filter(about).peekable();
        assert!(about.peek().is_some(), "{log}");
        for line in about {
            let run = line["span"]["run"].as_str().unwrap();
            assert!(run.parse::<uuid::Uuid>().is_ok(), "{line}");
        }
    }
}

/// All below was written two hours ago, and the deadlines of those who wrote it are over.
fn hours_pass(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            hours_pass(&path);
        } else if path.extension().is_some_and(|it| it == "intent") {
            std::fs::remove_file(&path).unwrap();
        } else {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            let before = SystemTime::now() - Duration::from_secs(2 * 3600);
            file.set_modified(before).unwrap();
        }
    }
}
