//! The whole of it: what is to be done, and doing it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use futures::stream::{self, StreamExt, TryStreamExt};
use manifest::{ClusterId, ClusterLayout, Line, ObjectKeys, Table};
use protocol::Rehearsed;
use store::Store;

use super::fetch::{Got, Wanted, fetch};
use super::hold::Hold;
use super::path::{SYSTEM, directory, is_restored, plain};
use super::progress::{Seen, Told};
use super::target::{State, Target, file};
use super::{Chosen, RestoreError};
use crate::bandwidth::Bandwidth;
use crate::read::{self, ManifestStream};

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// Of which backup and node.
    pub chosen: Chosen,
    /// Tables with files.
    pub tables: u64,
    /// Files to be put in place.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// SSTables that the backup does not have, since they were damaged.
    pub left_out: Vec<String>,
    /// Whether a restore that was cut off is gone on with.
    pub resumes: bool,
    target: Target,
}

impl Plan {
    /// Where the files come.
    pub fn directories(&self) -> &[PathBuf] {
        &self.target.directories
    }

    /// Whose the directories are, by number; an error if they are not one user's.
    pub fn owner(&self) -> Result<Option<u32>, RestoreError> {
        self.target.owner()
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Files that were fetched.
    pub fetched: u64,
    /// Files that were there already, with their content.
    pub kept: u64,
    /// What was found in a rehearsal.
    pub rehearsed: Option<Rehearsed>,
}

/// Looks at the whole manifest and at the directories, and changes nothing. The files come to
/// `directories`, or where they were if there are none.
pub async fn plan(
    store: &dyn Store,
    chosen: Chosen,
    directories: Vec<PathBuf>,
) -> Result<Plan, RestoreError> {
    let mut tally = Tally::new(&chosen);
    let (_, footer) = read::manifest(store, &chosen.manifest, |line| tally.add(line)).await?;
    let Tally {
        tables,
        files,
        bytes,
        has_local,
        wrong,
        ..
    } = tally;
    if let Some(name) = wrong {
        return Err(RestoreError::Name {
            backup: chosen.backup,
            name,
        });
    }
    if !has_local {
        return Err(RestoreError::WithoutSystem {
            backup: chosen.backup,
            host_id: chosen.host_id,
        });
    }
    let directories = match directories.is_empty() {
        true => chosen.directories.iter().map(PathBuf::from).collect(),
        false => directories,
    };
    if directories.is_empty() {
        return Err(RestoreError::NoDirectory);
    }
    let target = Target { directories };
    let state = target.look(&chosen)?;
    if state == State::Empty {
        target.has_room(&bytes)?;
    }
    Ok(Plan {
        chosen,
        tables,
        files,
        bytes: bytes.iter().fold(0, |sum, it| sum.saturating_add(*it)),
        left_out: footer.left_out,
        resumes: state == State::Begun,
        target,
    })
}

/// What a manifest adds up to.
struct Tally {
    table: Option<Table>,
    tables: u64,
    files: u64,
    /// By data directory.
    bytes: Vec<u64>,
    has_local: bool,
    /// The first name that is none of Cassandra's.
    wrong: Option<String>,
}

impl Tally {
    fn new(chosen: &Chosen) -> Self {
        Self {
            table: None,
            tables: 0,
            files: 0,
            bytes: vec![0; chosen.directories.len().max(1)],
            has_local: false,
            wrong: None,
        }
    }

    fn add(&mut self, line: &Line) {
        match line {
            Line::Table(table) => {
                self.tables += u64::from(is_restored(table));
                self.table = Some(table.clone());
            }
            Line::SsTable(sstable) => {
                let Some(table) = self.table.as_ref().filter(|table| is_restored(table)) else {
                    return;
                };
                self.has_local |= Turn::of(table) == Turn::Local;
                let names = sstable
                    .components
                    .iter()
                    .map(|it| plain(&it.name).map(|_| ()));
                let names: Result<(), String> = names.collect();
                if let Err(wrong) = directory(table, sstable).and(names) {
                    self.wrong.get_or_insert(wrong);
                }
                if self.bytes.len() <= sstable.data_directory {
                    self.wrong.get_or_insert_with(|| {
                        format!("in data directory {}", sstable.data_directory)
                    });
                    return;
                }
                self.files += sstable.components.len() as u64;
                for component in &sstable.components {
                    let sum = &mut self.bytes[sstable.data_directory];
                    *sum = sum.saturating_add(component.bytes);
                }
            }
            Line::Header(_) | Line::Footer(_) => {}
        }
    }
}

/// Which tables' turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// All but those of `system`.
    Others,
    System,
    /// `system.local`: who the node is.
    Local,
}

impl Turn {
    fn of(table: &Table) -> Self {
        match (table.keyspace.as_str(), table.table.as_str()) {
            (SYSTEM, "local") => Self::Local,
            (SYSTEM, _) => Self::System,
            _ => Self::Others,
        }
    }
}

