//! Carries out one schedule: which process goes on next, when time passes, who crashes, whose
//! answer is lost, all by a seed.

mod disturb;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use agent::order::Order;

use crate::process::{self, Decide, Process};
use crate::random::Random;
use crate::scenario::{Focus, Scenario};
use crate::world::{Op, START, Shared, World};

/// More steps than any schedule has: one that goes on for longer goes on for ever.
const MAX_STEPS: usize = 5_000;

/// Longer than anything is honoured, and than anybody believes what was cached; in milliseconds.
const REST: u64 = 40_000_000;

/// What is searched.
#[derive(Clone, Copy)]
pub struct Search {
    pub order: Order,
    /// In the place of retention.
    pub decide: Option<Decide>,
    pub known_ended: process::Ended,
    pub focus: Focus,
}

impl Search {
    pub fn new(order: Order) -> Self {
        Self {
            order,
            decide: None,
            known_ended: Scenario::ended,
            focus: Focus::All,
        }
    }
}

/// How a schedule ended.
pub struct Ended {
    /// Of all that was chosen.
    pub hash: u64,
    pub broken: Option<String>,
    pub commits: u32,
    pub deletes: u32,
    pub repairs: u32,
    pub restores: u32,
    /// What happened, if it was asked for.
    pub steps: Vec<String>,
}

/// Notices that a process wants to go on at once.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What can happen next.
#[derive(Clone, Copy, Debug, Hash)]
enum Action {
    Start(usize),
    /// The storage carries out the request at this place.
    CarryOut(usize),
    /// An answer, or a time that was waited for, arrives.
    Deliver(usize),
}

struct Schedule {
    world: Shared,
    scenario: Scenario,
    processes: Vec<Option<Process>>,
    started: Vec<bool>,
    /// The highest goes first, where priorities are what decides.
    priorities: Option<Vec<u64>>,
    /// Steps at which the priorities change or time passes.
    changes: Vec<usize>,
    crash_at: Option<usize>,
    lose_at: Option<usize>,
    corrupt_at: Option<usize>,
    search: Search,
    random: Random,
    hasher: DefaultHasher,
    trace: Option<Vec<String>>,
    actions: Vec<Action>,
}

/// Carries out the schedule of a seed.
pub fn run(seed: u64, search: &Search, trace: bool) -> Ended {
    let mut random = Random::new(seed);
    let scenario = Scenario::new(&mut random, search.focus);
    let mut schedule = Schedule::new(scenario, random, search, trace);
    for step in 0..MAX_STEPS {
        if !schedule.step(step) {
            break;
        }
        assert!(step + 1 < MAX_STEPS, "seed {seed} never ends");
    }
    schedule.come_to_rest();
    schedule.ended()
}

/// A process by number, and the first request of its that it does not come to any more.
pub type Until = (usize, fn(&Op) -> bool);

/// Carries out a schedule that is written down: one process after the other goes on until it is
/// about to send what it stops at, or ends.
pub fn scripted(scenario: Scenario, search: &Search, script: &[Until]) -> Ended {
    let mut schedule = Schedule::new(scenario, Random::new(0), search, true);
    if schedule.scenario.corrupts {
        schedule.corrupt();
    }
    for (process, stops_at) in script {
        schedule.go_on(*process, *stops_at);
    }
    schedule.ended()
}

impl Schedule {
    fn go_on(&mut self, process: usize, stops_at: fn(&Op) -> bool) {
        for _ in 0..MAX_STEPS {
            let of_process = {
                let world = self.world.lock();
                let mut requests = world.requests.iter();
                requests.any(|request| request.process == process && stops_at(&request.op))
            };
            if of_process || self.processes[process].is_none() {
                return;
            }
            self.find_actions();
            let mut actions = self.actions.iter();
            let action = actions.find(|action| self.process_of(**action) == process);
            match action.copied() {
                Some(action) => self.act(action, process),
                None => assert!(self.wake_the_next(), "process {process} waits for others"),
            }
        }
        panic!("process {process} never ends");
    }

    fn ended(mut self) -> Ended {
        let steps = self.trace.take().unwrap_or_default();
        let world = self.world.lock();
        Ended {
            hash: self.hasher.finish(),
            broken: world.invariant.broken.clone(),
            commits: world.invariant.commits,
            deletes: world.invariant.deletes,
            repairs: world.invariant.repairs,
            restores: world.invariant.restores,
            steps,
        }
    }

