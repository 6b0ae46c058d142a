//! Control groups, to find what runs in a container when nothing else remembers it. Works on
//! version 1, where each controller has a tree of its own, and on version 2.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::mounts;
use super::process::{Identity, kill};

/// Kills every process in the group `path` (relative to the root of the tree) and below it, and
/// removes the group.
pub async fn remove(path: &Path) -> Result<()> {
    for root in roots() {
        let group = root.join(path);
        let deadline = Instant::now() + Duration::from_secs(10);
        while group.is_dir() {
            // In a loop: one that forks while we look leaves a child behind.
            kill(&members(&group)).await?;
            match remove_tree(&group) {
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| {
                        format!("could not remove the cgroup {}", group.display())
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                Ok(()) => {}
            }
        }
    }
    Ok(())
}

/// The processes in the group of a container, lowest id first.
pub fn processes(container: &str) -> Result<Vec<i32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_in = |pid: &i32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"));
        groups.is_ok_and(|groups| groups.contains(container))
    };
    let mut pids: Vec<i32> = pids.filter(is_in).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Removes the group `path` from every tree where nothing is in it.
pub fn remove_empty(path: &Path) {
    for root in roots() {
        let _ = fs::remove_dir(root.join(path));
    }
}

/// A group with a limit. Dropping it removes it; nothing may be in it any more.
#[derive(Debug)]
pub struct Limited {
    path: PathBuf,
}

impl Limited {
    /// A group in which so many bytes of memory may be used.
    pub fn memory(name: &str, bytes: u64) -> Result<Self> {
        for root in roots() {
            let path = root.join(name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Self { path };
            let limits = ["memory.max", "memory.limit_in_bytes"];
            let limits = limits.map(|limit| group.path.join(limit));
            if let Some(limit) = limits.iter().find(|limit| limit.exists()) {
                fs::write(limit, bytes.to_string())?;
                return Ok(group);
            }
        }
        bail!("no tree of control groups limits memory here")
    }

    /// Where a process writes its id to join.
    pub fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}

fn roots() -> Vec<PathBuf> {
    let is_cgroup = |kind: &str| matches!(kind, "cgroup" | "cgroup2");
    mounts::list()
        .into_iter()
        .filter(|m| is_cgroup(&m.kind))
        .map(|m| m.point)
        .collect()
}

fn members(group: &Path) -> Vec<Identity> {
    let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut all: Vec<_> = procs
        .lines()
        .filter_map(|pid| pid.parse().ok())
        .filter_map(Identity::of)
        .collect();
    all.extend(children(group).iter().flat_map(|child| members(child)));
    all
}

/// A group's files cannot be removed, only the group, when no other group is in it.
fn remove_tree(group: &Path) -> std::io::Result<()> {
    for child in children(group) {
        remove_tree(&child)?;
    }
    fs::remove_dir(group)
}

fn children(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else {
        return Vec::new();
    };
    let directories = entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    directories.map(|entry| entry.path()).collect()
}
