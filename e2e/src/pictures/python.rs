//! The Python that draws, with its packages in a virtual environment of its own.

use std::path::PathBuf;

use anyhow::Result;

use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::{cache, tools};
use crate::parts::binaries;

/// What the scripts import besides Python's own.
const PACKAGES: [&str; 3] = ["matplotlib==3.11.2", "pyte==0.8.2", "rich==15.0.0"];

/// The environment's Python, its packages fetched when they are not in the cache.
pub(super) async fn ensure() -> Result<PathBuf> {
    let key = cache::key(PACKAGES);
    let dir = cache::ensure("pictures", &key, async |dir| {
        tools::require(&[tools::PYTHON])?;
        let venv = dir.join("venv");
        Run::new("python3")
            .args(["-m", "venv"])
            .arg(&venv)
            .ok()
            .await?;
        let pip = Run::new(venv.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet"])
            .arg("--disable-pip-version-check")
            .args(PACKAGES);
        step("fetch matplotlib, pyte and rich from PyPI", pip.ok()).await?;
        Ok(())
    });
    Ok(dir.await?.join("venv/bin/python"))
}

/// A script beside this file, to be given arguments and run.
pub(super) async fn script(name: &str) -> Result<Run> {
    let scripts = binaries::workspace()?.join("e2e/src/pictures");
    Ok(Run::new(ensure().await?).arg(scripts.join(name)))
}
