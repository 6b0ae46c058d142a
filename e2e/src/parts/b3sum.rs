//! b3sum, BLAKE3's own program, from crates.io: what hashing alone costs.

use std::path::PathBuf;

use anyhow::Result;

use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::{cache, tools};

/// Its version.
pub const VERSION: &str = "1.8.7";

/// The program, built when it is not in the cache.
pub async fn ensure() -> Result<PathBuf> {
    let dir = cache::ensure("b3sum", VERSION, async |dir| {
        tools::require(&[tools::CARGO])?;
        let cargo = Run::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["install", "--locked", "b3sum"])
            .args(["--version", VERSION, "--no-track", "--root"])
            .arg(&dir)
            // Not the flags of this workspace.
            .dir(&dir);
        step(format!("build b3sum {VERSION}"), cargo.tells().ok()).await?;
        Ok(())
    });
    Ok(dir.await?.join("bin/b3sum"))
}
