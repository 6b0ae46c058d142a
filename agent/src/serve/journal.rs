//! The journal of a run: a file with one event a line, the same lines that callers are told.
//!
//! Its lock (flock) is held by the process that is the run, for as long as it is: that is how
//! others know that it is alive. A cut last line, as a power loss leaves it, is no line; the next
//! attempt removes it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;
use serde::Deserialize;
use uuid::Uuid;

use crate::state::StateDirectory;

/// How much is read at once; longer lines are read in doubled pieces.
const PIECE: usize = 64 * 1024;

/// No event is longer: a ring of 10,000 nodes takes 2 MiB.
const MAX_LINE: usize = 16 << 20;

/// Opens the journal of a run.
pub(super) fn open(state: &StateDirectory, run: Uuid, create: bool) -> io::Result<File> {
    let mut flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if create {
        flags |= OFlags::CREATE;
    }
    let name = StateDirectory::journal_name(run);
    Ok(openat(state.runs(), name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Whether no process is the run now.
pub(super) fn is_free(file: &File) -> io::Result<bool> {
    // Shared, so that two who look at the same time do not take each other for the run.
    if !lock(file, FlockOperation::NonBlockingLockShared)? {
        return Ok(false);
    }
    flock(file, FlockOperation::Unlock)?;
    Ok(true)
}

fn lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What is read of an event to follow a run, whatever else a newer version writes into it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    pub seq: u64,
    event: String,
    attempt: Option<u32>,
    exit_code: Option<u8>,
}

/// The end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub seq: u64,
    pub attempt: u32,
    pub exit_code: u8,
}

impl Head {
    pub fn ended(&self) -> Option<Ended> {
        (self.event == "result").then(|| Ended {
            seq: self.seq,
            attempt: self.attempt.unwrap_or(0),
            exit_code: self.exit_code.unwrap_or(1),
        })
    }
}

/// Reads whole lines as they come, and can be asked again at the end.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    /// Where the next line begins in the file.
    offset: u64,
    buffer: Vec<u8>,
    /// Where it begins in the buffer.
    start: usize,
}

impl Reader {
    pub fn new(file: File) -> Self {
        Self {
            file,
            offset: 0,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// The next line, with its line end. None when there is none yet: at the end of the file,
    /// before a line that is not whole, and before one that is not an event.
    pub fn next(&mut self) -> io::Result<Option<(Head, Vec<u8>)>> {
        if let Some(found) = self.buffered() {
            return Ok(Some(found));
        }
        self.fill()?;
        Ok(self.buffered())
    }

    fn buffered(&mut self) -> Option<(Head, Vec<u8>)> {
        let rest = &self.buffer[self.start..];
        let end = rest.iter().position(|byte| *byte == b'\n')? + 1;
        let line = rest[..end].to_vec();
        let head = serde_json::from_slice(&line).ok()?;
        self.start += end;
        self.offset += end as u64;
        Some((head, line))
    }

    /// Reads anew from the next line on: what was there of it may have been cut and rewritten.
    fn fill(&mut self) -> io::Result<()> {
        let mut size = PIECE;
        loop {
            self.buffer.resize(size, 0);
            self.start = 0;
            let read = self.file.read_at(&mut self.buffer, self.offset)?;
            self.buffer.truncate(read);
            if read < size || size >= MAX_LINE || self.buffer.contains(&b'\n') {
                return Ok(());
            }
            size *= 2;
        }
    }
}

/// What a journal says about the attempts so far.
#[derive(Debug)]
pub(super) struct Past {
    reader: Reader,
    pub last_seq: u64,
    pub last_attempt: u32,
    /// The newest result.
    pub ended: Option<Ended>,
}

impl Past {
    pub fn new(reader: Reader) -> Self {
        Self {
            reader,
            last_seq: 0,
            last_attempt: 0,
            ended: None,
        }
    }

    /// Reads what has come since the last time.
    pub fn read_on(&mut self) -> io::Result<()> {
        while let Some((head, _)) = self.reader.next()? {
            self.last_seq = head.seq;
            self.last_attempt = self.last_attempt.max(head.attempt.unwrap_or(0));
            self.ended = head.ended().or(self.ended);
        }
        Ok(())
    }

    /// The newest result, if it is of this attempt or a later one.
    pub fn result_of(&self, attempt: u32) -> Option<Ended> {
        self.ended.filter(|ended| ended.attempt >= attempt)
    }

    /// Whether nothing follows the newest result.
    pub fn is_at_result(&self) -> bool {
        self.ended.is_some_and(|ended| ended.seq == self.last_seq)
    }
}

/// The right to write: held by the process that is the run.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    /// Lines that the disk did not take yet.
    waiting: VecDeque<Vec<u8>>,
    /// How much of the first of them it took.
    taken: usize,
}

impl Writer {
    /// Takes the lock, unless another process has it.
    pub fn lock(file: &File) -> io::Result<Option<Self>> {
        if !lock(file, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(None);
        }
        let writer = Self {
            file: file.try_clone()?,
            waiting: VecDeque::new(),
            taken: 0,
        };
        if writer.file.metadata()?.nlink() == 0 {
            return Err(io::Error::other(
                "the journal was just removed as too old; send the request again",
            ));
        }
        Ok(Some(writer))
    }

