//! The operator is killed again and again, at every phase of a backup and at random: every backup ends
//! in its true state, no node runs twice, and no snapshot stays.

use std::time::Duration;

use crds::{BackupPhase, CassandraBackup, CassandraRestore, NodePhase, NodeStatus, RestorePhase};
use e2e::backup::{Backup, Storage};
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::parts::cassandra::cluster::Cluster;
use e2e::parts::cassandra::manifests::Options;
use e2e::parts::cassandra::rows::Rows;
use e2e::product::operator::RELEASE;
use e2e::product::{
    BUCKET, Operator, back_up, bring_back, brought_back, bucket_server, ended, resources,
    s3_storage, start,
};
use jiff::{Span, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::DeleteParams;
use serde_json::json;
use tokio::time::sleep;

const DB: &str = "db";
/// A backup that is deleted with its data.
const MORTAL: &str = "mortal";
/// Another one, which a restore needs then.
const NEEDED: &str = "needed";
/// At random, after one in each phase.
const KILLS: usize = 50;
const PHASES: [NodePhase; 7] = [
    NodePhase::Pending,
    NodePhase::Preparing,
    NodePhase::Snapshotting,
    NodePhase::Holding,
    NodePhase::Planning,
    NodePhase::Uploading,
    NodePhase::Committing,
];

struct Ground<'n> {
    namespace: &'n Namespace,
    cluster: Cluster<'n>,
    operator: Operator<'n>,
    bucket: Storage,
}

/// A backup of its own cluster id, so that all of it is uploaded.
struct Trial<'g> {
    ground: &'g Ground<'g>,
    name: String,
}

impl<'g> Trial<'g> {
    /// Some 20 s of uploads for each node, one after the other or all at once.
    async fn begin(ground: &'g Ground<'g>, name: String, in_turns: bool) -> Self {
        let mut more = json!({"cluster": name, "bandwidthPerNode": "400Ki", "keyspaces": ["shop"]});
        if in_turns {
            more["concurrentNodes"] = json!(1);
        }
        back_up(ground.namespace, &name, DB, "bucket", more)
            .await
            .unwrap();
        Self { ground, name }
    }

    async fn now(&self) -> CassandraBackup {
        let backups = self.ground.namespace.api::<CassandraBackup>();
        backups.get(&self.name).await.unwrap()
    }

    async fn is_over(&self) -> bool {
        resources::phase(&self.now().await).is_some_and(BackupPhase::is_final)
    }

    /// Waits until a node is in this phase or beyond it.
    async fn reaches(&self, phase: NodePhase) {
        let place = |phase: NodePhase| PHASES.iter().position(|one| *one == phase);
        let wanted = place(phase);
        let is_there = async || {
            let backup = self.now().await;
            let there = nodes(&backup)
                .iter()
                .any(|node| place(node.phase) >= wanted);
            let over = resources::phase(&backup).is_some_and(BackupPhase::is_final);
            Ok((there || over).then_some(()))
        };
        until("a node is in the phase", Duration::from_secs(120), is_there)
            .await
            .unwrap();
    }

    async fn is_right(&self) {
        let backup = ended(self.ground.namespace, &self.name).await.unwrap();
        let status = backup.status.as_ref().unwrap();
        assert_eq!(status.phase, Some(BackupPhase::Succeeded), "{status:#?}");
        let read = Backup::read(&self.ground.bucket, &self.name, &self.name);
        let read = read.await.unwrap();
        read.verify(&self.ground.bucket).await.unwrap();
        assert_eq!(read.nodes.len(), 3);
        for node in nodes(&backup) {
            assert_eq!(node.attempt, 1, "{node:?}");
            let manifest = read
                .nodes
                .iter()
                .find(|it| Some(&it.host_id) == node.host_id.as_ref());
            assert_eq!(manifest.unwrap().header["runId"], node.run_id, "{node:?}");
        }
        // One intent for each attempt that there ever was.
        let folder = format!("{}/manifests", self.name);
        let left = self.ground.bucket.list(&folder).await.unwrap();
        let intents = left.keys().filter(|key| key.ends_with(".intent"));
        assert_eq!(intents.count(), 3, "{left:?}");
        assert!(self.ground.cluster.snapshots().unwrap().is_empty());
    }
}

fn nodes(backup: &CassandraBackup) -> &[NodeStatus] {
    backup.status.as_ref().map_or(&[], |status| &status.nodes)
}

