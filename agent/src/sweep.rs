//! Removes the snapshots that ended runs left on the node.

use std::path::PathBuf;

use protocol::{Outcome, Reason, SweepRequest};

use crate::backup::error::{Error, chain};
use crate::backup::{self, leftovers, node};
use crate::neighbour;
use crate::probe::outcome;
use crate::run_context::Run;

/// Removes them, unless a run is at work.
pub async fn run(run: &Run, request: &SweepRequest) -> Outcome {
    match sweep(run, request).await {
        Ok(0) => outcome(
            run,
            Reason::Succeeded,
            "no snapshot of ours was left".into(),
        ),
        Ok(tags) => outcome(run, Reason::Succeeded, format!("{tags} snapshots removed")),
        Err(error) => outcome(run, error.reason(), chain(&error)),
    }
}

async fn sweep(run: &Run, request: &SweepRequest) -> Result<usize, Error> {
    let cassandra = node::connect(&request.jmx).await?;
    let host_id = cassandra
        .host_id()
        .await
        .map_err(Error::jmx("cannot read the host id"))?;
    let host_id = host_id
        .parse()
        .map_err(|_| Error::Answer(format!("host id {host_id:?} is no UUID")))?;
    let _lock = backup::lock(run, host_id).await?;
    let directories = cassandra
        .data_directories()
        .await
        .map_err(Error::jmx("cannot read the data directories over JMX"))?;
    let directories: Vec<PathBuf> = directories.into_iter().map(PathBuf::from).collect();
    if let Some(directory) = directories.first() {
        neighbour::become_owner_of(directory, &run.state)
            .map_err(|error| Error::Owner(error.to_string()))?;
    }
    let mut swept = leftovers::sweep(&cassandra, directories).await?;
    match swept.left.pop_first() {
        None => Ok(swept.removed.len()),
        Some(tag) => Err(Error::SnapshotLeft(tag)),
    }
}
