use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use super::journal::Reader;

/// How often a journal that another process writes is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// Where events go: standard output, or a person's terminal.
pub trait Tell: Send {
    /// Takes one event, a line of JSON with its line end. An error means that nobody listens any
    /// more; nothing else is told then.
    fn tell(&mut self, line: &[u8]) -> io::Result<()>;
}

/// Tells events as they are, one a line.
#[derive(Debug)]
pub struct Lines<W>(pub W);

impl<W: Write + Send> Tell for Lines<W> {
    fn tell(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write_all(line)?;
        self.0.flush()
    }
}

/// Which events are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Only events after this number.
    pub from_seq: u64,
    /// Nothing after the first result of this attempt or a later one; that result is told in any
    /// case.
    pub attempt: u32,
    /// No result before this number is that one.
    pub result_from: u64,
}

/// Tells the lines of a journal as they come, in a thread of its own: a reader that is slow or
/// stands still holds up this thread and nothing else, and what it has not read yet waits in the
/// journal, not in memory.
pub(super) struct Teller {
    shared: Arc<Shared>,
    thread: Thread,
    ended: Receiver<()>,
}

#[derive(Default)]
struct Shared {
    /// Nothing comes into the journal any more; what else is to be told.
    last: Mutex<Option<Vec<Vec<u8>>>>,
    closed: AtomicBool,
}

impl Teller {
    pub fn start(reader: Reader, span: Span, tell: Box<dyn Tell>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (end, ended) = channel();
        let theirs = shared.clone();
        let handle = thread::Builder::new()
            .name("teller".into())
            .spawn(move || {
                if let Err(error) = tell_all(reader, span, tell, &theirs) {
                    theirs.closed.store(true, Ordering::Relaxed);
                    if error.kind() != io::ErrorKind::BrokenPipe {
                        note!("events are no longer told: {error}; the journal has them");
                    }
                }
                drop(end);
            })?;
        Ok(Self {
            shared,
            thread: handle.thread().clone(),
            ended,
        })
    }

    /// To be woken (unparked) when there is something new to tell.
    pub fn thread(&self) -> Thread {
        self.thread.clone()
    }

    /// Whether nobody listens any more.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Relaxed)
    }

    /// Tells the rest of the journal and then `last`, for at most `patience` if there is one.
    pub fn finish(self, last: Vec<Vec<u8>>, patience: Option<Duration>) {
        *self
            .shared
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(last);
        self.thread.unpark();
        let Some(patience) = patience else {
            // It ends by dropping its side.
            let _ = self.ended.recv();
            return;
        };
        if self.ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            note!("nobody reads the events; the journal has them, `attach` tells them again");
        }
    }
}

fn tell_all(
    mut reader: Reader,
    span: Span,
    mut tell: Box<dyn Tell>,
    shared: &Shared,
) -> io::Result<()> {
    loop {
        // Looked at before reading, so that all that was written before it is read.
        let last = shared
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        while let Some((head, line)) = reader.next()? {
            let is_the_end = head
                .ended()
                .is_some_and(|end| end.attempt >= span.attempt && end.seq >= span.result_from);
            if head.seq > span.from_seq || is_the_end {
                tell.tell(&line)?;
            }
            if is_the_end {
                return Ok(());
            }
        }
        if let Some(last) = last {
            return last.iter().try_for_each(|line| tell.tell(line));
        }
        thread::park_timeout(LOOK);
    }
}
