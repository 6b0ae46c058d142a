//! What a restore has done on a node, so that one that was cut off is gone on with.
//!
//! It lies in a directory of its own within the first data directory, beside what is staged there. The
//! directory's name is made from what is restored: the same command finds it again, another one does
//! not. What was not written down is done again: an import of rows that are there already, and a cleanup
//! of what is clean, change nothing. What was written down counts only as long as nobody has emptied the
//! table since: whoever opens the journal says so.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use super::error::OnlineError;
use super::state::{Entry, State};
use crate::restore::TableName;
use crate::restore::target::file;

/// The directory below a data directory. Cassandra looks only at directories of keyspaces that it has.
const HOME: &str = ".cassandra-backup-restore.d";
const FILE: &str = "journal.jsonl";
const LOCK: &str = "lock";

/// The journal of a restore on a node, which nobody else has open.
#[derive(Debug)]
pub struct Journal {
    home: PathBuf,
    file: fs::File,
    /// One restore at a time on a node, whatever it is of.
    _lock: fs::File,
    /// Others that did not end, and are given up.
    pub given_up: Vec<Unfinished>,
    /// How far it is.
    pub state: State,
}

/// A restore that was begun on a node and did not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Its directory.
    pub home: PathBuf,
    /// How far it came.
    pub state: State,
}

impl Unfinished {
    /// Why another one does not begin.
    pub fn refused(&self) -> OnlineError {
        OnlineError::OtherRestore {
            what: self.state.what.clone(),
        }
    }

    /// What becomes of it where it is given up, in words.
    pub fn stays(&self) -> String {
        let touched: Vec<_> = self.state.touched().map(TableName::to_string).collect();
        match touched.as_slice() {
            [] if self.state.prepared.is_some() => {
                "it had prepared the tables, and imported nothing".to_owned()
            }
            [] => "it had imported nothing".to_owned(),
            some => format!(
                "what it had imported of {} counts as rows that were there",
                some.join(", ")
            ),
        }
    }
}

impl Journal {
    /// Where a restore of this name is at work on a node with this data directory.
    pub fn home(data: &Path, id: &str) -> PathBuf {
        data.join(HOME).join(id)
    }

    /// How far a restore is; nothing is changed.
    pub fn peek(data: &Path, id: &str) -> Result<State, OnlineError> {
        read(&Self::home(data, id).join(FILE))
    }

    /// Other restores that were begun there and did not end.
    pub fn others(data: &Path, id: &str) -> Result<Vec<Unfinished>, OnlineError> {
        let mut others = Vec::new();
        for home in homes(data)? {
            if home.ends_with(id) {
                continue;
            }
            let state = read(&home.join(FILE))?;
            if state.is_begun() && state.loaded.is_none() {
                others.push(Unfinished { home, state });
            }
        }
        Ok(others)
    }

    /// Whether a restore is at work there.
    pub fn is_at_work(data: &Path) -> Result<bool, OnlineError> {
        let path = data.join(HOME).join(LOCK);
        match fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(file(&path, source).into()),
            Ok(lock) => Ok(matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock))),
        }
    }

    /// Bytes of what other restores have staged in these data directories.
    pub fn staged_by_others(directories: &[PathBuf], id: &str) -> Result<u64, OnlineError> {
        let mut bytes = 0u64;
        for data in directories {
            for home in homes(data)?.iter().filter(|it| !it.ends_with(id)) {
                bytes = bytes.saturating_add(size(home).map_err(|source| file(home, source))?);
            }
        }
        Ok(bytes)
    }

    /// Opens it, and makes it where there is none. An error if it is not as it was when it was looked at,
    /// or if another restore is at work, or was cut off and `anew` does not say that it is given up. What
    /// is left of others stays until [`Journal::clear_others`].
    pub fn open(data: &Path, id: &str, seen: &State, anew: bool) -> Result<Self, OnlineError> {
        let home = Self::home(data, id);
        fs::create_dir_all(&home).map_err(|source| file(&home, source))?;
        let path = data.join(HOME);
        let lock = path.join(LOCK);
        let held = fs::File::create(&lock).map_err(|source| file(&lock, source))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(OnlineError::Locked { path }),
            Err(fs::TryLockError::Error(source)) => return Err(file(&lock, source).into()),
        }
        let given_up = Self::others(data, id)?;
        if let Some(other) = given_up.first().filter(|_| !anew) {
            return Err(other.refused());
        }
        let state = Self::peek(data, id)?;
        if state != *seen {
            return Err(OnlineError::Meanwhile);
        }
        let path = home.join(FILE);
        let failed = |source| OnlineError::from(file(&path, source));
        let mut options = fs::File::options();
        let journal = options.append(true).create(true).open(&path);
        let journal = journal.map_err(failed)?;
        // What follows begins on a line of its own.
        let write = || (&journal).write_all(b"\n");
        write().map_err(failed)?;
        Ok(Self {
            home,
            file: journal,
            _lock: held,
            given_up,
            state,
        })
    }

    /// Leaves nothing of other restores in these data directories, with their journals, in the first one,
    /// last: until then it is known what there is to undo.
    pub fn clear_others(&self, directories: &[PathBuf]) -> Result<(), OnlineError> {
        let id = self.home.file_name().unwrap_or_default();
        for data in directories.iter().rev() {
            for other in homes(data)?.iter().filter(|it| !it.ends_with(id)) {
                remove(other)?;
            }
        }
        Ok(())
    }

    /// Writes down that something is done. It is on the disk when this returns.
    pub fn write(&mut self, entry: Entry) -> Result<(), OnlineError> {
        let failed = |source| OnlineError::from(file(&self.home.join(FILE), source));
        let mut line = serde_json::to_vec(&entry).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        let append = || {
            (&self.file).write_all(&line)?;
            self.file.sync_data()
        };
        append().map_err(failed)?;
        self.state.learn(entry);
        Ok(())
    }

    /// Nothing is staged any more in these data directories.
    pub fn unstage(&self, directories: &[PathBuf], id: &str) -> Result<(), OnlineError> {
        for data in directories {
            let home = Self::home(data, id);
            let Ok(entries) = fs::read_dir(&home) else {
                continue;
            };
            for entry in entries.flatten() {
                if entry.file_name() != FILE {
                    remove(&entry.path())?;
                }
            }
            if home != self.home {
                let _ = fs::remove_dir(&home);
                let _ = fs::remove_dir(data.join(HOME));
            }
        }
        Ok(())
    }

    /// Ends it: nothing of it stays below this data directory.
    pub fn end(data: &Path, id: &str) -> Result<(), OnlineError> {
        remove(&Self::home(data, id))?;
        // Another restore may have its own there.
        if homes(data)?.is_empty() {
            remove(&data.join(HOME))?;
        }
        Ok(())
    }
}

