//! Programs that see another time than the machine has.
//!
//! A static program asks the kernel itself, so no library can stand before it. QEMU's user mode
//! carries its system calls out by the C library, and there libfaketime can.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::Command;

use super::packages;

/// Runs a static program of this machine's architecture with its clock off by `offset`, as
/// libfaketime writes it: `+2h`, `-30d`. Timers go on as they are.
pub async fn shifted(program: &Path, offset: &str) -> Result<Command> {
    packages::ensure(&["qemu-user", "libfaketime"]).await?;
    let library = format!("/usr/lib/{ARCH}-linux-gnu/faketime/libfaketime.so.1");
    let mut command = Command::new(format!("qemu-{ARCH}"));
    command
        .arg(program)
        .env("LD_PRELOAD", library)
        .env("FAKETIME", offset)
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        // Timestamps of files are the file system's.
        .env("NO_FAKE_STAT", "1")
        .kill_on_drop(true);
    Ok(command)
}

/// Runs a command of [`shifted`] to its end, which may take so long.
pub async fn output(command: &mut Command, patience: Duration) -> Result<Output> {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn()?;
    let id = child.id().context("it has no id")?;
    let ended = tokio::time::timeout(patience, child.wait_with_output()).await;
    // libfaketime takes them away in a process that ends by the C library, and QEMU's does not.
    for left in ["faketime_shm_", "sem.faketime_sem_"] {
        let _ = fs::remove_file(format!("/dev/shm/{left}{id}"));
    }
    Ok(ended.context("it does not end")??)
}