    /// Removes what follows the last whole line.
    pub fn heal(&mut self, past: &Past) -> io::Result<()> {
        let good = past.reader.offset;
        if self.file.metadata()?.len() > good {
            self.file.set_len(good)?;
        }
        Ok(())
    }

    /// Appends a line. Where the disk does not take it, it is kept and tried again.
    pub fn append(&mut self, line: Vec<u8>) {
        self.waiting.push_back(line);
        self.retry();
    }

    /// Tries to write what waits; whether nothing waits any more.
    pub fn retry(&mut self) -> bool {
        while let Some(line) = self.waiting.front() {
            match self.file.write(&line[self.taken..]) {
                Ok(written) => {
                    self.taken += written;
                    if self.taken == line.len() {
                        self.waiting.pop_front();
                        self.taken = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Makes all durable and gives the lock back; returns the lines that the disk did not take.
    pub fn finish(mut self) -> (io::Result<()>, Vec<Vec<u8>>) {
        self.retry();
        let durable = self.file.sync_data();
        (durable, self.waiting.drain(..).collect())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Not by closing: readers share the open file.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(text: &[u8]) -> (tempfile::TempDir, StateDirectory, File) {
        let base = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(Some(base.path()), Uuid::nil()).unwrap();
        let mut file = open(&state, Uuid::nil(), true).unwrap();
        file.write_all(text).unwrap();
        (base, state, file)
    }

    fn text(state: &StateDirectory) -> String {
        std::fs::read_to_string(state.path().join(format!("runs/{}.jsonl", Uuid::nil()))).unwrap()
    }

    const STARTED: &str = "{\"seq\":1,\"event\":\"started\",\"attempt\":1}\n";
    const RESULT: &str = "{\"seq\":2,\"event\":\"result\",\"attempt\":1,\"exitCode\":13}\n";

    #[test]
    fn the_newest_result_and_the_last_numbers_are_found() {
        let later = "{\"seq\":3,\"event\":\"started\",\"attempt\":2,\"from\":\"the future\"}\n";
        let (_base, _state, file) = journal(format!("{STARTED}{RESULT}{later}").as_bytes());
        let mut past = Past::new(Reader::new(file));
        past.read_on().unwrap();
        assert_eq!((past.last_seq, past.last_attempt), (3, 2));
        assert_eq!(
            past.result_of(1),
            Some(Ended {
                seq: 2,
                attempt: 1,
                exit_code: 13
            })
        );
        assert_eq!(past.result_of(2), None);
        assert!(!past.is_at_result());
    }

    #[test]
    fn a_cut_last_line_is_removed_and_zeros_of_a_power_loss_too() {
        for tail in [
            &b"{\"seq\":2,\"event\":\"pro"[..],
            &[0; 4096],
            b"\0\0\n\0\0\n",
        ] {
            let (_base, state, file) = journal(&[STARTED.as_bytes(), tail].concat());
            let mut past = Past::new(Reader::new(file.try_clone().unwrap()));
            past.read_on().unwrap();
            let mut writer = Writer::lock(&file).unwrap().unwrap();
            writer.heal(&past).unwrap();
            writer.append(RESULT.into());
            past.read_on().unwrap();
            assert_eq!(text(&state), format!("{STARTED}{RESULT}"));
            assert!(past.is_at_result());
        }
    }

    #[test]
    fn a_line_longer_than_a_piece_is_read_whole() {
        let long = format!(
            "{{\"seq\":2,\"event\":\"warning\",\"message\":\"{}\"}}\n",
            "x".repeat(3 * PIECE)
        );
        let (_base, _state, file) = journal(format!("{STARTED}{long}{RESULT}").as_bytes());
        let mut reader = Reader::new(file);
        reader.next().unwrap().unwrap();
        assert_eq!(reader.next().unwrap().unwrap().1, long.as_bytes());
        assert!(reader.next().unwrap().unwrap().0.ended().is_some());
        assert!(reader.next().unwrap().is_none());
    }

    #[test]
    fn the_lock_is_seen_by_others_and_given_back() {
        let (_base, state, file) = journal(b"");
        let other = open(&state, Uuid::nil(), false).unwrap();
        let writer = Writer::lock(&file).unwrap().unwrap();
        assert!(!is_free(&other).unwrap());
        assert!(Writer::lock(&other).unwrap().is_none());
        drop(writer);
        assert!(is_free(&other).unwrap());
    }
}
