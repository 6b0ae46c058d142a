//! The manifest of a node with a great many components.

use anyhow::Result;

use super::add;
use crate::bench::invocation::Invocation;
use crate::bench::measure::measure;
use crate::bench::results::{Case, Sample, Series};
use crate::host::progress::step;

/// The case's name.
pub const NAME: &str = "Manifest of 1,000,000 components";
/// What writes it.
pub const WRITE: &str = "write";
/// What reads it.
pub const READ: &str = "read";
const COMPONENTS: u64 = 1_000_000;

/// Writes it and reads it, each as a process of its own.
pub async fn run(repeats: usize) -> Result<Case> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("manifest.jsonl");
    let me = std::env::current_exe()?;
    let mut series: Vec<Series> = Vec::new();
    for round in 0..repeats {
        for what in [WRITE, READ] {
            let invocation = Invocation::new(&me)
                .args(["manifest", what, &COMPONENTS.to_string()])
                .arg(&path);
            let label = format!("{NAME}: {what}, run {}", round + 1);
            let (cost, _) = step(label, measure(&invocation)).await?;
            let names = [
                (me.display().to_string(), "side-by-side"),
                (path.display().to_string(), "manifest.jsonl"),
            ];
            let sample = Sample {
                cost,
                ..Sample::default()
            };
            add(&mut series, what, (invocation.shown(&names), sample));
        }
    }
    Ok(Case {
        name: NAME.into(),
        about: "SSTables of eight components in tables of a thousand SSTables; whole processes."
            .into(),
        series,
        bytes: std::fs::metadata(&path)?.len(),
        files: COMPONENTS,
        snapshots: Vec::new(),
        imports: Vec::new(),
    })
}
