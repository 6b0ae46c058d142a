//! What the Prometheus operator defines, from its Go module; the operator itself is not run.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;

use crate::bed::Bed;
use crate::bed::wait::until;
use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::tools;

const MODULE: &str = "github.com/prometheus-operator/prometheus-operator@v0.88.0";
/// Go's own hash of the module's files.
const SUM: &str = "h1:3T/dCQdk7CUVRqVfwRHoC5g66fC/ML6XQQLtQVL6Q5o=";
/// Where they are in it.
const DIRECTORY: &str = "example/prometheus-operator-crd";
const KINDS: [&str; 2] = ["podmonitors", "prometheusrules"];

/// Makes the cluster know PodMonitors and PrometheusRules.
pub async fn define(bed: &Bed) -> Result<()> {
    tools::require(&[tools::GO])?;
    let download = Run::new("go")
        .args(["mod", "download", "-json", MODULE])
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .dir(std::env::temp_dir());
    let told = step(format!("download {MODULE}"), download.output()).await?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    ensure!(
        told["Sum"] == SUM,
        "{MODULE} is another one: {}",
        told["Sum"]
    );
    let module = told["Dir"].as_str().context("go names no directory")?;
    let definitions = Api::<CustomResourceDefinition>::all(bed.client());
    for kind in KINDS {
        let path = format!("{module}/{DIRECTORY}/monitoring.coreos.com_{kind}.yaml");
        let yaml = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        bed.apply(&yaml).await?;
        let name = format!("{kind}.monitoring.coreos.com");
        let established = async || {
            let conditions = definitions.get_status(&name).await?.status;
            let mut conditions = conditions
                .and_then(|it| it.conditions)
                .into_iter()
                .flatten();
            let is = conditions.any(|it| it.type_ == "Established" && it.status == "True");
            Ok(is.then_some(()))
        };
        until(
            "the API server serves it",
            Duration::from_secs(30),
            established,
        )
        .await?;
    }
    Ok(())
}
