//! Backups that are proven on a real cluster: a Cassandra for nothing else gets them, whatever happens to
//! the operator meanwhile; nothing of it stays, however it ends; and a schedule has it done again.

use std::time::Duration;

use crds::{CassandraBackup, CassandraRestore, CronBackup, RestorePhase, VerificationStatus};
use e2e::bed::{Bed, Namespace};
use e2e::product::alerts::{Alerts, Expected};
use e2e::product::{BUCKET, OneNode, STORAGE, back_up, ended, one_node, resources};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const DB: &str = "db";
/// The PodTemplate, and label `app` of its pods.
const STAGE: &str = "stage";
const MINUTES: Duration = Duration::from_secs(300);
const AGAIN: &str = "cassandrabackup.io/rehearse-at";

struct Ground<'n> {
    namespace: &'n Namespace,
    parts: OneNode<'n>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_proven_in_a_cassandra_of_its_own_of_which_nothing_stays() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("proof").await.unwrap();
    {
        let parts = one_node(&bed, &namespace, DB, json!({})).await.unwrap();
        parts.cluster.pod_template(STAGE).await.unwrap();
        let ground = Ground {
            namespace: &namespace,
            parts,
        };
        let first = ground.is_proven_though_the_operator_is_killed().await;
        ground.a_pod_that_goes_proves_nothing(&first).await;
        ground.a_template_that_is_not_there_is_told(&first).await;
        ground.a_damaged_backup_is_found_out().await;
        ground.a_schedule_has_the_newest_proven().await;
    }
    namespace.done().await.unwrap();
}

