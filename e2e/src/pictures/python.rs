//! The Python that draws.

use std::path::PathBuf;

use anyhow::Result;

use crate::host::run::Run;
use crate::parts::{binaries, python};

/// What the scripts import besides Python's own.
const PACKAGES: [&str; 3] = ["matplotlib==3.11.2", "pyte==0.8.2", "rich==15.0.0"];

/// Python with these packages, fetched when they are not in the cache.
pub(super) async fn ensure() -> Result<PathBuf> {
    Ok(python::environment("pictures", &PACKAGES)
        .await?
        .join("python"))
}

/// A script beside this file, to be given arguments and run.
pub(super) async fn script(name: &str) -> Result<Run> {
    let scripts = binaries::workspace()?.join("e2e/src/pictures");
    Ok(Run::new(ensure().await?).arg(scripts.join(name)))
}
