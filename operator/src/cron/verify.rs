//! When the newest backup of a CronBackup is to be proven, and what is known of the proofs of all.

use crds::{BackupPhase, CassandraBackup, CronBackup, CronBackupStatus, Rehearsal};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::child::Child;
use super::reason::Reason;
use super::slots::Schedule;
use crate::conditions::{self, Is};

/// The condition.
const VERIFIED: &str = "Verified";

/// What is known of the proof of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// When the last rehearsal that went well ended.
    pub(super) verified: Option<Timestamp>,
    /// When the last one ended, and how.
    pub(super) ended: Option<(Timestamp, Told)>,
}

/// How a rehearsal ended, as its backup tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) is: Is,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Proof {
    /// What a CassandraBackup says.
    pub(super) fn of(backup: &CassandraBackup) -> Option<Self> {
        let status = backup.status.as_ref()?;
        let verification = status.verification.as_ref()?;
        let condition = status.conditions.iter().find(|it| it.type_ == VERIFIED)?;
        let told = Told {
            is: Is::of(&condition.status),
            reason: condition.reason.clone(),
            message: condition.message.clone(),
        };
        let completed = verification.completion_time.as_ref();
        Some(Self {
            verified: verification.verified_time.as_ref().map(|time| time.0),
            ended: completed.map(|time| (time.0, told)),
        })
    }
}

/// What follows.
#[derive(Debug, Default)]
pub(super) struct Due<'a> {
    /// This child is to be proven, for this time of the schedule.
    pub(super) rehearse: Option<(&'a Child, Timestamp)>,
    /// When to look again.
    pub(super) wake: Option<SignedDuration>,
}

/// Looks at the children and at the schedule, and says in the status what is known.
pub(super) fn look<'a>(
    cron: &CronBackup,
    children: &'a [Child],
    status: &mut CronBackupStatus,
    now: Timestamp,
) -> Due<'a> {
    let spec = &cron.spec;
    let Some(text) = &spec.verify_schedule else {
        status.last_verify_schedule_time = None;
        status.effective_verify_schedule = None;
        known(children, status, None, now);
        return Due::default();
    };
    let schedule = match Schedule::parse(text, &spec.time_zone, SignedDuration::ZERO) {
        Ok(schedule) => schedule,
        Err(invalid) => {
            status.effective_verify_schedule = None;
            let message = format!("spec.verifySchedule: {invalid}");
            known(children, status, Some(message), now);
            return Due::default();
        }
    };
    known(children, status, None, now);
    let effective = format!("{text} {}", spec.time_zone);
    // What was due before anybody looked, or by what another schedule says, is not made up for.
    let is_followed = status.effective_verify_schedule.as_ref() == Some(&effective);
    let done = status.last_verify_schedule_time.as_ref().map(|time| time.0);
    let from = done.filter(|_| is_followed).unwrap_or(now);
    let slot = schedule.after(from).take_while(|slot| *slot <= now).last();
    status.effective_verify_schedule = Some(effective);
    status.last_verify_schedule_time = Some(Time(slot.unwrap_or(from)));
    let next = schedule.after(now).next();
    // One that takes longer than from one time to the next is not begun anew, but waited for.
    let at_work = children.iter().any(Child::is_rehearsed);
    let slot = slot.filter(|_| !at_work);
    let whole = children
        .iter()
        .filter(|child| child.phase == Some(BackupPhase::Succeeded));
    Due {
        rehearse: whole.max_by_key(|child| child.run).zip(slot),
        wake: next.map(|next| next.duration_since(now)),
    }
}

