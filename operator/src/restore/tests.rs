//! Planning, from resources as users write them, with what nodes would say.

use std::collections::BTreeSet;

use crds::{
    CassandraRestore, CassandraRestoreStatus, NodePhase, RestoreNodePhase, RestorePhase,
    RestoreStep,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use protocol::{Reason, RestorePlan, RingMember, Tally};
use serde_json::{Value, json};
use uuid::Uuid;

use super::plan::{Action, plan};
use super::{begin, node, runs};
use crate::humane;
use crate::node::{NodeReport, Stop, Work};

const PODS: [&str; 3] = ["c-0", "c-1", "c-2"];

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn restore(change: impl FnOnce(&mut Value)) -> CassandraRestore {
    let mut object = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "CassandraRestore",
        "metadata": {
            "name": "back", "namespace": "shop", "generation": 1,
            "uid": "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
        },
        "spec": {
            "cluster": "prod",
            "storage": {"name": "main"},
            "backup": {"name": "b1"},
            "mode": "Merge",
            "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
        },
    });
    change(&mut object["spec"]);
    serde_json::from_value(object).unwrap()
}

/// A restore with its status, and the pods whose run is followed.
struct Play {
    restore: CassandraRestore,
    status: CassandraRestoreStatus,
    active: BTreeSet<String>,
    now: Timestamp,
}

impl Play {
    fn new(restore: CassandraRestore) -> Self {
        let nodes = PODS.map(|pod| node::at(&restore, pod, RestoreStep::Plan));
        let status = CassandraRestoreStatus {
            phase: Some(RestorePhase::Planning),
            backup_name: restore.spec.backup.name.clone(),
            start_time: Some(Time(now())),
            nodes: nodes.to_vec(),
            ..CassandraRestoreStatus::default()
        };
        Self {
            restore,
            status,
            active: BTreeSet::new(),
            now: now(),
        }
    }

    /// Plans, and takes up what is to be followed. Returns what is to be done.
    fn step(&mut self) -> Vec<Action> {
        let planned = plan(&self.restore, &self.status, &self.active, self.now);
        self.status = planned.status;
        for action in &planned.actions {
            if let Action::Follow { pod } = action {
                self.active.insert(pod.clone());
            }
        }
        planned.actions
    }

    fn followed(&mut self) -> Vec<String> {
        let actions = self.step();
        let followed = actions.into_iter().map(|action| match action {
            Action::Follow { pod } => pod,
            stop @ Action::Stop { .. } => panic!("{stop:?}"),
        });
        followed.collect()
    }

    /// What a run says at its end.
    fn report(&self, pod: &str, phase: NodePhase, reason: Reason) -> NodeReport {
        let known = self.status.nodes.iter().find(|it| it.pod == pod).unwrap();
        let number = PODS.iter().position(|it| *it == pod).unwrap();
        let mut run = node::as_run(known);
        run.phase = phase;
        run.reason = Some(reason.to_string());
        run.message = Some(format!("{pod} says so"));
        run.host_id = Some(Uuid::from_u128(number as u128).to_string());
        run.started_at = Some(Time(now()));
        let ring = (0..3).map(|number| RingMember {
            host_id: Uuid::from_u128(number),
            address: format!("10.0.0.{number}"),
            datacenter: "dc1".into(),
            rack: "r1".into(),
            status: "Up".into(),
            state: "Normal".into(),
        });
        NodeReport {
            node: run,
            ring: Some(ring.collect()),
            warnings: Vec::new(),
            rehearsed: None,
            fetched: Some(humane::amount(Tally {
                files: 8,
                bytes: 100,
            })),
            plan: Some(Box::new(RestorePlan {
                backup: "b1".into(),
                snapshot_started_at: Some(now()),
                tables: 2,
                sstables: 3,
                files: 24,
                bytes: 1000,
                peak_bytes: 2000 + number as u64,
                free_bytes: 9000,
                statements: 4,
                not_empty: vec!["shop.orders".into()],
                ..RestorePlan::default()
            })),
        }
    }

