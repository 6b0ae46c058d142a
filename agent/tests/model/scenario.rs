//! What a schedule has to begin with, and who takes part in it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use agent::lease::MARGIN;
use agent::retention::Policy;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use manifest::*;
use store::Key;
use uuid::Uuid;

use crate::invariant::{Invariant, content};
use crate::process::header;
use crate::random::Random;
use crate::world::{START, Stored, World};

/// Nobody of a schedule.
pub const NOBODY: usize = usize::MAX;

/// One attempt of a run.
#[derive(Clone, Debug, Hash)]
pub struct Attempt {
    pub backup: &'static str,
    pub node: u128,
    pub run: u128,
    pub attempt: u32,
    pub objects: &'static [&'static str],
}

/// What retention keeps.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Kept {
    Last(u32),
    /// With a rule that keeps one.
    AtLeast(u32),
    Hourly(u32),
    /// Hours.
    Within(i64),
}

impl Kept {
    pub fn policy(self) -> Policy {
        let mut policy = Policy::default();
        match self {
            Self::Last(last) => policy.last = last,
            Self::AtLeast(minimum) => (policy.last, policy.minimum_complete) = (1, minimum),
            Self::Hourly(hourly) => policy.hourly = hourly,
            Self::Within(hours) => policy.within = Some(SignedDuration::from_hours(hours)),
        }
        policy
    }

    /// The newest complete backups that stay, whenever they were made.
    fn newest(self) -> usize {
        match self {
            Self::Last(newest) | Self::AtLeast(newest) => newest as usize,
            Self::Hourly(_) | Self::Within(_) => 1,
        }
    }
}

/// What takes part.
#[derive(Clone, Debug, Hash)]
pub struct Scenario {
    pub attempts: Vec<Attempt>,
    pub purges: usize,
    /// `verify --repair`.
    pub repairs: usize,
    /// Restores of the oldest backup.
    pub restores: usize,
    /// Something else than a backup changes the content of an object.
    pub corrupts: bool,
    /// Nodes of the ring: each has backups already.
    pub nodes: u128,
    /// Seconds.
    pub touch_after: u64,
    pub grace: u64,
    pub attempt_lifetime: u64,
    pub purge_lifetime: u64,
    /// Objects that an external cleanup leaves alone, in seconds of age.
    pub cleanup: Option<u64>,
    /// Clients of a file system cache what they see, in seconds.
    pub cache: Option<u64>,
    pub schema: bool,
    pub unknown_hashes: bool,
    /// An attempt of the first run left an intent long ago.
    pub dead_intent: bool,
    pub page: usize,
    pub concurrency: usize,
    pub kept: Kept,
    /// `b1` is of another series than the other backups.
    pub two_series: bool,
    /// Purges are of the first series only.
    pub of_series: bool,
    /// Purges are told which runs have ended.
    pub knows_ended: bool,
}

/// In the storage: `a` and `b` of the oldest backup, `b` and `c` of the next one, and `d` and `e`
/// of nobody.
const OBJECTS: [&[&str]; 4] = [&["b", "d", "f"], &["a", "c", "d"], &["d"], &["b", "f"]];

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// Everything.
    All,
    /// A purge that goes on for longer than a backup's intent is honoured.
    LongPurge,
    /// A backup that leaves a young object alone, which a purge condemns.
    Keep,
    /// A repair of what a backup needs.
    Repair,
    /// A restore of a backup that a purge deletes.
    Restore,
}

