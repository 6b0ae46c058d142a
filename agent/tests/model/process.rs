//! The processes of a schedule: attempts and purges, as the product runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use agent::catalogue::{self, Headers};
use agent::order::Order;
use agent::purge::{Catalogue, PurgeOptions, purge};
use agent::run_context::Run;
use agent::testing::*;
use agent::verify::{self, Finding, Level, RepairOptions};
use agent::{chain, expiry};
use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use manifest::*;
use protocol::Progress;
use store::{Key, Source, Store};
use uuid::Uuid;

use crate::invariant::content;
use crate::scenario::{self, Attempt, Scenario};
use crate::sim_store::{SimStore, SimTimer};
use crate::world::{START, Shared, World};

pub type Process = Pin<Box<dyn Future<Output = ()>>>;

/// Says what has expired, in the place of retention.
pub type Decide = fn(&Scenario, &Catalogue) -> Vec<BackupName>;

/// The runs whose intents a purge counts as dead.
pub type Ended = fn(&Scenario, &World) -> BTreeSet<Uuid>;

/// Files whose content is their key.
struct KeyFiles;

struct KeyContent {
    body: Bytes,
    read: bool,
}

#[async_trait]
impl Source for KeyContent {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok((!std::mem::replace(&mut self.read, true)).then(|| self.body.clone()))
    }

    async fn restart(&mut self) -> io::Result<()> {
        self.read = false;
        Ok(())
    }
}

impl Content for KeyContent {
    fn hash(&self) -> Option<blake3::Hash> {
        self.read.then(|| blake3::hash(&self.body))
    }
}

#[async_trait]
impl Files for KeyFiles {
    fn open(&self, item: &Item, _: Arc<AtomicU64>) -> Result<Box<dyn Content>, Error> {
        let body = Bytes::copy_from_slice(content(&item.key()).as_bytes());
        Ok(Box::new(KeyContent { body, read: false }))
    }

    async fn hash(&self, item: &Item) -> Result<blake3::Hash, Error> {
        Ok(blake3::hash(content(&item.key()).as_bytes()))
    }

    fn read(&self, _: &Item, _: blake3::Hash, _: SystemTime) {}
}

/// A node's backup, from its snapshot on.
pub fn attempt(
    world: &Shared,
    process: usize,
    scenario: &Scenario,
    plan: &Attempt,
    order: Order,
) -> Process {
    let store = SimStore {
        world: world.clone(),
        process,
    };
    let (scenario, plan) = (scenario.clone(), plan.clone());
    Box::pin(async move {
        let timer = SimTimer(store.clone());
        let layout = scenario::layout(plan.node);
        let backup: BackupName = plan.backup.parse().unwrap();
        let run = Run {
            attempt: plan.attempt,
            ..Run::unheard(Uuid::from_u128(plan.run), PathBuf::new())
        };
        let exchange = Exchange {
            run: &run,
            node: None,
            store: &store,
            layout: &layout,
            backup: &backup,
            touch_after: Duration::from_secs(scenario.touch_after),
            lifetime: Duration::from_secs(scenario.attempt_lifetime),
            transfer: Transfer {
                run: &run,
                store: &store,
                files: &KeyFiles,
                concurrency: scenario.concurrency,
                allow_corrupt: false,
            },
            timer: &timer,
            order,
        };
        let mut inventory = inventory(&layout, &plan, scenario.unknown_hashes);
        let schema = scenario.schema.then(|| whole_schema(&layout));
        let started = START + plan.run as u64;
        let closing = async || {
            let header = header(&scenario, &layout, &backup, run.id, started);
            let tokens = layout.tokens(&backup);
            Ok(Closing { header, tokens })
        };
        let mut progress = Progress::default();
        // How it failed is for the operator; what it left in the storage is looked at here.
        let ended = exchange
            .carry_out(&mut inventory, schema, closing, &mut progress)
            .await;
        if ended.is_ok() {
            let mut world = store.world.lock();
            let now = world.now;
            world.committed.push((run.id, now));
        }
    })
}

