//! Programs that come as Python packages, each in a virtual environment of its own.

use std::path::PathBuf;

use anyhow::Result;

use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::{cache, tools};

/// A program of a package: its script, and the Python that runs it. The script's own first line
/// names the place where it was installed at first.
#[derive(Debug, Clone)]
pub struct Program {
    /// The environment's Python.
    pub python: PathBuf,
    /// What it is to run.
    pub script: PathBuf,
}

/// `program` of `requirement` (`name==version`), fetched when it is not in the cache.
pub async fn ensure(name: &str, requirement: &str, program: &str) -> Result<Program> {
    let programs = environment(name, &[requirement]).await?;
    Ok(Program {
        python: programs.join("python"),
        script: programs.join(program),
    })
}

/// The programs of an environment that has these packages (`name==version`), Python among them.
pub async fn environment(name: &str, requirements: &[&str]) -> Result<PathBuf> {
    let key = requirements.join(" ");
    let dir = cache::ensure(name, &key, async |dir| {
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
            .args(requirements);
        step(format!("fetch {key} from PyPI"), pip.ok()).await?;
        Ok(())
    });
    Ok(dir.await?.join("venv/bin"))
}
