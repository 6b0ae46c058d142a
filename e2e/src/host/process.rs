//! Daemons: started with a log file each, recorded, and ended by what was recorded.
//!
//! A process is known by its id *and* its start time, and signalled through a pidfd that is opened
//! before both are compared, so that a reused id is never hit. Every daemon also carries a mark in
//! its environment, which its children inherit: what was started just before its starter was
//! killed, and never recorded, is found by it. Nothing is ended by name.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// The environment variable that marks the processes of a bed; its value is the state directory.
pub const MARK: &str = "CASSANDRA_BACKUP_BED";

/// One process and no other: ids are used again, an id with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: i32,
    /// When it started, in clock ticks since boot (proc(5), field 22 of `stat`).
    pub start: u64,
}

impl Identity {
    /// The process that has this id now; `None` if there is none, or only a zombie.
    pub fn of(pid: i32) -> Option<Self> {
        Stat::read(pid).map(|stat| Self {
            pid,
            start: stat.start,
        })
    }

    /// Whether the process runs.
    pub fn alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(self, signal: Signal) -> Result<()> {
        let Some(process) = self.open()? else {
            return Ok(());
        };
        match pidfd_send_signal(process, signal) {
            Err(error) if error != rustix::io::Errno::SRCH => {
                Err(error).with_context(|| format!("could not signal process {}", self.pid))
            }
            _ => Ok(()),
        }
    }

    fn open(self) -> Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // Compared after opening: from here on the descriptor means this very process.
            Ok(process) => Ok(self.alive().then_some(process)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("could not open process {}", self.pid))
            }
        }
    }
}

struct Stat {
    group: i32,
    start: u64,
}

impl Stat {
    /// `None` for a process that has ended, zombies included.
    fn read(pid: i32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, field 2, may hold spaces and parentheses; the rest begins after its last one.
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let start = fields.nth(16)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(Self { group, start })
    }
}

/// A daemon as it was recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Daemon {
    /// What it is called, unique in its bed.
    pub name: String,
    /// Its process, which leads a process group of its own.
    pub process: Identity,
    /// The boot that start times count from.
    boot: String,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Daemon {
    /// Whether it runs.
    pub fn alive(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot) && self.process.alive()
    }

    /// The last lines of its log, for error messages.
    pub fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(2048)..]).into_owned();
        format!("the end of {}:\n{}", self.log.display(), text.trim_end())
    }
}

/// The daemons of one bed: their records in `<state>/run`, their logs in `<state>/log`.
#[derive(Debug, Clone)]
pub struct Daemons {
    state: PathBuf,
}

impl Daemons {
    /// The daemons of the bed with this state directory.
    pub fn of(state: impl Into<PathBuf>) -> Self {
        Self {
            state: state.into(),
        }
    }

    /// The file that takes the output of the daemon `name`.
    pub fn log(&self, name: &str) -> PathBuf {
        self.state.join("log").join(format!("{name}.log"))
    }

    /// Starts `command` as the daemon `name`, and records it. One of the same name that still runs
    /// is ended first. Its output is appended to its log.
    pub async fn start(&self, name: &str, mut command: Command) -> Result<Daemon> {
        self.end(name).await?;
        let log = self.log(name);
        let record = self.record(name);
        for file in [&log, &record] {
            fs::create_dir_all(file.parent().context("no folder for daemons")?)?;
        }
        let out = File::options().create(true).append(true).open(&log)?;
        command
            .process_group(0)
            .env(MARK, &self.state)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let child = command.spawn();
        let child = child.with_context(|| format!("could not start {name}: {command:?}"))?;
        // Dropping the child does not end it; tokio reaps it when it has ended.
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let process = pid.and_then(Identity::of);
        let Some(process) = process else {
            bail!("{name} ended at once; see {}", log.display());
        };
        let daemon = Daemon {
            name: name.to_owned(),
            process,
            boot: boot_id()?,
            log,
        };
        let unfinished = record.with_extension("new");
        fs::write(&unfinished, serde_json::to_vec(&daemon)?)?;
        fs::rename(unfinished, record)?;
        Ok(daemon)
    }

