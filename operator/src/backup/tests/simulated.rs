//! Whole backups, simulated: nodes that succeed, fail or never say anything, operators that forget whom they
//! follow, somebody who cancels, a deadline. Whatever happens, and in whatever order, the backup ends, in its
//! true state.

use crds::MemberWithoutPod;
use proptest::prelude::*;

use super::*;

/// What becomes of a node that is left to itself.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Succeeds,
    Fails,
    /// It fails before it has told who it is.
    FailsUntold,
    /// It waits for what never comes, until it is told to stop.
    Hangs,
}

/// What happens besides, at a step.
#[derive(Clone, Debug)]
enum Event {
    /// A node does its next step.
    Goes(usize),
    /// The operator is another one, which follows nobody yet.
    Restart,
    /// Minutes pass.
    Wait(i64),
}

#[derive(Clone, Debug)]
struct Scene {
    fates: Vec<Fate>,
    concurrent: Option<usize>,
    together: bool,
    deadline: Option<i64>,
    /// The step before which somebody cancels.
    cancelled_at: Option<usize>,
    without_pod: bool,
    events: Vec<Event>,
}

fn scenes() -> impl Strategy<Value = Scene> {
    let fate = prop_oneof![
        6 => Just(Fate::Succeeds),
        2 => Just(Fate::Fails),
        1 => Just(Fate::FailsUntold),
        1 => Just(Fate::Hangs),
    ];
    let event = prop_oneof![
        12 => (0_usize..8).prop_map(Event::Goes),
        1 => Just(Event::Restart),
        1 => (1_i64..60).prop_map(Event::Wait),
    ];
    (
        prop::collection::vec(fate, 1..8),
        prop::option::of(1_usize..4),
        any::<bool>(),
        prop::option::of(600_i64..20_000),
        prop::option::of(0_usize..80),
        prop::bool::weighted(0.2),
        prop::collection::vec(event, 0..120),
    )
        .prop_map(
            |(fates, concurrent, together, deadline, cancelled_at, without_pod, events)| Scene {
                fates,
                concurrent,
                together,
                deadline,
                cancelled_at,
                without_pod,
                events,
            },
        )
}

struct World {
    backup: CassandraBackup,
    status: CassandraBackupStatus,
    fates: Vec<Fate>,
    /// Whom the operator follows.
    active: BTreeSet<String>,
    now: Timestamp,
}

impl World {
    fn new(scene: &Scene) -> Self {
        let backup = backup(|spec| {
            spec["startTogether"] = json!(scene.together);
            if let Some(concurrent) = scene.concurrent {
                spec["concurrentNodes"] = json!(concurrent);
            }
            if let Some(deadline) = scene.deadline {
                spec["activeDeadlineSeconds"] = json!(deadline);
            }
        });
        let mut status = begun(&backup, scene.fates.len());
        let ring = status.ring.get_or_insert_default();
        // All of it are without a pod until they tell who they are.
        let others = scene.without_pod.then_some(99);
        let members = (0..scene.fates.len()).chain(others);
        ring.without_pod
            .extend(members.map(|number| MemberWithoutPod {
                host_id: host(number).to_string(),
                address: format!("10.0.0.{number}"),
                datacenter: "dc1".into(),
                rack: "r1".into(),
            }));
        ring.members = i64::try_from(ring.without_pod.len()).unwrap();
        Self {
            backup,
            status,
            fates: scene.fates.clone(),
            active: BTreeSet::new(),
            now: now(),
        }
    }

    fn at(&mut self, pod: &str) -> &mut crds::NodeStatus {
        let mut nodes = self.status.nodes.iter_mut();
        nodes.find(|node| node.pod == pod).unwrap()
    }

    fn uploads(&self) -> usize {
        let uploads = |node: &&crds::NodeStatus| node.phase == NodePhase::Uploading;
        self.status.nodes.iter().filter(uploads).count()
    }

    /// The operator looks, and does what it planned.
    fn looks(&mut self) {
        let planned = |world: &Self| {
            let (spec, status) = (&world.backup.spec, &world.status);
            plan(spec, Some(1), status, &world.active, world.now)
        };
        let first = planned(self);
        self.status = first.status;
        assert_eq!(planned(self).status, self.status, "a second look differs");
        for action in first.actions {
            match action {
                Action::Follow { pod } => {
                    assert!(self.active.insert(pod.clone()), "{pod} is followed twice");
                    let began = Time(self.now);
                    let node = self.at(&pod);
                    assert!(!node.phase.is_final(), "{pod} has ended");
                    node.started_at.get_or_insert(began);
                }
                Action::Proceed { pod } => assert!(self.at(&pod).turn_at.is_some()),
                Action::Stop { pod, stop } => {
                    assert!(self.active.remove(&pod), "nobody follows {pod}");
                    let node = self.at(&pod);
                    node.phase = match stop {
                        Stop::Cancelled => NodePhase::Cancelled,
                        Stop::Deadline => NodePhase::Failed,
                    };
                }
                Action::Measure { pod, .. } => {
                    assert_eq!(self.at(&pod).phase, NodePhase::Succeeded);
                    let ring = self.status.ring.get_or_insert_default();
                    ring.coverage = Some(coverage::told(Ok(Vec::new())));
                }
                Action::Sweep { pod } => self.at(&pod).sweep_pending = false,
            }
        }
    }

