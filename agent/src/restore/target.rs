//! The data directories of a node that is down.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Chosen, RestoreError};

/// A file in each data directory while its restore is at work: whose it is.
const MARK: &str = ".cassandra-backup-restore";
/// What it is renamed to when all is in its place, and only the marks are left to be removed.
const DONE: &str = ".cassandra-backup-restored";
/// Beside a data directory, what Cassandra would replay over the restored tables, or believe.
const BESIDE: [&str; 4] = ["commitlog", "hints", "saved_caches", "cdc_raw"];
/// What file systems make by themselves.
const OF_FILE_SYSTEM: &str = "lost+found";

/// Whose restore a directory belongs to.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    backup: String,
    host_id: Uuid,
}

impl Mark {
    fn of(chosen: &Chosen) -> Self {
        Self {
            backup: chosen.backup.to_string(),
            host_id: chosen.host_id,
        }
    }

    fn write(&self, mut to: &fs::File) -> io::Result<()> {
        to.write_all(&serde_json::to_vec(self)?)?;
        to.sync_all()
    }
}

/// The marks of a restore that is at work, locked: nobody else restores there.
#[derive(Debug)]
pub(super) struct Marks(Vec<(PathBuf, fs::File)>);

/// The data directories, in the order of the manifest's.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) directories: Vec<PathBuf>,
}

/// How far a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is there.
    Empty,
    /// This restore was begun, and cut off.
    Begun,
}

impl Target {
    /// The directory in which the files of one of the manifest's belong. There may be fewer now, or
    /// more: Cassandra moves SSTables to where they belong by itself.
    pub(super) fn directory(&self, position: usize) -> &Path {
        &self.directories[position % self.directories.len()]
    }

