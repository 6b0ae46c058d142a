//! Planning, verdict and ring, from resources as users write them.

use std::collections::BTreeSet;

use crds::{BackupPhase, CassandraBackup, CassandraBackupStatus, NodePhase};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use protocol::{KeyspaceCoverage, Reason, RingMember};
use serde_json::{Value, json};
use uuid::Uuid;

use super::plan::{Action, Plan, plan};
use super::start::{begin, validate};
use super::verdict::verdict;
use super::{coverage, news, ring};
use crate::node::Stop;
use crate::pod::tests::pod;

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn backup(change: impl FnOnce(&mut Value)) -> CassandraBackup {
    let mut object = json!({
        "apiVersion": "cassandrabackup.io/v1alpha1",
        "kind": "CassandraBackup",
        "metadata": {
            "name": "nightly", "namespace": "shop", "generation": 1,
            "uid": "1b4e28ba-2fa1-11d2-883f-0016d3cca427",
        },
        "spec": {
            "cluster": "prod",
            "storage": {"name": "main"},
            "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
        },
    });
    change(&mut object["spec"]);
    serde_json::from_value(object).unwrap()
}

fn begun(backup: &CassandraBackup, nodes: usize) -> CassandraBackupStatus {
    let pods: Vec<_> = (0..nodes)
        .map(|n| pod(&format!("c-{n}"), &[("cassandra", true)]))
        .collect();
    begin(backup, &pods, now()).unwrap()
}

fn planned(backup: &CassandraBackup, status: &CassandraBackupStatus, active: &[&str]) -> Plan {
    planned_at(backup, status, active, now())
}

fn planned_at(
    backup: &CassandraBackup,
    status: &CassandraBackupStatus,
    active: &[&str],
    now: Timestamp,
) -> Plan {
    let active: BTreeSet<_> = active.iter().map(ToString::to_string).collect();
    plan(&backup.spec, Some(1), status, &active, now)
}

fn host(n: usize) -> Uuid {
    Uuid::from_u128(n as u128 + 1)
}

fn member(n: usize, datacenter: &str) -> RingMember {
    RingMember {
        host_id: host(n),
        address: format!("10.0.0.{n}"),
        datacenter: datacenter.into(),
        rack: "r1".into(),
        status: "Up".into(),
        state: "Normal".into(),
    }
}

/// All nodes ended with these phases and reasons, and what that leaves out is known.
fn ended(status: &mut CassandraBackupStatus, ends: &[(NodePhase, Reason)]) {
    status.ring.get_or_insert_default().coverage = Some(coverage::told(Ok(Vec::new())));
    for (n, (node, (phase, reason))) in status.nodes.iter_mut().zip(ends).enumerate() {
        node.phase = *phase;
        node.reason = Some(reason.to_string());
        node.message = Some(format!("message {n}"));
        node.host_id = Some(host(n).to_string());
    }
}

fn succeeded(nodes: usize) -> CassandraBackupStatus {
    let mut status = begun(&backup(|_| ()), nodes);
    ended(
        &mut status,
        &vec![(NodePhase::Succeeded, Reason::Succeeded); nodes],
    );
    status
}

fn complete(status: &CassandraBackupStatus) -> (&str, &str, &str) {
    let condition = status
        .conditions
        .iter()
        .find(|one| one.type_ == "Complete")
        .unwrap();
    (&condition.status, &condition.reason, &condition.message)
}

fn pods(actions: &[Action]) -> Vec<&str> {
    actions
        .iter()
        .map(|action| match action {
            Action::Follow { pod }
            | Action::Proceed { pod }
            | Action::Measure { pod, .. }
            | Action::Stop { pod, .. }
            | Action::Sweep { pod } => pod.as_str(),
        })
        .collect()
}

#[test]
fn a_backup_begins_with_all_pods_and_one_time_for_their_snapshots() {
    let status = begun(&backup(|_| ()), 3);
    assert_eq!(status.backup_name.as_deref(), Some("nightly-1b4e28ba"));
    assert_eq!(status.nodes.len(), 3);
    assert!(status.snapshot_at.as_ref().unwrap().0 > now());
    assert!(
        begun(&backup(|spec| spec["startTogether"] = json!(false)), 3)
            .snapshot_at
            .is_none()
    );
    assert!(begun(&backup(|_| ()), 1).snapshot_at.is_none());
    let plan = planned(&backup(|_| ()), &status, &[]);
    assert_eq!(pods(&plan.actions), ["c-0", "c-1", "c-2"]);
    assert_eq!(plan.status.nodes_done.as_deref(), Some("0/3"));
    assert_eq!(complete(&plan.status).0, "Unknown");
}

