//! The storage, its clock, and the requests that are on their way to it and back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use agent::lease::MARGIN;
use bytes::Bytes;
use store::Key;
use uuid::Uuid;

use crate::invariant::Invariant;
use crate::random::Random;

/// The longest time of a request, in milliseconds: less than the protocol's margin.
pub const LATENCY: u64 = 500_000;

/// The time at which every schedule begins, in milliseconds since 1970.
pub const START: u64 = 1_800_000_000_000;

pub fn system_time(at: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at)
}

/// An object.
#[derive(Clone, Debug)]
pub struct Stored {
    pub body: Bytes,
    pub modified: u64,
    /// For clients that cache what they saw.
    pub created: u64,
    pub creator: usize,
    /// Whether its name survives a loss of power.
    pub settled: bool,
}

/// An object that is gone, for clients that cache what they saw.
#[derive(Clone, Debug)]
pub struct Gone {
    pub key: Key,
    pub was: Stored,
    pub at: u64,
    pub by: usize,
}

/// What a process asks of the storage.
#[derive(Clone, Debug)]
pub enum Op {
    Now,
    Create(Key, Bytes),
    Upload(Key, Bytes),
    Stat(Key),
    Get(Key),
    Page(Key, Option<Key>),
    Touch(Key),
    Delete(Key),
}

/// What the storage answers.
#[derive(Clone, Debug)]
pub enum Answer {
    Now(u64),
    Done,
    Stored(Stored),
    Page(Vec<(Key, u64, u64)>, bool),
    NotFound,
    Exists(u64),
    /// Nobody knows whether it was done.
    Lost,
}

/// A request on its way.
#[derive(Debug)]
pub struct Request {
    pub process: usize,
    pub sent: u64,
    pub op: Op,
    pub slot: usize,
}

/// Where a process waits for an answer or for a time.
#[derive(Debug, Default)]
pub struct Slot {
    pub process: usize,
    pub answer: Option<Answer>,
    pub delivered: bool,
    pub waker: Option<Waker>,
    pub until: Option<u64>,
}

/// Everything that a schedule changes.
pub struct World {
    pub now: u64,
    pub objects: BTreeMap<Key, Stored>,
    pub gone: Vec<Gone>,
    pub requests: Vec<Request>,
    pub slots: Vec<Slot>,
    /// Slots with an answer that has not arrived, or with a time.
    pub open: Vec<usize>,
    pub invariant: Invariant,
    /// Processes from this one on are repairs.
    pub first_repair: usize,
    pub page: usize,
    /// For how long clients of a file system believe what they cached; none for object stores.
    pub cache: Option<u64>,
    /// Up to when each process has seen the storage.
    pub views: Vec<u64>,
    /// Runs that said that they had committed, and when they did.
    pub committed: Vec<(Uuid, u64)>,
    /// Deadlines, and when they are no longer honoured.
    pub instants: Vec<u64>,
    pub random: Random,
}