    /// Makes sure that nothing of a node is there, or only this restore's.
    pub(super) fn look(&self, chosen: &Chosen) -> Result<State, RestoreError> {
        let marked = |name| -> Result<Vec<bool>, RestoreError> {
            let directories = self.directories.iter();
            directories
                .map(|directory| is_marked(&directory.join(name), chosen))
                .collect()
        };
        let (begun, done) = (marked(MARK)?, marked(DONE)?.contains(&true));
        for (directory, begun) in self.directories.iter().zip(&begun) {
            if !begun && !done {
                is_empty(directory)?;
            }
            let parent = directory.parent().unwrap_or(directory);
            for beside in BESIDE.map(|name| parent.join(name)) {
                match is_empty(&beside) {
                    Err(RestoreError::File { source, .. })
                        if source.kind() == io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
        }
        Ok(if done || begun.contains(&true) {
            State::Begun
        } else {
            State::Empty
        })
    }

    /// Whose the directories are, by number; an error if they are not one user's.
    pub(super) fn owner(&self) -> Result<Option<u32>, RestoreError> {
        let mut owner = None;
        for path in &self.directories {
            let found = fs::metadata(path).map_err(|source| file(path, source))?;
            let first = *owner.get_or_insert(found.uid());
            if found.uid() != first {
                return Err(RestoreError::Owner {
                    path: path.clone(),
                    found: found.uid(),
                    first,
                });
            }
        }
        Ok(owner)
    }

    /// Makes sure that there is room. `bytes` are those of each of the manifest's directories.
    pub(super) fn has_room(&self, bytes: &[u64]) -> Result<(), RestoreError> {
        let mut needed: Vec<(u64, &Path, u64)> = Vec::new();
        for (position, bytes) in bytes.iter().enumerate() {
            let directory = self.directory(position);
            let failed = |source| file(directory, source);
            let device = fs::metadata(directory).map_err(failed)?.dev();
            match needed.iter_mut().find(|(known, ..)| *known == device) {
                Some((.., sum)) => *sum += bytes,
                None => needed.push((device, directory, *bytes)),
            }
        }
        for (_, directory, needed) in needed {
            let space = rustix::fs::statvfs(directory);
            let space = space.map_err(|error| file(directory, error.into()))?;
            let free = space.f_bavail.saturating_mul(space.f_frsize);
            if free < needed {
                return Err(RestoreError::NoSpace {
                    path: directory.to_owned(),
                    free,
                    needed,
                });
            }
        }
        Ok(())
    }

    /// Says whose the directories are, and keeps other processes away from them.
    pub(super) fn begin(&self, chosen: &Chosen) -> Result<Marks, RestoreError> {
        let mut marks = Vec::new();
        for directory in &self.directories {
            let path = directory.join(MARK);
            let mut options = fs::File::options();
            let mark = options.read(true).write(true).create(true).truncate(false);
            let mark = mark.open(&path).map_err(|source| file(&path, source))?;
            match mark.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => return Err(RestoreError::Locked { path }),
                Err(fs::TryLockError::Error(source)) => return Err(file(&path, source)),
            }
            // One that is there stays as it is: a restore that was cut off is known by it.
            if !is_marked(&path, chosen)? {
                let write = Mark::of(chosen).write(&mark);
                write.map_err(|source| file(&path, source))?;
            }
            marks.push((path, mark));
        }
        Ok(Marks(marks))
    }

    /// Makes sure that all is on the disks; then the directories are Cassandra's.
    pub(super) fn end(&self, marks: Marks) -> Result<(), RestoreError> {
        self.settle()?;
        for (path, _) in &marks.0 {
            fs::rename(path, path.with_file_name(DONE)).map_err(|source| file(path, source))?;
        }
        for (path, _) in &marks.0 {
            let path = path.with_file_name(DONE);
            fs::remove_file(&path).map_err(|source| file(&path, source))?;
        }
        self.settle()
    }

    pub(super) fn settle(&self) -> Result<(), RestoreError> {
        for directory in &self.directories {
            let settle = || Ok(rustix::fs::syncfs(fs::File::open(directory)?)?);
            settle().map_err(|source| file(directory, source))?;
        }
        Ok(())
    }
}

/// Whether there is a mark of this restore; an error if it is another's.
fn is_marked(path: &Path, chosen: &Chosen) -> Result<bool, RestoreError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.map_err(|source| file(path, source))?,
    };
    // It was cut off before its first file.
    if text.is_empty() {
        return Ok(false);
    }
    let mark: Mark = serde_json::from_slice(&text).map_err(|error| file(path, error.into()))?;
    if mark == Mark::of(chosen) {
        return Ok(true);
    }
    Err(RestoreError::OtherRestore {
        path: path.to_owned(),
        found: format!("node {} from backup {}", mark.host_id, mark.backup),
    })
}

fn is_empty(directory: &Path) -> Result<(), RestoreError> {
    let failed = |source| file(directory, source);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if ![OF_FILE_SYSTEM, MARK, DONE].iter().any(|it| name == *it) {
            return Err(RestoreError::NotEmpty {
                path: directory.join(name),
            });
        }
    }
    Ok(())
}

pub(super) fn file(path: &Path, source: io::Error) -> RestoreError {
    RestoreError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_has_to_be_room_for_all_that_comes_to_a_device() {
        let home = tempfile::tempdir().unwrap();
        let directories = ["data", "data2"].map(|name| home.path().join(name));
        directories
            .iter()
            .for_each(|it| fs::create_dir(it).unwrap());
        let target = Target {
            directories: directories.to_vec(),
        };
        target.has_room(&[1000, 1000]).unwrap();
        let space = rustix::fs::statvfs(home.path()).unwrap();
        let free = space.f_bavail * space.f_frsize;
        // Each alone would fit.
        let half = free / 2 + (1 << 30);
        let error = target.has_room(&[half, half]).unwrap_err();
        assert!(matches!(error, RestoreError::NoSpace { .. }), "{error}");
        assert_eq!(error.reason(), protocol::Reason::NoSpace);
    }

    #[test]
    fn files_of_more_directories_than_there_are_now_are_spread_over_these() {
        let target = Target {
            directories: vec!["/a".into(), "/b".into()],
        };
        let of = |position| target.directory(position).to_str().unwrap();
        assert_eq!([of(0), of(1), of(2)], ["/a", "/b", "/a"]);
    }
}
