use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use jiff::Timestamp;
use protocol::{Event, EventKind, Outcome};
use uuid::Uuid;

use super::journal::Writer;
use crate::run_context::Report;

/// Numbers the events of a run and writes them into its journal, from where they are told.
pub(super) struct Recorder {
    run_id: Uuid,
    inner: Mutex<Inner>,
    /// Tells the journal's new lines.
    teller: Thread,
}

struct Inner {
    /// None once the attempt has ended: nothing follows its result.
    writer: Option<Writer>,
    last_seq: u64,
}

impl Recorder {
    pub fn new(run_id: Uuid, writer: Writer, last_seq: u64, teller: Thread) -> Self {
        let inner = Inner {
            writer: Some(writer),
            last_seq,
        };
        Self {
            run_id,
            inner: Mutex::new(inner),
            teller,
        }
    }

    /// Writes the result, makes it durable and ends the attempt. Returns the lines that the disk
    /// did not take; None when the attempt had ended before.
    pub fn finish(&self, outcome: Outcome) -> Option<Vec<Vec<u8>>> {
        let mut inner = self.lock();
        let line = self.line(inner.last_seq + 1, EventKind::Result(Box::new(outcome)));
        let mut writer = inner.writer.take()?;
        inner.last_seq += 1;
        writer.append(line);
        let (durable, untaken) = writer.finish();
        if let Err(error) = durable {
            note!("the journal of run {} is not durable: {error}", self.run_id);
        }
        Some(untaken)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, seq: u64, kind: EventKind) -> Vec<u8> {
        line(&Event {
            run_id: self.run_id,
            seq,
            time: Timestamp::now(),
            kind,
        })
    }
}

impl Report for Recorder {
    fn event(&self, kind: EventKind) {
        // The result is what the operation returns: it must not be followed by anything.
        if matches!(kind, EventKind::Result(_)) {
            return;
        }
        let mut inner = self.lock();
        let seq = inner.last_seq + 1;
        let Some(writer) = &mut inner.writer else {
            return;
        };
        // A disk that takes nothing must not fill the memory with progress.
        if matches!(kind, EventKind::Progress(_)) && !writer.retry() {
            return;
        }
        writer.append(self.line(seq, kind));
        inner.last_seq = seq;
        drop(inner);
        self.teller.unpark();
    }
}

/// An event as it is written and told.
pub(super) fn line(event: &Event) -> Vec<u8> {
    let mut line = serde_json::to_vec(event).unwrap_or_else(|error| {
        // Plain data with string keys has no way to fail; a hole would be worse than a note.
        note!("event {} cannot be written: {error}", event.seq);
        Vec::new()
    });
    line.push(b'\n');
    line
}
