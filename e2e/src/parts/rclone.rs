//! rclone, from its Go module: a raw copy of the benchmark.

use std::path::PathBuf;

use anyhow::Result;

use crate::host::go::{Program, Source};

/// Its version.
pub const VERSION: &str = "1.76.0";

/// The program, built when it is not in the cache.
pub async fn ensure() -> Result<PathBuf> {
    let package = format!("github.com/rclone/rclone@v{VERSION}");
    Program {
        name: "rclone",
        source: Source::Package(&package),
        ldflags: "",
    }
    .ensure()
    .await
}