impl Scenario {
    pub fn new(random: &mut Random, focus: Focus) -> Self {
        let corrupts = focus == Focus::Repair || focus == Focus::All && random.one_in(6);
        let (attempts, purges, repairs) = match (focus, random.below(16)) {
            (Focus::LongPurge | Focus::Keep | Focus::Restore, _) => (1, 1, 0),
            (Focus::Repair, _) => (1, 0, 1),
            (Focus::All, n) if corrupts => match n {
                0..6 => (1, 0, 1),
                6..10 => (1, 1, 1),
                10..12 => (1, 0, 2),
                12..14 => (2, 0, 1),
                14 => (0, 1, 1),
                _ => (2, 1, 2),
            },
            (Focus::All, 0..10) => (1, 1, 0),
            (Focus::All, 10 | 11) => (1, 2, 0),
            (Focus::All, 12 | 13) => (2, 1, 0),
            (Focus::All, 14) => (3, 2, 0),
            (Focus::All, _) => (1, 3, 0),
        };
        let cleanup = (!corrupts && random.one_in(6)).then_some(30_000);
        let nodes = if random.one_in(4) { 2 } else { 1 };
        let mut scenario = Self {
            attempts: Vec::new(),
            purges,
            repairs,
            restores: 0,
            corrupts,
            nodes,
            touch_after: random.pick(&[0, 0, 1_000]),
            grace: random.pick(&[0, 0, 100]),
            attempt_lifetime: random.pick(&[300, 2_000]),
            purge_lifetime: match cleanup {
                Some(_) => 2_000,
                None => random.pick(&[300, 2_000, 20_000]),
            },
            cleanup,
            cache: random.one_in(4).then_some(60),
            schema: random.one_in(2),
            unknown_hashes: random.one_in(4),
            dead_intent: random.one_in(3),
            page: random.pick(&[2, 5, 1_000]),
            concurrency: random.pick(&[1, 2, 32]),
            kept: random.pick(&[
                Kept::Last(1),
                Kept::Last(1),
                Kept::Last(2),
                Kept::AtLeast(2),
                Kept::Hourly(1),
                Kept::Within(1),
            ]),
            two_series: random.one_in(4),
            of_series: random.one_in(4),
            knows_ended: random.one_in(2),
        };
        // What is damaged or cleaned up is lost to a restore all the same.
        if scenario.cleanup.is_none() && !corrupts {
            scenario.restores = usize::from(focus == Focus::Restore || random.one_in(6));
        }
        for n in 0..attempts {
            let objects = random.pick(&OBJECTS);
            // The second is the same run once more, or another node.
            let again = n == 1 && random.one_in(2);
            let node = if again || n == 2 {
                1
            } else {
                1 + n as u128 % nodes
            };
            scenario.attempts.push(Attempt {
                backup: if n == 2 { "b3" } else { "b2" },
                node,
                run: if n == 2 { 30 } else { 20 + node },
                attempt: if again { 2 } else { 1 },
                objects,
            });
        }
        match focus {
            Focus::All => {}
            Focus::Restore => {
                scenario.cleanup = None;
                scenario.restores = 1;
                scenario.kept = Kept::Last(1);
            }
            Focus::Repair => {
                scenario.attempts[0].objects = OBJECTS[0];
                scenario.nodes = 1;
                scenario.dead_intent = false;
                scenario.attempt_lifetime = 300;
                scenario.purge_lifetime = 300;
                scenario.page = 1_000;
            }
            Focus::Keep => {
                scenario.attempts[0].objects = OBJECTS[2];
                scenario.touch_after = 1_000;
                scenario.grace = 0;
            }
            Focus::LongPurge => {
                scenario.attempt_lifetime = 300;
                scenario.purge_lifetime = 20_000;
                scenario.cleanup = None;
            }
        }
        scenario
    }

    /// Three purges around a backup that writes its intent where an attempt of the same number left
    /// a dead one, and needs nothing that is condemned.
    pub fn dead_intent() -> Self {
        let mut scenario = Self::new(&mut Random::new(0), Focus::LongPurge);
        scenario.purges = 3;
        scenario.kept = Kept::Last(1);
        scenario.two_series = false;
        scenario.nodes = 1;
        scenario.grace = 0;
        scenario.cache = None;
        scenario.dead_intent = true;
        scenario.concurrency = 1;
        scenario.attempts = vec![Attempt {
            backup: "b2",
            node: 1,
            run: 21,
            attempt: 1,
            objects: OBJECTS[3],
        }];
        scenario
    }

