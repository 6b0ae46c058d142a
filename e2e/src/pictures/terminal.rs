//! The command line as people see it: a backup on a terminal, and what is told of it afterwards.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{DB, Ground, NODES, STORAGE, python};
use crate::host::progress::step;
use crate::parts::{binaries, kubectl};

/// Columns and lines. A bar with its time left is 115 columns wide; on a narrower terminal it takes two lines.
const SIZE: [&str; 2] = ["120", "32"];

/// Runs the commands on a terminal, and gives the files with what came to it.
pub(super) async fn record(ground: &Ground<'_>) -> Result<Vec<PathBuf>> {
    let folder = ground.folder.path();
    symlink(kubectl::ensure().await?, folder.join("kubectl"))?;
    symlink(
        binaries::plugin().await?,
        folder.join("kubectl-cassandra_backup"),
    )?;
    let others = std::env::var("PATH").context("no PATH")?;
    let path = format!("{}:{others}", folder.display());
    let config = kubeconfig(ground)?;
    // Slow enough for bars to be seen.
    let backup = format!(
        "backup first --cluster {DB} --storage {STORAGE} --selector app={DB} --bandwidth 4Mi"
    );
    let mut records = Vec::new();
    for words in [backup.as_str(), "status first", "list"] {
        let command = format!("kubectl cassandra-backup {words}");
        let file = folder.join(format!("{}.json", records.len()));
        let recorded = python::script("terminal.py")
            .await?
            .arg("record")
            .arg(&file)
            .args(SIZE)
            .args(command.split(' '))
            .env("PATH", &path)
            .env("KUBECONFIG", &config)
            .env("TERM", "xterm-256color");
        step(command, recorded.ok()).await?;
        records.push(file);
    }
    Ok(records)
}

/// Draws the first of them half way, and the others as they ended.
pub(super) async fn draw(records: &[PathBuf], picture: &Path) -> Result<()> {
    let drawn = python::script("terminal.py")
        .await?
        .arg("draw")
        .arg(picture)
        .arg(NODES.to_string())
        .args(records);
    Ok(drawn.ok().await?)
}

/// A kubeconfig whose context is in the namespace, as people have it.
fn kubeconfig(ground: &Ground<'_>) -> Result<PathBuf> {
    let bed = ground.bed.kubeconfig();
    let text = fs::read_to_string(&bed).with_context(|| bed.display().to_string())?;
    // The bed writes it as JSON.
    let mut config: Value = serde_json::from_str(&text)?;
    config["contexts"][0]["context"]["namespace"] = ground.namespace.name().into();
    let file = ground.folder.path().join("kubeconfig");
    fs::write(&file, config.to_string())?;
    Ok(file)
}
