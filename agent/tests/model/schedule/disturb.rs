//! What disturbs a schedule: other priorities, time that passes, crashes, answers that are lost, and
//! what others do to the storage.

use std::hash::Hash;

use store::Key;

use super::{Action, Schedule};
use crate::scenario::{self, Focus, NOBODY};
use crate::world::Answer;

impl Schedule {
    /// Another process comes first from now on, or time passes, or both.
    pub(super) fn change(&mut self) {
        if let Some(priorities) = &mut self.priorities {
            let process = self.random.below(priorities.len());
            let lowest = priorities.iter().copied().min().unwrap_or(0);
            if self.random.one_in(2) {
                priorities[process] = lowest.saturating_sub(1 + self.random.next() % 1_000);
            } else {
                priorities[process] = u64::MAX - self.random.next() % 1_000;
            }
        }
        if self.random.one_in(2) {
            self.pass_time();
        }
    }

    pub(super) fn pass_time(&mut self) {
        let mut world = self.world.lock();
        let now = world.now;
        let by = self.random.pick(&[1_000, 20_000, 70_000, 400_000, 700_000]);
        let mut to = now + by;
        if !world.instants.is_empty() && self.random.one_in(2) {
            // Shortly before or after a deadline.
            let instant = world.instants[self.random.below(world.instants.len())];
            let instant = (instant + self.random.pick(&[1, 1_000, 200_000]))
                .saturating_sub(self.random.pick(&[0, 2, 201_000]));
            if instant > now {
                to = instant;
            }
        }
        world.advance(to);
        to.hash(&mut self.hasher);
        drop(world);
        self.note(|_| "time has passed".to_owned());
    }

    /// A process ends in the middle; what it has sent may arrive or not.
    pub(super) fn crash(&mut self, process: usize) {
        self.note(|_| format!("process {process} crashes"));
        self.started[process] = true;
        self.processes[process] = None;
        let keep = self.random.next();
        let mut world = self.world.lock();
        let mut n = 0;
        world.requests.retain(|request| {
            n += 1;
            request.process != process || keep >> (n % 64) & 1 == 1
        });
    }

    /// The answer to a request is lost, whether it was carried out or will be, or neither.
    pub(super) fn lose(&mut self, action: Action) -> bool {
        let Action::CarryOut(index) = action else {
            return false;
        };
        let (process, slot, done) = {
            let mut world = self.world.lock();
            let (process, slot) = (world.requests[index].process, world.requests[index].slot);
            let done = self.random.below(3);
            match done {
                0 => world.carry_out(index),
                1 => drop(world.requests.swap_remove(index)),
                _ => {}
            }
            world.slots[slot].answer = Some(Answer::Lost);
            (process, slot, done)
        };
        (process, slot, done).hash(&mut self.hasher);
        let what = ["carried out", "never sent", "on its way"][done];
        self.note(|_| format!("process {process} loses an answer; the request is {what}"));
        self.deliver(slot, process);
        true
    }

    /// Somebody else removes what is old.
    pub(super) fn clean_up(&mut self) {
        let Some(age) = self.scenario.cleanup else {
            return;
        };
        let mut world = self.world.lock();
        let oldest = world.now - age * 1_000;
        let old: Vec<_> = world
            .objects
            .iter()
            .filter(|(_, stored)| stored.modified < oldest)
            .map(|(key, _)| key.clone())
            .collect();
        if old.is_empty() {
            return;
        }
        let some = old.len().min(1 + self.random.below(3));
        for key in &old[..some] {
            world.clean(key, oldest, NOBODY);
            key.hash(&mut self.hasher);
        }
        drop(world);
        self.note(|_| format!("the cleanup removes {:?}", &old[..some]));
    }

    /// Something else than the product changes an object.
    pub(super) fn corrupt(&mut self) {
        let mut world = self.world.lock();
        let keys = world.objects.keys();
        let wanted = |key: &&Key| match self.search.focus {
            // What every backup needs.
            Focus::Repair => key.name() == scenario::file_name("b"),
            _ => key.as_str().starts_with("c/data/"),
        };
        let data: Vec<Key> = keys.filter(wanted).cloned().collect();
        let key = &data[self.random.below(data.len())];
        let size_too = self.random.one_in(4);
        world.corrupt(key, size_too);
        (key, size_too).hash(&mut self.hasher);
        drop(world);
        self.note(|_| format!("{key} is changed from outside"));
    }
}
