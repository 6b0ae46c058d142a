//! Who is at work, and whose turn it is.

use super::*;

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