#[test]
fn without_pods_a_backup_does_not_begin() {
    let mut gone = pod("c-0", &[("cassandra", false)]);
    gone.ended = true;
    for pods in [vec![], vec![gone]] {
        let obstacle = begin(&backup(|_| ()), &pods, now()).unwrap_err();
        assert_eq!(
            (obstacle.reason, obstacle.passing),
            (Reason::PodsNotFound, true)
        );
    }
}

#[test]
fn a_selector_that_cannot_be_used_is_refused() {
    let odd = backup(|spec| {
        spec["cassandra"]["podSelector"] =
            json!({"matchExpressions": [{"key": "app", "operator": "Like", "values": ["c"]}]});
    });
    assert_eq!(
        validate(&odd.spec).unwrap_err().reason,
        Reason::InvalidRequest
    );
    let fast = backup(|spec| spec["bandwidthPerNode"] = json!("1Mi"));
    assert_eq!(validate(&fast.spec).unwrap().bandwidth, Some(1 << 20));
}

#[test]
fn only_so_many_nodes_are_at_work_and_those_that_began_come_first() {
    let backup = backup(|spec| {
        spec["concurrentNodes"] = json!(2);
        spec["startTogether"] = json!(false);
    });
    let mut status = begun(&backup, 4);
    assert_eq!(
        pods(&planned(&backup, &status, &[]).actions),
        ["c-0", "c-1"]
    );
    assert_eq!(pods(&planned(&backup, &status, &["c-0"]).actions), ["c-1"]);
    assert!(
        planned(&backup, &status, &["c-0", "c-1"])
            .actions
            .is_empty()
    );
    status.nodes[3].phase = NodePhase::Uploading;
    assert_eq!(
        pods(&planned(&backup, &status, &[]).actions),
        ["c-3", "c-0"]
    );
}

#[test]
fn a_node_that_is_followed_or_ended_is_not_started_again() {
    let backup = backup(|_| ());
    let mut status = begun(&backup, 2);
    status.nodes[0].phase = NodePhase::Succeeded;
    assert_eq!(pods(&planned(&backup, &status, &[]).actions), ["c-1"]);
    assert!(planned(&backup, &status, &["c-1"]).actions.is_empty());
}

#[test]
fn only_a_backup_of_all_nodes_that_covers_the_ring_has_succeeded() {
    let mut status = succeeded(2);
    let unknown = verdict(&status).unwrap();
    assert_eq!(
        unknown.phase,
        BackupPhase::PartiallyFailed,
        "the ring is not known"
    );
    ring::fold(&mut status, &[member(0, "dc1"), member(1, "dc1")], &[]);
    assert_eq!(verdict(&status).unwrap().phase, BackupPhase::Succeeded);
    let plan = planned(&backup(|_| ()), &status, &[]);
    assert_eq!(
        complete(&plan.status),
        ("True", "Succeeded", "all 2 nodes are backed up")
    );
    assert!(plan.actions.is_empty());
    ring::fold(
        &mut status,
        &[member(0, "dc1"), member(1, "dc1"), member(2, "dc1")],
        &[],
    );
    let plan = planned(&backup(|_| ()), &status, &[]);
    assert_eq!(plan.status.nodes_done.as_deref(), Some("2/3"));
    let missing = verdict(&status).unwrap();
    assert_eq!(
        (missing.phase, missing.reason.as_str()),
        (BackupPhase::PartiallyFailed, "NodeWithoutPod")
    );
    assert!(
        missing.message.contains(&host(2).to_string()),
        "{}",
        missing.message
    );
    assert!(missing.message.contains("10.0.0.2"), "{}", missing.message);
}

