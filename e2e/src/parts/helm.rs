//! helm 3.22.0, from its Go module.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::bed::Bed;
use crate::host::go::{Program, Source};
use crate::host::progress::step;
use crate::host::run::Run;

/// What helm takes for the cluster's version where it has none is older than charts allow.
const KUBE: &str = "1.34.4";

/// The program, built when it is not in the cache: 2 minutes on two idle cores.
pub async fn ensure() -> Result<PathBuf> {
    let source = Source::Package("helm.sh/helm/v3/cmd/helm@v3.22.0");
    Program {
        name: "helm",
        source,
        ldflags: "",
    }
    .ensure()
    .await
}

/// Installs the chart in the folder `chart` as `release`, or upgrades it, and waits until what it
/// made is ready. `values` is YAML.
pub async fn install(
    bed: &Bed,
    chart: &Path,
    release: &str,
    namespace: &str,
    values: &str,
) -> Result<()> {
    let install = helm(bed, namespace)
        .await?
        .args(["upgrade", "--install", release])
        .arg(chart)
        .args([
            "--create-namespace",
            // Definitions belong to the whole cluster, and stay when the release that made them
            // has gone with its namespace.
            "--take-ownership",
            "--wait",
            "--timeout",
            "180s",
            "--values",
            "-",
        ])
        .input(values);
    step(format!("helm install {release}"), install.ok())
        .await
        .with_context(|| format!("could not install the chart {}", chart.display()))
}

/// Removes `release` and waits until it is gone.
pub async fn uninstall(bed: &Bed, release: &str, namespace: &str) -> Result<()> {
    let uninstall = helm(bed, namespace).await?;
    let uninstall = uninstall.args(["uninstall", release, "--wait", "--ignore-not-found"]);
    Ok(step(format!("helm uninstall {release}"), uninstall.ok()).await?)
}

/// What the chart makes of `values`, as YAML; needs no cluster.
pub async fn template(chart: &Path, release: &str, values: &str) -> Result<String> {
    let helm = Run::new(ensure().await?)
        .args(["template", release])
        .arg(chart);
    Ok(helm
        .args(["--kube-version", KUBE])
        .args(["--include-crds", "--values", "-"])
        .input(values)
        .output()
        .await?)
}

/// An error unless helm finds the chart well formed.
pub async fn lint(chart: &Path) -> Result<()> {
    let helm = Run::new(ensure().await?).args(["lint", "--strict"]);
    Ok(helm.arg(chart).args(["--kube-version", KUBE]).ok().await?)
}

async fn helm(bed: &Bed, namespace: &str) -> Result<Run> {
    let run = Run::new(ensure().await?)
        .arg("--kubeconfig")
        .arg(bed.kubeconfig());
    Ok(run.args(["--namespace", namespace]))
}
