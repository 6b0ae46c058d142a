//! Whether a storage answers, without writing to it.

use protocol::{Outcome, ProbeRequest, Reason};

use crate::backup::error::chain;
use crate::run_context::Run;
use crate::storage;

/// Opens the storage and reads from it.
pub async fn run(run: &Run, request: &ProbeRequest) -> Outcome {
    let probed = async {
        let store = storage::open(&request.storage).await?;
        store.reach().await?;
        Ok::<_, store::Error>(format!("{} answers", store.name()))
    };
    let (reason, message) = match probed.await {
        Ok(message) => (Reason::Reachable, message),
        Err(error) => (storage::reason(&error), chain(&error)),
    };
    outcome(run, reason, message)
}

/// An outcome of a run that is no backup.
pub fn outcome(run: &Run, reason: Reason, message: String) -> Outcome {
    Outcome::ended(reason, message, run.attempt)
}
