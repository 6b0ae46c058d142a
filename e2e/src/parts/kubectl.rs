//! kubectl 1.34.4, built from its Go module (`e2e/go/kubectl`).

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::host::go::{Program, Source};
use crate::host::run::Run;

const LDFLAGS: &str = "-X k8s.io/component-base/version.gitVersion=v1.34.4 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34";

/// The program, which is called `kubectl`, built when it is not in the cache: two minutes on two idle cores.
pub async fn ensure() -> Result<PathBuf> {
    let files = [
        ("go.mod", include_str!("../../go/kubectl/go.mod")),
        ("go.sum", include_str!("../../go/kubectl/go.sum")),
        ("main.go", include_str!("../../go/kubectl/main.go")),
    ];
    Program {
        name: "kubectl",
        source: Source::Files(&files),
        ldflags: LDFLAGS,
    }
    .ensure()
    .await
}

/// What the API server says of objects that are to be applied, one line each; an error if it does not take
/// one, or does not know a field. Changes nothing.
pub async fn validate(kubeconfig: &Path, namespace: &str, yaml: &str) -> Result<String> {
    let apply = Run::new(ensure().await?)
        .args(["apply", "--server-side", "--dry-run=server"])
        .args(["--validate=strict", "--field-manager", "gitops"])
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--namespace", namespace, "--filename", "-"])
        .input(yaml);
    Ok(apply.output().await?)
}

/// What the API server would change if `yaml` were applied, as a GitOps controller asks for it; empty where
/// it would change nothing.
pub async fn diff(kubeconfig: &Path, namespace: &str, yaml: &str) -> Result<String> {
    let diff = Run::new(ensure().await?)
        .args(["diff", "--server-side", "--force-conflicts"])
        .args(["--field-manager", "gitops"])
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--namespace", namespace, "--filename", "-"])
        .input(yaml);
    let (status, out, errors) = diff.finish().await?;
    ensure!(
        matches!(status.code(), Some(0 | 1)),
        "kubectl diff: {status}\n{}",
        String::from_utf8_lossy(&errors)
    );
    Ok(String::from_utf8_lossy(&out).into_owned())
}
