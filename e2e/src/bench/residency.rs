//! Which part of the data is in the page cache, by `fincore`, which asks `mincore`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};

use crate::host::run::Run;

/// Paths in one command line.
const BATCH: usize = 500;

/// Resident bytes by file.
#[derive(Debug, Clone)]
pub struct Residency(BTreeMap<PathBuf, u64>);

/// How a program changed the page cache, in bytes of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Resident that was not before.
    pub more: u64,
    /// Not resident any more that was before.
    pub evicted: u64,
}

impl Residency {
    /// Asks the kernel.
    pub async fn of(files: &[PathBuf]) -> Result<Self> {
        let mut resident = BTreeMap::new();
        for files in files.chunks(BATCH) {
            let told = Run::new("fincore")
                .args(["--bytes", "--noheadings", "--raw", "--output", "RES,FILE"])
                .args(files)
                .output()
                .await?;
            for line in told.lines() {
                let (bytes, file) = line
                    .split_once(' ')
                    .context("fincore: a line of one word")?;
                resident.insert(file.into(), bytes.parse()?);
            }
        }
        ensure!(resident.len() == files.len(), "fincore left files out");
        Ok(Self(resident))
    }

    /// From this one to `after`.
    pub fn change(&self, after: &Self) -> Change {
        let mut change = Change {
            more: 0,
            evicted: 0,
        };
        for (file, before) in &self.0 {
            let after = after.0.get(file).copied().unwrap_or_default();
            change.more += after.saturating_sub(*before);
            change.evicted += before.saturating_sub(after);
        }
        change
    }

    /// All of it, in bytes.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// Takes files out of the page cache.
pub fn cool(files: &[PathBuf]) -> Result<()> {
    for path in files {
        let file = File::open(path)?;
        // Only clean pages can go.
        file.sync_data()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Brings files into the page cache.
pub fn warm(files: &[PathBuf]) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for path in files {
        let mut file = File::open(path)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}

/// The files below `folder`, at any depth, in order.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_that_came_and_went_are_told_apart() {
        // Not in a tmpfs, whose pages never leave.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let [gone, come, stays] = [("a", 1), ("b", 2), ("c", 4)].map(|(name, mib)| {
            let path = folder.path().join(name);
            std::fs::write(&path, vec![7; mib << 20]).unwrap();
            path
        });
        let all = files(folder.path()).unwrap();
        assert_eq!(all, [gone.clone(), come.clone(), stays.clone()]);
        cool(&all).unwrap();
        warm(&[gone.clone(), stays]).unwrap();
        let before = Residency::of(&all).await.unwrap();
        assert_eq!(before.total(), 5 << 20);
        cool(&[gone]).unwrap();
        warm(&[come]).unwrap();
        let after = Residency::of(&all).await.unwrap();
        let (more, evicted) = (2 << 20, 1 << 20);
        assert_eq!(before.change(&after), Change { more, evicted });
    }
}
