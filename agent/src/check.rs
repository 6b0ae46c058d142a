//! What works and what does not, before a backup needs it: storage, JMX, CQL, files, memory.
//!
//! Nothing is changed but one small object of ours, which is written, touched and deleted to see
//! that the storage keeps what backups rely on.

mod deeds;

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use manifest::ClusterId;
use protocol::{CqlAccess, JmxAccess, Reason, StorageAccess, Verdict};
use store::Store;

use self::deeds::Deed;

use crate::backup::node::{self, Node};
use crate::backup::snapshot;
use crate::catalogue::{self, Headers};
use crate::{chain, neighbour, probe, schema, storage};

/// Clocks that differ by more make wrong names and late schedules; decisions use the storage's.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It works.
    Works,
    /// Backups work, with a drawback.
    Warning,
    /// Backups fail.
    Fails,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a word or two.
    pub what: &'static str,
    /// How it is.
    pub state: State,
    /// The word for it.
    pub reason: Reason,
    /// What was seen, and what to do where it does not work.
    pub detail: String,
}

impl Check {
    fn works(what: &'static str, detail: impl Into<String>) -> Self {
        Self {
            what,
            state: State::Works,
            reason: Reason::Succeeded,
            detail: detail.into(),
        }
    }

    fn warning(what: &'static str, reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            what,
            state: State::Warning,
            reason,
            detail: detail.into(),
        }
    }

    fn fails(what: &'static str, reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            what,
            state: State::Fails,
            reason,
            detail: detail.into(),
        }
    }
}

/// Looks at the storage.
pub async fn storage(access: &StorageAccess, cluster: &ClusterId) -> Vec<Check> {
    const WHAT: &str = "storage";
    let store = match storage::open(access).await {
        Ok(store) => store,
        Err(error) => return vec![Check::fails(WHAT, storage::reason(&error), chain(&error))],
    };
    let store = store.as_ref();
    // To reach a storage is to list it.
    if let Err(error) = store.reach().await {
        let detail = Deed::List.failed(access, &error);
        let mut checks = vec![Check::fails(WHAT, storage::reason(&error), detail)];
        // A refusal tells the time too, and a clock that is off may be what it is for.
        if !error.is_temporary() {
            let clock = clock(store).await;
            checks.extend(clock.into_iter().filter(|it| it.state == State::Warning));
        }
        return checks;
    }
    let mut checks = vec![Check::works(WHAT, format!("{} answers", store.name()))];
    checks.extend(deeds::tried(store, access, cluster).await);
    checks.extend(versions(store).await);
    checks.extend(clock(store).await);
    checks.push(backups(store, cluster).await);
    checks
}

/// Whether old versions stay, where the storage can be asked.
async fn versions(store: &dyn Store) -> Option<Check> {
    const WHAT: &str = "versions";
    match store.keeps().await {
        Ok(None) => None,
        Ok(Some(kept)) => {
            let seen = probe::of_kept(&kept);
            Some(match seen.verdict {
                Verdict::Yes => Check::warning(WHAT, Reason::StorageUnsuitable, seen.message),
                Verdict::No | Verdict::Unknown => Check::works(WHAT, seen.message),
            })
        }
        Err(error) => {
            let detail = format!("the storage does not tell: {}", chain(&error));
            Some(Check::warning(WHAT, storage::reason(&error), detail))
        }
    }
}

async fn clock(store: &dyn Store) -> Vec<Check> {
    const WHAT: &str = "clock";
    let now = match store.now().await {
        Ok(now) => now,
        Err(error) => return vec![Check::fails(WHAT, storage::reason(&error), chain(&error))],
    };
    let here = SystemTime::now();
    let apart = now
        .duration_since(here)
        .unwrap_or_else(|error| error.duration());
    let detail = format!("{} s between this machine and the storage", apart.as_secs());
    vec![if apart > CLOCK_TOLERANCE {
        let advice =
            "set the time of this machine (NTP); deadlines and ages go by the storage's clock";
        Check::warning(
            WHAT,
            Reason::StorageUnsuitable,
            format!("{detail}: {advice}"),
        )
    } else {
        Check::works(WHAT, detail)
    }]
}

