//! Whole processes measured from outside: time, CPU and memory of a program and of all that it
//! started and waited for.
//!
//! The kernel counts a program's peak of memory from before it became that program, when it was
//! still a copy of the one that started it. So programs are started by a launcher, this program
//! again, which has nothing in memory yet.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::invocation::Invocation;
use crate::host::run::Run;

/// The launcher's name among the commands of this program.
pub const LAUNCHER: &str = "launch";

/// What a program cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Seconds from start to end.
    pub wall: f64,
    /// CPU seconds, user and system, of it and all that it waited for.
    pub cpu: f64,
    /// Peak of resident memory of its largest process, in bytes.
    pub rss: u64,
}

/// Runs a program to its end. An exit code other than 0 is an error that repeats what it said.
/// Returns also what it printed.
pub async fn measure(invocation: &Invocation) -> Result<(Cost, String)> {
    let told = tempfile::NamedTempFile::new()?;
    let run = Run::new(std::env::current_exe()?)
        .arg(LAUNCHER)
        .arg(told.path())
        .arg("--")
        .args(invocation.argv());
    let printed = invocation.surround(run).output().await?;
    let cost = std::fs::read(told.path())?;
    let cost = serde_json::from_slice(&cost).context("the launcher told no cost")?;
    Ok((cost, printed))
}

/// The launcher: runs `command`, writes its [`Cost`] to `told`, ends with its exit code.
pub fn launch(told: &Path, command: &[String]) -> Result<u8> {
    let began = Instant::now();
    // setpriv becomes the program, after asking the kernel to kill it when we are killed.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .args(command)
        .status()?;
    let wall = began.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1_000_000.0;
    let cost = Cost {
        wall,
        cpu: seconds(usage.user_time()) + seconds(usage.system_time()),
        rss: u64::try_from(usage.max_rss())? << 10,
    };
    std::fs::write(told, serde_json::to_vec(&cost)?)?;
    match status.code() {
        Some(code) => Ok(u8::try_from(code)?),
        None => bail!("{} was ended by a signal: {status}", command.join(" ")),
    }
}