/// Does what is planned, `concurrency` files at a time, and says how far it is. The backup is held
/// meanwhile; `warn` says where it cannot be.
pub async fn restore(
    store: &dyn Store,
    cluster: &ClusterId,
    plan: &Plan,
    concurrency: usize,
    seen: &(dyn Fn(Seen) + Sync),
    warn: &(dyn Fn(String) + Sync),
) -> Result<Done, RestoreError> {
    let marks = plan.target.begin(&plan.chosen)?;
    let chosen = &plan.chosen;
    let manifest = [(chosen.host_id, chosen.manifest.clone())];
    let mut hold = Hold::new(store, cluster, &chosen.backup, manifest.into());
    hold.take(warn).await?;
    let done = tokio::select! {
        done = fetch_all(store, cluster, plan, concurrency, seen) => done?,
        never = hold.renew(warn) => match never {},
    };
    plan.target.end(marks)?;
    Ok(done)
}

async fn fetch_all(
    store: &dyn Store,
    cluster: &ClusterId,
    plan: &Plan,
    concurrency: usize,
    seen: &(dyn Fn(Seen) + Sync),
) -> Result<Done, RestoreError> {
    let target = &plan.target;
    // Nobody else uses the disks of a node that is down.
    let unlimited = Bandwidth::unlimited();
    let told = Told::default();
    let mut done = Done::default();
    for turn in [Turn::Others, Turn::System, Turn::Local] {
        let files = Files::open(store, cluster, &plan.chosen, target, turn).await?;
        let files = stream::try_unfold(files, async |mut files| {
            let batch = files.next().await?;
            Ok::<_, RestoreError>(batch.map(|batch| (batch, files)))
        });
        let wanted = files.map_ok(|batch| stream::iter(batch).map(Ok::<_, RestoreError>));
        let wanted = wanted.try_flatten();
        let fetched = wanted.map_ok(|wanted| async {
            let bytes = wanted.bytes;
            let got = fetch(store, wanted, &unlimited).await?;
            seen(told.add(1, bytes));
            Ok(got)
        });
        let mut fetched = std::pin::pin!(fetched.try_buffer_unordered(concurrency.max(1)));
        while let Some(got) = fetched.try_next().await? {
            match got {
                Got::Fetched => done.fetched += 1,
                Got::Kept => done.kept += 1,
            }
        }
        // All else is on the disk before the node knows who it is.
        target.settle()?;
    }
    Ok(done)
}

/// The files of a manifest that is being read, an SSTable at a time.
struct Files<'a> {
    lines: Option<ManifestStream>,
    keys: ObjectKeys,
    layout: ClusterLayout,
    table: Option<Table>,
    target: &'a Target,
    turn: Turn,
    made: BTreeSet<PathBuf>,
    chosen: &'a Chosen,
}

impl<'a> Files<'a> {
    async fn open(
        store: &dyn Store,
        cluster: &ClusterId,
        chosen: &'a Chosen,
        target: &'a Target,
        turn: Turn,
    ) -> Result<Self, RestoreError> {
        Ok(Self {
            lines: Some(ManifestStream::open(store, &chosen.manifest).await?),
            keys: ObjectKeys::new(chosen.host_id),
            layout: ClusterLayout::new(cluster.clone()),
            table: None,
            target,
            turn,
            made: BTreeSet::new(),
            chosen,
        })
    }

    /// The next SSTable's files, whose directory is there; nothing after the last.
    async fn next(&mut self) -> Result<Option<Vec<Wanted>>, RestoreError> {
        while let Some(lines) = &mut self.lines {
            let Some(line) = lines.next().await? else {
                // It is to be believed to its end this time, too.
                if let Some(lines) = self.lines.take() {
                    lines.end()?;
                }
                break;
            };
            let mut keys = Vec::new();
            self.keys
                .of(&line, |key| keys.push(self.layout.key_in_cluster(key)));
            match line {
                Line::Table(table) => self.table = Some(table),
                Line::SsTable(sstable) => {
                    let turn = |it: &&Table| is_restored(it) && Turn::of(it) == self.turn;
                    let Some(table) = self.table.as_ref().filter(turn) else {
                        continue;
                    };
                    let wrong = |name| RestoreError::Name {
                        backup: self.chosen.backup.clone(),
                        name,
                    };
                    let below = directory(table, &sstable).map_err(wrong)?;
                    let mut folder = self.target.directory(sstable.data_directory).to_owned();
                    for part in below {
                        folder.push(part);
                        if self.made.insert(folder.clone()) {
                            make(&folder)?;
                        }
                    }
                    let mut wanted = Vec::new();
                    for (component, key) in sstable.components.into_iter().zip(keys) {
                        wanted.push(Wanted {
                            key,
                            path: folder.join(plain(&component.name).map_err(wrong)?),
                            bytes: component.bytes,
                            blake3: component.blake3,
                        });
                    }
                    return Ok(Some(wanted));
                }
                Line::Header(_) | Line::Footer(_) => {}
            }
        }
        Ok(None)
    }
}

/// Makes a directory, unless a restore that was cut off has made it.
fn make(folder: &PathBuf) -> Result<(), RestoreError> {
    match fs::create_dir(folder) {
        Ok(()) => Ok(()),
        Err(_) if folder.is_dir() => Ok(()),
        Err(source) => Err(file(folder, source)),
    }
}
