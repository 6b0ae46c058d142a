//! Elections over minutes in which answers are late or lost, operators die and clocks are wrong:
//! two never lead at once, and somebody always leads again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

use super::Timing;
use super::candidate::{Answer, Ask, Candidate};

/// Numbers that look like chance and are the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn one_in(&mut self, times: u64) -> bool {
        times > 0 && self.below(times) == 0
    }
}

/// What goes wrong: one in so many, 0 is never.
#[derive(Clone, Copy)]
struct Faults {
    lost: u64,
    late: u64,
    dies: u64,
    resigns: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Asks,
    /// A request reaches the server.
    Arrives(usize),
    /// Its answer reaches who asked, or nobody waits any longer.
    Answered(usize),
}

/// A request under way.
struct Question {
    who: usize,
    /// Which life of the operator asked.
    life: u64,
    ask: Ask,
    sent: u64,
    answer: Answer,
    open: bool,
}

struct World {
    start: Instant,
    now: u64,
    server: Option<Lease>,
    version: u64,
    operators: Vec<Candidate>,
    lives: Vec<u64>,
    /// How far the clock of each is off, in seconds.
    clocks: Vec<i64>,
    questions: Vec<Question>,
    /// Times in milliseconds, who, in which life, and what.
    events: BinaryHeap<Reverse<(u64, usize, u64, What)>>,
    chance: Chance,
    faults: Faults,
    /// When each time of having a leader began, and who led.
    reigns: Vec<(u64, String)>,
    /// Since when nobody led.
    vacant: u64,
    longest_vacancy: u64,
}

impl World {
    fn new(seed: u64, operators: usize, faults: Faults) -> Self {
        let mut chance = Chance(seed);
        let clocks = (0..operators)
            .map(|_| i64::try_from(chance.below(20_000)).unwrap() - 10_000)
            .collect();
        let mut world = Self {
            start: Instant::now(),
            now: 0,
            server: None,
            version: 0,
            operators: Vec::new(),
            lives: vec![0; operators],
            clocks,
            questions: Vec::new(),
            events: BinaryHeap::new(),
            chance,
            faults,
            reigns: Vec::new(),
            vacant: 0,
            longest_vacancy: 0,
        };
        for who in 0..operators {
            world.operators.push(Self::newborn(who, 0));
            let at = world.chance.below(3000);
            world.events.push(Reverse((at, who, 0, What::Asks)));
        }
        world
    }

    fn newborn(who: usize, life: u64) -> Candidate {
        Candidate::new("lease".into(), format!("{who}.{life}"), Timing::default())
    }

    fn instant(&self, at: u64) -> Instant {
        self.start + Duration::from_millis(at)
    }

    fn run(&mut self, until: u64) {
        while let Some(Reverse((at, who, life, what))) = self.events.pop() {
            if at > until {
                break;
            }
            self.now = at;
            match what {
                What::Asks if life == self.lives[who] => self.asks(who),
                What::Arrives(which) => self.arrives(which),
                What::Answered(which) if life == self.lives[who] => self.answered(who, which),
                _ => {}
            }
            self.judge();
        }
    }

    fn later(&mut self, after: u64, who: usize, what: What) {
        let event = (self.now + after, who, self.lives[who], what);
        self.events.push(Reverse(event));
    }

    fn delay(&mut self) -> u64 {
        if self.chance.one_in(self.faults.late) {
            let longest = [3_200, 20_000][self.chance.below(2) as usize];
            self.chance.below(longest)
        } else {
            5 + self.chance.below(100)
        }
    }

    fn asks(&mut self, who: usize) {
        let now = self.instant(self.now);
        let leads = self.operators[who].leads_until().is_some();
        let lost = self.operators[who].has_lost(now).is_some();
        if lost || leads && self.chance.one_in(self.faults.dies) {
            self.ends(who);
            return;
        }
        if leads && self.chance.one_in(self.faults.resigns) {
            let resigned = self.operators[who].resigned(now);
            self.ends(who);
            if let Some(lease) = resigned {
                // Nobody waits for the answer.
                self.sends(who, u64::MAX, Ask::Write(Box::new(lease)));
            }
            return;
        }
        let mut ask = self.operators[who].ask(now);
        if let Ask::Write(lease) = &mut ask {
            let off = SignedDuration::from_secs(self.clocks[who]);
            let spec = lease.spec.as_mut().unwrap();
            spec.renew_time = Some(MicroTime(Timestamp::UNIX_EPOCH + off));
        }
        self.sends(who, self.lives[who], ask);
        // The loop gives up at the time until which it relies on the lease, too.
        let answer = Timing::default().answer.as_millis() as u64;
        let left = self.operators[who].leads_until().map_or(answer, |until| {
            until.duration_since(now).as_millis() as u64 + 1
        });
        let which = self.questions.len() - 1;
        self.later(answer.min(left), who, What::Answered(which));
    }