/// A purge.
pub fn purging(
    world: &Shared,
    process: usize,
    scenario: &Scenario,
    decide: Option<Decide>,
    ended: Ended,
    order: Order,
) -> Process {
    let store = SimStore {
        world: world.clone(),
        process,
    };
    let scenario = scenario.clone();
    Box::pin(async move {
        let mut options = PurgeOptions::new(PathBuf::new());
        options.purge_id = Uuid::from_u128(100 + process as u128);
        options.grace = Duration::from_secs(scenario.grace);
        options.lifetime = Duration::from_secs(scenario.purge_lifetime);
        options.concurrency = scenario.concurrency;
        options.attribute_cache = Duration::from_secs(scenario.cache.unwrap_or(0));
        options.timer = Arc::new(SimTimer(store.clone()));
        options.order = order;
        if scenario.knows_ended {
            options.ended = ended(&scenario, &store.world.lock());
        }
        let cluster = "c".parse().unwrap();
        let failed = match decide {
            None => {
                let series = scenario.of_series.then_some("s");
                let policy = scenario.kept.policy();
                let done = expiry::by_policy(&store, &cluster, &policy, series, options, &|_| {});
                done.await.err().map(|error| chain(&error))
            }
            Some(decide) => {
                let decide = |catalogue: &Catalogue| decide(&scenario, catalogue);
                let done = purge(&store, &cluster, &decide, options, &|_| {});
                done.await.err().map(|error| chain(&error))
            }
        };
        only_unreachable(failed);
    })
}

/// Whatever fails here fails because an answer was lost.
fn only_unreachable(failed: Option<String>) {
    if let Some(error) = failed {
        assert!(error.contains("cannot be reached"), "{error}");
    }
}

/// `verify --repair` of all backups.
pub fn repairing(world: &Shared, process: usize, scenario: &Scenario, order: Order) -> Process {
    let store = SimStore {
        world: world.clone(),
        process,
    };
    let scenario = scenario.clone();
    Box::pin(async move {
        let cluster: ClusterId = "c".parse().unwrap();
        let mut options = RepairOptions::new(Duration::from_secs(scenario.cache.unwrap_or(0)));
        options.repair_id = Uuid::from_u128(100 + process as u128);
        options.lifetime = Duration::from_secs(scenario.purge_lifetime);
        options.timer = Arc::new(SimTimer(store.clone()));
        options.order = order;
        let repaired = async {
            let findings = verified(&store, &cluster, scenario.concurrency).await?;
            let repaired = verify::repair(&store, &cluster, &findings, options).await;
            repaired.map_err(|error| chain(&error))
        };
        only_unreachable(repaired.await.err());
    })
}

/// What a verify says is what is wrong.
async fn verified(
    store: &SimStore,
    cluster: &ClusterId,
    concurrency: usize,
) -> Result<Vec<Finding>, String> {
    let before = store.world.lock().invariant.wrong();
    let read = catalogue::read(store, cluster, Headers::All).await;
    let mut backups = read.map_err(|error| chain(&error))?;
    let running = catalogue::running(store, &backups).await;
    let running = running.map_err(|error| chain(&error))?;
    backups.retain(|backup| !running.contains(&backup.name));
    let report = verify::verify(
        store,
        cluster,
        &backups,
        Level::Content,
        concurrency,
        &|_| {},
    );
    let report = report.await.map_err(|error| chain(&error))?;
    assert_eq!(report.unreadable, []);
    let manifests = backups.iter().flat_map(|backup| backup.manifests.values());
    let manifests = manifests.map(|manifest| manifest.key.clone()).collect();
    let named = report.findings.named;
    let layout = ClusterLayout::new(cluster.clone());
    let found = named
        .iter()
        .map(|finding| layout.key_in_cluster(&finding.key));
    let found = found.map(|key| Key::parse(&key).unwrap()).collect();
    let mut world = store.world.lock();
    world.invariant.verified(&before, &manifests, &found);
    Ok(named)
}

/// A restore of the oldest backup, which holds it and then reads all of it.
pub fn restoring(world: &Shared, process: usize, order: Order) -> Process {
    let store = SimStore {
        world: world.clone(),
        process,
    };
    Box::pin(async move {
        // It fails where an answer was lost, or a purge was there first; both are told.
        let _ = restored(&store, order).await;
    })
}