#[test]
fn a_member_of_another_datacenter_counts_only_where_the_scope_says_so() {
    let ring = [member(0, "dc1"), member(1, "dc2")];
    let mut status = succeeded(1);
    ring::fold(&mut status, &ring, &["dc1".into()]);
    assert_eq!(verdict(&status).unwrap().phase, BackupPhase::Succeeded);
    let mut status = succeeded(1);
    ring::fold(&mut status, &ring, &[]);
    assert_eq!(
        verdict(&status).unwrap().phase,
        BackupPhase::PartiallyFailed
    );
    let mut status = succeeded(1);
    ring::fold(&mut status, &ring, &["dc3".into()]);
    assert_eq!(
        verdict(&status).unwrap().phase,
        BackupPhase::PartiallyFailed
    );
}

#[test]
fn members_stop_being_missing_when_their_node_tells_its_host_id() {
    let mut status = begun(&backup(|_| ()), 2);
    status.nodes[0].host_id = Some(host(0).to_string());
    ring::fold(&mut status, &[member(0, "dc1"), member(1, "dc1")], &[]);
    assert_eq!(status.ring.as_ref().unwrap().without_pod.len(), 1);
    status.nodes[1].host_id = Some(host(1).to_string());
    ring::leave_out_selected(&mut status);
    let ring = status.ring.unwrap();
    assert_eq!((ring.members, ring.without_pod.len()), (2, 0));
}

#[test]
fn never_succeeded_unless_every_node_is() {
    use NodePhase::{Cancelled, Failed, Succeeded};
    type Case<'a> = (&'a [(NodePhase, Reason)], BackupPhase, &'a str);
    let cases: &[Case<'_>] = &[
        (
            &[
                (Failed, Reason::StorageDenied),
                (Failed, Reason::StorageDenied),
            ],
            BackupPhase::Failed,
            "StorageDenied",
        ),
        (
            &[
                (Failed, Reason::StorageDenied),
                (Failed, Reason::JmxUnreachable),
            ],
            BackupPhase::Failed,
            "NodesIncomplete",
        ),
        (
            &[
                (Succeeded, Reason::Succeeded),
                (Failed, Reason::JmxUnreachable),
            ],
            BackupPhase::PartiallyFailed,
            "JmxUnreachable",
        ),
        (
            &[
                (Succeeded, Reason::Succeeded),
                (Cancelled, Reason::Cancelled),
            ],
            BackupPhase::Cancelled,
            "Cancelled",
        ),
    ];
    for (ends, phase, reason) in cases {
        let mut status = begun(&backup(|_| ()), 2);
        ended(&mut status, ends);
        ring::fold(&mut status, &[member(0, "dc1"), member(1, "dc1")], &[]);
        let plan = planned(&backup(|_| ()), &status, &[]);
        assert_eq!(plan.status.phase, Some(*phase));
        let (is, why, message) = complete(&plan.status);
        assert_eq!((is, why), ("False", *reason));
        assert!(message.contains("c-1: "), "{message}");
        assert!(plan.status.completion_time.is_some());
    }
}

#[test]
fn cancelling_ends_nodes_whose_turn_had_not_come_and_stops_the_others() {
    let backup = backup(|spec| spec["cancel"] = json!(true));
    let mut status = begun(&backup, 3);
    for node in &mut status.nodes[..2] {
        node.phase = NodePhase::Uploading;
        node.started_at = Some(Time(now()));
    }
    let plan = planned(&backup, &status, &["c-0"]);
    let stop = |pod: &str| Action::Stop {
        pod: pod.into(),
        stop: Stop::Cancelled,
    };
    // c-1 was at work before a restart of the operator: it has to be found before it is stopped.
    let follow = Action::Follow { pod: "c-1".into() };
    assert_eq!(plan.actions, [stop("c-0"), follow, stop("c-1")]);
    assert_eq!(plan.status.nodes[2].phase, NodePhase::Cancelled);
    assert_eq!(plan.status.phase, Some(BackupPhase::Uploading));
}

#[test]
fn after_the_deadline_the_nodes_are_stopped() {
    let backup = backup(|spec| spec["activeDeadlineSeconds"] = json!(60));
    let status = begun(&backup, 1);
    let at = |seconds| {
        now()
            .checked_add(SignedDuration::from_secs(seconds))
            .unwrap()
    };
    assert_eq!(
        pods(&planned_at(&backup, &status, &[], at(60)).actions),
        ["c-0"]
    );
    let plan = planned_at(&backup, &status, &["c-0"], at(91));
    assert_eq!(
        plan.actions,
        [Action::Stop {
            pod: "c-0".into(),
            stop: Stop::Deadline
        }]
    );
    let plan = planned_at(&backup, &status, &[], at(91));
    assert_eq!(complete(&plan.status).1, "DeadlineExceeded");
}

