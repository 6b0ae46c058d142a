//! What becomes of a backup.

use super::*;

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
fn a_node_that_never_told_who_it_is_counts_once_and_one_without_a_pod_besides() {
    let mut status = begun(&backup(|_| ()), 3);
    let ends = [
        (NodePhase::Succeeded, Reason::Succeeded),
        (NodePhase::Succeeded, Reason::Succeeded),
        (NodePhase::Failed, Reason::JmxUnreachable),
    ];
    ended(&mut status, &ends);
    status.nodes[2].host_id = None;
    let of_three = [member(0, "dc1"), member(1, "dc1"), member(2, "dc1")];
    ring::fold(&mut status, &of_three, &[]);
    let plan = planned(&backup(|_| ()), &status, &[]);
    assert_eq!(plan.status.nodes_done.as_deref(), Some("2/3"));
    let message = complete(&plan.status).2;
    assert!(
        message.starts_with("1 of 3 nodes are not backed up. c-2"),
        "{message}"
    );
    assert!(!message.contains("no pod"), "{message}");

    let of_four = [&of_three[..], &[member(3, "dc1")]].concat();
    ring::fold(&mut status, &of_four, &[]);
    let plan = planned(&backup(|_| ()), &status, &[]);
    assert_eq!(plan.status.nodes_done.as_deref(), Some("2/4"));
    let message = complete(&plan.status).2;
    assert!(
        message.contains("1 more member of the ring has no pod"),
        "{message}"
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