    fn new(scenario: Scenario, mut random: Random, search: &Search, trace: bool) -> Self {
        let Search {
            order,
            decide,
            known_ended,
            ..
        } = *search;
        let (objects, invariant) = scenario.begin();
        let first_repair = scenario.attempts.len() + scenario.purges;
        let first_restore = first_repair + scenario.repairs;
        let count = first_restore + scenario.restores;
        let world = Shared::new(World {
            now: START,
            objects,
            gone: Vec::new(),
            requests: Vec::new(),
            slots: Vec::new(),
            open: Vec::new(),
            invariant,
            first_repair,
            page: scenario.page,
            cache: scenario.cache.map(|seconds| seconds * 1_000),
            views: vec![0; count],
            committed: Vec::new(),
            instants: Vec::new(),
            random: random.clone(),
        });
        let attempts = scenario.attempts.iter().enumerate();
        let mut processes: Vec<Option<Process>> = attempts
            .map(|(n, plan)| Some(process::attempt(&world, n, &scenario, plan, order)))
            .collect();
        for n in processes.len()..first_repair {
            let purge = process::purging(&world, n, &scenario, decide, known_ended, order);
            processes.push(Some(purge));
        }
        for n in first_repair..first_restore {
            let repair = process::repairing(&world, n, &scenario, order);
            processes.push(Some(repair));
        }
        for n in first_restore..count {
            processes.push(Some(process::restoring(&world, n, order)));
        }
        let by_priority = !random.one_in(3);
        let priorities = by_priority.then(|| (0..count).map(|_| random.next()).collect());
        // About as many steps as a schedule has.
        let length = 60 * count;
        let changes = (0..1 + random.below(5))
            .map(|_| random.below(length))
            .collect();
        let mut hasher = DefaultHasher::new();
        scenario.hash(&mut hasher);
        Self {
            crash_at: random.one_in(5).then(|| random.below(length)),
            lose_at: random.one_in(5).then(|| random.below(length)),
            corrupt_at: scenario.corrupts.then(|| match search.focus {
                Focus::Repair => 0,
                _ => random.below(length) / 2,
            }),
            search: *search,
            started: vec![false; count],
            trace: trace.then(|| vec![format!("{scenario:?}")]),
            actions: Vec::new(),
            world,
            scenario,
            processes,
            priorities,
            changes,
            random,
            hasher,
        }
    }

    fn note(&mut self, text: impl FnOnce(&World) -> String) {
        if let Some(trace) = &mut self.trace {
            let world = self.world.lock();
            let at = (world.now - START) as f64 / 1_000.0;
            let text = text(&world);
            trace.push(format!("{at:>9.1} s  {text}"));
        }
    }

    /// The next thing that happens; false when nothing can any more, or something was lost.
    fn step(&mut self, step: usize) -> bool {
        if self.is_broken() {
            return false;
        }
        if self.changes.contains(&step) {
            self.change();
        } else if self.priorities.is_none() && self.random.one_in(30) {
            self.pass_time();
        }
        if self.scenario.cleanup.is_some() && self.random.one_in(20) {
            self.clean_up();
        }
        if self.corrupt_at == Some(step) {
            self.corrupt();
        }
        self.find_actions();
        if self.actions.is_empty() {
            return self.wake_the_next();
        }
        let action = self.choose();
        if self.lose_at.is_some_and(|at| at <= step) && self.lose(action) {
            self.lose_at = None;
            return true;
        }
        let process = self.process_of(action);
        action.hash(&mut self.hasher);
        process.hash(&mut self.hasher);
        if self.crash_at == Some(step) {
            self.crash(process);
            return true;
        }
        self.act(action, process);
        true
    }

    fn act(&mut self, action: Action, process: usize) {
        match action {
            Action::Start(_) => {
                self.started[process] = true;
                self.note(|_| format!("process {process} starts"));
                self.poll(process);
            }
            Action::CarryOut(index) => {
                if self.trace.is_some() {
                    let op = format!("{:?}", self.world.lock().requests[index].op);
                    let op: String = op.chars().take(160).collect();
                    self.note(|_| format!("process {process}: {op}"));
                }
                let mut world = self.world.lock();
                let slot = world.requests[index].slot;
                world.carry_out(index);
                drop(world);
                // Most answers arrive at once.
                if !self.random.one_in(6) {
                    self.deliver(slot, process);
                }
            }
            Action::Deliver(slot) => {
                self.note(|_| format!("process {process} goes on"));
                self.deliver(slot, process);
            }
        }
    }