    /// The series of a backup.
    pub fn series(&self, backup: &BackupName) -> Option<&'static str> {
        (!self.two_series || backup.as_str() != "b1").then_some("s")
    }

    /// Who makes a backup of all that anybody has, at the end: one attempt for each node.
    pub fn last_attempts(&self) -> impl Iterator<Item = Attempt> {
        (1..=self.nodes).map(|node| Attempt {
            backup: "b9",
            node,
            run: 90 + node,
            attempt: 1,
            objects: &["a", "b", "c", "d", "e", "f"],
        })
    }

    /// Two repairs of the same object, which a backup needs.
    pub fn two_repairs() -> Self {
        let mut scenario = Self::new(&mut Random::new(0), Focus::Repair);
        scenario.repairs = 2;
        scenario.cache = None;
        scenario
    }

    /// Runs that have committed so long ago that nothing of theirs is on its way, and of which there
    /// is one attempt.
    pub fn ended(&self, world: &World) -> BTreeSet<Uuid> {
        let margin = MARGIN.as_millis() as u64;
        let old = world.committed.iter().filter(|(run, at)| {
            let attempts = self.attempts.iter();
            let attempts = attempts.filter(|one| Uuid::from_u128(one.run) == *run);
            world.now >= at + margin && attempts.count() == 1
        });
        old.map(|(run, _)| *run).collect()
    }

    /// How old the first objects are, in seconds.
    fn age(&self) -> u64 {
        self.cleanup.map_or(10_000, |oldest| oldest - 100)
    }

    /// The storage at the beginning.
    pub fn begin(&self) -> (BTreeMap<Key, Stored>, Invariant) {
        thread_local! {
            static BEGINNINGS: RefCell<HashMap<(u128, u64, bool, bool), Beginning>> = RefCell::default();
        }
        let which = (self.nodes, self.age(), self.dead_intent, self.two_series);
        let (objects, mut invariant) = BEGINNINGS.with_borrow_mut(|beginnings| {
            let made = beginnings.entry(which).or_insert_with(|| self.make());
            made.clone()
        });
        // What a cached list does not show was stored a moment before the run, and is not renewed.
        invariant.newest = match self.cleanup {
            None => self.kept.newest(),
            Some(_) => 1,
        };
        invariant.touch_after = (self.touch_after + self.cache.unwrap_or(0)) * 1_000;
        (objects, invariant)
    }

    fn make(&self) -> Beginning {
        let mut objects = BTreeMap::new();
        let mut invariant = Invariant::default();
        let mut put = |key: String, body: Option<Vec<u8>>, age: u64| {
            let key = Key::parse(&key).unwrap();
            let body = body.map_or_else(
                || Bytes::copy_from_slice(content(&key).as_bytes()),
                Bytes::from,
            );
            let at = START - age * 1_000;
            let stored = Stored {
                body,
                modified: at,
                created: at,
                creator: NOBODY,
                settled: true,
            };
            objects.insert(key.clone(), stored);
            invariant.created(&key, &objects, at);
        };
        for node in 1..=self.nodes {
            let layout = layout(node);
            for (name, age) in [("a", 0), ("b", 10), ("c", 10), ("e", 0)] {
                put(data(&layout, name), None, self.age() - age);
            }
            put(data(&layout, "d"), None, 500);
            for (backup, names, age) in [("b0", ["a", "b"], 0), ("b1", ["b", "c"], 10)] {
                let backup: BackupName = backup.parse().unwrap();
                let age = self.age() - age;
                put(layout.tokens(&backup), None, age);
                let body = manifest(self, &layout, &backup, &names, age);
                put(layout.manifest(&backup), Some(body), age);
            }
        }
        if self.dead_intent {
            let layout = layout(1);
            let head = Intent {
                format_version: FORMAT_VERSION.into(),
                run_id: Uuid::from_u128(21),
                attempt: 1,
                deadline: Timestamp::from_millisecond(START as i64 - 2_000_000).unwrap(),
            };
            let data = data(&layout, "d");
            let body = head
                .write(Vec::new(), [layout.below_cluster(&data)])
                .unwrap();
            let key = layout.intent(&"b2".parse().unwrap(), head.run_id, 1);
            put(key, Some(body), 3_000);
        }
        // Those of the beginning are not looked at.
        invariant.commits = 0;
        (objects, invariant)
    }
}

type Beginning = (BTreeMap<Key, Stored>, Invariant);

pub fn layout(node: u128) -> NodeLayout {
    NodeLayout::new("c".parse().unwrap(), Uuid::from_u128(node))
}

/// The directory of an object's SSTable.
pub fn sstable_dir(name: &str) -> SsTableDir {
    let component: ComponentName = format!("nb-{}-big-Data.db", name.as_bytes()[0])
        .parse()
        .unwrap();
    SsTableDir::new(&component.descriptor, 1, 1)
}

pub fn file_name(name: &str) -> String {
    format!("nb-{}-big-Data.db", name.as_bytes()[0])
}

pub fn data(layout: &NodeLayout, name: &str) -> String {
    let place = ObjectPath {
        keyspace: "k",
        directory: "t-0",
        index: None,
    };
    format!(
        "{}/{}",
        layout.sstable_prefix(&place, &sstable_dir(name)),
        file_name(name)
    )
}

/// A manifest of the beginning.
fn manifest(
    scenario: &Scenario,
    layout: &NodeLayout,
    backup: &BackupName,
    names: &[&str],
    age: u64,
) -> Vec<u8> {
    let header = header(
        scenario,
        layout,
        backup,
        Uuid::from_u128(1),
        START - age * 1_000,
    );
    let mut writer = ManifestWriter::new(Vec::new(), header).unwrap();
    writer
        .table(Table {
            keyspace: "k".into(),
            table: "t".into(),
            id: "0".into(),
            directory: "t-0".into(),
            schema: None,
        })
        .unwrap();
    for name in names {
        let key = data(layout, name);
        let component = Component {
            name: file_name(name),
            object: file_name(name),
            bytes: key.len() as u64,
            blake3: blake3::hash(key.as_bytes()).to_string(),
        };
        let sstable = SsTable {
            sstable: sstable_dir(name).as_str().into(),
            index: None,
            data_directory: 0,
            first_token: None,
            last_token: None,
            content: None,
            components: vec![component],
        };
        writer.sstable(sstable).unwrap();
    }
    let footer = Footer {
        tokens: layout.tokens_in_cluster(backup),
        ..Footer::default()
    };
    writer.finish(footer).unwrap()
}