    fn say(&mut self, pod: &str, phase: NodePhase, reason: Reason) {
        let report = self.report(pod, phase, reason);
        runs::fold(&mut self.status, &report);
        self.active.remove(pod);
    }

    fn succeed(&mut self, pods: &[&str]) {
        for pod in pods {
            self.say(pod, NodePhase::Succeeded, Reason::Succeeded);
        }
    }

    fn condition(&self, type_: &str) -> (&str, &str, &str) {
        let all = &self.status.conditions;
        let found = all.iter().find(|it| it.type_ == type_).unwrap();
        (&found.status, &found.reason, &found.message)
    }
}

#[test]
fn all_plan_one_prepares_all_load_and_one_finishes() {
    let mut play = Play::new(restore(|_| ()));
    assert_eq!(play.followed(), PODS);
    assert_eq!(play.status.nodes_done.as_deref(), Some("0/3"));
    play.succeed(&PODS[..2]);
    assert!(play.followed().is_empty());
    assert_eq!(play.status.nodes_done.as_deref(), Some("2/3"));
    play.succeed(&PODS[2..]);
    let planned = play.status.nodes.iter().map(|it| it.run_id.clone());
    let planned: BTreeSet<_> = planned.collect();
    assert_eq!(play.followed(), ["c-0"]);
    assert_eq!(play.status.phase, Some(RestorePhase::Preparing));
    let whole = play.status.plan.clone().unwrap();
    assert_eq!(
        (
            whole.tables,
            whole.sstables,
            whole.total.bytes,
            whole.peak.bytes,
            whole.statements
        ),
        (2, 9, 3000, 2002, 4)
    );
    // Nobody is surprised by rows that do not come back.
    assert!(
        play.status.warnings[0]
            .message
            .contains("shop.orders are not empty")
    );
    play.succeed(&["c-0"]);
    assert_eq!(play.followed(), PODS);
    assert_eq!(play.status.phase, Some(RestorePhase::Loading));
    let loading = play.status.nodes.iter().map(|it| it.run_id.clone());
    assert!(planned.is_disjoint(&loading.collect()));
    play.succeed(&PODS);
    assert_eq!(play.followed(), ["c-0"]);
    assert_eq!(play.status.phase, Some(RestorePhase::Finishing));
    assert_eq!(play.status.fetched.as_ref().unwrap().bytes, 300);
    play.succeed(&["c-0"]);
    assert!(play.followed().is_empty());
    assert_eq!(play.status.phase, Some(RestorePhase::Succeeded));
    let (is, reason, message) = play.condition("Complete");
    assert_eq!((is, reason), ("True", "Succeeded"));
    assert!(
        message.contains("2 tables") && message.contains("b1"),
        "{message}"
    );
    assert_eq!(play.condition("Reconciling").0, "False");
}

#[test]
fn a_step_that_has_ended_is_left_only_when_nobody_is_at_work_on_it() {
    let mut play = Play::new(restore(|_| ()));
    play.step();
    play.succeed(&PODS);
    // Its task has not ended.
    play.active.insert("c-2".into());
    assert!(play.followed().is_empty());
    assert_eq!(play.status.phase, Some(RestorePhase::Planning));
    play.active.clear();
    assert_eq!(play.followed(), ["c-0"]);
}

#[test]
fn what_a_run_of_an_earlier_step_says_late_does_not_count() {
    let mut play = Play::new(restore(|_| ()));
    play.step();
    let late = play.report("c-0", NodePhase::Failed, Reason::Failed);
    play.succeed(&PODS);
    play.step();
    runs::fold(&mut play.status, &late);
    assert_eq!(play.status.nodes[0].phase, RestoreNodePhase::Pending);
}

