//! What follows from where a rehearsal is.

use crds::{RehearsedStatus, RestorePhase, VerificationLevel, VerificationStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::decide::{
    Facts, Next, Performance, Stage, StageIs, Verdict, begun, ended, given_up, next,
};
use crate::conditions::Is;

const FOUND: RehearsedStatus = RehearsedStatus {
    tables: 1,
    sstables: 2,
    partitions: 3,
    rows: 4,
    keys: 5,
    unrecorded: 0,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn known(request: &str) -> VerificationStatus {
    begun(None, request, "nightly-rehearsal-1", at(100))
}

fn stage(is: StageIs) -> Option<Stage> {
    let since = at(110);
    Some(Stage { since, is })
}

fn performance(phase: RestorePhase, rehearsed: Option<RehearsedStatus>) -> Option<Performance> {
    Some(Performance {
        phase: Some(phase),
        reason: "Running".into(),
        message: "it goes on".into(),
        rehearsed,
    })
}

/// What follows at a time.
fn at_time(
    known: &VerificationStatus,
    stage: Option<Stage>,
    performance: Option<Performance>,
    second: i64,
) -> Next {
    let facts = Facts {
        known,
        stage,
        performance,
        limit: SignedDuration::from_secs(3600),
    };
    next(&facts, at(second))
}

#[test]
fn it_goes_from_one_to_the_next() {
    let known = known("r");
    let then = |stage, performance| at_time(&known, stage, performance, 120);
    assert_eq!(then(None, None), Next::MakePod);
    let waits = then(stage(StageIs::Waits("ImagePullBackOff".into())), None);
    assert_eq!(waits, Next::Wait("its pod starts: ImagePullBackOff".into()));
    assert_eq!(then(stage(StageIs::Ready), None), Next::MakeRestore);
    let loads = then(
        stage(StageIs::Ready),
        performance(RestorePhase::Loading, None),
    );
    assert_eq!(loads, Next::Wait("it is restored: it goes on".into()));
    let done = performance(RestorePhase::Succeeded, Some(FOUND));
    let Next::End(verdict) = then(stage(StageIs::Ready), done) else {
        panic!("it has ended");
    };
    assert_eq!(
        (verdict.is, verdict.reason.as_str(), verdict.found),
        (Is::True, "Restored", Some(FOUND))
    );
    let known = ended(&known, &verdict, at(130));
    assert_eq!(known.verified_time, Some(Time(at(130))));
    // Something else is asked for.
    let again = begun(Some(&known), "s", "another", at(150));
    assert_eq!(
        (again.completion_time.as_ref(), again.level),
        (None, Some(VerificationLevel::Restored))
    );
    // Nobody asks any more: if somebody does later, it is another one.
    let given_up = given_up(&again, at(160));
    assert_eq!(
        (given_up.request.as_str(), given_up.completion_time),
        ("", Some(Time(at(160))))
    );
}

/// How it ends.
fn end_of(next: Next) -> (Is, String, String) {
    match next {
        Next::End(Verdict {
            is,
            reason,
            message,
            found: None,
        }) => (is, reason, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_that_ends_or_does_not_start_or_takes_too_long_proves_nothing() {
    let known = known("r");
    let then = |stage, performance, second| {
        let (is, reason, message) = end_of(at_time(&known, stage, performance, second));
        assert_eq!(is, Is::False);
        (reason, message)
    };
    let loading = || performance(RestorePhase::Loading, None);
    let oom = || stage(StageIs::Ended("OOMKilled".into()));
    for performance in [None, loading()] {
        let (reason, message) = then(oom(), performance, 120);
        assert_eq!(reason, "RehearsalPodFailed");
        assert!(message.ends_with("has ended: OOMKilled"), "{message}");
    }
    let (_, message) = then(None, loading(), 120);
    assert!(message.contains("deleted"), "{message}");
    let waits = || stage(StageIs::Waits("Unschedulable: 0/1".into()));
    assert!(matches!(
        at_time(&known, waits(), None, 110 + 1200),
        Next::Wait(_)
    ));
    let (reason, message) = then(waits(), None, 110 + 1201);
    assert_eq!(reason, "RehearsalPodFailed");
    assert!(message.contains("Unschedulable"), "{message}");
    let (reason, message) = then(stage(StageIs::Ready), loading(), 100 + 3601);
    assert_eq!(reason, "DeadlineExceeded");
    assert!(message.contains("activeDeadlineSeconds"), "{message}");
    // What has ended in time counts, however late that is seen.
    let late = at_time(
        &known,
        None,
        performance(RestorePhase::Succeeded, Some(FOUND)),
        100 + 9000,
    );
    assert!(matches!(late, Next::End(Verdict { is: Is::True, .. })));
}

#[test]
fn only_a_restore_that_found_what_was_recorded_proves_anything() {
    let known = known("r");
    let then = |phase, found| at_time(&known, None, performance(phase, found), 120);
    for phase in [
        RestorePhase::Failed,
        RestorePhase::Cancelled,
        RestorePhase::Planned,
    ] {
        let (is, reason, message) = end_of(then(phase, None));
        assert_eq!((is, reason.as_str()), (Is::False, "Running"));
        assert_eq!(message, "it goes on");
    }
    let (is, ..) = end_of(then(RestorePhase::Succeeded, None));
    assert_eq!(is, Is::Unknown);
    // What was proven before stays known.
    let verdict = Verdict {
        is: Is::False,
        reason: "ContentMismatch".into(),
        message: String::new(),
        found: None,
    };
    let before = VerificationStatus {
        verified_time: Some(Time(at(50))),
        found: Some(FOUND),
        ..known.clone()
    };
    let after = ended(&before, &verdict, at(130));
    assert_eq!(after.verified_time, Some(Time(at(50))));
    assert_eq!(after.completion_time, Some(Time(at(130))));
}

#[test]
fn what_was_not_rehearsed_is_said() {
    let verify = |more: serde_json::Value| {
        let mut verify = serde_json::json!({"podTemplate": "small"});
        verify
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(verify).unwrap()
    };
    let proven = Verdict {
        is: Is::True,
        reason: "Restored".into(),
        message: "all is there".into(),
        found: Some(FOUND),
    };
    let all = proven.clone().within(&verify(serde_json::json!({})));
    assert_eq!(all, proven);
    let some = serde_json::json!({"keyspaces": ["a"], "tables": ["b.c"]});
    let some = proven.within(&verify(some));
    assert_eq!(
        some.message,
        "all is there; only a, b.c was rehearsed, as asked for"
    );
}