impl Ground<'_> {
    /// Deletes a resource that takes its backup with it while a restore needs that.
    async fn data_stays_while_it_is_being_restored(&self, name: &str) {
        let backups = self.namespace.api::<CassandraBackup>();
        let status = backups.get(name).await.unwrap().status.unwrap();
        // Before that it is kept anyway.
        let settled = status.completion_time.unwrap().0 + Span::new().seconds(640);
        let rest = Duration::try_from(settled.duration_since(Timestamp::now()));
        sleep(rest.unwrap_or_default()).await;
        let slow = json!({
            "cluster": name, "backup": {"resource": name}, "mode": "Merge",
            "bandwidthPerNode": "150Ki",
        });
        bring_back(self.namespace, "slow", DB, "bucket", slow)
            .await
            .unwrap();
        let loads = |restore: &CassandraRestore| {
            let status = restore.status.as_ref();
            status.is_some_and(|status| status.phase == Some(RestorePhase::Loading))
        };
        self.namespace
            .wait_for("slow", "loads", Duration::from_secs(120), loads)
            .await
            .unwrap();
        backups
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
        let (reason, message) = resources::stalled(self.namespace, name).await.unwrap();
        assert_eq!(reason, "Locked", "{message}");
        assert!(!message.contains("just now"), "{message}");
        let restore = brought_back(self.namespace, "slow").await.unwrap();
        let phase = restore.status.unwrap().phase;
        assert_eq!(phase, Some(RestorePhase::Succeeded));
        // The intent of a restore keeps the data for hours.
        resources::skip_data_deletion(self.namespace, name)
            .await
            .unwrap();
        let gone = async || Ok(backups.get_opt(name).await?.is_none().then_some(()));
        until("the resource is gone", Duration::from_secs(60), gone)
            .await
            .unwrap();
        let backup = Backup::read(&self.bucket, name, name).await.unwrap();
        backup.verify(&self.bucket).await.unwrap();
    }

    /// Deletes a resource that takes its backup with it, and the operator in the middle of that.
    async fn data_goes_with(&self, name: &str) {
        assert!(
            !self
                .bucket
                .list(&format!("{name}/data"))
                .await
                .unwrap()
                .is_empty()
        );
        let backups = self.namespace.api::<CassandraBackup>();
        backups
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
        let deleting = |backup: &CassandraBackup| {
            resources::condition(backup, "Deleting").is_some_and(|(is, ..)| is == "True")
        };
        resources::reaches(self.namespace, name, "is being deleted", deleting)
            .await
            .unwrap();
        self.kill().await;
        let gone = async || Ok(backups.get_opt(name).await?.is_none().then_some(()));
        until("the resource is gone", Duration::from_secs(660), gone)
            .await
            .unwrap();
        let left = self.bucket.list(name).await.unwrap();
        // What the deletion has announced that was killed in the middle is honoured for an hour.
        let (announced, left): (Vec<_>, Vec<_>) =
            left.keys().partition(|key| key.contains("/.purge/"));
        assert!(
            left.is_empty() && announced.len() <= 1,
            "{left:?} {announced:?}"
        );
    }

    /// Kills the operator, and waits until the next one works.
    async fn kill(&self) {
        self.operator.kill().await.unwrap();
        let pod = self.operator.pod().await.unwrap();
        let leads = async || {
            let lease = self.namespace.api::<Lease>().get_opt(RELEASE).await?;
            let holder = lease.and_then(|lease| lease.spec?.holder_identity);
            Ok(holder.filter(|holder| *holder == pod).map(drop))
        };
        until("the next operator works", Duration::from_secs(60), leads)
            .await
            .unwrap();
    }
}

/// Numbers that look like chance and are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_end_in_their_true_state_however_often_the_operator_is_killed() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("killed").await.unwrap();
    let (minio, bucket) = bucket_server().await.unwrap();
    let (cluster, operator) = start(&bed, &namespace, Options::new(DB)).await.unwrap();
    s3_storage(&namespace, "bucket", &minio, BUCKET, minio.root())
        .await
        .unwrap();
    let ground = Ground {
        namespace: &namespace,
        cluster,
        operator,
        bucket,
    };
    let rows = Rows::new("shop", "orders").with_bytes(20_000);
    let session = ground.cluster.session().await.unwrap();
    rows.create(&session, "dc1", 3).await.unwrap();
    rows.write(&session, 0..400).await.unwrap();

    // Its data can be deleted ten minutes after its end.
    for name in [MORTAL, NEEDED] {
        let takes_its_data = json!({"cluster": name, "deletionPolicy": "Delete"});
        back_up(&namespace, name, DB, "bucket", takes_its_data)
            .await
            .unwrap();
        let backup = ended(&namespace, name).await.unwrap();
        assert_eq!(resources::phase(&backup), Some(BackupPhase::Succeeded));
    }

    for phase in PHASES {
        let name = format!("at-{phase:?}").to_lowercase();
        let in_turns = phase == NodePhase::Holding;
        let trial = Trial::begin(&ground, name, in_turns).await;
        trial.reaches(phase).await;
        ground.kill().await;
        trial.is_right().await;
    }
    let mut kills = 0;
    let mut chance = Chance(20_261_126);
    for round in 0.. {
        if kills >= KILLS {
            break;
        }
        let trial = Trial::begin(&ground, format!("round-{round}"), chance.below(2) == 0).await;
        while kills < KILLS && !trial.is_over().await {
            sleep(Duration::from_millis(chance.below(6_000))).await;
            ground.kill().await;
            kills += 1;
        }
        trial.is_right().await;
    }
    ground.data_stays_while_it_is_being_restored(NEEDED).await;
    ground.data_goes_with(MORTAL).await;
    namespace.done().await.unwrap();
}