    /// The node with this number does its next step, if somebody follows it.
    fn goes(&mut self, number: usize) {
        let number = number % self.fates.len();
        let pod = format!("c-{number}");
        if !self.active.contains(&pod) {
            return;
        }
        let holds = super::super::plan::holds(&self.backup.spec, &self.status);
        let (fate, id) = (self.fates[number], host(number).to_string());
        let node = self.at(&pod);
        if !matches!(fate, Fate::FailsUntold) {
            node.host_id = Some(id);
        }
        node.phase = match (node.phase, fate) {
            (_, Fate::FailsUntold) => NodePhase::Failed,
            (NodePhase::Pending, _) => NodePhase::Snapshotting,
            (NodePhase::Snapshotting, _) if holds => NodePhase::Holding,
            (NodePhase::Holding, _) if node.turn_at.is_none() => NodePhase::Holding,
            (NodePhase::Snapshotting | NodePhase::Holding, _) => NodePhase::Uploading,
            (_, Fate::Succeeds) => NodePhase::Succeeded,
            (_, Fate::Fails) => NodePhase::Failed,
            (_, Fate::Hangs) => NodePhase::Uploading,
        };
        if node.phase.is_final() {
            self.active.remove(&pod);
        }
        ring::leave_out_selected(&mut self.status);
    }

    /// How many are backed up, of all that should be.
    fn done(&self, without_pod: bool) -> String {
        let succeeded = |node: &&crds::NodeStatus| node.phase == NodePhase::Succeeded;
        let done = self.status.nodes.iter().filter(succeeded).count();
        format!("{done}/{}", self.fates.len() + usize::from(without_pod))
    }

    fn is_over(&self) -> bool {
        self.status.phase.is_some_and(BackupPhase::is_final)
    }
}

/// What a backup whose nodes ended so is.
fn truth(status: &CassandraBackupStatus) -> BackupPhase {
    let count = |phase| {
        let nodes = status.nodes.iter();
        nodes.filter(|node| node.phase == phase).count()
    };
    let without_pod = status.ring.iter().any(|ring| !ring.without_pod.is_empty());
    let succeeded = count(NodePhase::Succeeded);
    if count(NodePhase::Cancelled) > 0 {
        BackupPhase::Cancelled
    } else if succeeded == 0 {
        BackupPhase::Failed
    } else if succeeded == status.nodes.len() && !without_pod {
        BackupPhase::Succeeded
    } else {
        BackupPhase::PartiallyFailed
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn a_backup_ends_in_its_true_state_whatever_happens(scene in scenes()) {
        let mut world = World::new(&scene);
        let limit = scene.concurrent.unwrap_or(usize::MAX);
        // Then everything goes on, as long as anything can; what hangs is cancelled in the end.
        let rest = (0..400).map(|step| match step {
            300 => Event::Wait(i64::from(i32::MAX)),
            _ => Event::Goes(step),
        });
        let hangs = scene.fates.iter().any(|fate| matches!(fate, Fate::Hangs));
        for (step, event) in scene.events.iter().cloned().chain(rest).enumerate() {
            let late = step == scene.events.len() + 301 && hangs;
            if late || scene.cancelled_at == Some(step) {
                world.backup.spec.cancel = true;
            }
            let ended = world.is_over().then(|| world.status.clone());
            world.looks();
            prop_assert!(world.uploads() <= limit, "{:#?}", world.status);
            let over = world.status.nodes.iter().all(|node| node.phase.is_final());
            if let Some(ended) = ended {
                prop_assert_eq!(&ended, &world.status, "it changed after its end");
            } else if world.is_over() {
                prop_assert!(over, "it ended before its nodes: {:#?}", world.status);
                prop_assert_eq!(world.status.phase, Some(truth(&world.status)));
                let all = world.done(scene.without_pod);
                prop_assert_eq!(world.status.nodes_done.as_ref(), Some(&all));
                let succeeded = world.status.phase == Some(BackupPhase::Succeeded);
                prop_assert_eq!(complete(&world.status).0 == "True", succeeded);
                prop_assert!(world.status.completion_time.is_some());
            }
            match event {
                Event::Goes(number) => world.goes(number),
                Event::Restart => world.active.clear(),
                Event::Wait(minutes) => {
                    world.now += SignedDuration::from_mins(minutes);
                }
            }
        }
        prop_assert!(world.is_over(), "it never ended: {:#?}", world.status);
    }
}
