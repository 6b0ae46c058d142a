//! A Cassandra cluster in the bed's Kubernetes, and what a test does to it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use rustix::process::Signal;
use serde_json::json;

use super::Distribution;
use super::config::{self, Credentials, Jmx};
use super::cql::{self, Session};
use super::manifests::{self, CONTAINER, HOME, Images, Options};
use crate::bed::wait::until;
use crate::bed::{Bed, Namespace, Output};
use crate::host::process::Identity;
use crate::parts::images;

/// How long all pods may take to become ready. Alone on two cores it is 30 s.
const PATIENCE: Duration = Duration::from_secs(300);
/// The directory of the bed with the volumes, by namespace.
const VOLUMES: &str = "volumes";

/// A Cassandra cluster in a namespace, which ends with it.
pub struct Cluster<'n> {
    /// What it was asked to be.
    pub options: Options,
    namespace: &'n Namespace,
    folder: PathBuf,
}

impl<'n> Cluster<'n> {
    /// Makes a cluster and waits until all its pods are ready: 30 s for three nodes on two idle
    /// cores.
    pub async fn start(bed: &Bed, namespace: &'n Namespace, options: Options) -> Result<Self> {
        let cluster = Self::apply(bed, namespace, options).await?;
        cluster.wait_ready().await?;
        if let Some(wanted) = &cluster.options.cql
            && !cluster.options.asleep
        {
            cql::create_superuser(&cluster.address(0).await?, wanted).await?;
        }
        cluster.agree().await?;
        Ok(cluster)
    }

    /// Waits until every node knows that all others are up.
    pub async fn agree(&self) -> Result<()> {
        if self.options.asleep {
            return Ok(());
        }
        let addresses = (0..self.options.replicas).map(|pod| self.address(pod));
        let addresses = try_join_all(addresses).await?;
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        cql::agree(&addresses, self.options.cql.as_ref()).await
    }

    /// The same without waiting for the pods.
    pub async fn apply(bed: &Bed, namespace: &'n Namespace, options: Options) -> Result<Self> {
        sweep(bed).await?;
        let distribution = Distribution::ensure(options.version).await?;
        let configure = images::cassandra(options.version).await?;
        let cassandra = match options.shell {
            true => configure.clone(),
            false => images::cassandra_without_shell(options.version).await?,
        };
        for image in [&configure, &cassandra] {
            bed.import(image).await?;
        }
        let folder = bed
            .ground()
            .dir(&format!("{VOLUMES}/{}", namespace.name()))?;
        let volumes = (0..options.replicas).map(|pod| manifests::volume(&folder, &options, pod));
        for directory in volumes.chain([manifests::seed(&folder, &options)]) {
            fs::create_dir_all(&directory)?;
            chown(&directory, Some(options.uid), Some(options.uid))?;
        }
        let images = Images {
            cassandra,
            configure,
        };
        let manifests =
            manifests::render(namespace.name(), &folder, &options, &distribution, &images)?;
        for manifest in manifests {
            // JSON is YAML.
            namespace.apply(&manifest.to_string()).await?;
        }
        Ok(Self {
            options,
            namespace,
            folder,
        })
    }

    /// Applies a PodTemplate: one node of the same configuration and without data, that belongs to no
    /// cluster.
    pub async fn pod_template(&self, name: &str) -> Result<()> {
        let sets = self.namespace.api::<StatefulSet>();
        let set = sets.get(&self.options.name).await?;
        let mut template = serde_json::to_value(set.spec.map(|spec| spec.template))?;
        template["metadata"] = json!({"labels": {"app": name}});
        let spec = &mut template["spec"];
        // It is the first pod, and its own seed.
        let first = self.options.pod(0);
        spec["initContainers"][0]["env"][0] = json!({"name": "POD_NAME", "value": first});
        if let Some(volumes) = spec["volumes"].as_array_mut() {
            volumes.retain(|volume| volume["name"] != "seed");
            let empty = |name: &str| json!({"name": name, "emptyDir": {}});
            volumes.extend([empty("seed"), empty("data")]);
        }
        let object = json!({
            "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name},
            "template": template,
        });
        self.namespace.apply(&object.to_string()).await
    }

    /// Waits until every pod is ready.
    pub async fn wait_ready(&self) -> Result<()> {
        let pods = (0..self.options.replicas).map(|pod| self.wait_pod_ready(pod));
        try_join_all(pods).await.map(drop)
    }

    /// Waits until one pod is ready, and not about to go.
    pub async fn wait_pod_ready(&self, pod: usize) -> Result<()> {
        let ready =
            |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && crate::bed::is_ready(pod);
        let name = self.options.pod(pod);
        self.namespace
            .wait_for(&name, "is ready", PATIENCE, ready)
            .await
            .map(drop)
    }

    /// The address of a pod, reachable from this machine.
    pub async fn address(&self, pod: usize) -> Result<String> {
        let name = self.options.pod(pod);
        let found = self.namespace.api::<Pod>().get(&name).await?;
        let address = found.status.and_then(|status| status.pod_ip);
        address.with_context(|| format!("pod {name} has no address yet"))
    }

    /// A session with one node alone.
    pub async fn cql(&self, pod: usize) -> Result<Session> {
        cql::connect(&[&self.address(pod).await?], self.options.cql.as_ref()).await
    }

    /// A session with all nodes.
    pub async fn session(&self) -> Result<Session> {
        let addresses = (0..self.options.replicas).map(|pod| self.address(pod));
        let addresses = try_join_all(addresses).await?;
        let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
        cql::connect(&addresses, self.options.cql.as_ref()).await
    }

