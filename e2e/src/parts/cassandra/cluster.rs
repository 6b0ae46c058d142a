//! A Cassandra cluster in the bed's Kubernetes, and what a test does to it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{Api, AttachParams, DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::config::{self, Credentials, Jmx};
use super::cql::{self, Session};
use super::manifests::{self, CONTAINER, HOME, Images, Options};
use super::{Distribution, Version};
use crate::bed::ground::Ground;
use crate::host::progress::step;
use crate::parts::{containerd, images};

/// How long all pods may take to become ready. Alone on two cores it is 30 s.
const PATIENCE: Duration = Duration::from_secs(300);

/// A Cassandra cluster in Kubernetes. It stays until [`Cluster::delete`], or until its namespace
/// and directory are cleaned up.
#[derive(Clone)]
pub struct Cluster {
    /// What it was asked to be.
    pub options: Options,
    /// The namespace it is in.
    pub namespace: String,
    client: Client,
    folder: PathBuf,
}

/// What a command in a container said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Cluster {
    /// Makes a cluster in `namespace` and waits until all its pods are ready. Its data is below
    /// `folder` on this machine, one directory a pod.
    pub async fn start(
        ground: &Ground,
        client: Client,
        namespace: &str,
        folder: &Path,
        options: Options,
    ) -> Result<Self> {
        let cluster = Self::apply(ground, client, namespace, folder, options).await?;
        cluster.wait_ready().await?;
        if let Some(wanted) = &cluster.options.cql
            && !cluster.options.asleep
        {
            cql::create_superuser(&cluster.address(0).await?, wanted).await?;
        }
        Ok(cluster)
    }

    /// The same without waiting for the pods.
    pub async fn apply(
        ground: &Ground,
        client: Client,
        namespace: &str,
        folder: &Path,
        options: Options,
    ) -> Result<Self> {
        let distribution = Distribution::ensure(options.version).await?;
        let images = images_of(ground, options.version, options.shell).await?;
        let cluster = Self {
            options,
            namespace: namespace.to_owned(),
            client,
            folder: folder.to_owned(),
        };
        let Self {
            options, folder, ..
        } = &cluster;
        let volumes = (0..options.replicas).map(|pod| manifests::volume(folder, options, pod));
        for directory in volumes.chain([manifests::seed(folder, options)]) {
            fs::create_dir_all(&directory)?;
            chown(&directory, Some(options.uid), Some(options.uid))?;
        }
        let rendered = manifests::render(namespace, folder, options, &distribution, &images)?;
        for manifest in rendered {
            cluster.apply_one(manifest).await?;
        }
        Ok(cluster)
    }

    async fn apply_one(&self, manifest: Value) -> Result<()> {
        let object: DynamicObject = serde_json::from_value(manifest)?;
        let types = object.types.clone().context("a manifest without a kind")?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
        let api: Api<DynamicObject> = if types.kind == "PersistentVolume" {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        };
        let name = object.name_any();
        api.patch(
            &name,
            &PatchParams::apply("bed").force(),
            &Patch::Apply(&object),
        )
        .await
        .with_context(|| format!("could not apply {} {name}", types.kind))?;
        Ok(())
    }

    /// Waits until every pod is ready.
    pub async fn wait_ready(&self) -> Result<()> {
        let what = format!(
            "Cassandra {}/{} in Kubernetes",
            self.namespace, self.options.name
        );
        let waiting = async {
            for pod in 0..self.options.replicas {
                self.wait_pod_ready(pod).await?;
            }
            Ok(())
        };
        step(what, waiting).await
    }

    /// Waits until one pod is ready.
    pub async fn wait_pod_ready(&self, pod: usize) -> Result<()> {
        let name = self.options.pod(pod);
        let began = Instant::now();
        loop {
            let found = self.pods().get_opt(&name).await?;
            if found.as_ref().is_some_and(ready) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                let status = found.and_then(|pod| pod.status);
                let logs = self.logs(pod, CONTAINER).await.unwrap_or_default();
                let logs: Vec<_> = logs.lines().rev().take(20).collect();
                let logs = logs.into_iter().rev().collect::<Vec<_>>().join("\n");
                bail!(
                    "pod {name} is not ready after {} s: {}\nits last words:\n{logs}",
                    PATIENCE.as_secs(),
                    serde_json::to_string(&status)?
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The address of a pod, reachable from this machine.
    pub async fn address(&self, pod: usize) -> Result<String> {
        let found = self.pods().get(&self.options.pod(pod)).await?;
        let address = found.status.and_then(|status| status.pod_ip);
        address.with_context(|| format!("pod {} has no address yet", self.options.pod(pod)))
    }

    /// A session with one node alone.
    pub async fn cql(&self, pod: usize) -> Result<Session> {
        cql::connect(&[&self.address(pod).await?], self.options.cql.as_ref()).await
    }

    /// A session with all nodes.
    pub async fn session(&self) -> Result<Session> {
        let mut addresses = Vec::new();
        for pod in 0..self.options.replicas {
            addresses.push(self.address(pod).await?);
        }
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
        if said.code != 0 {
            let pod = self.options.pod(pod);
            bail!(
                "nodetool {} on {pod}: {}{}",
                args.join(" "),
                said.out,
                said.err
            );
        }
        Ok(said.out)
    }

    /// Runs a command in Cassandra's container of a pod to its end.
    pub async fn exec(&self, pod: usize, command: &[&str]) -> Result<Said> {
        exec(&self.pods(), &self.options.pod(pod), CONTAINER, command).await
    }

    /// What a container of a pod has logged.
    pub async fn logs(&self, pod: usize, container: &str) -> Result<String> {
        let params = LogParams {
            container: Some(container.into()),
            ..LogParams::default()
        };
        Ok(self.pods().logs(&self.options.pod(pod), &params).await?)
    }

    /// The directory of this machine that a pod sees as `/var/lib/cassandra`.
    pub fn volume(&self, pod: usize) -> PathBuf {
        manifests::volume(&self.folder, &self.options, pod)
    }

    /// The first data directory of a pod, as this machine sees it.
    pub fn data(&self, pod: usize) -> PathBuf {
        self.volume(pod).join("data")
    }

    /// Deletes a pod, by force and without grace if `now`; Kubernetes starts it again. Returns
    /// when the old pod is gone.
    pub async fn delete_pod(&self, pod: usize, now: bool) -> Result<()> {
        let name = self.options.pod(pod);
        let Some(old) = self.pods().get_opt(&name).await? else {
            return Ok(());
        };
        let params = if now {
            DeleteParams::default().grace_period(0)
        } else {
            DeleteParams::default()
        };
        self.pods().delete(&name, &params).await?;
        let began = Instant::now();
        while self
            .pods()
            .get_opt(&name)
            .await?
            .is_some_and(|pod| pod.uid() == old.uid())
        {
            if began.elapsed() > PATIENCE {
                bail!(
                    "pod {name} is not gone {} s after it was deleted",
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Restarts a node as an owner would, with its pod, and waits until it is ready.
    pub async fn restart(&self, pod: usize) -> Result<()> {
        self.delete_pod(pod, false).await?;
        self.wait_pod_ready(pod).await
    }

    /// Sets how many pods there are, down to none: a node without a pod stays in the ring.
    pub async fn scale(&self, replicas: usize) -> Result<()> {
        let sets: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace);
        let patch = serde_json::json!({"spec": {"replicas": replicas}});
        sets.patch(
            &self.options.name,
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await?;
        let began = Instant::now();
        for pod in replicas..self.options.replicas {
            let name = self.options.pod(pod);
            while self.pods().get_opt(&name).await?.is_some() {
                if began.elapsed() > PATIENCE {
                    bail!("pod {name} did not go in {} s", PATIENCE.as_secs());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        for pod in 0..replicas {
            self.wait_pod_ready(pod).await?;
        }
        Ok(())
    }

    /// Deletes everything of it in Kubernetes and its data on this machine.
    pub async fn delete(self) -> Result<()> {
        let sets: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace);
        sets.delete(
            &self.options.name,
            &DeleteParams::foreground().grace_period(0),
        )
        .await?;
        for pod in 0..self.options.replicas {
            self.delete_pod(pod, true).await?;
        }
        let claims: Api<PersistentVolumeClaim> =
            Api::namespaced(self.client.clone(), &self.namespace);
        for pod in 0..self.options.replicas {
            let claim = format!("data-{}", self.options.pod(pod));
            claims.delete(&claim, &DeleteParams::default()).await?;
        }
        delete_volumes(&self.client, &self.namespace).await?;
        for pod in 0..self.options.replicas {
            fs::remove_dir_all(self.volume(pod))?;
        }
        Ok(())
    }

    /// The pods of the namespace.
    pub fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// Deletes the persistent volumes that were made for clusters in this namespace.
pub async fn delete_volumes(client: &Client, namespace: &str) -> Result<()> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let ours = ListParams::default().labels(&format!("bed/namespace={namespace}"));
    volumes
        .delete_collection(&DeleteParams::default(), &ours)
        .await?;
    Ok(())
}

/// Runs a command in a container to its end.
pub async fn exec(pods: &Api<Pod>, pod: &str, container: &str, command: &[&str]) -> Result<Said> {
    let params = AttachParams::default().container(container).stdin(false);
    let mut process = pods
        .exec(pod, command.iter().copied(), &params)
        .await
        .with_context(|| format!("could not run {} in {pod}", command.join(" ")))?;
    let (mut out, mut err) = (String::new(), String::new());
    let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
    let read_out = async {
        match stdout {
            Some(mut stdout) => stdout.read_to_string(&mut out).await.map(drop),
            None => Ok(()),
        }
    };
    let read_err = async {
        match stderr {
            Some(mut stderr) => stderr.read_to_string(&mut err).await.map(drop),
            None => Ok(()),
        }
    };
    let (read, said, ended) = tokio::join!(read_out, read_err, async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    });
    read?;
    said?;
    let ended =
        ended.with_context(|| format!("{pod} did not say how {} ended", command.join(" ")))?;
    let code = match ended.status.as_deref() {
        Some("Success") => 0,
        _ => exit_code(&ended)
            .with_context(|| format!("{} in {pod}: {:?}", command.join(" "), ended.message))?,
    };
    Ok(Said { code, out, err })
}

fn exit_code(status: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Status) -> Option<i32> {
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let code = causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    code.message.as_ref()?.parse().ok()
}

fn ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|conditions| {
            conditions
                .iter()
                .any(|one| one.type_ == "Ready" && one.status == "True")
        })
}

async fn images_of(ground: &Ground, version: Version, shell: bool) -> Result<Images> {
    let configure = images::cassandra(version).await?;
    containerd::import(ground, &configure).await?;
    if shell {
        return Ok(Images {
            cassandra: configure.clone(),
            configure,
        });
    }
    let cassandra = images::cassandra_without_shell(version).await?;
    containerd::import(ground, &cassandra).await?;
    Ok(Images {
        cassandra,
        configure,
    })
}