async fn backups(store: &dyn Store, cluster: &ClusterId) -> Check {
    const WHAT: &str = "backups";
    match catalogue::read(store, cluster, Headers::One).await {
        Err(error) => Check::fails(WHAT, Reason::Failed, chain(&error)),
        Ok(backups) => match backups
            .last()
            .and_then(|newest| Some((newest, newest.started()?)))
        {
            None => Check::works(WHAT, format!("none of cluster {cluster} yet")),
            Some((newest, started)) => Check::works(
                WHAT,
                format!(
                    "{} of cluster {cluster}, the newest {} of {started}",
                    backups.len(),
                    newest.name
                ),
            ),
        },
    }
}

/// Looks at the Cassandra node and its files.
pub async fn cassandra(
    jmx: &JmxAccess,
    cql: &CqlAccess,
    access: Option<&StorageAccess>,
    state: &std::path::Path,
) -> Vec<Check> {
    let failed = |error: crate::backup::error::Error| {
        vec![Check::fails("JMX", error.reason(), chain(&error))]
    };
    let connection = match node::connect(jmx).await {
        Ok(connection) => connection,
        Err(error) => return failed(error),
    };
    let node = match node::read(&connection).await {
        Ok((node, _)) => node,
        Err(error) => return failed(error),
    };
    let identity = &node.identity;
    let who = format!(
        "Cassandra {}, node {} in {}/{}",
        identity.cassandra_version, identity.host_id, identity.datacenter, identity.rack
    );
    let mut checks = vec![Check::works("JMX", who)];
    checks.push(leftovers(&connection).await);
    let _ = connection.close().await;
    checks.push(match schema::describe(cql, &node.ip_addresses()).await {
        Ok(_) => Check::works("CQL", "the whole schema can be read"),
        Err(error) => Check::warning(
            "CQL",
            Reason::SchemaIncomplete,
            format!("{}; backups go on without the whole schema", chain(&error)),
        ),
    });
    checks.extend(files(&node, access, state));
    checks.push(memory());
    checks
}

async fn leftovers(connection: &jmx::cassandra::Cassandra) -> Check {
    const WHAT: &str = "snapshots";
    match connection.snapshots().await {
        Err(error) => Check::fails(WHAT, Reason::Failed, chain(&error)),
        Ok(all) => {
            let ours = all.iter().filter(|it| it.tag.starts_with(snapshot::PREFIX));
            let mut tags: Vec<&str> = ours.map(|it| it.tag.as_str()).collect();
            tags.sort_unstable();
            tags.dedup();
            match tags.len() {
                0 => Check::works(WHAT, "none of ours is left over"),
                n => Check::works(
                    WHAT,
                    format!("{n} of ours, which the next backup removes unless a run is at work"),
                ),
            }
        }
    }
}

fn files(node: &Node, access: Option<&StorageAccess>, state: &std::path::Path) -> Vec<Check> {
    const WHAT: &str = "data";
    if let Some(directory) = node.data_directories.first()
        && let Err(error) = neighbour::become_owner_of(directory, state)
    {
        return vec![Check::fails(WHAT, Reason::Failed, error.to_string())];
    }
    let storage_device = match access {
        Some(StorageAccess::File { path }) => std::fs::metadata(path).ok().map(|it| it.dev()),
        _ => None,
    };
    node.data_directories
        .iter()
        .map(|directory| {
            let path = directory.display();
            match (std::fs::read_dir(directory), std::fs::metadata(directory)) {
                (Err(error), _) | (_, Err(error)) => Check::fails(
                    WHAT,
                    Reason::Failed,
                    format!("cannot read {path}: {error}; run beside Cassandra, with its mounts, as root or as its user"),
                ),
                (Ok(_), Ok(it)) if Some(it.dev()) == storage_device => Check::warning(
                    WHAT,
                    Reason::StorageUnsuitable,
                    format!("{path} is on the same device as the storage: one failure takes both"),
                ),
                (Ok(_), Ok(_)) => Check::works(WHAT, format!("{path} can be read")),
            }
        })
        .collect()
}

fn memory() -> Check {
    const WHAT: &str = "memory";
    match neighbour::enough_memory() {
        Ok(None) => Check::works(WHAT, "no limit"),
        Ok(Some(left)) => Check::works(WHAT, format!("{} MiB are left in the cgroup", left >> 20)),
        Err(none) => Check::fails(WHAT, Reason::OutOfMemory, none.to_string()),
    }
}

/// The worst of what was seen, for the exit code.
pub fn verdict(checks: &[Check]) -> Reason {
    let failed = checks.iter().find(|check| check.state == State::Fails);
    failed.map_or(Reason::Succeeded, |check| check.reason)
}
