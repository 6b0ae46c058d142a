//! Commands that end: run to the end, or killed with all their children when nobody waits for
//! them any more.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::progress::is_at;
use super::tools::find;

/// How much of the end of standard error an error message repeats, in bytes.
const TAIL: usize = 2048;
/// How much of a line that a command says is told, in characters.
const WIDTH: usize = 60;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("could not start `{command}`: {source}")]
    Start {
        /// Program and arguments.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ran and ended with an error.
    #[error("`{command}` ended with {status}{log}{tail}")]
    Failed {
        /// Program and arguments.
        command: String,
        /// Exit code or signal.
        status: ExitStatus,
        /// Where all of its output is, when it was logged.
        log: String,
        /// The last lines of standard error.
        tail: String,
    },
    /// Its streams or its log could not be read or written.
    #[error("lost contact with `{command}`: {source}")]
    Lost {
        /// Program and arguments.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A command to be run to its end. Dropping the future of [`Run::output`] or [`Run::ok`] kills its
/// process group.
#[derive(Debug)]
pub struct Run {
    command: Command,
    found: bool,
    shown: String,
    input: Option<Vec<u8>>,
    log: Option<PathBuf>,
    tells: bool,
}

impl Run {
    /// A command without arguments. Standard input is empty.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        let shown = program.to_string_lossy().into_owned();
        // setpriv becomes the program, after asking the kernel to kill it when we are killed: in a
        // group of its own it would not get our terminal's Ctrl-C, and go on without us.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        // Its own group, so that its children end with it when its future is dropped.
        command
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let found = match shown.contains('/') {
            true => Path::new(program).exists(),
            false => find(&shown).is_some(),
        };
        Self {
            command,
            found,
            shown,
            input: None,
            log: None,
            tells: false,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Run::arg)
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Leaves a variable of ours out of its environment.
    pub fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives these bytes on standard input.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Appends what the command prints to this file, as it comes.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Its standard error says, line by line, what it is at: the step that waits for it tells that.
    pub fn tells(mut self) -> Self {
        self.tells = true;
        self
    }

    /// Runs it; anything but exit code 0 is an error.
    pub async fn ok(self) -> Result<(), Error> {
        self.output().await.map(drop)
    }

    /// Runs it; anything but exit code 0 is an error. Returns standard output as text.
    pub async fn output(self) -> Result<String, Error> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs it; anything but exit code 0 is an error. Returns standard output as it is.
    pub async fn bytes(self) -> Result<Vec<u8>, Error> {
        let (shown, log) = (self.shown.clone(), self.log.clone());
        let (status, out, err) = self.finish().await?;
        if status.success() {
            return Ok(out);
        }
        // Some programs explain themselves on standard output only.
        let said = if err.trim_ascii().is_empty() {
            &out
        } else {
            &err
        };
        let log = log
            .map(|p| format!(", all output in {}", p.display()))
            .unwrap_or_default();
        Err(Error::Failed {
            command: shown,
            status,
            log,
            tail: tail(said),
        })
    }

    /// Runs it and tells how it ended, whatever the exit code: status, standard output, standard
    /// error.
    pub async fn finish(mut self) -> Result<(ExitStatus, Vec<u8>, Vec<u8>), Error> {
        let shown = self.shown;
        if !self.found {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(Error::Start {
                command: shown,
                source,
            });
        }
        let stdin = if self.input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let child = self.command.stdin(stdin).spawn();
        let child = child.map_err(|source| Error::Start {
            command: shown.clone(),
            source,
        })?;
        let mut group = Group::of(child);
        let ended = async {
            let log = self.log.as_deref().map(open).transpose()?;
            group
                .communicate(self.input.unwrap_or_default(), log.as_ref(), self.tells)
                .await
        };
        ended.await.map_err(|source| Error::Lost {
            command: shown,
            source,
        })
    }
}

/// A child that leads a process group; the whole group is killed when this is dropped before the
/// child has ended.
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    fn of(child: Child) -> Self {
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Self { child, leader }
    }

    async fn communicate(
        &mut self,
        input: Vec<u8>,
        log: Option<&File>,
        tells: bool,
    ) -> std::io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let (stdin, stdout, stderr) = (
            self.child.stdin.take(),
            self.child.stdout.take(),
            self.child.stderr.take(),
        );
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program may end without having read everything; its exit code tells the rest.
                let _ = stdin.write_all(&input).await;
            }
        };
        let ((), out, err) = tokio::join!(feed, read(stdout, log, false), read(stderr, log, tells));
        let status = self.child.wait().await?;
        self.leader = None;
        Ok((status, out?, err?))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // The child was not waited for, so its id cannot belong to anybody else yet.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

async fn read(
    stream: Option<impl AsyncRead + Unpin>,
    mut log: Option<&File>,
    tells: bool,
) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(mut stream) = stream else {
        return Ok(bytes);
    };
    loop {
        let before = bytes.len();
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(bytes);
        }
        if let Some(log) = &mut log {
            log.write_all(&bytes[before..])?;
        }
        if tells && let Some(line) = last_line(&bytes) {
            is_at(&line);
        }
    }
}

/// The last line that has come as a whole.
fn last_line(bytes: &[u8]) -> Option<String> {
    let tail = &bytes[bytes.len().saturating_sub(TAIL)..];
    let end = tail.iter().rposition(|it| *it == b'\n')?;
    let text = String::from_utf8_lossy(&tail[..end]);
    let line = text.lines().rev().map(str::trim).find(|it| !it.is_empty());
    line.map(|it| it.chars().take(WIDTH).collect())
}

fn open(log: &Path) -> std::io::Result<File> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::options().create(true).append(true).open(log)
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL)..]);
    let text = text.trim();
    if text.is_empty() {
        String::new()
    } else {
        format!(":\n{text}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_error_names_command_exit_code_and_what_was_said() {
        let error = Run::new("sh")
            .args(["-c", "echo why >&2; exit 7"])
            .ok()
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c echo why >&2; exit 7` ended with exit status: 7:\nwhy"
        );
        let error = Run::new("no-such-program").ok().await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("could not start `no-such-program`"),
            "{error}"
        );
    }

    #[test]
    fn what_a_command_is_at_is_its_last_line() {
        let last = |text: &str| last_line(text.as_bytes());
        assert_eq!(
            last(" Compiling a\n  Compiling b\n\n").unwrap(),
            "Compiling b"
        );
        assert_eq!(last(" \n"), None);
        assert_eq!(last(" Compiling a\n  Comp").unwrap(), "Compiling a");
        assert_eq!(last("Compiling"), None);
        let wide = "é".repeat(100);
        assert_eq!(last(&format!("{wide}\n")).unwrap(), "é".repeat(WIDTH));
    }

    #[tokio::test]
    async fn input_goes_in_and_output_comes_out() {
        let out = Run::new("cat").input("hello").output().await.unwrap();
        assert_eq!(out, "hello");
    }

    #[tokio::test]
    async fn a_cancelled_command_dies_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let run = Run::new("sh").arg("-c").arg(script).ok();
        let cancelled = tokio::time::timeout(Duration::from_millis(500), run).await;
        assert!(cancelled.is_err());
        let pid: i32 = std::fs::read_to_string(file)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let stat = format!("/proc/{pid}/stat");
        for _ in 0..50 {
            match std::fs::read_to_string(&stat) {
                Ok(text) if !text.contains(") Z ") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                _ => return,
            }
        }
        panic!("the child {pid} of a cancelled command is alive");
    }
}