/// The world, shared by the processes of one schedule.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl World {
    pub fn send(&mut self, process: usize, op: Op) -> usize {
        let slot = self.slot(process, None);
        self.requests.push(Request {
            process,
            sent: self.now,
            op,
            slot,
        });
        slot
    }

    pub fn slot(&mut self, process: usize, until: Option<u64>) -> usize {
        let slot = self.slots.len();
        self.slots.push(Slot {
            process,
            until,
            ..Slot::default()
        });
        if until.is_some() {
            self.open.push(slot);
        }
        slot
    }

    /// The storage carries a request out.
    pub fn carry_out(&mut self, index: usize) {
        let Request {
            process, op, slot, ..
        } = self.requests.swap_remove(index);
        let answer = self.apply(process, op);
        // A process that was told that the answer was lost waits no more.
        let waits = &self.slots[slot];
        if !waits.delivered && waits.answer.is_none() {
            self.slots[slot].answer = Some(answer);
            self.open.push(slot);
        }
    }

    fn apply(&mut self, process: usize, op: Op) -> Answer {
        let settled = matches!(op, Op::Create(..));
        match op {
            Op::Now => Answer::Now(self.now),
            Op::Create(key, body) | Op::Upload(key, body) => {
                if let Some(stored) = self.objects.get(&key) {
                    return Answer::Exists(stored.body.len() as u64);
                }
                self.put(key, body, process, settled);
                Answer::Done
            }
            Op::Stat(key) | Op::Get(key) => match self.objects.get(&key) {
                Some(stored) => Answer::Stored(stored.clone()),
                None => Answer::NotFound,
            },
            Op::Page(prefix, after) => self.list(process, &prefix, after.as_ref()),
            Op::Touch(key) => match self.objects.get_mut(&key) {
                Some(stored) => {
                    stored.modified = self.now;
                    Answer::Done
                }
                None => Answer::NotFound,
            },
            Op::Delete(key) => {
                self.remove(&key, process);
                Answer::Done
            }
        }
    }

    /// Everything that is there survives a loss of power from now on.
    pub fn settle(&mut self) {
        for stored in self.objects.values_mut() {
            stored.settled = true;
        }
    }

    pub fn put(&mut self, key: Key, body: Bytes, creator: usize, settled: bool) {
        let stored = Stored {
            body,
            modified: self.now,
            created: self.now,
            creator,
            settled,
        };
        if let Some(deadline) = deadline(&stored.body) {
            self.instants
                .extend([deadline, deadline + MARGIN.as_millis() as u64]);
        }
        self.objects.insert(key.clone(), stored);
        self.invariant.created(&key, &self.objects, self.now);
    }

    pub fn remove(&mut self, key: &Key, by: usize) {
        if let Some(was) = self.objects.remove(key) {
            self.invariant.deleted(key, by >= self.first_repair);
            if self.cache.is_some() {
                self.gone.push(Gone {
                    key: key.clone(),
                    was,
                    at: self.now,
                    by,
                });
            }
        }
    }

    /// Somebody else changes the content of an object, and what follows it of its size.
    pub fn corrupt(&mut self, key: &Key, size_too: bool) {
        if let Some(stored) = self.objects.get_mut(key) {
            let mut body = stored.body.to_vec();
            body[0] ^= 1;
            body.truncate(body.len() - usize::from(size_too));
            stored.body = body.into();
            self.invariant.corrupted(key);
        }
    }

    /// An external cleanup removes an object.
    pub fn clean(&mut self, key: &Key, oldest: u64, by: usize) {
        if let Some(was) = self.objects.remove(key) {
            self.invariant.cleaned(key, oldest);
            let at = self.now;
            let key = key.clone();
            self.gone.push(Gone { key, was, at, by });
        }
    }

    /// The next page of a list. Clients of a file system may see it as it was a while ago, but see
    /// what they did themselves, and never go back.
    fn list(&mut self, process: usize, prefix: &Key, after: Option<&Key>) -> Answer {
        let view = match self.cache {
            None => self.now,
            Some(cache) => {
                let oldest = self.now.saturating_sub(cache).max(self.views[process]);
                let view = match self.random.below(3) {
                    0 => oldest,
                    1 => self.now,
                    _ => oldest + self.random.below((self.now - oldest + 1) as usize) as u64,
                };
                self.views[process] = view;
                view
            }
        };
        let follows = |key: &Key| {
            key.below(prefix).is_some() && after.is_none_or(|after| key.as_str() > after.as_str())
        };
        let entry =
            |key: &Key, stored: &Stored| (key.clone(), stored.body.len() as u64, stored.modified);
        let mut page: Vec<_> = self
            .objects
            .iter()
            .filter(|(key, stored)| {
                follows(key) && (stored.created <= view || stored.creator == process)
            })
            .map(|(key, stored)| entry(key, stored))
            .take(self.page + 1)
            .collect();
        let stale = self.gone.iter().filter(|gone| {
            follows(&gone.key)
                && gone.at > view
                && gone.was.created <= view
                && gone.by != process
                && !self.objects.contains_key(&gone.key)
        });
        page.extend(stale.map(|gone| entry(&gone.key, &gone.was)));
        page.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        page.dedup_by(|a, b| a.0 == b.0);
        let more = page.len() > self.page;
        page.truncate(self.page);
        Answer::Page(page, more)
    }

    /// Time goes on. Requests that would be on their way for too long arrive in between.
    pub fn advance(&mut self, to: u64) {
        while let Some((index, due)) = self
            .requests
            .iter()
            .enumerate()
            .map(|(index, request)| (index, request.sent + LATENCY))
            .min_by_key(|(_, due)| *due)
            .filter(|(_, due)| *due <= to)
        {
            self.now = self.now.max(due);
            self.carry_out(index);
        }
        self.now = self.now.max(to);
    }
}

/// The deadline in the head of a list of keys.
fn deadline(body: &Bytes) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Head {
        deadline: jiff::Timestamp,
    }
    let head = body.split(|byte| *byte == b'\n').next()?;
    if !head.starts_with(b"{\"formatVersion\"") {
        return None;
    }
    let head: Head = serde_json::from_slice(head).ok()?;
    u64::try_from(head.deadline.as_millisecond()).ok()
}