    /// Runs nodetool in a pod; an error unless it succeeds. Returns what it printed.
    pub async fn nodetool(&self, pod: usize, args: &[&str]) -> Result<String> {
        let mut command = vec![
            "/opt/java/bin/java",
            "@/var/lib/cassandra/conf/nodetool.args",
        ];
        let file = format!("{HOME}/conf/{}", config::JMX_PASSWORDS);
        if let Jmx::Password(Credentials { user, .. }) = &self.options.jmx {
            command.extend(["-u", user, "-pwf", &file]);
        }
        command.extend(args);
        let said = self.exec(pod, &command).await?;
        said.text()
            .with_context(|| format!("nodetool {} on pod {pod}", args.join(" ")))
    }

    /// Runs a command in Cassandra's container of a pod to its end.
    pub async fn exec(&self, pod: usize, command: &[&str]) -> Result<Output> {
        self.namespace
            .exec(&self.options.pod(pod), Some(CONTAINER), command, None)
            .await
    }

    /// What Cassandra has logged in a pod.
    pub async fn logs(&self, pod: usize) -> Result<String> {
        self.namespace
            .logs(&self.options.pod(pod), Some(CONTAINER))
            .await
    }

    /// The directory of this machine that a pod sees as `/var/lib/cassandra`.
    pub fn volume(&self, pod: usize) -> PathBuf {
        manifests::volume(&self.folder, &self.options, pod)
    }

    /// The first data directory of a pod, as this machine sees it.
    pub fn data(&self, pod: usize) -> PathBuf {
        self.volume(pod).join("data")
    }

    /// Deletes a pod, without grace if `now`; Kubernetes starts it again. Returns when the old one
    /// is gone.
    pub async fn delete_pod(&self, pod: usize, now: bool) -> Result<()> {
        let name = self.options.pod(pod);
        let pods = self.namespace.api::<Pod>();
        let old = pods.get(&name).await?.uid();
        let grace = DeleteParams {
            grace_period_seconds: now.then_some(0),
            ..Default::default()
        };
        pods.delete(&name, &grace).await?;
        let gone = async || {
            let there = pods.get_opt(&name).await?;
            Ok(there.is_none_or(|pod| pod.uid() != old).then_some(()))
        };
        until(&format!("the deleted pod {name} is gone"), PATIENCE, gone).await
    }

    /// Restarts a node as an owner would, with its pod, and waits until it is ready and the others
    /// know it.
    pub async fn restart(&self, pod: usize) -> Result<()> {
        self.delete_pod(pod, false).await?;
        self.wait_pod_ready(pod).await?;
        self.agree().await
    }

    /// Freezes a node's Cassandra, as a disk that hangs would: its pod stays, and the others take it for down.
    pub async fn pause(&self, pod: usize) -> Result<()> {
        self.signal(pod, Signal::STOP).await
    }

    /// Lets it go on after [`Self::pause`].
    pub async fn go_on(&self, pod: usize) -> Result<()> {
        self.signal(pod, Signal::CONT).await?;
        self.wait_pod_ready(pod).await?;
        self.agree().await
    }

    async fn signal(&self, pod: usize, signal: Signal) -> Result<()> {
        let processes = self.namespace.processes(&self.options.pod(pod)).await?;
        let is_java = |pid: &&i32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "java")
        };
        let java = processes.iter().find(is_java).copied();
        let java = java.and_then(Identity::of).context("it has no Cassandra")?;
        java.signal(signal)
    }

    /// Sets how many pods there are. A node without a pod stays in the ring. Waits until the
    /// others are gone or ready.
    pub async fn scale(&self, replicas: usize) -> Result<()> {
        let sets = self.namespace.api::<StatefulSet>();
        let patch = serde_json::json!({"spec": {"replicas": replicas}});
        sets.patch(
            &self.options.name,
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await?;
        for pod in replicas..self.options.replicas {
            let name = self.options.pod(pod);
            let pods = self.namespace.api::<Pod>();
            let gone = async || Ok(pods.get_opt(&name).await?.is_none().then_some(()));
            until(&format!("pod {name} is gone"), PATIENCE, gone).await?;
        }
        try_join_all((0..replicas).map(|pod| self.wait_pod_ready(pod)))
            .await
            .map(drop)
    }

    /// The snapshots on all nodes, by the directories themselves: the name of the pod and the
    /// path of a table's snapshot.
    pub fn snapshots(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut found = Vec::new();
        for pod in 0..self.options.replicas {
            for n in 1..=self.options.data_directories.max(1) {
                let data = if n == 1 {
                    "data".to_owned()
                } else {
                    format!("data{n}")
                };
                for table in folders(&self.volume(pod).join(data))?
                    .iter()
                    .map(|k| folders(k))
                {
                    for snapshot in table?.iter().map(|table| folders(&table.join("snapshots"))) {
                        found.extend(snapshot?.into_iter().map(|s| (self.options.pod(pod), s)));
                    }
                }
            }
        }
        Ok(found)
    }
}

fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| path.display().to_string())?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: std::io::Result<Vec<_>> = paths.collect();
    Ok(paths?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Removes the volumes of namespaces that are gone.
async fn sweep(bed: &Bed) -> Result<()> {
    let volumes = folders(&bed.ground().dir(VOLUMES)?)?;
    // Listed after the folders: a namespace is there before its folder.
    let namespaces = Api::<KubeNamespace>::all(bed.client());
    let namespaces = namespaces.list(&ListParams::default()).await?;
    for folder in volumes {
        let there = namespaces
            .iter()
            .any(|namespace| folder.ends_with(namespace.name_any()));
        if !there {
            // Two who sweep at once may meet here; the loser finds nothing left.
            let _ = fs::remove_dir_all(&folder);
        }
    }
    Ok(())
}
