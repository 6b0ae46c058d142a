//! Decisions over days in which operators crash, race and lose their clock: no backup is made
//! twice, and every slot is either made or counted as missed.

use std::collections::{BTreeMap, BTreeSet};

use crds::{BackupPhase, ConcurrencyPolicy, CronBackup, CronBackupStatus};
use jiff::{SignedDuration, Timestamp};
use kube::{Resource, ResourceExt};
use proptest::prelude::*;
use serde_json::json;

use super::child::Child;
use super::decide::{Facts, decide};
use super::names::{self, Run};
use super::slots::{Invalid, Schedule};
use super::status::{Outcome, concluded};
use super::tests::{child, cron};
use super::{names::child as name_of, schedule};

/// Where an operator stops in the middle of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    Made,
    Written,
    Done,
}

#[derive(Clone, Debug)]
enum Step {
    /// Time passes; where negative, the clock is put back.
    Minutes(i64),
    /// Operators look at the same state, and then act one after the other.
    Operators(Vec<Until>),
    /// A backup ends.
    End(usize, BackupPhase),
    /// Somebody deletes a backup that the status has dealt with.
    Delete(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let until = prop_oneof![Just(Until::Made), Just(Until::Written), Just(Until::Done)];
    let phase = prop_oneof![
        2 => Just(BackupPhase::Succeeded),
        2 => Just(BackupPhase::Failed),
        1 => Just(BackupPhase::PartiallyFailed),
    ];
    prop_oneof![
        4 => (1..90_i64).prop_map(Step::Minutes),
        1 => (90..400_i64).prop_map(Step::Minutes),
        1 => (-200..0_i64).prop_map(Step::Minutes),
        6 => proptest::collection::vec(until, 1..3).prop_map(Step::Operators),
        4 => (0..8_usize, phase).prop_map(|(which, phase)| Step::End(which, phase)),
        1 => (0..8_usize).prop_map(Step::Delete),
    ]
}

fn rules() -> impl Strategy<Value = CronBackup> {
    let policy = proptest::sample::select(&["Allow", "Forbid", "Replace"][..]);
    let deadline = proptest::option::of(60..5000_i64);
    let limits = (0..3, 0..3);
    (policy, deadline, 0..3, limits, 0..1800_i64, any::<bool>()).prop_map(
        |(policy, deadline, retries, (successful, failed), jitter, immediate)| {
            cron(|spec| {
                spec["schedule"] = json!("0 * * * *");
                spec["concurrencyPolicy"] = json!(policy);
                spec["startingDeadlineSeconds"] = json!(deadline);
                spec["retry"] = json!({"limit": retries, "backoffSeconds": 300});
                spec["successfulBackupsHistoryLimit"] = json!(successful);
                spec["failedBackupsHistoryLimit"] = json!(failed);
                spec["jitterSeconds"] = json!(jitter);
                spec["immediate"] = json!(immediate);
            })
        },
    )
}

struct World {
    cron: CronBackup,
    schedule: Result<Schedule, Invalid>,
    now: Timestamp,
    /// Slots whose name somebody else has taken.
    taken: BTreeSet<Timestamp>,
    status: CronBackupStatus,
    version: u64,
    children: BTreeMap<String, Child>,
    /// All that was ever made.
    made: BTreeMap<String, Run>,
    /// What was there when the status was written.
    known: BTreeSet<String>,
}

impl World {
    fn new(cron: CronBackup, taken: BTreeSet<i64>) -> Self {
        let created = cron.creation_timestamp().unwrap().0;
        Self {
            schedule: schedule(&cron),
            now: created,
            taken: taken
                .iter()
                .map(|hour| created + SignedDuration::from_hours(*hour))
                .collect(),
            status: CronBackupStatus::default(),
            version: 0,
            children: BTreeMap::new(),
            made: BTreeMap::new(),
            known: BTreeSet::new(),
            cron,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Minutes(minutes) => self.now += SignedDuration::from_mins(minutes),
            Step::Operators(operators) => {
                let seen = self.status.clone();
                let version = self.version;
                let children: Vec<_> = self.children.values().cloned().collect();
                for until in operators {
                    self.operate(&seen, version, &children, until);
                }
            }
            Step::End(which, phase) => {
                let now = self.now;
                let mut active: Vec<_> = self
                    .children
                    .values_mut()
                    .filter(|c| c.is_active())
                    .collect();
                let count = active.len();
                if let Some(child) = active.get_mut(which % count.max(1)) {
                    child.phase = Some(if child.cancelled {
                        BackupPhase::Cancelled
                    } else {
                        phase
                    });
                    child.completed = Some(now);
                }
            }
            Step::Delete(which) => {
                let decided = self.status.decided_until.as_ref();
                let known = |child: &&Child| {
                    decided.is_some_and(|until| child.run.slot <= until.0)
                        && self.known.contains(&child.name)
                };
                let known: Vec<_> = self.children.values().filter(known).collect();
                if let Some(child) = known.get(which % known.len().max(1)) {
                    let name = child.name.clone();
                    self.children.remove(&name);
                }
            }
        }
    }