/// What a journal says; nothing where there is none.
fn read(path: &Path) -> Result<State, OnlineError> {
    let failed = |source| OnlineError::from(file(path, source));
    let journal = match fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(State::default());
        }
        other => other.map_err(failed)?,
    };
    let mut state = State::default();
    for line in BufReader::new(journal).lines() {
        // A line that was cut off by a crash was not done with.
        if let Ok(entry) = serde_json::from_str(&line.map_err(failed)?) {
            state.learn(entry);
        }
    }
    Ok(state)
}

/// The directories of all restores below a data directory.
fn homes(data: &Path) -> Result<Vec<PathBuf>, OnlineError> {
    let folder = data.join(HOME);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|source| file(&folder, source))?,
    };
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.is_dir()).collect())
}

/// Bytes of all files below a folder; what goes meanwhile does not count.
fn size(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)?.flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        bytes += match metadata.is_dir() {
            true => size(&entry.path())?,
            false => metadata.len(),
        };
    }
    Ok(bytes)
}

fn remove(folder: &Path) -> Result<(), OnlineError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(file(folder, error).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn name(text: &str) -> TableName {
        text.parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn begun(what: &str) -> Entry {
        Entry::Begun {
            what: what.into(),
            ring: "r".into(),
        }
    }

    fn import(journal: &mut Journal, table: &str, sstable: &str, second: i64) {
        let importing = Entry::Importing {
            table: name(table),
            at: at(second),
            run: None,
        };
        journal.write(importing).unwrap();
        let imported = Entry::Imported {
            source: Uuid::from_u128(1),
            table: name(table),
            sstables: vec![sstable.into()],
        };
        journal.write(imported).unwrap();
    }

    fn open(data: &Path, id: &str) -> Journal {
        Journal::open(data, id, &Journal::peek(data, id).unwrap(), false).unwrap()
    }

    #[test]
    fn what_was_written_is_known_after_a_crash_and_a_cut_line_is_not() {
        let data = tempfile::tempdir().unwrap();
        let mut journal = open(data.path(), "one");
        assert_eq!(journal.state, State::default());
        journal.write(begun("b1")).unwrap();
        journal
            .write(Entry::Prepared {
                at: at(1),
                run: None,
            })
            .unwrap();
        import(&mut journal, "a.b", "nb-1-big.0.1", 2);
        import(&mut journal, "a.c", "nb-1-big.0.1", 3);
        let tables = vec![name("a.b")];
        journal.write(Entry::Cleaned { tables }).unwrap();
        drop(journal);
        let path = Journal::home(data.path(), "one").join(FILE);
        let mut file = fs::File::options().append(true).open(path).unwrap();
        file.write_all(b"{\"imported\":{\"source\":\"00").unwrap();
        let mut journal = open(data.path(), "one");
        assert_eq!(journal.state.prepared, Some(at(1)));
        let has = |journal: &Journal, table, sstable| {
            journal.state.has(Uuid::from_u128(1), &name(table), sstable)
        };
        assert!(has(&journal, "a.b", "nb-1-big.0.1"));
        assert!(!has(&journal, "a.b", "nb-2-big.0.1"));
        assert_eq!(journal.state.unclean(), [name("a.c")]);
        import(&mut journal, "a.b", "nb-2-big.0.1", 4);
        drop(journal);
        let journal = open(data.path(), "one");
        assert!(has(&journal, "a.b", "nb-2-big.0.1"));
        assert_eq!(journal.state.imported_since(&name("a.b")), Some(at(2)));
        drop(journal);
        Journal::end(data.path(), "one").unwrap();
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_emptied_since_is_to_be_imported_again() {
        let data = tempfile::tempdir().unwrap();
        let mut journal = open(data.path(), "one");
        journal.write(begun("b1")).unwrap();
        import(&mut journal, "a.b", "x", 2);
        import(&mut journal, "a.c", "x", 2);
        journal
            .write(Entry::Loaded {
                at: at(3),
                run: None,
            })
            .unwrap();
        let tables = vec![name("a.b")];
        journal.write(Entry::Emptied { tables }).unwrap();
        drop(journal);
        let mut journal = open(data.path(), "one");
        let state = &journal.state;
        assert!(!state.has(Uuid::from_u128(1), &name("a.b"), "x"));
        assert!(state.has(Uuid::from_u128(1), &name("a.c"), "x"));
        assert!(state.is_cut_off());
        // It begins anew: nothing counts.
        journal.write(begun("b1")).unwrap();
        assert!(!journal.state.has_imported() && journal.state.loaded.is_none());
    }

    #[test]
    fn an_import_of_which_the_end_is_not_known_is_told() {
        let data = tempfile::tempdir().unwrap();
        let mut journal = open(data.path(), "one");
        journal.write(begun("b1")).unwrap();
        import(&mut journal, "a.b", "x", 2);
        assert_eq!(journal.state.at_import().count(), 0);
        let (table, at) = (name("a.b"), at(3));
        let run = Some(Uuid::from_u128(7));
        journal.write(Entry::Importing { table, at, run }).unwrap();
        drop(journal);
        let mut journal = open(data.path(), "one");
        assert!(journal.state.at_import().eq([&name("a.b")]));
        // Nothing of it is there, so that it can be imported again.
        let tables = vec![name("a.b")];
        journal.write(Entry::Emptied { tables }).unwrap();
        assert_eq!(journal.state.at_import().count(), 0);
    }

    #[test]
    fn a_restore_that_did_not_end_is_told_and_one_that_did_goes() {
        let data = tempfile::tempdir().unwrap();
        let mut one = open(data.path(), "one");
        one.write(begun("b1")).unwrap();
        let others = Journal::others(data.path(), "two").unwrap();
        let [other] = others.as_slice() else {
            panic!("{others:?}");
        };
        assert_eq!(other.home, Journal::home(data.path(), "one"));
        assert!(other.refused().to_string().contains("restore of b1"));
        assert_eq!(Journal::others(data.path(), "one").unwrap(), []);
        one.write(Entry::Loaded {
            at: at(3),
            run: None,
        })
        .unwrap();
        drop(one);
        assert_eq!(Journal::others(data.path(), "two").unwrap(), []);
        let two = open(data.path(), "two");
        two.clear_others(&[data.path().to_owned()]).unwrap();
        assert!(!Journal::home(data.path(), "one").exists());
    }

    #[test]
    fn one_that_is_given_up_is_known_until_it_is_forgotten() {
        let (data, more) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut one = open(data.path(), "one");
        one.write(begun("b1")).unwrap();
        import(&mut one, "a.b", "x", 2);
        drop(one);
        let staged = Journal::home(more.path(), "one");
        fs::create_dir_all(&staged).unwrap();
        fs::write(staged.join("x"), "abc").unwrap();
        let refused = Journal::open(data.path(), "two", &State::default(), false);
        assert!(matches!(refused, Err(OnlineError::OtherRestore { .. })));
        for _ in 0..2 {
            let two = Journal::open(data.path(), "two", &State::default(), true).unwrap();
            let touched: Vec<_> = two.given_up[0].state.touched().collect();
            assert_eq!(touched, [&name("a.b")]);
        }
        let two = Journal::open(data.path(), "two", &State::default(), true).unwrap();
        let directories = [data.path().to_owned(), more.path().to_owned()];
        assert_eq!(
            Journal::staged_by_others(&directories[1..], "two").unwrap(),
            3
        );
        two.clear_others(&directories).unwrap();
        assert!(!staged.exists() && !Journal::home(data.path(), "one").exists());
        drop(two);
        assert!(open(data.path(), "two").given_up.is_empty());
    }

    #[test]
    fn two_processes_never_restore_the_same_at_once() {
        let data = tempfile::tempdir().unwrap();
        let first = open(data.path(), "one");
        for id in ["one", "two"] {
            let second = Journal::open(data.path(), id, &State::default(), true);
            assert!(matches!(second, Err(OnlineError::Locked { .. })), "{id}");
        }
        drop(first);
        let mut first = open(data.path(), "one");
        first.write(begun("b1")).unwrap();
        drop(first);
        // It was looked at before that.
        let late = Journal::open(data.path(), "one", &State::default(), false);
        assert!(matches!(late, Err(OnlineError::Meanwhile)));
    }
}
