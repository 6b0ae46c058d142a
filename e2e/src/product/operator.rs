//! The operator in a namespace of the bed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::bed::wait::until;
use crate::bed::{Bed, Namespace, is_ready};
use crate::host::cache::lock;
use crate::parts::{binaries, helm, images};

/// The release of the chart, and the name of the Deployment.
pub const RELEASE: &str = "cassandra-backup";
/// Where the chart is in the workspace.
const CHART: &str = "charts/cassandra-backup";
/// The pods of the release.
const PODS: &str = "app.kubernetes.io/instance=cassandra-backup";
/// How long another pod may take to be there. Alone it is 2 s.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where it shows its metrics.
const PORT: u16 = 8080;

/// Resident memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// At the moment.
    pub now: u64,
    /// The most that it ever had.
    pub most: u64,
}

/// An operator, in the namespace that its release is in.
pub struct Operator<'n> {
    namespace: &'n Namespace,
}

/// The folder of the chart.
pub fn chart() -> Result<PathBuf> {
    Ok(binaries::workspace()?.join(CHART))
}

impl<'n> Operator<'n> {
    /// The operator of one namespace: it watches that one and has rights in no other, so that
    /// several run beside each other. Builds it, gives its image to the node and installs the
    /// chart; returns when it is ready.
    pub async fn install(bed: &Bed, namespace: &'n Namespace) -> Result<Self> {
        let watched = json!({"watchNamespaces": [namespace.name()]});
        Self::install_with(bed, namespace, watched).await
    }

    /// An operator with these values of the chart, besides its image.
    pub async fn install_with(bed: &Bed, namespace: &'n Namespace, values: Value) -> Result<Self> {
        Self::install_from(bed, namespace, &chart()?, values).await
    }

    /// The same with another chart than ours of today: a folder, or a packed one.
    pub async fn install_from(
        bed: &Bed,
        namespace: &'n Namespace,
        chart: &Path,
        values: Value,
    ) -> Result<Self> {
        let image = images::operator(&binaries::build().await?).await?;
        bed.import(&image).await?;
        let (repository, tag) = image
            .name
            .rsplit_once(':')
            .with_context(|| format!("the image {} has no tag", image.name))?;
        let mut values = values;
        values["image"] = json!({"repository": repository, "tag": tag, "pullPolicy": "Never"});
        // The definitions belong to no namespace: two releases must not make them at once.
        let _one_at_a_time = lock(&bed.ground().state().join("helm.lock")).await?;
        helm::install(bed, chart, RELEASE, namespace.name(), &values.to_string()).await?;
        Ok(Self { namespace })
    }

    /// The name of its pod.
    pub async fn pod(&self) -> Result<String> {
        let pod = self
            .ready()
            .await?
            .context("the operator has no pod that is ready")?;
        Ok(pod.name_any())
    }

    /// What its pod has written so far.
    pub async fn logs(&self) -> Result<String> {
        self.namespace.logs(&self.pod().await?, None).await
    }

    /// Its process, as this machine knows it.
    pub async fn pid(&self) -> Result<i32> {
        let pids = self.namespace.processes(&self.pod().await?).await?;
        pids.first().copied().context("its process is not there")
    }

    /// The resident memory of its process.
    pub async fn memory(&self) -> Result<Memory> {
        let pid = self.pid().await?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.split_ascii_whitespace().next());
            let value = value.and_then(|value| value.parse().ok());
            value.with_context(|| format!("process {pid} has no {name}"))
        };
        Ok(Memory {
            now: field("VmRSS:")?,
            most: field("VmHWM:")?,
        })
    }

    /// What Prometheus would read.
    pub async fn metrics(&self) -> Result<String> {
        let (namespace, pod) = (self.namespace.name(), self.pod().await?);
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{PORT}/proxy/metrics");
        let client = self.namespace.api::<Pod>().into_client();
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(client.request_text(request).await?)
    }

    /// Kills its pod without a word, and waits for the one that takes its place.
    pub async fn kill(&self) -> Result<()> {
        let old = self.pod().await?;
        let at_once = DeleteParams::default().grace_period(0);
        self.namespace.api::<Pod>().delete(&old, &at_once).await?;
        let other = async || {
            let pod = self.ready().await?;
            Ok(pod.filter(|pod| pod.name_any() != old).map(drop))
        };
        until("another pod of the operator is ready", PATIENCE, other).await
    }

    /// Ends it, until [`Self::resume`].
    pub async fn stop(&self) -> Result<()> {
        self.scale(0).await?;
        let pods = self.namespace.api::<Pod>();
        let gone = async || {
            let left = pods.list(&ListParams::default().labels(PODS)).await?;
            Ok(left.items.is_empty().then_some(()))
        };
        until("no pod of the operator is left", PATIENCE, gone).await
    }

    /// Starts it again after [`Self::stop`].
    pub async fn resume(&self) -> Result<()> {
        self.scale(1).await?;
        let there = async || Ok(self.ready().await?.map(drop));
        until("a pod of the operator is ready", PATIENCE, there).await
    }

    async fn scale(&self, replicas: i32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        let deployments = self.namespace.api::<Deployment>();
        deployments
            .patch_scale(RELEASE, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    async fn ready(&self) -> Result<Option<Pod>> {
        let pods = self.namespace.api::<Pod>();
        let pods = pods.list(&ListParams::default().labels(PODS)).await?;
        let staying = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod);
        Ok(pods.into_iter().find(staying))
    }
}