/// What the children say, or what is wrong with the schedule.
fn known(
    children: &[Child],
    status: &mut CronBackupStatus,
    invalid: Option<String>,
    now: Timestamp,
) {
    let proofs = || {
        children
            .iter()
            .filter_map(|child| Some((child, child.proof.as_ref()?)))
    };
    // Children go by their limits, and what is known of them stays.
    let before = status.last_verified_time.as_ref().map(|time| time.0);
    let verified = proofs().filter_map(|(_, proof)| proof.verified).max();
    status.last_verified_time = verified.max(before).map(Time);
    let ended = proofs().filter_map(|(child, proof)| Some((child, proof.ended.as_ref()?)));
    let last = ended.max_by_key(|(_, (at, _))| *at);
    let (is, reason, message) = match (invalid, last) {
        (Some(message), _) => (Is::False, Reason::InvalidSchedule.as_str(), message),
        (None, Some((child, (_, told)))) => {
            let message = format!("{}: {}", child.name, told.message);
            (told.is, told.reason.as_str(), message)
        }
        (None, None) => {
            let wrong = Reason::InvalidSchedule.as_str();
            let conditions = &mut status.conditions;
            conditions.retain(|it| it.type_ != VERIFIED || it.reason != wrong);
            return;
        }
    };
    let generation = status.observed_generation;
    let why = (reason, message.as_str());
    conditions::set(&mut status.conditions, VERIFIED, is, why, generation, now);
}

/// The API server refuses to have a child rehearsed.
pub(super) fn refused(status: &mut CronBackupStatus, child: &Child, why: &str, now: Timestamp) {
    let message = format!("{} cannot be asked for its rehearsal: {why}", child.name);
    let why = (Reason::RehearsalRefused.as_str(), message.as_str());
    let generation = status.observed_generation;
    conditions::set(
        &mut status.conditions,
        VERIFIED,
        Is::False,
        why,
        generation,
        now,
    );
}

/// What asks a child for its rehearsal, once for each time of the schedule.
pub(super) fn order(cron: &CronBackup, child: &Child, slot: Timestamp) -> serde_json::Value {
    serde_json::json!({
        "metadata": {
            "uid": child.uid,
            "annotations": {crate::rehearsal::REHEARSE_AT: slot.to_string()},
        },
        "spec": {"verify": cron.spec.template.spec.verify.as_ref().map(whole)},
    })
}

/// With what is absent said to be so: it is merged into what a child may have had before.
fn whole(verify: &Rehearsal) -> serde_json::Value {
    let mut all = serde_json::json!(verify);
    for (place, names) in [
        ("", ["container"].as_slice()),
        ("/jmx", &["credentials", "tls"]),
        ("/cql", &["credentials"]),
    ] {
        if let Some(serde_json::Value::Object(part)) = all.pointer_mut(place) {
            for name in names {
                part.entry(*name).or_insert(serde_json::Value::Null);
            }
        }
    }
    all
}