    fn operate(&mut self, seen: &CronBackupStatus, version: u64, children: &[Child], until: Until) {
        let cron = self.cron.clone();
        let schedule = self.schedule.as_ref().unwrap().clone();
        let held = Ok(schedule.clone());
        let facts = Facts {
            spec: &cron.spec,
            generation: cron.meta().generation,
            created: cron.creation_timestamp().unwrap().0,
            schedule: &held,
            status: seen,
            children,
        };
        let decision = decide(&facts, self.now);
        for cancelled in &decision.cancel {
            if let Some(child) = self.children.get_mut(&cancelled.name) {
                child.cancelled = true;
            }
        }
        let outcome = decision.create.map(|run| self.make(run, &schedule));
        if until == Until::Made {
            return;
        }
        let name = decision
            .create
            .map(|run| name_of("nightly", run))
            .unwrap_or_default();
        let made = decision.create.zip(outcome.as_ref());
        let made = made.map(|(run, outcome)| (run, name.as_str(), outcome));
        let status = concluded(&facts, &decision, made, self.now);
        if status != *seen {
            if version != self.version {
                return;
            }
            self.status = status;
            self.version += 1;
        }
        self.known = self.children.keys().cloned().collect();
        self.check();
        if until == Until::Done {
            for child in &decision.delete {
                self.children.remove(&child.name);
            }
        }
    }

    fn make(&mut self, run: Run, schedule: &Schedule) -> Outcome {
        if self.taken.contains(&run.slot) {
            return Outcome::Foreign;
        }
        let name = name_of("nightly", run);
        if self.children.contains_key(&name) {
            return Outcome::Existed;
        }
        assert!(!self.made.contains_key(&name), "{name} is made twice");
        let active = self.children.values().filter(|child| child.is_active());
        if self.cron.spec.concurrency_policy != ConcurrencyPolicy::Allow {
            assert_eq!(active.count(), 0, "{name} is made beside another one");
        }
        let late = self.now.duration_since(schedule.start(run.slot));
        if let Some(deadline) = self.cron.spec.starting_deadline_seconds
            && run.retry == 0
            && self.cron.spec.concurrency_policy != ConcurrencyPolicy::Replace
        {
            assert!(
                late <= SignedDuration::from_secs(deadline),
                "{name} is too late"
            );
        }
        let next = schedule.after(run.slot).next().unwrap();
        assert!(
            run.immediate || schedule.start(next) > self.now,
            "{name} is not the latest"
        );
        if run.retry > 0 {
            let before = Run {
                retry: run.retry - 1,
                ..run
            };
            assert!(
                self.made.contains_key(&name_of("nightly", before)),
                "{name} retries nothing"
            );
            assert!(
                run.retry <= self.cron.spec.retry.limit,
                "{name} is one too many"
            );
        }
        self.made.insert(name.clone(), run);
        self.children
            .insert(name, child(run, Some(BackupPhase::Uploading), None));
        Outcome::Created
    }

    /// Every slot that is dealt with was made, or counts as missed.
    fn check(&self) {
        let Some(until) = &self.status.decided_until else {
            return;
        };
        let created = self.cron.creation_timestamp().unwrap().0;
        let schedule = self.schedule.as_ref().unwrap();
        let slots = schedule
            .after(created)
            .take_while(|slot| *slot <= until.0)
            .count();
        let firsts = self
            .made
            .values()
            .filter(|run| run.retry == 0 && run.slot <= until.0);
        let immediate = self.cron.spec.immediate && until.0 >= created;
        let slots = slots + usize::from(immediate);
        assert_eq!(
            i64::try_from(slots).unwrap(),
            i64::try_from(firsts.count()).unwrap() + self.status.missed,
            "{:?} made: {:?}",
            self.status,
            self.made
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_backup_is_made_twice_and_no_slot_is_lost(
        cron in rules(),
        taken in proptest::collection::btree_set(1..48_i64, 0..4),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(cron, taken);
        for step in steps {
            world.take(step);
        }
        world.take(Step::Operators(vec![Until::Done]));
        for (name, run) in &world.made {
            prop_assert_eq!(names::parse("nightly", name), Some(*run));
        }
    }
}