#[test]
fn leftover_snapshots_are_swept_after_the_end_but_not_for_ever() {
    let mut status = succeeded(1);
    ring::fold(&mut status, &[member(0, "dc1")], &[]);
    status.nodes[0].sweep_pending = true;
    let status = planned(&backup(|_| ()), &status, &[]).status;
    assert_eq!(status.phase, Some(BackupPhase::Succeeded));
    let plan = planned(&backup(|_| ()), &status, &[]);
    assert_eq!(plan.actions, [Action::Sweep { pod: "c-0".into() }]);
    assert!(
        planned(&backup(|_| ()), &status, &["c-0"])
            .actions
            .is_empty()
    );
    let late = now().checked_add(SignedDuration::from_hours(2)).unwrap();
    let plan = planned_at(&backup(|_| ()), &status, &[], late);
    assert!(plan.actions.is_empty() && !plan.status.nodes[0].sweep_pending);
    assert_eq!(plan.status.completion_time, status.completion_time);
}

#[test]
fn planning_a_status_that_is_final_changes_nothing_of_it() {
    let mut status = succeeded(1);
    ring::fold(&mut status, &[member(0, "dc1")], &[]);
    let once = planned(&backup(|_| ()), &status, &[]).status;
    let later = now().checked_add(SignedDuration::from_hours(2)).unwrap();
    assert_eq!(planned_at(&backup(|_| ()), &once, &[], later).status, once);
}

#[test]
fn events_tell_the_begin_each_failed_node_and_the_end_once() {
    let before = CassandraBackupStatus::default();
    let running = planned(&backup(|_| ()), &begun(&backup(|_| ()), 2), &[]).status;
    let reasons = |old: &CassandraBackupStatus, new: &CassandraBackupStatus| {
        news::news(Some(old), new)
            .into_iter()
            .map(|event| event.reason)
            .collect::<Vec<_>>()
    };
    assert_eq!(reasons(&before, &running), ["Running"]);
    let mut failed = running.clone();
    ended(
        &mut failed,
        &[
            (NodePhase::Succeeded, Reason::Succeeded),
            (NodePhase::Failed, Reason::NoSpace),
        ],
    );
    let failed = planned(&backup(|_| ()), &failed, &[]).status;
    assert_eq!(reasons(&running, &failed), ["NoSpace", "NoSpace"]);
    assert!(reasons(&failed, &failed).is_empty());
}

/// Six nodes in three racks of which two may upload at a time.
fn in_turns() -> (CassandraBackup, CassandraBackupStatus) {
    let backup = backup(|spec| spec["concurrentNodes"] = json!(2));
    let mut status = begun(&backup, 6);
    for (n, node) in status.nodes.iter_mut().enumerate() {
        node.rack = Some(format!("r{}", n / 2));
        node.started_at = Some(Time(now()));
    }
    (backup, status)
}

#[test]
fn all_nodes_take_their_snapshot_together_and_upload_in_turns_spread_over_the_racks() {
    let (backup, mut status) = in_turns();
    let first = planned(&backup, &status, &[]);
    assert_eq!(
        pods(&first.actions),
        ["c-0", "c-1", "c-2", "c-3", "c-4", "c-5"]
    );
    let active = ["c-0", "c-1", "c-2", "c-3", "c-4", "c-5"];
    for node in &mut status.nodes {
        node.phase = NodePhase::Holding;
    }
    let proceed = |pod: &str| Action::Proceed { pod: pod.into() };
    let second = planned(&backup, &status, &active);
    assert_eq!(second.actions, [proceed("c-0"), proceed("c-2")]);
    assert!(planned(&backup, &second.status, &active).actions.is_empty());

    let mut status = second.status;
    status.nodes[0].phase = NodePhase::Succeeded;
    let third = planned(&backup, &status, &active);
    assert_eq!(third.actions, [proceed("c-1")], "its rack has no other");
    let mut status = third.status;
    // A node that has to try again keeps its turn.
    status.nodes[2].phase = NodePhase::Waiting;
    assert!(planned(&backup, &status, &active).actions.is_empty());
    status.nodes[2].phase = NodePhase::Failed;
    status.nodes[1].phase = NodePhase::Succeeded;
    let fourth = planned(&backup, &status, &active);
    assert_eq!(fourth.actions, [proceed("c-3"), proceed("c-4")]);
}

