//! Machine and versions.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::host::run::Run;
use crate::parts::cassandra::Version;
use crate::parts::{awscli, b3sum, binaries, esop, medusa, rclone};

/// Name and value of each. `given` is an agent that was built elsewhere.
pub async fn gather(given: Option<&Path>) -> Result<Vec<(String, String)>> {
    let first = |text: String| text.lines().next().unwrap_or_default().trim().to_owned();
    let curl = first(Run::new("curl").arg("--version").output().await?);
    let curl = curl.split(' ').nth(1).unwrap_or_default().to_owned();
    let cp = first(Run::new("cp").arg("--version").output().await?);
    let cp = cp.rsplit(' ').next().unwrap_or_default().to_owned();
    let kernel = first(Run::new("uname").arg("-r").output().await?);
    let temporary = std::env::temp_dir();
    let disk = Run::new("findmnt")
        .args(["--noheadings", "--output", "FSTYPE", "--target"])
        .arg(&temporary);
    let disk = first(disk.output().await?);
    let commit = Run::new("git")
        .args(["describe", "--always", "--dirty"])
        .dir(binaries::workspace()?);
    let commit = first(commit.output().await?);
    let minio = include_str!("../../go/minio/go.mod")
        .lines()
        .find_map(|line| line.trim().strip_prefix("github.com/minio/minio v"))
        .unwrap_or_default();
    let date = jiff::Zoned::now().strftime("%Y-%m-%d").to_string();
    let facts = [
        ("Date", date),
        ("Machine", machine()?),
        ("Kernel, file system", format!("Linux {kernel}, {disk}")),
        (
            "cassandra-backup",
            match given {
                None => format!("commit {commit}, release build"),
                Some(_) => "built elsewhere".into(),
            },
        ),
        ("Cassandra", format!("{}, one node", Version::V5_0.number())),
        ("MinIO", format!("{minio}, same machine, same disk")),
        ("Medusa", medusa::VERSION.into()),
        ("Esop", esop::VERSION.into()),
        (
            "curl, coreutils, awscli, rclone, b3sum",
            format!(
                "{curl}, {cp}, {}, {}, {}",
                awscli::VERSION,
                rclone::VERSION,
                b3sum::VERSION
            ),
        ),
    ];
    Ok(facts.map(|(name, value)| (name.to_owned(), value)).into())
}

fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1))
        .unwrap_or("CPU");
    let cores = std::thread::available_parallelism()?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let memory: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next())
        .unwrap_or("0")
        .parse()?;
    Ok(format!("{model}, {cores} cores, {} GiB", memory >> 20))
}
