//! Elections against an API server that is played.

use http::Method;
use serde_json::{Value, json};

use super::Election;
use super::candidate::Lost;
use crate::played::{Api, context};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/ops/leases";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/ops/leases/operator";

fn election() -> (Election, Api) {
    let (context, api) = context();
    let election = Election::new(&context.client, "ops", "operator", "a".into());
    (election, api)
}

fn lease(version: &str, holder: Option<&str>) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": "operator", "namespace": "ops", "uid": "l", "resourceVersion": version,
            "labels": {"team": "db"},
        },
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 10, "leaseTransitions": 3,
            "renewTime": "2020-01-01T00:00:00.000000Z",
        },
    })
}

#[tokio::test(start_paused = true)]
async fn the_first_creates_the_lease_renews_its_version_and_gives_it_up() {
    let (mut election, mut api) = election();
    let leading = tokio::spawn(async move {
        election.won().await;
        tokio::select! {
            lost = election.lost() => panic!("{lost}"),
            () = tokio::time::sleep(std::time::Duration::from_secs(3)) => {}
        }
        election.resign().await;
    });
    api.expect(Method::GET, LEASE, Err(404)).await;
    let created = api
        .expect(Method::POST, LEASES, Ok(lease("1", Some("a"))))
        .await;
    assert_eq!(created["spec"]["holderIdentity"], "a");
    assert_eq!(created["metadata"]["name"], "operator");
    let renewed = api
        .expect(Method::PUT, LEASE, Ok(lease("2", Some("a"))))
        .await;
    assert_eq!(renewed["metadata"]["resourceVersion"], "1");
    assert_eq!(renewed["spec"]["leaseTransitions"], 3);
    let resigned = api.expect(Method::PUT, LEASE, Ok(lease("3", None))).await;
    assert_eq!(resigned["metadata"]["resourceVersion"], "2");
    assert_eq!(resigned["spec"]["holderIdentity"], Value::Null);
    leading.await.unwrap();
}

/// The renewal time is years ago, as a clock that is off would show it.
#[tokio::test(start_paused = true)]
async fn a_lease_is_taken_once_it_was_not_seen_to_change_for_its_time_whatever_the_time_in_it() {
    let (mut election, mut api) = election();
    let begun = tokio::time::Instant::now();
    let winning = tokio::spawn(async move {
        election.won().await;
        begun.elapsed()
    });
    for _ in 0..5 {
        api.expect(Method::GET, LEASE, Ok(lease("1", Some("b"))))
            .await;
    }
    // It was renewed, and counts anew.
    for _ in 0..10 {
        api.expect(Method::GET, LEASE, Ok(lease("2", Some("b"))))
            .await;
    }
    let taken = api
        .expect(Method::PUT, LEASE, Ok(lease("3", Some("a"))))
        .await;
    assert_eq!(taken["metadata"]["resourceVersion"], "2");
    assert_eq!(taken["metadata"]["labels"]["team"], "db");
    assert_eq!(taken["spec"]["leaseTransitions"], 4);
    assert!(winning.await.unwrap().as_secs() >= 15);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_answered_has_lost_before_the_lease_expires() {
    let (mut election, mut api) = election();
    let losing = tokio::spawn(async move {
        election.won().await;
        let since = tokio::time::Instant::now();
        (election.lost().await, since.elapsed())
    });
    api.expect(Method::GET, LEASE, Ok(lease("1", None))).await;
    api.expect(Method::PUT, LEASE, Ok(lease("2", Some("a"))))
        .await;
    // Nobody answers any more.
    let (lost, after) = losing.await.unwrap();
    assert_eq!(lost, Lost::TooLate);
    assert!((7..=8).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_finds_another_or_no_lease_has_lost_at_once() {
    let found = [
        (Ok(lease("9", Some("b"))), Lost::Taken("b".into())),
        (Ok(lease("9", None)), Lost::Removed),
        (Err(404), Lost::Removed),
    ];
    for (answer, expected) in found {
        let (mut election, mut api) = election();
        let losing = tokio::spawn(async move {
            election.won().await;
            election.lost().await
        });
        api.expect(Method::GET, LEASE, Ok(lease("1", Some("a"))))
            .await;
        api.expect(Method::PUT, LEASE, Ok(lease("2", Some("a"))))
            .await;
        api.expect(Method::PUT, LEASE, Err(409)).await;
        api.expect(Method::GET, LEASE, answer).await;
        assert_eq!(losing.await.unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_does_not_take_a_deleted_lease_before_its_holder_knows() {
    let (mut election, mut api) = election();
    let begun = tokio::time::Instant::now();
    let winning = tokio::spawn(async move {
        election.won().await;
        begun.elapsed()
    });
    api.expect(Method::GET, LEASE, Ok(lease("1", Some("b"))))
        .await;
    for _ in 0..9 {
        api.expect(Method::GET, LEASE, Err(404)).await;
    }
    let created = api
        .expect(Method::POST, LEASES, Ok(lease("2", Some("a"))))
        .await;
    assert_eq!(created["metadata"]["resourceVersion"], Value::Null);
    assert!(winning.await.unwrap().as_secs() >= 10);
}