    fn sends(&mut self, who: usize, life: u64, ask: Ask) {
        let which = self.questions.len();
        self.questions.push(Question {
            who,
            life,
            ask,
            sent: self.now,
            answer: Answer::None,
            open: true,
        });
        if !self.chance.one_in(self.faults.lost) {
            let after = self.delay();
            self.later(after, who, What::Arrives(which));
        }
    }

    /// The process ends, and another one begins a little later.
    fn ends(&mut self, who: usize) {
        self.lives[who] += 1;
        // The kubelet starts it again in the same pod, or there is another pod.
        let life = if self.chance.one_in(2) {
            0
        } else {
            self.lives[who]
        };
        self.operators[who] = Self::newborn(who, life);
        let after = 500 + self.chance.below(5000);
        self.later(after, who, What::Asks);
    }

    /// The API server decides, whether or not anybody still waits for it.
    fn arrives(&mut self, which: usize) {
        let answer = match &self.questions[which].ask {
            Ask::Read => self
                .server
                .clone()
                .map_or(Answer::Missing, |lease| Answer::Is(Box::new(lease))),
            Ask::Write(lease) => {
                let current = self
                    .server
                    .as_ref()
                    .map(|lease| &lease.metadata.resource_version);
                let fits = match (current, &lease.metadata.resource_version) {
                    (None, None) => true,
                    (Some(current), wanted @ Some(_)) => current == wanted,
                    _ => false,
                };
                if fits {
                    self.version += 1;
                    let mut lease = (**lease).clone();
                    lease.metadata.resource_version = Some(self.version.to_string());
                    self.server = Some(lease.clone());
                    Answer::Is(Box::new(lease))
                } else {
                    Answer::Refused
                }
            }
        };
        self.questions[which].answer = answer;
        if !self.chance.one_in(self.faults.lost) {
            let after = self.delay();
            let question = &self.questions[which];
            let event = (
                self.now + after,
                question.who,
                question.life,
                What::Answered(which),
            );
            self.events.push(Reverse(event));
        }
    }

    fn answered(&mut self, who: usize, which: usize) {
        let question = &mut self.questions[which];
        if !std::mem::take(&mut question.open) {
            return;
        }
        let waited = self.now - question.sent;
        let late = waited >= Timing::default().answer.as_millis() as u64;
        let answer = std::mem::replace(&mut question.answer, Answer::None);
        let answer = if late { Answer::None } else { answer };
        let (ask, sent) = (question.ask.clone(), question.sent);
        let (sent, now) = (self.instant(sent), self.instant(self.now));
        self.operators[who].answered(&ask, sent, answer, now);
        let pause = self.operators[who].pause(now).as_millis() as u64;
        self.later(pause, who, What::Asks);
    }

    fn judge(&mut self) {
        let now = self.instant(self.now);
        let leads: Vec<_> = (0..self.operators.len())
            .filter(|who| {
                let one = &self.operators[*who];
                one.leads_until().is_some_and(|until| now < until) && one.has_lost(now).is_none()
            })
            .map(|who| format!("{who} in its life {}", self.lives[who]))
            .collect();
        assert!(leads.len() <= 1, "at {} ms there lead {leads:?}", self.now);
        match leads.into_iter().next() {
            Some(leader) => {
                self.vacant = self.now;
                if self.reigns.last().is_none_or(|(_, last)| *last != leader) {
                    self.reigns.push((self.now, leader));
                }
            }
            None => self.longest_vacancy = self.longest_vacancy.max(self.now - self.vacant),
        }
    }
}

#[test]
fn whatever_is_late_or_lost_two_never_lead_at_once() {
    let mut reigns = 0;
    for seed in 0..600 {
        let faults = Faults {
            lost: [0, 3, 4, 10][seed as usize % 4],
            late: [2, 3, 0, 5][seed as usize / 4 % 4],
            dies: 60,
            resigns: 60,
        };
        let mut world = World::new(seed, 2 + seed as usize % 3, faults);
        world.run(300_000);
        reigns += world.reigns.len();
    }
    assert!(reigns > 2000, "the faults end reigns: {reigns}");
}

#[test]
fn without_faults_one_leads_for_ever_and_a_dead_one_is_followed_within_15_seconds() {
    let calm = Faults {
        lost: 0,
        late: 0,
        dies: 0,
        resigns: 0,
    };
    let (mut died, mut resigned) = (0, 0);
    for seed in 0..50 {
        let mut world = World::new(seed, 2, calm);
        world.run(600_000);
        assert_eq!(world.reigns.len(), 1, "{:?}", world.reigns);
        let dying = Faults { dies: 100, ..calm };
        let mut world = World::new(seed, 2, dying);
        world.run(3_600_000);
        died += world.reigns.len();
        assert!(world.longest_vacancy <= 15_000, "{}", world.longest_vacancy);
        // Nobody waits for the lease of one that has given it up.
        let resigning = Faults {
            resigns: 100,
            ..calm
        };
        let mut world = World::new(seed, 2, resigning);
        world.run(3_600_000);
        resigned += world.reigns.len();
        assert!(world.longest_vacancy <= 3_500, "{}", world.longest_vacancy);
    }
    assert!(died > 500 && resigned > 500, "{died} {resigned}");
}
