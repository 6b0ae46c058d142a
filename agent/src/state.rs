//! The state directory: where journals and caches of runs are kept between processes.
//!
//! It is private to its user (mode 0700). A directory that others may enter is never changed: one
//! of our own is made inside it. Below it no symbolic link is followed, since root may work in a
//! directory that it gave to Cassandra's user before.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, mkdirat, open, openat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use uuid::Uuid;

const NAME: &str = "cassandra-backup";
const RUNS: &str = "runs";
const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::RDONLY)
    .union(OFlags::CLOEXEC);

/// No place for journals was found.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory that was asked for.
    #[error("cannot use the state directory {path}: {source}; name another with --state-dir", path = .path.display())]
    Given {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// None of the usual ones.
    #[error("no state directory can be used ({tried}); name one with --state-dir")]
    None {
        /// What was tried, each with its error.
        tried: String,
    },
}

/// An open state directory.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    runs: OwnedFd,
}

/// What the choice of the usual directories depends on.
#[derive(Debug, Default)]
pub struct Environment {
    root: bool,
    uid: u32,
    state_home: Option<PathBuf>,
    home: Option<PathBuf>,
    temporary: Option<PathBuf>,
}

impl Environment {
    /// That of this process.
    pub fn current() -> Self {
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            root: geteuid().is_root(),
            uid: geteuid().as_raw(),
            state_home: absolute("XDG_STATE_HOME"),
            home: absolute("HOME"),
            temporary: absolute("TMPDIR"),
        }
    }

    /// The usual directories, best first. The last is there in most images whose root file system
    /// cannot be written.
    fn usual(&self) -> Vec<PathBuf> {
        let mut usual = Vec::new();
        if self.root {
            usual.push(Path::new("/var/lib").join(NAME));
        } else if let Some(state) = &self.state_home {
            usual.push(state.join(NAME));
        } else if let Some(home) = &self.home {
            usual.push(home.join(".local/state").join(NAME));
        }
        let temporary = self.temporary.as_deref().unwrap_or(Path::new("/tmp"));
        usual.push(temporary.join(format!("{NAME}-{}", self.uid)));
        usual
    }
}

impl StateDirectory {
    /// Opens the given directory, or else the usual one in which the run has a journal, or else
    /// the first usual one that can be written. Makes it if it is missing.
    pub fn open(given: Option<&Path>, run: Uuid) -> Result<Self, StateError> {
        if let Some(path) = given {
            return Self::make(path).map_err(|source| StateError::Given {
                path: path.to_path_buf(),
                source,
            });
        }
        let usual = Environment::current().usual();
        if let Some(known) = usual.iter().find_map(|path| Self::with_journal(path, run)) {
            return Ok(known);
        }
        let mut tried = Vec::new();
        for path in usual {
            match Self::make(&path) {
                Ok(directory) => return Ok(directory),
                Err(error) => tried.push(format!("{}: {error}", path.display())),
            }
        }
        Err(StateError::None {
            tried: tried.join(", "),
        })
    }

    /// Finds the directory that has the run's journal, and makes nothing.
    pub fn find(given: Option<&Path>, run: Uuid) -> Option<Self> {
        match given {
            Some(path) => Self::with_journal(path, run),
            None => Environment::current()
                .usual()
                .iter()
                .find_map(|path| Self::with_journal(path, run)),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of the journals.
    pub(crate) fn runs(&self) -> &OwnedFd {
        &self.runs
    }

    /// File name of a run's journal.
    pub(crate) fn journal_name(run: Uuid) -> String {
        format!("{run}.jsonl")
    }

    fn make(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        make_directory(rustix::fs::CWD, path)?;
        let directory = open(path, DIRECTORY, Mode::empty())?;
        if is_private(&directory)? {
            return Self::inside(path, &directory);
        }
        make_directory(&directory, Path::new(NAME))?;
        let own = openat(
            &directory,
            NAME,
            DIRECTORY | OFlags::NOFOLLOW,
            Mode::empty(),
        )?;
        if !is_private(&own)? {
            fchmod(&own, Mode::RWXU)?;
        }
        Self::inside(&path.join(NAME), &own)
    }

    fn inside(path: &Path, directory: &OwnedFd) -> io::Result<Self> {
        let owner = fstat(directory)?.st_uid;
        let me = geteuid();
        if owner != me.as_raw() && !me.is_root() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "it belongs to user {owner} and this is user {}",
                    me.as_raw()
                ),
            ));
        }
        make_directory(directory, Path::new(RUNS))?;
        let runs = openat(directory, RUNS, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        // Tells a read-only file system before the journal cannot be made.
        rustix::fs::accessat(&runs, ".", rustix::fs::Access::WRITE_OK, AtFlags::EACCESS)?;
        Ok(Self {
            path: path.to_path_buf(),
            runs,
        })
    }

    fn with_journal(path: &Path, run: Uuid) -> Option<Self> {
        let name = Self::journal_name(run);
        [path.to_path_buf(), path.join(NAME)]
            .into_iter()
            .find_map(|path| {
                let directory = open(&path, DIRECTORY, Mode::empty()).ok()?;
                let runs = openat(
                    &directory,
                    RUNS,
                    DIRECTORY | OFlags::NOFOLLOW,
                    Mode::empty(),
                )
                .ok()?;
                rustix::fs::statat(&runs, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                Some(Self { path, runs })
            })
    }
}

