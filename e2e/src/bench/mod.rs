//! `cargo side-by-side`: the agent beside Medusa, Esop and raw copies, in one run on the same
//! data. Whole processes are measured from outside, and the result is written as a document.

pub mod bare;
pub mod cases;
pub mod data;
mod facts;
mod invocation;
mod latency;
pub mod measure;
mod report;
mod residency;
mod results;
mod tools;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use cases::{Ground, Kind};
use results::{Case, Results};
use tools::Programs;

use crate::parts::{binaries, minio};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Runs of each tool; the report has their medians.
    pub repeats: usize,
    /// Bytes of the large data.
    pub bytes: u64,
    /// Components of the small data.
    pub components: usize,
    /// Seconds that the reader reads.
    pub reader_seconds: u64,
    /// Only the cases whose names contain this.
    pub only: Option<String>,
    /// The agent to measure; built if there is none.
    pub agent: Option<PathBuf>,
    /// The document to write; a chart is written beside it.
    pub document: PathBuf,
}

impl Options {
    fn wants(&self, case: &str) -> bool {
        self.only.as_deref().is_none_or(|part| case.contains(part))
    }

    fn wants_s3(&self) -> bool {
        let new = cases::new_data::name(Kind::S3);
        let nothing = cases::nothing_new::name(Kind::S3);
        [new, nothing, cases::reader::NAME, cases::restore::NAME]
            .into_iter()
            .any(|case| self.wants(case))
    }
}

/// Measures everything and writes the document.
pub async fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    let server = async {
        // Four minutes, where it is not in the cache.
        match options.wants_s3() {
            true => minio::ensure().await.map(drop),
            false => Ok(()),
        }
    };
    let programs = Programs::ensure(options.agent.as_deref());
    let (programs, ()) = tokio::try_join!(programs, server)?;
    let mut cases = Vec::new();
    if options.wants(cases::manifest::NAME) {
        cases.push(cases::manifest::run(options.repeats).await?);
    }
    cases.extend(large(options, &programs).await?);
    cases.extend(many(options, &programs).await?);
    let results = Results {
        facts: facts::gather(options.agent.as_deref()).await?,
        repeats: options.repeats,
        seconds: began.elapsed().as_secs_f64(),
        cases,
    };
    let raw = raw()?;
    std::fs::write(&raw, serde_json::to_vec(&results)?)
        .with_context(|| raw.display().to_string())?;
    write(&results, &options.document)
}

/// Writes the document again from the last results.
pub fn write_again(document: &Path) -> Result<()> {
    let raw = raw()?;
    let results =
        std::fs::read(&raw).with_context(|| format!("no results in {}", raw.display()))?;
    write(&serde_json::from_slice(&results)?, document)
}

fn write(results: &Results, document: &Path) -> Result<()> {
    report::write(results, document)?;
    println!(
        "{} and {} are written, after {:.0} s",
        document.display(),
        document.with_extension("svg").display(),
        results.seconds
    );
    Ok(())
}

/// Where the results themselves are kept.
fn raw() -> Result<PathBuf> {
    Ok(binaries::workspace()?.join("target/side-by-side.json"))
}

/// The cases with much data in few files.
async fn large(options: &Options, programs: &Programs) -> Result<Vec<Case>> {
    let wanted: Vec<_> = [Kind::S3, Kind::File]
        .into_iter()
        .filter(|kind| options.wants(cases::new_data::name(*kind)))
        .collect();
    let reader = options.wants(cases::reader::NAME);
    let restore = options.wants(cases::restore::NAME);
    let mut done = Vec::new();
    if wanted.is_empty() && !reader && !restore {
        return Ok(done);
    }
    let mut ground = Ground::new(options, programs, data::large(options.bytes).await?).await?;
    for kind in wanted {
        done.push(cases::new_data::run(&ground, kind).await?);
    }
    if reader {
        done.push(cases::reader::run(&ground).await?);
    }
    // Last: afterwards the SSTables are others.
    if restore {
        done.push(cases::restore::run(&mut ground).await?);
    }
    Ok(done)
}

/// The cases with many small files.
async fn many(options: &Options, programs: &Programs) -> Result<Vec<Case>> {
    let wanted: Vec<_> = [Kind::S3, Kind::File]
        .into_iter()
        .filter(|kind| options.wants(cases::nothing_new::name(*kind)))
        .collect();
    let mut done = Vec::new();
    if wanted.is_empty() {
        return Ok(done);
    }
    let ground = Ground::new(options, programs, data::many(options.components).await?).await?;
    for kind in wanted {
        done.push(cases::nothing_new::run(&ground, kind).await?);
    }
    Ok(done)
}