async fn restored(store: &SimStore, order: Order) -> Result<(), String> {
    let cluster: ClusterId = "c".parse().unwrap();
    let oldest: BackupName = "b0".parse().unwrap();
    let read = catalogue::read(store, &cluster, Headers::All).await;
    let backups = read.map_err(|error| chain(&error))?;
    let backup = backups.iter().find(|backup| backup.name == oldest);
    let manifests = &backup.ok_or("it is gone")?.manifests;
    let manifests = manifests.iter().map(|(id, it)| (*id, it.key.clone()));
    let manifests: BTreeMap<Uuid, Key> = manifests.collect();
    let timer = SimTimer(store.clone());
    let mut hold = Hold::new(store, &cluster, &oldest, manifests.clone());
    (hold.timer, hold.order) = (&timer, order);
    let until = store.world.lock().now + HELD_FOR.as_millis() as u64;
    let unheld = Mutex::new(None);
    let warn = |why| *unheld.lock().unwrap() = Some(why);
    hold.take(&warn).await.map_err(|error| chain(&error))?;
    if let Some(why) = unheld.into_inner().unwrap() {
        return Err(why);
    }
    let missed = |key: &Key, error: store::Error| {
        let mut world = store.world.lock();
        if matches!(error, store::Error::NotFound { .. }) && world.now < until {
            world.invariant.missed(key);
        }
        error.to_string()
    };
    for (host_id, manifest) in manifests {
        let mut keys = ObjectKeys::new(host_id);
        let mut named = Vec::new();
        let each = |line: &Line| keys.of(line, |key| named.push(format!("c/{key}")));
        match agent::read::manifest(store, &manifest, each).await {
            Ok(_) => {}
            Err(agent::read::ReadFailure::Store(error)) => return Err(missed(&manifest, error)),
            Err(other) => panic!("{}", chain(&other)),
        }
        for key in named {
            let key = Key::parse(&key).unwrap();
            let found = store.get(&key, None).await;
            found.map_err(|error| missed(&key, error))?;
        }
    }
    store.world.lock().invariant.restores += 1;
    Ok(())
}

fn inventory(layout: &NodeLayout, plan: &Attempt, unknown_hashes: bool) -> Inventory {
    let sstables = plan.objects.iter().map(|name| {
        let key = Key::parse(&scenario::data(layout, name)).unwrap();
        let hash = blake3::hash(content(&key).as_bytes());
        let stat = Stat {
            device: 1,
            inode: 1,
            size: content(&key).len() as u64,
            modified: 0,
        };
        let file = SnapshotFile {
            name: scenario::file_name(name).into(),
            stat,
        };
        let (prefix, _) = key.as_str().rsplit_once('/').unwrap();
        let (prefix, at) = (Key::parse(prefix).unwrap(), Path::new("").into());
        let known = (!unknown_hashes).then_some(hash);
        let item = Item::named(file, at, &prefix, known, None);
        InventorySsTable {
            dir: scenario::sstable_dir(name),
            numeric_id: false,
            index: None,
            data_directory: 0,
            bounds: None,
            content: None,
            items: vec![item.unwrap()],
            damaged: false.into(),
        }
    });
    Inventory {
        tables: vec![InventoryTable {
            keyspace: "k".into(),
            table: "t".into(),
            id: "0".into(),
            directory: "t-0".into(),
            schema: None,
            sstables: sstables.collect(),
        }],
    }
}

/// The schema's content is its key, as that of every object: a text would name another key.
fn whole_schema(layout: &NodeLayout) -> WholeSchema {
    let object = NodeLayout::schema_object(&blake3::hash(b"schema"));
    let key = Key::parse(&layout.node_schema(&object)).unwrap();
    WholeSchema::stored_as(key, object)
}

pub fn header(
    scenario: &Scenario,
    layout: &NodeLayout,
    backup: &BackupName,
    run_id: Uuid,
    started: u64,
) -> Header {
    let started = Timestamp::from_millisecond(started as i64).unwrap();
    Header {
        format_version: FORMAT_VERSION.into(),
        backup: backup.clone(),
        run_id,
        cluster: "c".parse().unwrap(),
        series: scenario.series(backup).map(str::to_owned),
        scope: Scope::default(),
        ring_hash: RingHash::default(),
        expected_host_ids: (1..=scenario.nodes).map(Uuid::from_u128).collect(),
        node: NodeHeader {
            host_id: layout.host_id(),
            datacenter: String::new(),
            rack: String::new(),
            addresses: Vec::new(),
            pod: None,
            cassandra_version: String::new(),
            partitioner: String::new(),
            tokens: Vec::new(),
            data_directories: Vec::new(),
        },
        schema_version: SchemaVersions::default(),
        schema: None,
        snapshot: Snapshot {
            tag: String::new(),
            started_at: started,
            ended_at: started,
        },
        agent_version: String::new(),
    }
}