    /// Waits until `ready` says yes. An error if the daemon ends before, or after `patience`.
    pub async fn ready(
        &self,
        daemon: &Daemon,
        patience: Duration,
        mut ready: impl AsyncFnMut() -> bool,
    ) -> Result<()> {
        let began = Instant::now();
        loop {
            if ready().await {
                return Ok(());
            }
            let name = &daemon.name;
            if !daemon.alive() {
                bail!("{name} ended while starting; {}", daemon.log_tail());
            }
            if began.elapsed() > patience {
                bail!(
                    "{name} not ready after {} s; {}",
                    patience.as_secs(),
                    daemon.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The daemon `name`, as recorded, dead or alive.
    pub fn get(&self, name: &str) -> Option<Daemon> {
        let text = fs::read(self.record(name)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// All recorded daemons, dead or alive, by name.
    pub fn list(&self) -> Vec<Daemon> {
        let Ok(entries) = fs::read_dir(self.state.join("run")) else {
            return Vec::new();
        };
        let names = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".json").map(ToOwned::to_owned)
        });
        let mut daemons: Vec<_> = names.filter_map(|name| self.get(&name)).collect();
        daemons.sort_by(|a, b| a.name.cmp(&b.name));
        daemons
    }

    /// Ends the daemon `name` and its process group, and forgets it. Fine if it is not there.
    pub async fn end(&self, name: &str) -> Result<()> {
        if let Some(daemon) = self.get(name)
            && daemon.alive()
        {
            let leader = daemon.process;
            let mut members = processes(|pid| Stat::read(pid)?.group.eq(&leader.pid).then_some(()));
            if !members.contains(&leader) {
                members.push(leader);
            }
            end(&members)
                .await
                .with_context(|| format!("could not end {name}"))?;
        }
        match fs::remove_file(self.record(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Kills whatever carries this bed's mark, but for the processes in `spare`. What could end in
    /// good order was ended before; what is left, as containerd's shims, ignores SIGTERM.
    pub async fn kill_strays(&self, spare: &[Identity]) -> Result<()> {
        loop {
            let mut strays = self.marked();
            strays.retain(|stray| !spare.contains(stray));
            if strays.is_empty() {
                return Ok(());
            }
            // Looked again afterwards: one of them may have started another in the meantime.
            kill(&strays).await?;
        }
    }

    /// All processes that carry this bed's mark, recorded or not.
    pub fn marked(&self) -> Vec<Identity> {
        let mark = format!("{MARK}={}", self.state.display()).into_bytes();
        processes(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == mark)
                .then_some(())
        })
    }

    fn record(&self, name: &str) -> PathBuf {
        self.state.join("run").join(format!("{name}.json"))
    }
}

/// Ends processes: SIGTERM to all, three seconds later SIGKILL to those that are left. No longer,
/// because nothing that a bed holds outlives it, and an API server without etcd waits for a minute.
pub async fn end(processes: &[Identity]) -> Result<()> {
    if signal_all(processes, Signal::TERM, Duration::from_secs(3)).await? {
        Ok(())
    } else {
        kill(processes).await
    }
}

/// Ends processes by SIGKILL.
pub async fn kill(processes: &[Identity]) -> Result<()> {
    if signal_all(processes, Signal::KILL, Duration::from_secs(10)).await? {
        return Ok(());
    }
    let left: Vec<_> = processes
        .iter()
        .filter(|p| p.alive())
        .map(|p| p.pid)
        .collect();
    bail!("processes {left:?} do not end, even by SIGKILL")
}

/// Signals all and waits; tells whether all have ended.
async fn signal_all(processes: &[Identity], signal: Signal, patience: Duration) -> Result<bool> {
    for process in processes {
        process.signal(signal)?;
    }
    let deadline = Instant::now() + patience;
    loop {
        if !processes.iter().any(|process| process.alive()) {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The processes for whose id `wanted` returns something.
fn processes(wanted: impl Fn(i32) -> Option<()>) -> Vec<Identity> {
    let Ok(entries) = fs::read_dir(Path::new("/proc")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| {
            let identity = Identity::of(pid)?;
            wanted(pid)?;
            // Looked at again: what was matched is the process that the identity names.
            identity.alive().then_some(identity)
        })
        .collect()
}

fn boot_id() -> Result<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// Without a shell, whose child would carry the mark, too, and outlive it.
    fn sleep() -> Command {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    }

    #[tokio::test]
    async fn a_daemon_is_ended_with_its_group_and_its_output_is_kept() {
        let state = tempfile::tempdir().unwrap();
        let daemons = Daemons::of(state.path());
        let daemon = daemons
            .start("d", sh("sleep 600 & echo $!; wait"))
            .await
            .unwrap();
        daemons
            .ready(&daemon, Duration::from_secs(5), async || {
                fs::read_to_string(&daemon.log).is_ok_and(|text| text.ends_with('\n'))
            })
            .await
            .unwrap();
        let child: i32 = fs::read_to_string(&daemon.log)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        assert!(daemon.alive() && Identity::of(child).is_some());
        assert_eq!(daemons.list().len(), 1);
        daemons.end("d").await.unwrap();
        assert!(!daemon.alive() && Identity::of(child).is_none());
        assert!(daemons.list().is_empty());
    }

    #[tokio::test]
    async fn a_process_that_only_has_the_recorded_id_is_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let daemons = Daemons::of(state.path());
        let daemon = daemons.start("d", sleep()).await.unwrap();
        let mut other = daemon.clone();
        other.process.start -= 1;
        fs::write(daemons.record("d"), serde_json::to_vec(&other).unwrap()).unwrap();
        daemons.end("d").await.unwrap();
        assert!(daemon.alive());
        other.process.signal(Signal::KILL).unwrap();
        assert!(daemon.alive());
        end(&[daemon.process]).await.unwrap();
        assert!(!daemon.alive());
    }

    #[tokio::test]
    async fn what_was_never_recorded_is_found_by_its_mark() {
        let state = tempfile::tempdir().unwrap();
        let daemons = Daemons::of(state.path());
        let spared = daemons.start("spared", sleep()).await.unwrap();
        let daemon = daemons.start("d", sleep()).await.unwrap();
        // A program's environment can be read only a moment after it has been executed.
        let marked = async || daemons.marked().contains(&daemon.process);
        daemons
            .ready(&daemon, Duration::from_secs(5), marked)
            .await
            .unwrap();
        fs::remove_file(daemons.record("d")).unwrap();
        daemons.end("d").await.unwrap();
        assert!(daemon.alive());
        daemons.kill_strays(&[spared.process]).await.unwrap();
        assert!(!daemon.alive() && spared.alive());
        daemons.end("spared").await.unwrap();
    }

    #[tokio::test]
    async fn a_daemon_that_dies_while_starting_is_reported_with_its_log() {
        let state = tempfile::tempdir().unwrap();
        let daemons = Daemons::of(state.path());
        let daemon = daemons
            .start("d", sh("sleep 0.1; echo broken; exit 1"))
            .await
            .unwrap();
        let error = daemons
            .ready(&daemon, Duration::from_secs(5), async || false)
            .await;
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("d ended while starting") && error.contains("broken"),
            "{error}"
        );
    }
}
