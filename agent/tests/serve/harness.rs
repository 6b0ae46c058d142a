use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use protocol::{Event, EventKind, Operation, Outcome, PROTOCOL_VERSION, Request, SweepRequest};
use uuid::Uuid;

/// Longer than anything here takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A state directory of its own, and a run in it.
pub struct Place {
    directory: tempfile::TempDir,
    pub run: Uuid,
}

impl Place {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            run: Uuid::new_v4(),
        }
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub fn journal(&self) -> PathBuf {
        self.state()
            .join("runs")
            .join(format!("{}.jsonl", self.run))
    }

    pub fn journal_text(&self) -> String {
        std::fs::read_to_string(self.journal()).unwrap()
    }

    /// A file for `await` steps.
    pub fn gate(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn open(&self, gate: &str) {
        std::fs::write(self.gate(gate), "").unwrap();
    }

    pub fn request(&self) -> Request {
        Request {
            protocol: PROTOCOL_VERSION.into(),
            run_id: self.run,
            attempt: 1,
            state_directory: None,
            from_seq: 0,
            operation: Operation::Sweep(SweepRequest::default()),
        }
    }

    /// Starts a process for the request.
    pub fn start(&self, request: &Request, steps: &[&str]) -> Running {
        Running::start(self.command(steps), &(request.to_line().unwrap() + "\n"))
    }

    pub fn command(&self, steps: &[&str]) -> Command {
        let mut command = Command::new(scripted_run());
        command.arg(self.state()).args(steps);
        command
    }

    pub fn awaiting(&self, gate: &str) -> String {
        format!("await={}", self.gate(gate).display())
    }
}

/// Examples lie beside the folder of the test programs.
fn scripted_run() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    let path = path.join("examples/scripted_run");
    assert!(
        path.exists(),
        "{} is missing; `cargo test -p cassandra-backup` builds it",
        path.display()
    );
    path
}

/// The real program.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cassandra-backup"))
}

/// Copies a program to where another user can run it.
///
/// `cp` does it: a file that this process has open for writing is, for a moment, also open in whatever
/// the other tests start just then, and cannot be run meanwhile ("Text file busy").
pub fn copy_program(program: &Path, to: &Path) {
    let copied = Command::new("cp").arg(program).arg(to).status().unwrap();
    assert!(copied.success(), "{copied}");
}

/// A process whose events are read as they come.
pub struct Running {
    pub child: Child,
    lines: Receiver<String>,
    /// All that it has told so far.
    pub told: Vec<Event>,
}

impl Running {
    /// Starts it, writes its input and leaves the input open, as an exec stream is.
    pub fn start(mut command: Command, input: &str) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // One that ends at once may not read it.
        let _ = child.stdin.as_mut().unwrap().write_all(input.as_bytes());
        let lines = read_lines(child.stdout.take().unwrap());
        Self {
            child,
            lines,
            told: Vec::new(),
        }
    }

    /// A process whose output is read from now on.
    pub fn reading(mut child: Child) -> Self {
        let lines = read_lines(child.stdout.take().unwrap());
        Self {
            child,
            lines,
            told: Vec::new(),
        }
    }

    /// A process that nobody listens to.
    pub fn without_streams(child: Child) -> Self {
        let (_, lines) = channel();
        Self {
            child,
            lines,
            told: Vec::new(),
        }
    }

    /// Waits for an event.
    pub fn until(&mut self, mut is_it: impl FnMut(&EventKind) -> bool) -> Event {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|error| {
                panic!("{error} while waiting for an event; told: {:#?}", self.told)
            });
            let event: Event = serde_json::from_str(&line).unwrap();
            self.told.push(event.clone());
            if is_it(&event.kind) {
                return event;
            }
        }
    }

    pub fn until_warning(&mut self, text: &str) -> Event {
        self.until(|kind| matches!(kind, EventKind::Warning { message, .. } if message == text))
    }

    /// Reads to the end of its events; the result must be the last of them.
    pub fn outcome(&mut self) -> (Outcome, i32) {
        self.outcome_after(0)
    }

    /// As [`Self::outcome`], after the results of so many earlier attempts.
    pub fn outcome_after(&mut self, earlier: usize) -> (Outcome, i32) {
        for _ in 0..earlier {
            self.until(|kind| matches!(kind, EventKind::Result(_)));
        }
        let result = self.until(|kind| matches!(kind, EventKind::Result(_)));
        let EventKind::Result(outcome) = result.kind else {
            unreachable!()
        };
        let code = self.exit_code();
        if let Ok(line) = self.lines.try_recv() {
            panic!("something follows the result: {line}");
        }
        (*outcome, code)
    }

    pub fn exit_code(&mut self) -> i32 {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it as the kernel does when memory is out.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn warnings(&self) -> Vec<&str> {
        self.told
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Warning { message, .. } => Some(message.as_str()),
                _ => None,
            })
            .collect()
    }

    pub fn numbers(&self) -> Vec<u64> {
        self.told.iter().map(|event| event.seq).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a journal has a line with this text.
pub fn journal_has(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|journal| journal.contains(text))
}