#[test]
fn one_node_finds_out_which_backup_is_meant_and_the_others_take_that() {
    let latest = restore(|spec| spec["backup"] = json!({"latest": true}));
    let mut play = Play::new(latest);
    assert_eq!(play.followed(), ["c-0"]);
    let job = begin::job(&play.restore, &play.status, RestoreStep::Plan);
    assert_eq!(job.backup, "latest");
    play.succeed(&["c-0"]);
    assert_eq!(play.followed(), ["c-1", "c-2"]);
    let job = begin::job(&play.restore, &play.status, RestoreStep::Plan);
    assert_eq!(job.backup, "b1");
    play.succeed(&PODS[1..]);
    assert_eq!(play.followed(), ["c-0"]);
    let before = restore(|spec| spec["backup"] = json!({"before": "2026-11-26T03:00:00Z"}));
    let play = Play::new(before);
    let job = begin::job(&play.restore, &play.status, RestoreStep::Plan);
    assert_eq!(job.backup, "before=2026-11-26T03:00:00Z");
}

#[test]
fn a_dry_run_ends_with_the_plan_and_asks_only_dry_runs() {
    let mut play = Play::new(restore(|spec| spec["dryRun"] = json!(true)));
    play.step();
    play.succeed(&PODS);
    assert!(play.followed().is_empty());
    assert_eq!(play.status.phase, Some(RestorePhase::Planned));
    let (is, _, message) = play.condition("Complete");
    assert!(
        is == "True" && message.starts_with("nothing was changed"),
        "{message}"
    );
    let planned = "would restore 2 tables, 2.93 KiB, from backup b1, taken";
    assert!(message.contains(planned), "{message}");
    assert!(message.ends_with("Z, on 3 nodes"), "{message}");
    for step in [RestoreStep::Plan, RestoreStep::Prepare, RestoreStep::Load] {
        let job = begin::job(&play.restore, &play.status, step);
        let Work::Restore(restoring) = job.work else {
            panic!("{job:?}")
        };
        assert_eq!(restoring.dry_run, step == RestoreStep::Plan);
    }
}

#[test]
fn a_refusal_of_any_node_ends_it_before_anything_is_changed() {
    let mut play = Play::new(restore(|_| ()));
    play.step();
    play.succeed(&PODS[..2]);
    play.say("c-2", NodePhase::Failed, Reason::NoSpace);
    assert!(play.followed().is_empty());
    assert_eq!(play.status.phase, Some(RestorePhase::Failed));
    let (is, reason, message) = play.condition("Complete");
    assert_eq!((is, reason), ("False", "NoSpace"));
    assert!(
        message.starts_with("nothing was changed. c-2: NoSpace: c-2 says so"),
        "{message}"
    );
    assert_eq!(play.condition("Stalled").0, "True");
}

#[test]
fn a_member_of_the_ring_without_a_pod_would_not_get_its_share() {
    let mut play = Play::new(restore(|_| ()));
    play.status.nodes.truncate(2);
    play.step();
    play.succeed(&PODS[..2]);
    assert!(play.followed().is_empty());
    let (_, reason, message) = play.condition("Complete");
    assert_eq!(reason, "NodeWithoutPod");
    assert!(message.contains("10.0.0.2"), "{message}");
}

#[test]
fn while_one_node_failed_to_load_the_others_are_let_end() {
    let mut play = Play::new(restore(|_| ()));
    for pods in [&PODS[..], &PODS[..1]] {
        play.step();
        play.succeed(pods);
    }
    assert_eq!(play.followed(), PODS);
    play.say("c-1", NodePhase::Failed, Reason::ContentMismatch);
    assert!(play.followed().is_empty());
    assert_eq!(play.status.phase, Some(RestorePhase::Loading));
    play.succeed(&["c-0", "c-2"]);
    play.step();
    assert_eq!(play.status.phase, Some(RestorePhase::Failed));
    let (_, reason, message) = play.condition("Complete");
    assert_eq!(reason, "ContentMismatch");
    assert!(message.contains("imported so far"), "{message}");
}

