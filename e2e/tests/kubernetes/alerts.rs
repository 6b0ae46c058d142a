//! Each alert fires for its cause: things go wrong on a real cluster, and what the operator then shows at `/metrics` is
//! evaluated as if nothing happened for a month. What a rehearsal must be for, `rehearsals` has.

use std::collections::BTreeSet;
use std::time::Duration;

use crds::{Amount, BackupPhase, BackupStorage, CassandraBackup, CassandraBackupStatus};
use e2e::bed::wait::until;
use e2e::bed::{Bed, Namespace};
use e2e::product::alerts::{Alerts, Expected};
use e2e::product::{BUCKET, OneNode, STORAGE, back_up, bring_back, one_node, s3_storage};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const DB: &str = "db";
const MINUTES: Duration = Duration::from_secs(240);
const CRITICAL: &str = "critical";
const WARNING: &str = "warning";

struct Ground<'n> {
    namespace: &'n Namespace,
    parts: OneNode<'n>,
}

impl Ground<'_> {
    async fn cron(&self, name: &str, spec: Value, cluster: &str, storage: &str) {
        let mut cron = json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CronBackup",
            "metadata": {"name": name}, "spec": spec,
        });
        cron["spec"]["template"] = json!({"spec": {
            "cluster": cluster, "storage": {"name": storage},
            "cassandra": {"podSelector": {"matchLabels": {"app": DB}}},
        }});
        self.namespace.apply(&cron.to_string()).await.unwrap();
    }

    /// Waits until these are shown.
    async fn shows(&self, series: &[String]) {
        let all = async || {
            let shown = self.parts.operator.metrics().await?;
            let missing = series.iter().find(|one| !shown.contains(one.as_str()));
            Ok(missing.is_none().then_some(()))
        };
        until(&format!("/metrics has {series:?}"), MINUTES, all)
            .await
            .unwrap();
    }

    /// Two schedules that work, of which nothing can be purged for one; one that fails, one that is not due yet, one
    /// in a time zone that is none, and one whose names others have.
    async fn schedules(&self) {
        let daily = || json!({"schedule": "0 0 * * *", "immediate": true});
        self.cron("nightly", daily(), DB, STORAGE).await;
        let mut purged = daily();
        purged["retention"] = json!({"keepLast": 1});
        self.cron("kept", purged, DB, "kept").await;
        self.cron("broken", daily(), "other", "gone").await;
        let weekly = json!({"schedule": "0 0 * * 0"});
        self.cron("weekly", weekly, DB, STORAGE).await;
        let mars = json!({"schedule": "0 0 * * *", "timeZone": "Mars/Base"});
        self.cron("mars", mars, DB, STORAGE).await;
        // The minute after the next is far enough away to have taken its name by then.
        let slot = Timestamp::now().to_zoned(TimeZone::UTC);
        let slot = slot.saturating_add(jiff::Span::new().minutes(2));
        let name = format!("taken-{}", slot.strftime("%Y%m%d-%H%M"));
        let more = json!({"cluster": "taken"});
        back_up(self.namespace, &name, "nobody", STORAGE, more)
            .await
            .unwrap();
        let once_a_day = slot.strftime("%M %H * * *").to_string();
        let once_a_day = json!({"schedule": once_a_day});
        self.cron("taken", once_a_day, DB, STORAGE).await;
    }

    async fn storages(&self) {
        let root = self.parts.minio.root();
        s3_storage(self.namespace, "gone", &self.parts.minio, "nowhere", root)
            .await
            .unwrap();
        // The pods may write, and who is to purge is nobody that the bucket knows.
        s3_storage(self.namespace, "kept", &self.parts.minio, BUCKET, root)
            .await
            .unwrap();
        let stranger = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "stranger"},
            "stringData": {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"},
        });
        self.namespace.apply(&stranger.to_string()).await.unwrap();
        let kept = json!({"spec": {"s3": {"maintenanceCredentials": {"secretName": "stranger"}}}});
        let storages = self.namespace.api::<BackupStorage>();
        storages
            .patch("kept", &PatchParams::default(), &Patch::Merge(kept))
            .await
            .map(drop)
            .unwrap();
    }

    /// Bytes and seconds of the two backups of the cluster.
    async fn figures_are_those_of_the_resources(&self) {
        let backups = self.namespace.api::<CassandraBackup>();
        let backups = backups.list(&ListParams::default()).await.unwrap();
        let ours = backups.iter().filter(|backup| backup.spec.cluster == DB);
        let ended: Vec<_> = ours.map(|backup| backup.status.as_ref().unwrap()).collect();
        let whole = |it: &&CassandraBackupStatus| it.phase == Some(BackupPhase::Succeeded);
        assert!(ended.len() == 2 && ended.iter().all(whole), "{ended:#?}");
        let sum = |of: fn(&CassandraBackupStatus) -> &Option<Amount>| -> i64 {
            let amounts = ended.iter().filter_map(|it| of(it).as_ref());
            amounts.map(|it| it.bytes).sum()
        };
        let end = |it: &CassandraBackupStatus| it.completion_time.as_ref().unwrap().0;
        let last = ended.iter().max_by_key(|it| end(it)).unwrap();
        let took = end(last).duration_since(last.start_time.as_ref().unwrap().0);
        let here = self.namespace.name();
        let shown = |name: &str, value: i64| {
            format!("cassandra_backup_{name}{{namespace=\"{here}\",cluster=\"{DB}\"}} {value}")
        };
        let (uploaded, reused) = (sum(|it| &it.uploaded), sum(|it| &it.reused));
        assert!(uploaded > 0 && reused > 0, "{ended:#?}");
        self.shows(&[
            shown("uploaded_bytes_total", uploaded),
            shown("reused_bytes_total", reused),
            shown("last_duration_seconds", took.as_secs()),
        ])
        .await;
    }

    /// The operator may do nothing in the namespace any more.
    async fn rights_are_gone(&self) {
        let bindings = self.namespace.api::<RoleBinding>();
        let gone = bindings
            .delete("cassandra-backup", &DeleteParams::default())
            .await;
        gone.map(drop).unwrap();
        for name in 0..12 {
            let name = format!("refused-{name}");
            back_up(self.namespace, &name, DB, STORAGE, json!({}))
                .await
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_fires_for_its_cause_and_for_nothing_else() {
    let bed = Bed::acquire().await.unwrap();
    let namespace = bed.namespace("alerts").await.unwrap();
    let here = namespace.name().to_owned();
    let parts = one_node(&bed, &namespace, DB, json!({})).await.unwrap();
    let ground = Ground {
        namespace: &namespace,
        parts,
    };
    let before = ground.parts.operator.metrics().await.unwrap();
    ground.storages().await;
    ground.schedules().await;
    let nowhere = json!({"backup": {"name": "nowhere"}, "mode": "Merge"});
    bring_back(&namespace, "back", DB, STORAGE, nowhere)
        .await
        .unwrap();
    let of = |name: &str, label: &str, value: &str| {
        format!("cassandra_backup_{name}{{namespace=\"{here}\",{label}=\"{value}\"")
    };
    ground
        .shows(&[
            of(
                "schedule_last_success_timestamp_seconds",
                "schedule",
                "nightly",
            ),
            of(
                "schedule_last_success_timestamp_seconds",
                "schedule",
                "kept",
            ),
            of("schedule_interval_seconds", "schedule", "weekly"),
            of("schedule_ready", "schedule", "mars"),
            of("last_result", "cluster", "other"),
            of("last_result", "cluster", "taken"),
            of("storage_up", "storage", "gone"),
            of("restores_total", "cluster", DB) + ",result=\"Failed\"} 1",
            of("purge_failures_total", "schedule", "kept") + "} 1",
            of("schedule_missed_total", "schedule", "taken") + "} 1",
        ])
        .await;
    ground.figures_are_those_of_the_resources().await;
    ground.rights_are_gone().await;
    let many = async || {
        let shown = ground.parts.operator.metrics().await?;
        let name = "cassandra_backup_reconcile_errors_total{controller=\"backup\"} ";
        let errors = shown.lines().find_map(|line| line.strip_prefix(name));
        Ok(errors
            .filter(|it| it.parse().is_ok_and(|it: f64| it > 10.0))
            .map(drop))
    };
    until("many reconciliations fail", MINUTES, many)
        .await
        .unwrap();
    let after = ground.parts.operator.metrics().await.unwrap();
    let alerts = Alerts::over([&before, &after], Timestamp::now().as_second());
    let alerts = alerts.await.unwrap();
    let expected = expected(&here);
    alerts.check(&expected).await.unwrap();

    // Where there is no operator, nothing is shown.
    let nothing = Alerts::over(["", ""], 0).await.unwrap();
    let down = Expected {
        alert: "CassandraBackupOperatorDown",
        at: "30m",
        fires: vec![(
            json!({"severity": CRITICAL}),
            "No operator for backups of Cassandra works".into(),
            "No backup is begun, and none that runs is watched. Runs in the pods go on by themselves."
                .into(),
        )],
    };
    nothing.check(&[down]).await.unwrap();

    // None is left out.
    let shown = expected.iter().filter(|one| !one.fires.is_empty());
    let mut shown: BTreeSet<_> = shown.map(|one| one.alert).collect();
    shown.insert("CassandraBackupOperatorDown");
    // These two are in `rehearsals`.
    shown.extend([
        "CassandraBackupNotVerified",
        "CassandraBackupRehearsalFailed",
    ]);
    assert_eq!(shown, alerts.names().into_iter().collect());
    namespace.done().await.unwrap();
}

/// What Prometheus sees when it or the operator was away cannot be waited for: days go by.
#[tokio::test(flavor = "multi_thread")]
async fn a_gap_sets_none_off_and_a_restart_of_the_operator_silences_none() {
    let failures = [
        // Failures of long ago. What was not read, three times from 33h30m on, is a day before 57h40m. Ten: the first of
        // fewer VictoriaMetrics, unlike Prometheus, takes for an increase after each gap.
        (r#"cluster="gap""#, "10+0x200 _x3 10+0x200"),
        // One before the restart, and another one after it.
        (r#"cluster="new",pod="1""#, "1+0x150"),
        (r#"cluster="new",pod="2""#, "_x152 1+0x200"),
    ];
    let failures = ["rehearsals", "restores"].into_iter().flat_map(|of| {
        failures.map(|(labels, values)| {
            let name = format!(r#"{of}_total{{namespace="a",result="Failed",{labels}}}"#);
            (name, values)
        })
    });
    let others = [
        (
            r#"schedule_missed_total{namespace="a",schedule="gap"}"#,
            "10+0x200 _x3 10+0x200",
        ),
        // The first that an operator says that was away.
        (
            r#"schedule_missed_total{namespace="a",schedule="s"}"#,
            "_x150 20+0x200",
        ),
        (
            r#"schedule_interval_seconds{namespace="a",schedule="s",pod="1"}"#,
            "86400+0x80",
        ),
        (
            r#"schedule_interval_seconds{namespace="a",schedule="s",pod="2"}"#,
            "_x84 86400+0x200",
        ),
        // Two that were found in a storage, and one of them is backed up from here, too.
        (
            r#"recovery_point_timestamp_seconds{namespace="a",cluster="found"}"#,
            "0+0x400",
        ),
        (
            r#"recovery_point_timestamp_seconds{namespace="a",cluster="ours"}"#,
            "0+0x400",
        ),
        (
            r#"last_result{namespace="a",cluster="ours",result="Succeeded"}"#,
            "1+0x400",
        ),
    ];
    let others = others.map(|(name, values)| (name.to_owned(), values));
    let series = failures.chain(others);
    let series = series.map(|(name, values)| (format!("cassandra_backup_{name}"), values.into()));
    let alerts = Alerts::of(series.collect()).await.unwrap();
    let of = |label: &str, value: &str, severity: &str| {
        let mut labels = json!({"namespace": "a", "severity": severity});
        labels[label] = value.into();
        labels
    };
    let at = |alert, at, fires: Vec<(Value, &str, &str)>| Expected {
        alert,
        at,
        fires: fires
            .into_iter()
            .map(|(labels, summary, told)| (labels, summary.into(), told.into()))
            .collect(),
    };
    let expected = [
        at("CassandraBackupRehearsalFailed", "57h40m", vec![]),
        at(
            "CassandraBackupRehearsalFailed",
            "25h30m",
            vec![(
                of("cluster", "new", CRITICAL),
                "A backup of cluster new in a could not be proven",
                "The condition Verified of the CassandraBackup says why.",
            )],
        ),
        at("CassandraRestoreFailed", "34h40m", vec![]),
        at(
            "CassandraRestoreFailed",
            "25h30m",
            vec![(
                of("cluster", "new", WARNING),
                "A restore of cluster new in a has failed",
                "The CassandraRestore says of each node why.",
            )],
        ),
        at(
            "CassandraBackupSlotsMissed",
            "25h10m",
            vec![(
                of("schedule", "s", WARNING),
                "Times of the schedule a/s passed without a backup",
                "20 in the last hour.",
            )],
        ),
        at(
            "CassandraBackupNeverSucceeded",
            "26h40m",
            vec![(
                of("schedule", "s", CRITICAL),
                "No backup of a/s has succeeded yet",
                "The schedule has been followed for more than a day.",
            )],
        ),
        at(
            "CassandraBackupRecoveryPointTooOld",
            "48h",
            vec![(
                of("cluster", "ours", CRITICAL),
                "Of cluster ours in a too much would be lost",
                "What was written in the last 2d 0h 0m 0s is in no complete backup.",
            )],
        ),
    ];
    alerts.check(&expected).await.unwrap();
}

fn expected(here: &str) -> Vec<Expected> {
    let of_schedule = |schedule: &str, severity: &str| json!({"namespace": here, "schedule": schedule, "severity": severity});
    let of_cluster = |cluster: &str, severity: &str| json!({"namespace": here, "cluster": cluster, "severity": severity});
    let never = |schedule: &str, time: &str| {
        (
            of_schedule(schedule, CRITICAL),
            format!("No backup of {here}/{schedule} has succeeded yet"),
            format!("The schedule has been followed for more than a {time}."),
        )
    };
    let old = |schedule: &str| {
        (
            of_schedule(schedule, CRITICAL),
            format!(
                "No backup of {here}/{schedule} has succeeded for twice as long as its schedule says"
            ),
            "The last success was 3d 0h 0m 0s ago.".into(),
        )
    };
    let failed = |cluster: &str| {
        let mut labels = of_cluster(cluster, WARNING);
        labels["result"] = "Failed".into();
        (
            labels,
            format!("The last backup of cluster {cluster} in {here} is Failed"),
            "The resource says of each node why.".into(),
        )
    };
    let down = |storage: &str| {
        (
            json!({"namespace": here, "storage": storage, "severity": CRITICAL}),
            format!("The storage {here}/{storage} cannot be used"),
            "The conditions of the BackupStorage say what does not work, and what to do.".into(),
        )
    };
    let not_followed = |schedule: &str| {
        (
            of_schedule(schedule, CRITICAL),
            format!("The schedule {here}/{schedule} is not followed"),
            "Its condition Ready says why.".into(),
        )
    };
    let at = |alert, at, fires| Expected { alert, at, fires };
    vec![
        at("CassandraBackupTooOld", "2d", vec![]),
        at(
            "CassandraBackupTooOld",
            "72h10m",
            vec![old("kept"), old("nightly")],
        ),
        at("CassandraBackupNeverSucceeded", "25h", vec![]),
        at(
            "CassandraBackupNeverSucceeded",
            "27h",
            vec![never("broken", "day"), never("taken", "day")],
        ),
        at(
            "CassandraBackupNeverSucceeded",
            "9d",
            vec![
                never("broken", "day"),
                never("taken", "day"),
                never("weekly", "week"),
            ],
        ),
        at(
            "CassandraBackupFailed",
            "10m",
            vec![failed("other"), failed("taken")],
        ),
        at("CassandraBackupRecoveryPointTooOld", "36h", vec![]),
        at(
            "CassandraBackupRecoveryPointTooOld",
            "48h10m",
            vec![(
                of_cluster(DB, CRITICAL),
                format!("Of cluster {DB} in {here} too much would be lost"),
                "What was written in the last 2d 0h 0m 0s is in no complete backup.".into(),
            )],
        ),
        at("CassandraBackupStorageDown", "20m", vec![]),
        at("CassandraBackupStorageDown", "30m", vec![down("gone")]),
        at("CassandraBackupScheduleNotFollowed", "20m", vec![]),
        at(
            "CassandraBackupScheduleNotFollowed",
            "30m",
            vec![not_followed("mars"), not_followed("taken")],
        ),
        at("CassandraBackupSlotsMissed", "0m", vec![]),
        at(
            "CassandraBackupSlotsMissed",
            "10m",
            vec![(
                of_schedule("taken", WARNING),
                format!("Times of the schedule {here}/taken passed without a backup"),
                "1 in the last hour.".into(),
            )],
        ),
        at("CassandraBackupSlotsMissed", "2h", vec![]),
        at(
            "CassandraBackupPurgeFailing",
            "10m",
            vec![(
                of_schedule("kept", WARNING),
                format!("Nothing is purged of {here}/kept"),
                "Backups beyond their retention stay, and are paid for.".into(),
            )],
        ),
        at("CassandraRestoreFailed", "0m", vec![]),
        at(
            "CassandraRestoreFailed",
            "10m",
            vec![(
                of_cluster(DB, WARNING),
                format!("A restore of cluster {DB} in {here} has failed"),
                "The CassandraRestore says of each node why.".into(),
            )],
        ),
        at("CassandraRestoreFailed", "2h", vec![]),
        at("CassandraBackupReconcileErrors", "20m", vec![]),
        at(
            "CassandraBackupReconcileErrors",
            "30m",
            vec![(
                json!({"controller": "backup", "severity": WARNING}),
                "The operator cannot do its work on backup resources".into(),
                "Mostly the API server refuses or does not answer; its logs say what.".into(),
            )],
        ),
        at("CassandraBackupOperatorDown", "2d", vec![]),
    ]
}
