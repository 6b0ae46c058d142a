//! Grafana's own types of dashboards, from its Go module (`e2e/go/dashboard`); Grafana itself is in no registry of
//! these machines.

use anyhow::Result;

use crate::host::go::{Program, Source};
use crate::host::run::Run;

/// An error where they do not know a field of a dashboard, its type or its value, or miss one: also in its panels and
/// queries.
pub async fn check(dashboard: &str) -> Result<()> {
    let files = [
        ("go.mod", include_str!("../../go/dashboard/go.mod")),
        ("go.sum", include_str!("../../go/dashboard/go.sum")),
        ("main.go", include_str!("../../go/dashboard/main.go")),
    ];
    let program = Program {
        name: "dashboard",
        source: Source::Files(&files),
        ldflags: "",
    };
    let run = Run::new(program.ensure().await?).input(dashboard);
    Ok(run.ok().await?)
}
