//! A node on which another run is at work.

use super::*;

/// An attempt that ends for this reason.
fn attempt(number: u32, reason: Reason) -> Scene {
    let exit = Exit::Code(reason.exit_code() as i32);
    let first = 2 * u64::from(number) - 1;
    Scene::Says(first, vec![started(number), result(reason, number)], exit)
}

#[tokio::test(start_paused = true)]
async fn attempts_that_were_turned_away_are_told_apart() {
    let scenes = vec![
        attempt(1, Reason::Locked),
        attempt(2, Reason::Locked),
        attempt(3, Reason::StorageUnavailable),
        attempt(4, Reason::Succeeded),
    ];
    let (node, _) = play(scenes).end().await;
    assert_eq!(node.phase, NodePhase::Succeeded);
    assert_eq!((node.attempt, node.turned_away), (4, Some(2)));
    let (node, _) = play(vec![attempt(1, Reason::Succeeded)]).end().await;
    assert_eq!((node.attempt, node.turned_away), (1, None));
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_of_the_operator_they_have_used_up_no_retry() {
    let turned_away = NodeStatus {
        phase: NodePhase::Waiting,
        reason: Some(Reason::Locked.to_string()),
        attempt: 5,
        turned_away: Some(4),
        last_seq: Some(8),
        ..found()
    };
    let scenes = (5..=8).map(|number| attempt(number, Reason::StorageUnavailable));
    let play = play_from(stage(scenes.collect()), turned_away);
    let (node, requests) = play.end().await;
    let attempts: Vec<_> = requests.iter().map(|request| request.attempt).collect();
    assert_eq!(attempts, [5, 6, 7, 8]);
    assert_eq!(node.phase, NodePhase::Failed);
    assert_eq!(node.reason.as_deref(), Some("StorageUnavailable"));
    assert_eq!((node.attempt, node.turned_away), (8, Some(4)));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_dies_each_time_after_them_is_said_to_have_had_the_other_attempts() {
    let turned_away = NodeStatus {
        attempt: 2,
        turned_away: Some(1),
        ..node()
    };
    let dies = |number: u32| {
        let seq = u64::from(number);
        Scene::Says(seq, vec![started(number)], Exit::Code(137))
    };
    // One that was turned away, four that died, and the one that is too many.
    let play = play_from(stage((2..=6).map(dies).collect()), turned_away);
    let (node, _) = play.end().await;
    assert_eq!(node.reason.as_deref(), Some("Interrupted"));
    let message = node.message.unwrap();
    assert!(message.ends_with("in each of its 4 attempts"), "{message}");
}