    fn deliver(&mut self, slot: usize, process: usize) {
        let waker = {
            let mut world = self.world.lock();
            world.open.retain(|open| *open != slot);
            world.slots[slot].delivered = true;
            world.slots[slot].waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        self.poll(process);
    }

    fn poll(&mut self, process: usize) {
        let Some(future) = &mut self.processes[process] else {
            return;
        };
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(()) => {
                    self.processes[process] = None;
                    self.note(|_| format!("process {process} ends"));
                    return;
                }
                Poll::Pending if woken.0.swap(false, Ordering::Relaxed) => {}
                Poll::Pending => return,
            }
        }
    }

    fn find_actions(&mut self) {
        self.actions.clear();
        let world = self.world.lock();
        for (process, started) in self.started.iter().enumerate() {
            if !started && self.processes[process].is_some() {
                self.actions.push(Action::Start(process));
            }
        }
        self.actions
            .extend((0..world.requests.len()).map(Action::CarryOut));
        for slot in &world.open {
            let is_due = world.slots[*slot]
                .until
                .is_none_or(|until| until <= world.now);
            if is_due && self.processes[world.slots[*slot].process].is_some() {
                self.actions.push(Action::Deliver(*slot));
            }
        }
    }

    fn process_of(&self, action: Action) -> usize {
        match action {
            Action::Start(process) => process,
            Action::CarryOut(index) => self.world.lock().requests[index].process,
            Action::Deliver(slot) => self.world.lock().slots[slot].process,
        }
    }

    /// Any action, or one of the process that comes first.
    fn choose(&mut self) -> Action {
        if let Some(priorities) = &self.priorities {
            let first = self
                .actions
                .iter()
                .map(|action| priorities[self.process_of(*action)])
                .max();
            let mut actions = std::mem::take(&mut self.actions);
            actions.retain(|action| Some(priorities[self.process_of(*action)]) == first);
            self.actions = actions;
        }
        self.actions[self.random.below(self.actions.len())]
    }

    /// The earliest of those who wait for a time, or the end.
    fn wake_the_next(&mut self) -> bool {
        let next = {
            let world = self.world.lock();
            let sleeping = world.open.iter().filter_map(|slot| {
                let slot = &world.slots[*slot];
                slot.until
                    .filter(|_| self.processes[slot.process].is_some())
            });
            sleeping.min()
        };
        match next {
            Some(until) => {
                self.world.lock().advance(until);
                true
            }
            None => {
                let stuck = self.processes.iter().position(Option::is_some);
                assert_eq!(stuck, None, "a process waits for nothing");
                false
            }
        }
    }

    /// Once nobody is at work and nothing is honoured any more, a purge, a repair, a backup of
    /// everything and another repair, one after the other: then nothing is wrong.
    fn come_to_rest(&mut self) {
        let never = |_: &Op| false;
        let Search {
            order,
            decide,
            known_ended,
            ..
        } = self.search;
        if self.search.focus != Focus::All || !self.scenario.corrupts || self.is_broken() {
            return;
        }
        let (world, scenario) = (self.world.clone(), self.scenario.clone());
        let to = world.lock().now + REST;
        world.lock().advance(to);
        self.note(|_| "everybody has come to rest".to_owned());
        let first = self.processes.len();
        let attempts = scenario.last_attempts().enumerate();
        let attempts =
            attempts.map(|(n, plan)| process::attempt(&world, first + n, &scenario, &plan, order));
        let attempts: Vec<Process> = attempts.collect();
        let (purge, repair) = (first + attempts.len(), first + attempts.len() + 1);
        self.processes.extend(attempts.into_iter().map(Some));
        let purging = process::purging(&world, purge, &scenario, decide, known_ended, order);
        self.processes.push(Some(purging));
        for n in [repair, repair + 1] {
            let repairing = process::repairing(&world, n, &scenario, order);
            self.processes.push(Some(repairing));
        }
        self.started.resize(self.processes.len(), false);
        world.lock().views.resize(self.processes.len(), 0);
        world.lock().first_repair = repair;
        for process in [purge, repair]
            .into_iter()
            .chain(first..purge)
            .chain([repair + 1])
        {
            self.go_on(process, never);
        }
        let last = scenario.nodes as usize;
        world.lock().invariant.healed(last);
    }

    fn is_broken(&self) -> bool {
        self.world.lock().invariant.broken.is_some()
    }
}