impl Ground<'_> {
    /// Waits until a rehearsal has ended of which `is` holds.
    async fn rehearsed(
        &self,
        name: &str,
        is: impl Fn(&VerificationStatus) -> bool,
    ) -> CassandraBackup {
        let is = |backup: &CassandraBackup| {
            let verification = verification(backup);
            verification.is_some_and(|it| it.completion_time.is_some() && is(it))
        };
        let backup = self.namespace.wait_for(name, "was rehearsed", MINUTES, is);
        let backup = backup.await.unwrap();
        self.nothing_is_left().await;
        backup
    }

    /// The pods of rehearsals.
    async fn stages(&self) -> Vec<Pod> {
        let of_template = ListParams::default().labels(&format!("app={STAGE}"));
        let pods = self.namespace.api::<Pod>().list(&of_template).await;
        pods.unwrap().items
    }

    async fn nothing_is_left(&self) {
        let none = async || anyhow::Ok(self.stages().await.is_empty().then_some(()));
        e2e::bed::wait::until("the pod of the rehearsal is gone", MINUTES, none)
            .await
            .unwrap();
        let restores = self.namespace.api::<CassandraRestore>();
        let at_work = |restore: &CassandraRestore| {
            let phase = restore.status.as_ref().and_then(|it| it.phase);
            !phase.is_some_and(RestorePhase::is_final)
        };
        let none = async || {
            let all = restores.list(&ListParams::default()).await?;
            Ok((!all.iter().any(at_work)).then_some(()))
        };
        e2e::bed::wait::until("no restore is at work", MINUTES, none)
            .await
            .unwrap();
    }

    async fn change(&self, name: &str, patch: Value) {
        let backups = self.namespace.api::<CassandraBackup>();
        let patch = Patch::Merge(patch);
        let changed = backups.patch(name, &PatchParams::default(), &patch).await;
        changed.map(drop).unwrap();
    }

    async fn is_proven_though_the_operator_is_killed(&self) -> VerificationStatus {
        let verify = json!({"verify": {"podTemplate": STAGE}});
        back_up(self.namespace, "b1", DB, STORAGE, verify)
            .await
            .unwrap();
        let ended = ended(self.namespace, "b1").await.unwrap();
        let loads = |restore: &CassandraRestore| {
            let phase = restore.status.as_ref().and_then(|it| it.phase);
            phase.is_some_and(|phase| phase != RestorePhase::Pending)
        };
        let begun = |backup: &CassandraBackup| verification(backup).is_some();
        let began = self
            .namespace
            .wait_for("b1", "is rehearsed", MINUTES, begun);
        let restore = verification(&began.await.unwrap()).unwrap().restore.clone();
        let began = self
            .namespace
            .wait_for(&restore, "has begun", MINUTES, loads);
        began.await.map(drop).unwrap();
        // A backup is made meanwhile: the cluster is not the one that is restored into.
        back_up(self.namespace, "b2", DB, STORAGE, json!({}))
            .await
            .unwrap();
        self.parts.operator.kill().await.unwrap();
        let backup = self.rehearsed("b1", |_| true).await;
        let (status, reason, message) = resources::condition(&backup, "Verified").unwrap();
        assert_eq!((status, reason), ("True", "Restored"), "{message}");
        let verification = verification(&backup).unwrap().clone();
        let found = verification.found.unwrap();
        assert!(
            found.rows == 400 && found.partitions > 0 && found.keys > 0,
            "{found:?}"
        );
        assert_eq!((found.tables, found.unrecorded), (1, 0));
        assert!(
            message.contains(&format!("{} rows", found.rows)),
            "{message}"
        );
        assert!(verification.verified_time > ended.status.unwrap().completion_time);
        // What else the status says is as it was.
        resources::ended(self.namespace, "b1").await.unwrap();
        resources::ended(self.namespace, "b2").await.unwrap();
        verification
    }

    async fn a_pod_that_goes_proves_nothing(&self, first: &VerificationStatus) {
        self.change(
            "b1",
            json!({"metadata": {"annotations": {AGAIN: "once more"}}}),
        )
        .await;
        let runs = async || {
            let stages = self.stages().await;
            anyhow::Ok(stages.first().map(ResourceExt::name_any))
        };
        let pod = e2e::bed::wait::until("there is a pod", MINUTES, runs)
            .await
            .unwrap();
        let at_once = DeleteParams::default().grace_period(0);
        self.namespace
            .api::<Pod>()
            .delete(&pod, &at_once)
            .await
            .map(drop)
            .unwrap();
        // Before there is a restore, the pod is made again; with one it has failed.
        let again = async || {
            let stages = self.stages().await;
            let uid = |pod: &Pod| pod.metadata.uid.clone();
            anyhow::Ok(stages.iter().find(|it| is_ready(it)).and_then(uid))
        };
        e2e::bed::wait::until("there is another", MINUTES, again)
            .await
            .unwrap();
        let performs = async || {
            let restores = self.namespace.api::<CassandraRestore>();
            Ok(restores.get_opt(&pod).await?.map(drop))
        };
        e2e::bed::wait::until("it is restored", MINUTES, performs)
            .await
            .unwrap();
        let deleted = self.namespace.api::<Pod>().delete(&pod, &at_once).await;
        deleted.map(drop).unwrap();
        let other = |it: &VerificationStatus| it.request != first.request;
        let backup = self.rehearsed("b1", other).await;
        let (status, reason, message) = resources::condition(&backup, "Verified").unwrap();
        assert_eq!(
            (status, reason),
            ("False", "RehearsalPodFailed"),
            "{message}"
        );
        let verification = verification(&backup).unwrap();
        assert_eq!(verification.verified_time, first.verified_time);
        assert_eq!(verification.found, first.found);
    }

    async fn a_template_that_is_not_there_is_told(&self, first: &VerificationStatus) {
        let before = self
            .namespace
            .api::<CassandraBackup>()
            .get("b1")
            .await
            .unwrap();
        let second = verification(&before).unwrap().request.clone();
        self.change(
            "b1",
            json!({"spec": {"verify": {"podTemplate": "nowhere"}}}),
        )
        .await;
        let third = |it: &VerificationStatus| it.request != first.request && it.request != second;
        let backup = self.rehearsed("b1", third).await;
        let (status, reason, message) = resources::condition(&backup, "Verified").unwrap();
        assert_eq!(
            (status, reason),
            ("False", "PodTemplateNotFound"),
            "{message}"
        );
        assert!(message.contains("PodTemplate nowhere"), "{message}");
    }

    /// One bit of one object is another one, until it is mended.
    async fn a_damaged_backup_is_found_out(&self) {
        let of_orders = |key: &str| key.contains("/shop/orders-") && key.ends_with("-Data.db");
        let minio = &self.parts.minio;
        let data = format!("{DB}/data/");
        let damaged = minio.damage(BUCKET, &data, of_orders).await.unwrap();
        self.change("b2", json!({"spec": {"verify": {"podTemplate": STAGE}}}))
            .await;
        let backup = self.rehearsed("b2", |_| true).await;
        let (status, reason, message) = resources::condition(&backup, "Verified").unwrap();
        assert_eq!((status, reason), ("False", "ContentMismatch"), "{message}");
        assert!(message.contains(&damaged.key), "{message}");
        let first = verification(&backup).unwrap().clone();
        assert_eq!(first.verified_time, None);

        damaged.mend().await.unwrap();
        self.change(
            "b2",
            json!({"metadata": {"annotations": {AGAIN: "mended"}}}),
        )
        .await;
        let other = |it: &VerificationStatus| it.request != first.request;
        let backup = self.rehearsed("b2", other).await;
        let (status, reason, message) = resources::condition(&backup, "Verified").unwrap();
        assert_eq!((status, reason), ("True", "Restored"), "{message}");
    }

    async fn alerts_fire_for_what_failed_and_for_what_is_old(&self) {
        let shown = self.parts.operator.metrics().await.unwrap();
        let now = jiff::Timestamp::now().as_second();
        let alerts = Alerts::over(["", &shown], now).await.unwrap();
        let here = self.namespace.name();
        let failed = (
            json!({"namespace": here, "cluster": DB, "severity": "critical"}),
            format!("A backup of cluster {DB} in {here} could not be proven"),
            "The condition Verified of the CassandraBackup says why.".into(),
        );
        let old = (
            json!({"namespace": here, "schedule": "nightly", "severity": "warning"}),
            format!("No backup of {here}/nightly was proven for a month"),
            "The last rehearsal that went well ended 32d 0h 0m 0s ago.".into(),
        );
        let at = |alert, at, fires| Expected { alert, at, fires };
        let expected = [
            at("CassandraBackupRehearsalFailed", "0m", vec![]),
            at("CassandraBackupRehearsalFailed", "10m", vec![failed]),
            at("CassandraBackupRehearsalFailed", "25h", vec![]),
            at("CassandraBackupNotVerified", "31d", vec![]),
            at("CassandraBackupNotVerified", "768h10m", vec![old]),
        ];
        alerts.check(&expected).await.unwrap();
    }

    async fn a_schedule_has_the_newest_proven(&self) {
        let cron = json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
            "metadata": {"name": "nightly"},
            "spec": {
                "schedule": "0 0 1 1 *", "immediate": true, "verifySchedule": "* * * * *",
                "template": {"spec": {
                    "cluster": DB, "storage": {"name": STORAGE},
                    "cassandra": {"podSelector": {"matchLabels": {"app": DB}}},
                    "verify": {"podTemplate": STAGE},
                }},
            },
        });
        self.namespace.apply(&cron.to_string()).await.unwrap();
        let proven = |cron: &CronBackup| {
            let status = cron.status.as_ref();
            status.is_some_and(|it| it.last_verified_time.is_some())
        };
        let cron = self
            .namespace
            .wait_for("nightly", "is proven", MINUTES, proven);
        let status = cron.await.unwrap().status.unwrap();
        let verified = status
            .conditions
            .iter()
            .find(|it| it.type_ == "Verified")
            .unwrap();
        assert_eq!(verified.status, "True", "{verified:?}");
        assert!(verified.message.starts_with("nightly-"), "{verified:?}");
        self.alerts_fire_for_what_failed_and_for_what_is_old().await;
        // It goes with the schedule, and so does what is at work.
        let crons = self.namespace.api::<CronBackup>();
        crons
            .delete("nightly", &DeleteParams::default())
            .await
            .map(drop)
            .unwrap();
        let gone = async || {
            let backups = self.namespace.api::<CassandraBackup>();
            let left = backups.list(&ListParams::default()).await?;
            Ok(left
                .iter()
                .all(|it| !it.name_any().starts_with("nightly-"))
                .then_some(()))
        };
        e2e::bed::wait::until("its backups are gone", MINUTES, gone)
            .await
            .unwrap();
        self.nothing_is_left().await;
    }
}

fn verification(backup: &CassandraBackup) -> Option<&VerificationStatus> {
    backup.status.as_ref()?.verification.as_ref()
}

fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && e2e::bed::is_ready(pod)
}