fn make_directory(parent: impl std::os::fd::AsFd, path: &Path) -> io::Result<()> {
    match mkdirat(parent, path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_private(directory: &OwnedFd) -> io::Result<bool> {
    let mode = Mode::from_raw_mode(fstat(directory)?.st_mode);
    Ok(!mode.intersects(Mode::RWXG | Mode::RWXO))
}

/// Gives the state directory and root's journals in it to another user.
pub(crate) fn hand_over(state: &Path, uid: Uid, gid: Gid) -> io::Result<()> {
    let directory = open(state, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    let runs = openat(
        &directory,
        RUNS,
        DIRECTORY | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    for entry in Dir::read_from(&runs)? {
        let entry = entry?;
        if !matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown) {
            continue;
        }
        // Not blocking: whatever takes the file's place in between must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let Ok(file) = openat(&runs, entry.file_name(), flags, Mode::empty()) else {
            continue;
        };
        let stat = fstat(&file)?;
        // A hard link here could be the second name of a file elsewhere.
        let ours = stat.st_uid == 0 && stat.st_nlink == 1;
        if ours && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            fchown(&file, Some(uid), Some(gid))?;
        }
    }
    fchown(&runs, Some(uid), Some(gid))?;
    fchown(&directory, Some(uid), Some(gid))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn root_and_others_have_their_usual_places() {
        let environment = |root, state_home: Option<&str>, home: Option<&str>| Environment {
            root,
            uid: 7,
            state_home: state_home.map(PathBuf::from),
            home: home.map(PathBuf::from),
            temporary: None,
        };
        let usual = |environment: Environment| {
            environment
                .usual()
                .iter()
                .map(|p| p.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            usual(environment(true, Some("/x"), Some("/root"))),
            ["/var/lib/cassandra-backup", "/tmp/cassandra-backup-7"]
        );
        assert_eq!(
            usual(environment(false, Some("/x"), Some("/h")))[0],
            "/x/cassandra-backup"
        );
        assert_eq!(
            usual(environment(false, None, Some("/h")))[0],
            "/h/.local/state/cassandra-backup"
        );
        assert_eq!(
            usual(environment(false, None, None)),
            ["/tmp/cassandra-backup-7"]
        );
    }

    #[test]
    fn a_missing_directory_is_made_private() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        let state = StateDirectory::open(Some(&path), Uuid::nil()).unwrap();
        assert_eq!(state.path(), path);
        assert_eq!((mode(&path), mode(&path.join("runs"))), (0o700, 0o700));
    }

    #[test]
    fn a_shared_directory_is_left_as_it_is_and_one_of_our_own_made_inside() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let state = StateDirectory::open(Some(base.path()), Uuid::nil()).unwrap();
        assert_eq!(state.path(), base.path().join("cassandra-backup"));
        assert_eq!((mode(base.path()), mode(state.path())), (0o755, 0o700));
    }

    #[test]
    fn a_symbolic_link_in_it_is_not_followed() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), base.path().join("runs")).unwrap();
        let error = StateDirectory::open(Some(base.path()), Uuid::nil()).unwrap_err();
        assert!(error.to_string().contains("--state-dir"), "{error}");
    }

    #[test]
    fn the_directory_with_the_journal_is_found_again() {
        let base = tempfile::tempdir().unwrap();
        let run = Uuid::from_u128(5);
        assert!(StateDirectory::find(Some(base.path()), run).is_none());
        let state = StateDirectory::open(Some(base.path()), run).unwrap();
        fs::write(state.path().join("runs").join(format!("{run}.jsonl")), "").unwrap();
        let found = StateDirectory::find(Some(base.path()), run).unwrap();
        assert_eq!(found.path(), state.path());
    }
}
