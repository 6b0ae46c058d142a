//! Children: programs that live as long as the value that stands for them, and never longer than
//! this process, however it ends. For what one test needs alone; what outlives a process is a
//! [daemon](super::process).

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A running program. Dropping it kills the program at once.
#[derive(Debug)]
pub struct Child {
    name: String,
    pid: i32,
    /// Means this very process, even after its id has been used again.
    process: OwnedFd,
    log: PathBuf,
    end: Arc<End>,
}

/// How it ended, once it has.
#[derive(Debug, Default)]
struct End {
    status: Mutex<Option<ExitStatus>>,
    came: Condvar,
}

impl Child {
    /// Starts `program` with what `setup` adds. Its output is appended to `log`.
    pub fn start(
        name: impl Into<String>,
        program: &Path,
        log: &Path,
        setup: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let name = name.into();
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder)?;
        }
        let out = File::options().create(true).append(true).open(log)?;
        // setpriv becomes the program, after asking the kernel to kill it with its parent.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        setup(&mut command);
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let (started, start) = mpsc::channel();
        let end = Arc::new(End::default());
        let told = end.clone();
        // For the kernel the parent is the thread that forks: this one lives as long as the child.
        std::thread::Builder::new()
            .name(name.clone())
            .spawn(move || match command.spawn() {
                Ok(mut child) => {
                    let process = Pid::from_raw(child.id().cast_signed())
                        .map(|pid| pidfd_open(pid, PidfdFlags::empty()).map(|fd| (pid, fd)));
                    let _ = started.send(Ok(process));
                    let status = child.wait().ok();
                    *told.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
                    told.came.notify_all();
                }
                Err(error) => drop(started.send(Err(error))),
            })?;
        let process = start
            .recv()?
            .with_context(|| format!("could not start {name}"))?;
        let (pid, process) = process.context("a process without an id")??;
        Ok(Self {
            name,
            pid: pid.as_raw_nonzero().get(),
            process,
            log: log.to_owned(),
            end,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The file with its output.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it has ended, and how.
    pub fn ended(&self) -> Option<ExitStatus> {
        *self
            .end
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends it a signal; fine if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.process, signal) {
            Err(error) if error != rustix::io::Errno::SRCH => {
                Err(error).with_context(|| format!("could not signal {}", self.name))
            }
            _ => Ok(()),
        }
    }

    /// Asks it to end, and kills it when it has not after `patience`.
    pub async fn stop(self, patience: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        let began = Instant::now();
        while self.ended().is_none() {
            if began.elapsed() > patience {
                return self.kill().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Kills it and waits for its end.
    pub async fn kill(self) -> Result<()> {
        self.signal(Signal::KILL)?;
        let began = Instant::now();
        while self.ended().is_none() {
            if began.elapsed() > Duration::from_secs(30) {
                bail!(
                    "{} (process {}) does not end, even by SIGKILL",
                    self.name,
                    self.pid
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until `ready` says yes. An error with the end of the log if the program ends before,
    /// or after `patience`.
    pub async fn ready(
        &self,
        patience: Duration,
        mut ready: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        let began = Instant::now();
        while !ready().await {
            if let Some(status) = self.ended() {
                bail!(
                    "{} ended while starting ({status}); {}",
                    self.name,
                    self.log_tail()
                );
            }
            if began.elapsed() > patience {
                let seconds = patience.as_secs();
                bail!(
                    "{} not ready after {seconds} s; {}",
                    self.name,
                    self.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
        format!("the end of {}:\n{}", self.log.display(), text.trim_end())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.signal(Signal::KILL);
        // The mount or directory it works in goes next: wait until the kernel has let go of it.
        let status = self
            .end
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let patience = Duration::from_secs(10);
        drop(
            self.end
                .came
                .wait_timeout_while(status, patience, |status| status.is_none()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::Identity;

    fn sleeper(folder: &Path) -> Child {
        Child::start(
            "sleeper",
            Path::new("sleep"),
            &folder.join("log"),
            |command| {
                command.arg("600");
            },
        )
        .unwrap()
    }

    #[tokio::test]
    async fn a_dropped_child_is_gone_and_a_stopped_one_too() {
        let folder = tempfile::tempdir().unwrap();
        let child = sleeper(folder.path());
        let pid = child.pid();
        assert!(Identity::of(pid).is_some());
        drop(child);
        assert!(Identity::of(pid).is_none());
        let child = sleeper(folder.path());
        let pid = child.pid();
        child.stop(Duration::from_secs(5)).await.unwrap();
        assert!(Identity::of(pid).is_none());
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let child = std::thread::spawn(move || sleeper(&path)).join().unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert!(Identity::of(child.pid()).is_some());
    }

    #[tokio::test]
    async fn a_child_that_ends_while_starting_is_reported_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let child = Child::start(
            "broken",
            Path::new("sh"),
            &folder.path().join("log"),
            |command| {
                command.args(["-c", "echo why; exit 3"]);
            },
        )
        .unwrap();
        let error = child
            .ready(Duration::from_secs(5), async || false)
            .await
            .unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("ended while starting") && error.contains("why"),
            "{error}"
        );
    }
}
