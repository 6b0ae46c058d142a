//! vmalert-tool 1.140.0, from its Go module: evaluates alerts over series of a test, as promtool does, whose own
//! module is not to be had.
//!
//! Its language is VictoriaMetrics' own. Where that differs from Prometheus' (`increase` takes a series that begins
//! with 1 for one that has increased), nothing is shown by it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::host::go::{Program, Source};
use crate::host::run::Run;

/// The program, built when it is not in the cache: a minute on two idle cores.
pub async fn ensure() -> Result<PathBuf> {
    let source =
        Source::Package("github.com/VictoriaMetrics/VictoriaMetrics/app/vmalert-tool@v1.140.0");
    Program {
        name: "vmalert-tool",
        source,
        ldflags: "",
    }
    .ensure()
    .await
}

/// Runs the tests in a file. The error shows what was expected, and what came.
pub async fn unittest(file: &Path) -> Result<()> {
    let tool = Run::new(ensure().await?)
        .args(["unittest", "--disableAlertgroupLabel", "--files"])
        .arg(file);
    let (status, out, errors) = tool.finish().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        status.success(),
        "vmalert-tool: {status}\n{}\n{}",
        text(&out),
        text(&errors)
    );
    Ok(())
}
