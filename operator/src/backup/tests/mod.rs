//! Planning, verdict and ring, from resources as users write them.

mod simulated;
mod turns;
mod verdict;

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
fn the_common_snapshot_is_further_away_the_more_nodes_there_are_and_if_the_agent_has_to_be_brought()
{
    let lead = |mode: &str, nodes| {
        let backup = backup(|spec| {
            spec["agent"] = json!({"mode": mode, "container": "c", "path": "/agent"});
        });
        let agreed = begun(&backup, nodes).snapshot_at.unwrap().0;
        agreed.duration_since(now()).as_millis()
    };
    assert_eq!([lead("Inject", 2), lead("Inject", 100)], [5_100, 10_000]);
    assert_eq!(
        [lead("Container", 2), lead("Container", 100)],
        [5_020, 6_000]
    );
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

#[test]
fn all_nodes_of_a_small_cluster_tell_the_ring_and_thirty_of_a_large_one() {
    use super::plan::tells_ring;
    let tell = |nodes| (0..nodes).filter(|at| tells_ring(*at, nodes)).count();
    assert_eq!([1, 3, 30].map(tell), [1, 3, 30]);
    assert_eq!([31, 100, 1_000].map(tell), [16, 25, 30]);
}
