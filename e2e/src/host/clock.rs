//! Programs that see another time than the machine has.
//!
//! A static program asks the kernel itself, so no library can stand before it. QEMU's user mode
//! carries its system calls out by the C library, and there libfaketime can.

use std::env::consts::ARCH;
use std::path::Path;

use anyhow::Result;
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
        .env("NO_FAKE_STAT", "1");
    Ok(command)
}
