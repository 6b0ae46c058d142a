//! Runs against an agent that plays scenes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crds::{NodePhase, NodeStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use protocol::{EventKind, Operation, Outcome, Phase, Progress, Reason, Tally};
use tokio::time::Instant;

use super::stage::*;
use super::*;
use crate::exec::Exit;
use crate::logs::tests::Captured;
use crate::names;
use crate::pod::PodView;
use crate::pod::tests::pod as pod_view;

mod turned_away;

fn started(attempt: u32) -> EventKind {
    EventKind::Started {
        attempt,
        agent_version: "0".into(),
        pid: 7,
    }
}

fn phase(phase: Phase) -> EventKind {
    EventKind::Phase { phase, node: None }
}

fn progress() -> Progress {
    Progress {
        total: Tally {
            files: 3,
            bytes: 3072,
        },
        uploaded: Tally {
            files: 1,
            bytes: 1024,
        },
        ..Progress::default()
    }
}

fn result(reason: Reason, attempt: u32) -> EventKind {
    EventKind::Result(Box::new(Outcome {
        manifest: (reason == Reason::Succeeded).then(|| "manifests/b/h.jsonl".into()),
        progress: progress(),
        ..Outcome::ended(reason, "m", attempt)
    }))
}

#[tokio::test(start_paused = true)]
async fn a_run_with_a_result_ends_with_its_phase_figures_and_manifest() {
    let events = vec![
        started(1),
        phase(Phase::Uploading),
        EventKind::Progress(progress()),
        result(Reason::Succeeded, 1),
    ];
    let (node, requests) = play(vec![Scene::Says(1, events, Exit::Code(0))])
        .end()
        .await;
    assert_eq!(node.phase, NodePhase::Succeeded);
    assert_eq!(node.reason.as_deref(), Some("Succeeded"));
    assert_eq!(node.uploaded.unwrap().size, "1.00 KiB");
    assert_eq!(node.manifest.as_deref(), Some("manifests/b/h.jsonl"));
    assert_eq!(
        (node.container_id.as_deref(), node.sweep_pending),
        (Some("one"), false)
    );
    assert_eq!(requests.len(), 1);
    let Operation::Backup(backup) = &requests[0].operation else {
        panic!()
    };
    assert_eq!(
        backup.jmx.credentials.as_ref().unwrap().password.reveal(),
        PASSWORD
    );
    assert!(backup.require_own_device);
    assert!(!backup.without_ring);
    assert_eq!(
        requests[0].state_directory.as_deref(),
        Some("/tmp/cassandra-backup/state")
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cut_is_opened_again_for_the_same_attempt_from_where_it_was() {
    let (node, requests) = play(vec![
        Scene::Says(1, vec![started(1), phase(Phase::Uploading)], Exit::Unknown),
        Scene::Unreachable,
        Scene::Says(3, vec![result(Reason::Succeeded, 1)], Exit::Code(0)),
    ])
    .end()
    .await;
    assert_eq!(node.phase, NodePhase::Succeeded);
    let asked: Vec<_> = requests.iter().map(|r| (r.attempt, r.from_seq)).collect();
    assert_eq!(asked, [(1, 0), (1, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_falls_silent_is_opened_again() {
    let (node, requests) = play(vec![
        Scene::Hangs(vec![started(1)]),
        Scene::Says(2, vec![result(Reason::Succeeded, 1)], Exit::Code(0)),
    ])
    .end()
    .await;
    assert_eq!((node.phase, requests.len()), (NodePhase::Succeeded, 2));
}

#[tokio::test(start_paused = true)]
async fn in_a_new_container_a_new_attempt_begins_and_is_told_from_its_start() {
    let mut stage = stage(vec![
        Scene::Says(1, vec![started(1), phase(Phase::Uploading)], Exit::Unknown),
        Scene::Says(
            1,
            vec![started(2), result(Reason::Succeeded, 2)],
            Exit::Code(0),
        ),
    ]);
    stage.restarts = [(1, "two")].into();
    let (node, requests) = play_from(stage, node()).end().await;
    assert_eq!((node.phase, node.attempt), (NodePhase::Succeeded, 2));
    assert_eq!(node.container_id.as_deref(), Some("two"));
    let asked: Vec<_> = requests.iter().map(|r| (r.attempt, r.from_seq)).collect();
    assert_eq!(asked, [(1, 0), (2, 0)]);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_until_the_limit_and_the_last_reason_stays() {
    let mut seq = 0;
    let scenes = (1..=4).map(|attempt| {
        seq += 2;
        let events = vec![
            started(attempt),
            result(Reason::StorageUnavailable, attempt),
        ];
        Scene::Says(seq - 1, events, Exit::Code(75))
    });
    let (node, requests) = play(scenes.collect()).end().await;
    assert_eq!((node.phase, node.attempt), (NodePhase::Failed, 4));
    assert_eq!(node.reason.as_deref(), Some("StorageUnavailable"));
    let attempts: Vec<_> = requests.iter().map(|request| request.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn who_is_denied_with_a_password_that_was_exchanged_meanwhile_is_tried_again_with_the_new_one()
 {
    for reason in [Reason::StorageDenied, Reason::JmxDenied] {
        let denied = |attempt| vec![started(attempt), result(reason, attempt)];
        let again = Stage {
            exchanged_after: 1,
            ..stage(vec![
                Scene::Says(1, denied(1), Exit::Code(12)),
                Scene::Says(3, denied(2), Exit::Code(12)),
            ])
        };
        let (node, requests) = play_from(again, super::stage::node()).end().await;
        assert_eq!((node.phase, node.attempt), (NodePhase::Failed, 2));
        assert_eq!(node.reason.as_deref(), Some(reason.as_str()));
        let same = stage(vec![Scene::Says(1, denied(1), Exit::Code(12))]);
        let (node, _) = play_from(same, super::stage::node()).end().await;
        assert_eq!((node.phase, node.attempt), (NodePhase::Failed, 1));
        assert_eq!(requests.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_result_of_an_earlier_attempt_is_history() {
    let node = NodeStatus {
        attempt: 2,
        ..node()
    };
    let events = vec![
        started(1),
        result(Reason::StorageUnavailable, 1),
        started(2),
        result(Reason::Succeeded, 2),
    ];
    let play = play_from(stage(vec![Scene::Says(1, events, Exit::Code(0))]), node);
    assert_eq!(play.end().await.0.phase, NodePhase::Succeeded);
}

/// A node that is at work, as a status from before a restart of the operator says it.
fn found() -> NodeStatus {
    NodeStatus {
        phase: NodePhase::Uploading,
        container_id: Some("one".into()),
        started_at: Some(Time(Timestamp::UNIX_EPOCH)),
        last_seq: Some(3),
        ..node()
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_before_a_restart_is_not_told_as_cancelled_after_it() {
    let journal = vec![started(1), result(Reason::Succeeded, 1)];
    let scenes = vec![Scene::Says(1, journal, Exit::Code(0))];
    let play = play_from(stage(scenes), found());
    play.stop.send_replace(Some(Stop::Cancelled));
    assert_eq!(play.end().await.0.phase, NodePhase::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn what_is_to_stop_and_has_no_container_any_more_is_not_asked() {
    let elsewhere = NodeStatus {
        container_id: Some("the one before".into()),
        ..found()
    };
    let play = play_from(stage(Vec::new()), elsewhere);
    play.stop.send_replace(Some(Stop::Cancelled));
    let (node, requests) = play.end().await;
    assert_eq!(
        (node.phase, node.sweep_pending),
        (NodePhase::Cancelled, true)
    );
    assert!(requests.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_never_answers_is_asked_again() {
    let events = vec![started(1), result(Reason::Succeeded, 1)];
    let scenes = vec![Scene::Silent, Scene::Says(1, events, Exit::Code(0))];
    assert_eq!(play(scenes).end().await.0.phase, NodePhase::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_asked_after_a_restart_is_told_to_stop_and_swept() {
    for scene in [Scene::Unreachable, Scene::Hangs(vec![started(1)])] {
        let play = play_from(stage(vec![scene]), found());
        play.stop.send_replace(Some(Stop::Cancelled));
        let stage = Arc::clone(&play.stage);
        let (node, _) = play.end().await;
        assert_eq!(
            (node.phase, node.sweep_pending),
            (NodePhase::Cancelled, true)
        );
        assert_eq!(*stage.told.lock().unwrap(), ["cancel"]);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_of_the_operator_the_status_goes_on_where_it_was() {
    // The journal is told from its beginning, and the status must not go back with it.
    let journal = vec![started(1), phase(Phase::Preparing), phase(Phase::Uploading)];
    let mut play = play_from(stage(vec![Scene::Hangs(journal)]), found());
    let seen = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..50 {
        seen.lock()
            .unwrap()
            .push(play.report.borrow_and_update().node.phase);
        tokio::task::yield_now().await;
    }
    assert!(
        seen.lock()
            .unwrap()
            .iter()
            .all(|phase| *phase == NodePhase::Uploading)
    );
    let requests = play.stage.requests.lock().unwrap().clone();
    assert_eq!((requests[0].attempt, requests[0].from_seq), (1, 0));
    play.task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_dies_in_each_attempt_is_given_up_cancelled_and_swept() {
    let play = play(vec![
        Scene::Says(1, vec![started(1)], Exit::Code(137)),
        Scene::Says(2, vec![started(2)], Exit::Code(137)),
        Scene::Says(3, vec![started(3)], Exit::Code(137)),
        Scene::Says(4, vec![started(4)], Exit::Code(137)),
        Scene::Says(5, vec![started(5)], Exit::Code(137)),
    ]);
    let stage = Arc::clone(&play.stage);
    let (node, _) = play.end().await;
    assert_eq!((node.phase, node.sweep_pending), (NodePhase::Failed, true));
    assert_eq!(node.reason.as_deref(), Some("Interrupted"));
    assert_eq!(*stage.told.lock().unwrap(), ["cancel"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_is_told_so_and_its_confirmation_awaited() {
    let mut play = play(vec![Scene::Hangs(vec![
        started(1),
        phase(Phase::Uploading),
    ])]);
    play.until(NodePhase::Uploading).await;
    play.stop.send_replace(Some(Stop::Cancelled));
    let stage = Arc::clone(&play.stage);
    let (node, _) = play.end().await;
    assert_eq!(*stage.told.lock().unwrap(), ["cancel"]);
    // This agent never confirms it, so a snapshot may be left.
    assert_eq!(
        (node.phase, node.sweep_pending),
        (NodePhase::Cancelled, true)
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_past_its_deadline_has_failed_for_that_reason() {
    let mut play = play(vec![Scene::Hangs(vec![
        started(1),
        phase(Phase::Uploading),
    ])]);
    play.until(NodePhase::Uploading).await;
    play.stop.send_replace(Some(Stop::Deadline));
    let (node, _) = play.end().await;
    assert_eq!(node.phase, NodePhase::Failed);
    assert_eq!(node.reason.as_deref(), Some("DeadlineExceeded"));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_ready_is_waited_for_and_given_up_in_the_end() {
    let mut stage = stage(Vec::new());
    stage.pod = Mutex::new(Some(pod_view(POD, &[("cassandra", false)])));
    let mut play = play_from(stage, node());
    play.until(NodePhase::Waiting).await;
    assert_eq!(
        play.report.borrow().node.reason.as_deref(),
        Some("PodNotReady")
    );
    let (node, requests) = play.end().await;
    assert_eq!((node.phase, node.sweep_pending), (NodePhase::Failed, false));
    assert_eq!(node.reason.as_deref(), Some("PodNotReady"));
    assert!(requests.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_runs_and_is_not_ready_is_waited_for_and_then_tried_all_the_same() {
    let stage = stage(vec![Scene::Says(
        1,
        vec![started(1), result(Reason::Succeeded, 1)],
        Exit::Code(0),
    )]);
    *stage.pod.lock().unwrap() = Some(PodView {
        ready: false,
        ..pod("one")
    });
    let mut play = play_from(stage, node());
    play.until(NodePhase::Waiting).await;
    let began = Instant::now();
    let (node, requests) = play.end().await;
    assert_eq!((node.phase, requests.len()), (NodePhase::Succeeded, 1));
    let pace = Pace::default();
    assert!(began.elapsed() + pace.poll >= pace.readiness);
    assert!(began.elapsed() < pace.patience);
}

#[tokio::test(start_paused = true)]
async fn a_container_without_a_shell_fails_with_the_remedy() {
    let mut stage = stage(Vec::new());
    stage.shell = false;
    let (node, _) = play_from(stage, node()).end().await;
    assert_eq!(node.reason.as_deref(), Some("AgentNotInjectable"));
    assert!(node.message.unwrap().contains("spec.agent.mode"));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_was_not_cleared_is_swept() {
    let warning = EventKind::Warning {
        reason: Reason::SnapshotNotCleared,
        message: "m".into(),
    };
    let events = vec![started(1), warning, result(Reason::Succeeded, 1)];
    let (node, _) = play(vec![Scene::Says(1, events, Exit::Code(0))])
        .end()
        .await;
    assert_eq!(
        (node.phase, node.sweep_pending),
        (NodePhase::Succeeded, true)
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_request_ends_the_node_with_its_reason() {
    let refusal = vec![result(Reason::NoSpace, 0)];
    let (node, _) = play(vec![Scene::Says(0, refusal, Exit::Code(14))])
        .end()
        .await;
    assert_eq!(node.reason.as_deref(), Some("NoSpace"));
}

#[test]
fn the_time_between_attempts_doubles_up_to_its_limit() {
    let (first, longest) = (Duration::from_secs(5), Duration::from_secs(60));
    let times = [0, 1, 2, 3, 4, 40].map(|times| backoff(first, times, longest).as_secs());
    assert_eq!(times, [5, 10, 20, 40, 60, 60]);
}

fn holding() -> Stage {
    Stage {
        holds: true,
        deaf: Mutex::new(2),
        ..stage(vec![Scene::Hangs(vec![
            started(1),
            phase(Phase::Snapshotting),
            phase(Phase::Holding),
        ])])
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_holds_is_told_to_go_on_when_its_turn_comes_until_it_has_understood() {
    let mut play = play_from(holding(), node());
    play.until(NodePhase::Holding).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(
        play.stage.requests.lock().unwrap()[0]
            .to_line()
            .unwrap()
            .contains("\"hold\":true")
    );
    assert!(play.stage.told.lock().unwrap().is_empty());
    play.turn.send_replace(true);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*play.stage.told.lock().unwrap(), ["proceed"; 3]);
    play.task.abort();
}

/// As after a restart of the operator: whether the run was told is not known.
#[tokio::test(start_paused = true)]
async fn a_run_whose_turn_has_come_does_not_hold_again_and_is_told_in_case_it_does() {
    let node = NodeStatus {
        turn_at: Some(Time(Timestamp::UNIX_EPOCH)),
        ..node()
    };
    let play = play_from(holding(), node);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(
        !play.stage.requests.lock().unwrap()[0]
            .to_line()
            .unwrap()
            .contains("hold")
    );
    assert_eq!(*play.stage.told.lock().unwrap(), ["proceed"; 3]);
    play.task.abort();
}

#[tokio::test(start_paused = true)]
async fn every_line_of_the_log_says_backup_node_and_run() {
    let (lines, _guard) = Captured::begin();
    let failing = Scene::Says(
        1,
        vec![started(1), result(Reason::JmxUnreachable, 1)],
        Exit::Code(75),
    );
    let passing = Scene::Says(
        2,
        vec![started(2), result(Reason::Succeeded, 2)],
        Exit::Code(0),
    );
    play(vec![failing, passing]).end().await;
    let lines = lines.lines();
    assert!(lines.len() >= 2, "{lines:?}");
    let run = names::run_id(UID, POD).to_string();
    for line in &lines {
        let span = &line["span"];
        for (field, value) in [
            ("namespace", "shop"),
            ("resource", "nightly"),
            ("backup", "nightly-1b4e28ba"),
            ("pod", POD),
            ("run", &run),
        ] {
            assert_eq!(span[field], value, "{line}");
        }
    }
}