#[test]
fn every_node_gets_its_turn_and_never_more_than_may_upload() {
    for seed in 0..200u64 {
        let (backup, mut status) = in_turns();
        let mut random = seed;
        let mut next = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let active: Vec<String> = status.nodes.iter().map(|node| node.pod.clone()).collect();
        let active: Vec<&str> = active.iter().map(String::as_str).collect();
        let mut steps = 0;
        while !status.nodes.iter().all(|node| node.phase.is_final()) {
            steps += 1;
            assert!(steps < 1000, "{status:#?}");
            status = planned(&backup, &status, &active).status;
            let node = &mut status.nodes[next(6) as usize];
            node.phase = match (node.phase, node.turn_at.is_some()) {
                (NodePhase::Pending, _) => NodePhase::Snapshotting,
                (NodePhase::Snapshotting, false) => NodePhase::Holding,
                (NodePhase::Holding, true) => NodePhase::Uploading,
                (NodePhase::Uploading, true) => match next(3) {
                    0 => NodePhase::Failed,
                    1 => NodePhase::Waiting,
                    _ => NodePhase::Succeeded,
                },
                (NodePhase::Waiting, true) => NodePhase::Uploading,
                (phase, _) => phase,
            };
            let at_work = status
                .nodes
                .iter()
                .filter(|node| !node.phase.is_final() && node.turn_at.is_some());
            assert!(at_work.count() <= 2);
        }
    }
}

#[test]
fn what_a_partial_backup_lacks_is_asked_for_before_it_ends_and_told() {
    let backup = backup(|_| ());
    let mut status = succeeded(3);
    let members: Vec<_> = (0..4).map(|n| member(n, "dc1")).collect();
    ring::fold(&mut status, &members, &[]);
    status.nodes[1].phase = NodePhase::Failed;
    status.ring.as_mut().unwrap().coverage = None;

    let asked = planned(&backup, &status, &[]);
    let measure = Action::Measure {
        pod: "c-0".into(),
        without: vec![host(1), host(3)],
    };
    assert_eq!(asked.actions, [measure]);
    assert!(!asked.status.phase.unwrap().is_final());
    assert!(planned(&backup, &asked.status, &["c-0"]).actions.is_empty());

    let keyspace = |name: &str, uncovered, share| KeyspaceCoverage {
        keyspace: name.into(),
        ranges: 48,
        uncovered,
        share: Some(share),
        first: vec!["(1, 2]".into()],
    };
    let ends = |told| {
        let mut status = asked.status.clone();
        status.ring.as_mut().unwrap().coverage = Some(coverage::told(told));
        let planned = planned(&backup, &status, &[]);
        assert_eq!(planned.status.phase, Some(BackupPhase::PartiallyFailed));
        complete(&planned.status).2.to_owned()
    };
    let message = ends(Ok(vec![
        keyspace("shop", 0, 0.0),
        keyspace("few", 1, 0.00001),
        keyspace("alone", 16, 0.334),
    ]));
    assert!(
        message.ends_with("On no node that is backed up: 33.4% of alone (16 of 48 token ranges); <0.1% of few (1 of 48 token ranges)"),
        "{message}"
    );
    let message = ends(Ok(vec![keyspace("shop", 0, 0.0)]));
    assert!(
        message.contains("Every token range is on a node"),
        "{message}"
    );
    let message = ends(Err("JMX is away".into()));
    assert!(message.ends_with("is not known: JMX is away"), "{message}");
}

#[test]
fn nothing_is_asked_where_all_or_none_is_backed_up_or_it_was_cancelled() {
    let backup = backup(|_| ());
    let members: Vec<_> = (0..3).map(|n| member(n, "dc1")).collect();
    for phase in [
        NodePhase::Succeeded,
        NodePhase::Failed,
        NodePhase::Cancelled,
    ] {
        let mut status = succeeded(3);
        ring::fold(&mut status, &members, &[]);
        status.ring.as_mut().unwrap().coverage = None;
        status.nodes.iter_mut().for_each(|node| node.phase = phase);
        let planned = planned(&backup, &status, &[]);
        assert!(planned.actions.is_empty() && planned.status.phase.unwrap().is_final());
    }
}