#[test]
fn cancelled_means_that_no_further_step_begins() {
    // In the middle of a step.
    let mut play = Play::new(restore(|_| ()));
    play.step();
    play.say("c-0", NodePhase::Succeeded, Reason::Succeeded);
    play.restore.spec.cancel = true;
    let stops = play.step();
    let stop = |pod: &str| Action::Stop {
        pod: pod.into(),
        stop: Stop::Cancelled,
    };
    assert_eq!(stops, [stop("c-1"), stop("c-2")]);
    play.say("c-1", NodePhase::Cancelled, Reason::Cancelled);
    play.say("c-2", NodePhase::Cancelled, Reason::Cancelled);
    assert!(play.step().is_empty());
    assert_eq!(play.status.phase, Some(RestorePhase::Cancelled));
    // Between two.
    let mut play = Play::new(restore(|_| ()));
    play.step();
    play.succeed(&PODS);
    play.restore.spec.cancel = true;
    assert!(play.step().is_empty());
    assert_eq!(play.status.phase, Some(RestorePhase::Cancelled));
    assert_eq!(play.status.nodes[0].step, RestoreStep::Prepare);
}

#[test]
fn after_a_restart_a_run_that_is_to_stop_is_found_first() {
    let mut play = Play::new(restore(|_| ()));
    play.step();
    play.active.clear();
    for node in &mut play.status.nodes {
        node.started_at = Some(Time(now()));
        node.phase = RestoreNodePhase::Running;
    }
    play.restore.spec.cancel = true;
    let actions = play.step();
    assert_eq!(actions.len(), 6);
    assert!(matches!(actions[0], Action::Follow { .. }));
    assert!(matches!(actions[1], Action::Stop { .. }));
}

#[test]
fn the_deadline_ends_it() {
    let mut play = Play::new(restore(|spec| spec["activeDeadlineSeconds"] = json!(60)));
    play.step();
    play.succeed(&PODS);
    play.step();
    play.active.clear();
    play.now = now() + SignedDuration::from_secs(91);
    play.step();
    assert_eq!(play.status.phase, Some(RestorePhase::Failed));
    assert_eq!(play.condition("Complete").1, "DeadlineExceeded");
}

#[test]
fn a_backup_is_named_by_its_resource_once_that_has_ended_with_something() {
    let restore = restore(|spec| spec["backup"] = json!({"resource": "nightly"}));
    let backup = |cluster: &str, phase: Option<&str>| {
        let mut object = json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
            "metadata": {"name": "nightly", "namespace": "shop"},
            "spec": {
                "cluster": cluster, "storage": {"name": "main"},
                "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
            },
        });
        if let Some(phase) = phase {
            object["status"] = json!({"phase": phase, "backupName": "nightly-1b4e28ba"});
        }
        serde_json::from_value(object).unwrap()
    };
    let named = |found: Option<crds::CassandraBackup>| {
        let named = begin::named(&restore.spec, "nightly", found.as_ref());
        named.map_err(|obstacle| (obstacle.reason, obstacle.passing))
    };
    assert_eq!(
        named(Some(backup("prod", Some("Succeeded")))),
        Ok("nightly-1b4e28ba".into())
    );
    let not_found = |passing| Err((Reason::BackupNotFound, passing));
    assert_eq!(named(None), not_found(true));
    assert_eq!(named(Some(backup("prod", None))), not_found(true));
    assert_eq!(
        named(Some(backup("prod", Some("Uploading")))),
        not_found(true)
    );
    assert_eq!(
        named(Some(backup("prod", Some("Expired")))),
        not_found(false)
    );
    let other = named(Some(backup("other", Some("Succeeded"))));
    assert_eq!(other, Err((Reason::InvalidRequest, false)));
}
