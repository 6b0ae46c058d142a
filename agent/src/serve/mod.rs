//! The agent on the wire: a run that outlives the stream that started it.
//!
//! The process that holds the journal's lock is the run. Each event goes into the journal first
//! and is told from there, by one thread that follows the file; so a caller that was there from
//! the beginning, one that attaches and one that comes when all is over are told the same lines by
//! the same code.
//!
//! A request for a run is answered so: a recorded result of the wanted attempt or a later one is
//! told again; else a process that is the run is followed; else this process becomes the run, with
//! a new attempt.
//!
//! What a run does is not here: it is a function that is given the request's operation.

/// Writes a line to standard error. Not `eprintln`, which panics when nobody reads it any more: a
/// run goes on without its terminal.
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}
pub(crate) use note;

mod attach;
mod clean;
mod journal;
mod recorder;
mod signals;
mod teller;

use std::io::{self, BufRead};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use protocol::{
    Event, EventKind, InvalidRequest, MAX_REQUEST_BYTES, Operation, Outcome, Reason, Request,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use attach::attach;
pub use teller::{Lines, Tell};

use crate::control::{self, Holder};
use crate::neighbour;
use crate::run_context::{Report, Run};
use crate::state::{StateDirectory, StateError};
use journal::{Past, Reader, Writer};
use recorder::Recorder;
use teller::{LOOK, Span, Teller};

/// How long a run that has ended waits for a slow reader of its events.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// How long the socket of the attempt before may outlive its journal's lock.
const SOCKET_PATIENCE: Duration = Duration::from_secs(2);

/// A request that did not become a run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Standard input has no request.
    #[error("cannot read the request from standard input: {0}")]
    Input(#[source] io::Error),
    /// The request is wrong.
    #[error("{0}")]
    Request(#[from] InvalidRequest),
    /// No place for the journal.
    #[error("{0}")]
    State(#[from] StateError),
    /// The journal cannot be used.
    #[error("cannot use the journal of run {run} in {state}: {source}", state = .state.display())]
    Journal {
        /// The run.
        run: Uuid,
        /// The state directory.
        state: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start the run's threads: {0}")]
    Threads(#[source] io::Error),
}

impl ServeError {
    /// The one word for it.
    pub fn reason(&self) -> Reason {
        let source = match self {
            Self::Input(_) | Self::Request(_) => return Reason::InvalidRequest,
            Self::State(StateError::Given { source, .. }) | Self::Journal { source, .. } => source,
            Self::State(StateError::None { .. }) | Self::Threads(_) => return Reason::Failed,
        };
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Reason::NoSpace,
            _ => Reason::Failed,
        }
    }
}

/// Serves the one request on standard input. Returns the exit code.
pub fn standard_input<F, Fut>(state_directory: Option<&Path>, operation: F) -> u8
where
    F: FnOnce(Run, Operation) -> Fut,
    Fut: Future<Output = Outcome>,
{
    let request = match read_request(io::stdin().lock()) {
        Ok(request) => request,
        Err(error) => return refuse(Uuid::nil(), &error),
    };
    let run = request.run_id;
    let given = request.state_directory.clone();
    let given = given.as_deref().map(Path::new).or(state_directory);
    let served = StateDirectory::open(given, run)
        .map_err(ServeError::from)
        .and_then(|state| with(request, &state, Box::new(Lines(io::stdout())), operation));
    served.unwrap_or_else(|error| refuse(run, &error))
}

/// Reads one line. Never waits for the end of the input, which an exec stream may not signal.
fn read_request(input: impl BufRead) -> Result<Request, ServeError> {
    let mut line = Vec::new();
    // One more byte than allowed tells that there are too many; one for the line end.
    input
        .take(MAX_REQUEST_BYTES as u64 + 2)
        .read_until(b'\n', &mut line)
        .map_err(ServeError::Input)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Request::parse(&line)?)
}

/// Tells why there is no run: as a result with number 0, which is in no journal.
fn refuse(run_id: Uuid, error: &ServeError) -> u8 {
    note!("{error}");
    let outcome = Outcome::ended(error.reason(), error.to_string(), 0);
    let exit_code = outcome.exit_code;
    let kind = EventKind::Result(Box::new(outcome));
    let event = Event {
        run_id,
        seq: 0,
        time: Timestamp::now(),
        kind,
    };
    // Who does not listen has the exit code.
    let _ = Lines(io::stdout()).tell(&recorder::line(&event));
    exit_code
}

/// Answers a request for a run. Returns the exit code.
pub fn with<F, Fut>(
    request: Request,
    state: &StateDirectory,
    tell: Box<dyn Tell>,
    operation: F,
) -> Result<u8, ServeError>
where
    F: FnOnce(Run, Operation) -> Fut,
    Fut: Future<Output = Outcome>,
{
    let run = request.run_id;
    let failed = |source| ServeError::Journal {
        run,
        state: state.path().to_path_buf(),
        source,
    };
    clean::old_journals(state, run);
    let open = || journal::open(state, run, true).map_err(failed);
    let file = open()?;
    let mut past = Past::new(Reader::new(open()?));
    past.read_on().map_err(failed)?;
    let span = Span {
        from_seq: request.from_seq,
        attempt: request.attempt,
        result_from: past.result_of(request.attempt).map_or(0, |ended| ended.seq),
    };
    let teller = Teller::start(Reader::new(open()?), span, tell).map_err(ServeError::Threads)?;
    loop {
        if let Some(ended) = past.result_of(request.attempt) {
            teller.finish(Vec::new(), None);
            return Ok(ended.exit_code);
        }
        if teller.is_closed() {
            return Ok(Reason::Interrupted.exit_code() as u8);
        }
        let writer = Writer::lock(&file).map_err(failed)?;
        // Also what came between the last look and the lock.
        past.read_on().map_err(failed)?;
        if past.result_of(request.attempt).is_some() {
            continue;
        }
        if let Some(mut writer) = writer {
            writer.heal(&past).map_err(failed)?;
            return become_the_run(request, state, &past, writer, teller, operation);
        }
        thread::sleep(LOOK);
    }
}

/// Makes one attempt.
fn become_the_run<F, Fut>(
    request: Request,
    state: &StateDirectory,
    past: &Past,
    writer: Writer,
    teller: Teller,
    operation: F,
) -> Result<u8, ServeError>
where
    F: FnOnce(Run, Operation) -> Fut,
    Fut: Future<Output = Outcome>,
{
    let attempt = request.attempt.max(past.last_attempt + 1);
    let recorder = Arc::new(Recorder::new(
        request.run_id,
        writer,
        past.last_seq,
        teller.thread(),
    ));
    let run = Run {
        id: request.run_id,
        attempt,
        state: state.path().to_path_buf(),
        report: recorder.clone(),
        cancel: CancellationToken::new(),
        proceed: CancellationToken::new(),
    };
    let runtime = neighbour::runtime().map_err(ServeError::Threads)?;
    let mut outcome = runtime.block_on(async {
        if let Err(error) = signals::listen(recorder.clone(), attempt, run.cancel.clone()) {
            note!("signals keep their usual effect: {error}");
        }
        recorder.event(EventKind::Started {
            attempt,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
        });
        controlled(run, |run| operation(run, request.operation)).await
    });
    outcome.attempt = attempt;
    let exit_code = outcome.exit_code;
    // From here on the journal is free for others, however long our own reader takes.
    let untaken = recorder.finish(outcome).unwrap_or_default();
    runtime.shutdown_background();
    teller.finish(untaken, Some(LAST_WORDS));
    Ok(exit_code)
}

/// Does the work, reachable for `cancel`, and turns a panic into a result.
async fn controlled<F, Fut>(run: Run, work: F) -> Outcome
where
    F: FnOnce(Run) -> Fut,
    Fut: Future<Output = Outcome>,
{
    let attempt = run.attempt;
    let name = control::run_socket(run.id);
    let answering = match listen(&name).await {
        Ok(listener) => {
            let holder = Holder {
                run_id: run.id,
                pid: std::process::id(),
            };
            Some(tokio::spawn(control::answer(listener, holder, run.clone())))
        }
        // The journal was free, so the other one has another state directory.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let message = format!(
                "another process is at work on run {} with another state directory; use the same one for all requests of a run",
                run.id
            );
            return Outcome::ended(Reason::Locked, message, attempt);
        }
        Err(error) => {
            let message = format!(
                "the run can be cancelled by signals only, its socket {name} cannot be made: {error}"
            );
            run.warn(Reason::LimitedNeighbour, message);
            None
        }
    };
    let place = remember_panics();
    let outcome = AssertUnwindSafe(async { work(run).await })
        .catch_unwind()
        .await;
    if let Some(answering) = answering {
        // The name must be free before the journal is.
        answering.abort();
        let _ = answering.await;
    }
    outcome.unwrap_or_else(|_| {
        let place = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let message = format!("the agent has a bug: it panicked at {place}; report this line");
        Outcome::ended(Reason::Failed, message, attempt)
    })
}

async fn listen(name: &str) -> io::Result<tokio::net::UnixListener> {
    let deadline = tokio::time::Instant::now() + SOCKET_PATIENCE;
    loop {
        match control::listen(name) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(LOOK).await;
            }
            listened => return listened,
        }
    }
}

/// From here on a panic tells its place only: its message may quote any data, secrets included.
fn remember_panics() -> Arc<Mutex<String>> {
    let place = Arc::new(Mutex::new(String::from("an unknown place")));
    let theirs = place.clone();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(location) = info.location() {
            note!("panicked at {location}");
            *theirs.lock().unwrap_or_else(PoisonError::into_inner) = location.to_string();
        }
    }));
    place
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_request_ends_with_its_line_and_not_with_the_input() {
        struct Endless;
        impl Read for Endless {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("read past the line")
            }
        }
        let line = "{\"protocol\":\"1.0\",\"runId\":\"00000000-0000-0000-0000-000000000001\",\
                    \"operation\":\"sweep\",\"with\":{}}\n";
        let input = io::BufReader::new(line.as_bytes().chain(Endless));
        assert_eq!(read_request(input).unwrap().run_id, Uuid::from_u128(1));
    }

    #[test]
    fn a_request_without_end_is_refused() {
        let input = io::BufReader::new(io::repeat(b'x'));
        assert!(matches!(
            read_request(input),
            Err(ServeError::Request(InvalidRequest::TooLong))
        ));
    }
}
