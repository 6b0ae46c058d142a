//! What follows from where a rehearsal is. Values in, values out.

use crds::{Rehearsal, RehearsedStatus, RestorePhase, VerificationStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use protocol::Reason;

use crate::conditions::Is;

/// Keyspaces and tables that a message names.
const NAMED: usize = 5;
/// For being scheduled, pulling an image, and Cassandra's start.
const START: SignedDuration = SignedDuration::from_mins(20);

/// The pod of a rehearsal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    /// When it was made.
    pub(super) since: Timestamp,
    pub(super) is: StageIs,
}

/// How far the pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StageIs {
    /// Cassandra has started, as far as the pod says.
    Ready,
    /// Not yet, for this reason.
    Waits(String),
    /// It will not run any more.
    Ended(String),
}

/// The CassandraRestore of a rehearsal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Performance {
    pub(super) phase: Option<RestorePhase>,
    /// What its condition `Complete` says.
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) rehearsed: Option<RehearsedStatus>,
}

impl Performance {
    fn has_ended(&self) -> bool {
        self.phase.is_some_and(RestorePhase::is_final)
    }
}

/// What is known.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    /// What the backup's status says of it.
    pub(super) known: &'a VerificationStatus,
    pub(super) stage: Option<Stage>,
    pub(super) performance: Option<Performance>,
    pub(super) limit: SignedDuration,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    MakePod,
    MakeRestore,
    /// It is at work on this.
    Wait(String),
    End(Verdict),
}

/// How a rehearsal ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) is: Is,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) found: Option<RehearsedStatus>,
}

impl Verdict {
    /// The same with what it is about, where that is not all of the backup.
    pub(super) fn within(mut self, verify: &Rehearsal) -> Self {
        let names: Vec<_> = verify.keyspaces.iter().chain(&verify.tables).collect();
        if self.is == Is::True && !names.is_empty() {
            let named = names.iter().take(NAMED).map(|it| it.as_str());
            let named = named.collect::<Vec<_>>().join(", ");
            let more = if names.len() > NAMED { ", …" } else { "" };
            self.message
                .push_str(&format!("; only {named}{more} was rehearsed, as asked for"));
        }
        self
    }

    pub(super) fn failed(reason: Reason, message: String) -> Self {
        Self {
            is: Is::False,
            reason: reason.to_string(),
            message,
            found: None,
        }
    }
}

pub(super) fn next(facts: &Facts<'_>, now: Timestamp) -> Next {
    if let Some(performance) = facts.performance.as_ref().filter(|it| it.has_ended()) {
        return Next::End(of(performance));
    }
    let began = facts.known.start_time.as_ref().map_or(now, |time| time.0);
    if now.duration_since(began) > facts.limit {
        let seconds = facts.limit.as_secs();
        let message = format!(
            "the rehearsal did not end within {seconds} s: {}. spec.verify.activeDeadlineSeconds gives it more time",
            doing(facts)
        );
        return Next::End(Verdict::failed(Reason::DeadlineExceeded, message));
    }
    let ended = |why: &str| {
        let message = format!("the pod of the rehearsal has ended: {why}");
        Next::End(Verdict::failed(Reason::RehearsalPodFailed, message))
    };
    match (&facts.stage, &facts.performance) {
        (None, None) => Next::MakePod,
        (None, Some(_)) => ended("somebody has deleted it"),
        (Some(stage), performance) => match (&stage.is, performance) {
            (StageIs::Ended(why), _) => ended(why),
            (StageIs::Ready, None) => Next::MakeRestore,
            (StageIs::Waits(why), None) if now.duration_since(stage.since) > START => {
                let message = format!(
                    "the pod of the rehearsal did not become ready within {} s: {why}",
                    START.as_secs()
                );
                Next::End(Verdict::failed(Reason::RehearsalPodFailed, message))
            }
            _ => Next::Wait(doing(facts)),
        },
    }
}

/// What is being done, in words.
fn doing(facts: &Facts<'_>) -> String {
    match (&facts.stage, &facts.performance) {
        (_, Some(performance)) => format!("it is restored: {}", performance.message),
        (Some(Stage { is, .. }), None) => match is {
            StageIs::Waits(why) | StageIs::Ended(why) => format!("its pod starts: {why}"),
            StageIs::Ready => "its pod is ready".to_owned(),
        },
        (None, None) => "its pod is made".to_owned(),
    }
}

/// What follows from a restore that has ended.
fn of(performance: &Performance) -> Verdict {
    let Performance {
        phase,
        reason,
        message,
        rehearsed,
    } = performance;
    match (phase, rehearsed) {
        (Some(RestorePhase::Succeeded), Some(found)) => Verdict {
            is: Is::True,
            reason: Reason::Restored.to_string(),
            message: message.clone(),
            found: Some(*found),
        },
        (Some(RestorePhase::Succeeded), None) => Verdict {
            is: Is::Unknown,
            reason: Reason::Unknown.to_string(),
            message: "it was restored, and what Cassandra then had was not told".into(),
            found: None,
        },
        _ => Verdict {
            is: Is::False,
            reason: reason.clone(),
            message: message.clone(),
            found: None,
        },
    }
}

/// What the status says of a rehearsal that begins.
pub(super) fn begun(
    known: Option<&VerificationStatus>,
    request: &str,
    restore: &str,
    now: Timestamp,
) -> VerificationStatus {
    VerificationStatus {
        request: request.to_owned(),
        restore: restore.to_owned(),
        start_time: Some(Time(now)),
        completion_time: None,
        cleaned_up: false,
        // What was proven stays proven until it is known otherwise.
        ..known.cloned().unwrap_or_default()
    }
}

/// What the status says of one that nobody asks for any more: asked for again, it is another one.
pub(super) fn given_up(known: &VerificationStatus, now: Timestamp) -> VerificationStatus {
    VerificationStatus {
        request: String::new(),
        completion_time: known.completion_time.clone().or(Some(Time(now))),
        ..known.clone()
    }
}

/// What the status says of one that has ended.
pub(super) fn ended(
    known: &VerificationStatus,
    verdict: &Verdict,
    now: Timestamp,
) -> VerificationStatus {
    let mut status = known.clone();
    status.completion_time = Some(Time(now));
    if let Some(found) = verdict.found {
        status.verified_time = Some(Time(now));
        status.level = Some(crds::VerificationLevel::Restored);
        status.found = Some(found);
    }
    status
}