/// For logs.
pub(super) fn tell(cron: &CronBackup, child: &Child) {
    tracing::info!(
        namespace = cron.namespace(),
        schedule = cron.name_any(),
        backup = child.name,
        "a backup is to be rehearsed"
    );
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::names::Run;
    use super::super::tests::{at, child, cron};
    use super::*;

    fn run(slot: &str) -> Run {
        Run {
            slot: at(slot),
            retry: 0,
            immediate: false,
        }
    }

    fn weekly() -> CronBackup {
        cron(|it| {
            it["verifySchedule"] = "0 6 * * 0".into();
            it["template"]["spec"]["verify"] = serde_json::json!({"podTemplate": "small"});
        })
    }

    fn children() -> Vec<Child> {
        let of = |slot, phase| child(run(slot), Some(phase), Some(slot));
        vec![
            of("2026-03-07T02:00:00Z", BackupPhase::Succeeded),
            of("2026-03-06T02:00:00Z", BackupPhase::Succeeded),
            of("2026-03-08T02:00:00Z", BackupPhase::PartiallyFailed),
        ]
    }

    #[test]
    fn the_newest_whole_one_is_rehearsed_once_for_each_time() {
        let (cron, children) = (weekly(), children());
        let mut status = CronBackupStatus::default();
        let first = look(&cron, &children, &mut status, at("2026-03-07T12:00:00Z"));
        assert!(first.rehearse.is_none(), "nothing is made up for");
        assert_eq!(first.wake, Some(SignedDuration::from_hours(18)));
        let sunday = at("2026-03-08T06:00:01Z");
        let due = look(&cron, &children, &mut status, sunday);
        let (child, slot) = due.rehearse.unwrap();
        assert_eq!(child.run.slot, at("2026-03-07T02:00:00Z"));
        assert_eq!(slot, at("2026-03-08T06:00:00Z"));
        let again = look(&cron, &children, &mut status, at("2026-03-08T06:00:09Z"));
        assert!(again.rehearse.is_none());
        // One is at work: the next time counts again.
        let mut busy = children.clone();
        busy[0].proof = Some(Proof {
            verified: None,
            ended: None,
        });
        let mut meanwhile = status.clone();
        let skipped = look(&cron, &busy, &mut meanwhile, at("2026-03-15T06:00:01Z"));
        assert!(skipped.rehearse.is_none());
        let next = look(&cron, &children, &mut meanwhile, at("2026-03-22T06:00:01Z"));
        assert!(next.rehearse.is_some());
        // Of several that passed, the last counts; and without a backup none is made up for.
        let late = look(&cron, &[], &mut status, at("2026-03-23T00:00:00Z"));
        assert!(late.rehearse.is_none());
        let after = look(&cron, &children, &mut status, at("2026-03-23T00:00:09Z"));
        assert!(after.rehearse.is_none());
        // Another schedule: what it would have said is not made up for.
        let mut other = weekly();
        other.spec.verify_schedule = Some("0 7 * * *".into());
        let changed = look(&other, &children, &mut status, at("2026-03-24T00:00:09Z"));
        assert!(changed.rehearse.is_none());
        let then = look(&other, &children, &mut status, at("2026-03-24T07:00:01Z"));
        assert!(then.rehearse.is_some());
        let order = order(&cron, child, slot);
        let annotation = &order["metadata"]["annotations"][crate::rehearsal::REHEARSE_AT];
        assert_eq!(annotation, "2026-03-08T06:00:00Z");
        let verify = order["spec"]["verify"].as_object().unwrap();
        assert_eq!(
            (&verify["podTemplate"], &verify["container"]),
            (&"small".into(), &Value::Null)
        );
        assert!(verify["jmx"]["credentials"].is_null() && verify["jmx"]["port"] == 7199);
    }

    #[test]
    fn what_the_last_rehearsal_found_is_said_of_all() {
        let mut children = children();
        let proof = |at: Timestamp, is, verified| Proof {
            verified,
            ended: Some((
                at,
                Told {
                    is,
                    reason: "R".into(),
                    message: "m".into(),
                },
            )),
        };
        let (early, late) = (at("2026-03-07T07:00:00Z"), at("2026-03-08T07:00:00Z"));
        children[1].proof = Some(proof(early, Is::True, Some(early)));
        children[0].proof = Some(proof(late, Is::False, None));
        let mut status = CronBackupStatus::default();
        look(&weekly(), &children, &mut status, late);
        assert_eq!(status.last_verified_time, Some(Time(early)));
        let condition = status.conditions.iter().find(|it| it.type_ == VERIFIED);
        let condition = condition.unwrap();
        assert_eq!(condition.status, "False");
        assert!(condition.message.starts_with(&children[0].name));
        // It is gone, and its proof was.
        look(&weekly(), &[], &mut status, late);
        assert_eq!(status.last_verified_time, Some(Time(early)));
    }

    #[test]
    fn a_schedule_that_cannot_be_understood_is_told() {
        let mut cron = weekly();
        cron.spec.verify_schedule = Some("0 6 31 2 *".into());
        let mut status = CronBackupStatus::default();
        let children = children();
        let due = look(&cron, &children, &mut status, at("2026-03-08T06:00:01Z"));
        assert!(due.rehearse.is_none());
        assert_eq!(status.conditions[0].reason, "InvalidSchedule");
        assert!(
            status.conditions[0]
                .message
                .starts_with("spec.verifySchedule: ")
        );
    }
}
