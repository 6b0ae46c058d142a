//! Custom resource definitions of others, from their Go modules: the API server then says whether what we
//! write for them is right. Their controllers are not run.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, ResourceExt as _};

use crate::bed::Bed;
use crate::bed::wait::until;
use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::tools;

/// A module, and what of it is defined.
pub struct Module {
    name: &'static str,
    /// Go's own hash of the module's files.
    sum: &'static str,
    files: &'static [&'static str],
}

/// PodMonitors and PrometheusRules.
pub const PROMETHEUS: &[Module] = &[Module {
    name: "github.com/prometheus-operator/prometheus-operator@v0.88.0",
    sum: "h1:3T/dCQdk7CUVRqVfwRHoC5g66fC/ML6XQQLtQVL6Q5o=",
    files: &[
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
}];

/// Applications.
pub const ARGO_CD: &[Module] = &[Module {
    name: "github.com/argoproj/argo-cd/v2@v2.14.21",
    sum: "h1:Ux50vfMUITW+Y+6GAYgQlZbr6WHE5ogiLg9OxxvP9EA=",
    files: &["manifests/crds/application-crd.yaml"],
}];

/// GitRepositories, HelmReleases and Kustomizations, of versions that Go 1.26 takes.
pub const FLUX: &[Module] = &[
    Module {
        name: "github.com/fluxcd/source-controller@v1.7.0",
        sum: "h1:/fBgS4CSmT5Jj/fjQDF92y+pC3gst1GJjgNSzY8Ff9I=",
        files: &["config/crd/bases/source.toolkit.fluxcd.io_gitrepositories.yaml"],
    },
    Module {
        name: "github.com/fluxcd/helm-controller@v1.4.0",
        sum: "h1:rkm8rmB6Na7eNc4pJOnvtXEaJ19iKluRtayHKjBxcUM=",
        files: &["config/crd/bases/helm.toolkit.fluxcd.io_helmreleases.yaml"],
    },
    Module {
        name: "github.com/fluxcd/kustomize-controller@v1.7.3",
        sum: "h1:SzNnGn/4ObAPEHHleM5U7y/AKxKXph3Vj6ZhteeXw8M=",
        files: &["config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml"],
    },
];

/// Makes the cluster know them.
pub async fn define(bed: &Bed, modules: &[Module]) -> Result<()> {
    tools::require(&[tools::GO])?;
    for module in modules {
        let directory = download(module).await?;
        for file in module.files {
            let path = format!("{directory}/{file}");
            let yaml = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            establish(bed, &yaml).await?;
        }
    }
    Ok(())
}

/// The directory of a module's files.
async fn download(module: &Module) -> Result<String> {
    let download = Run::new("go")
        .args(["mod", "download", "-json", module.name])
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        .dir(std::env::temp_dir());
    let told = step(format!("download {}", module.name), download.output()).await?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    let sum = &told["Sum"];
    ensure!(sum == module.sum, "{} is another one: {sum}", module.name);
    let directory = told["Dir"].as_str().context("go names no directory")?;
    Ok(directory.to_owned())
}

async fn establish(bed: &Bed, yaml: &str) -> Result<()> {
    let definition: CustomResourceDefinition = serde_saphyr::from_str(yaml)?;
    bed.apply(yaml).await?;
    let definitions = Api::<CustomResourceDefinition>::all(bed.client());
    let name = definition.name_any();
    let established = async || {
        let conditions = definitions.get_status(&name).await?.status;
        let mut conditions = conditions
            .and_then(|it| it.conditions)
            .into_iter()
            .flatten();
        let is = conditions.any(|it| it.type_ == "Established" && it.status == "True");
        Ok(is.then_some(()))
    };
    let patience = Duration::from_secs(30);
    until("the API server serves it", patience, established).await
}
