//! Namespaces for tests: each run has its own, so that several run beside each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{
    Event, Namespace as KubeNamespace, PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount,
};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::ground::Ground;
use super::pods::{self, Output};
use super::wait::until;
use super::{Bed, apply, client};
use crate::host::cgroup;
use crate::host::process::Identity;

/// The label that says which process made a namespace: `<process id>-<start time>`.
const OWNER: &str = "cassandra-backup-bed/owner";
/// How long a namespace may take to go.
const GONE: Duration = Duration::from_secs(120);

/// A namespace of one test. Ended by [`Namespace::done`] when the test has succeeded; dropping it
/// without that means failure: what is in it is written to a folder first, and then it goes, too.
pub struct Namespace {
    name: String,
    client: Client,
    kubeconfig: PathBuf,
    done: bool,
}

impl Namespace {
    /// Makes a namespace whose name begins with `prefix` and that nobody else has.
    pub(super) async fn create(bed: &Bed, prefix: &str) -> Result<Self> {
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("{prefix}-{}", &unique[..6]);
        let pid = i32::try_from(std::process::id())?;
        let owner = Identity::of(pid).context("/proc does not know this process")?;
        let labels = [(OWNER.to_owned(), format!("{}-{}", owner.pid, owner.start))];
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels.into()),
            ..Default::default()
        };
        let namespace = KubeNamespace {
            metadata,
            ..Default::default()
        };
        let client = bed.client();
        let namespaces = Api::<KubeNamespace>::all(client.clone());
        let created = namespaces.create(&PostParams::default(), &namespace).await;
        created.with_context(|| format!("could not create the namespace {name}"))?;
        let this = Self {
            name,
            client,
            kubeconfig: bed.kubeconfig(),
            done: false,
        };
        // Pods are refused until the controllers have made it.
        let accounts = this.api::<ServiceAccount>();
        let there = async || Ok(accounts.get_opt("default").await?.map(drop));
        until(
            "the namespace can take pods",
            Duration::from_secs(30),
            there,
        )
        .await?;
        Ok(this)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The objects of one kind in it.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Applies the objects of a YAML text, into this namespace unless they name another.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        apply(&self.client, Some(&self.name), yaml).await
    }

    /// Waits until `is` says yes to the object `name`; what it says is called `what`.
    pub async fn wait_for<K>(
        &self,
        name: &str,
        what: &str,
        patience: Duration,
        is: impl Fn(&K) -> bool,
    ) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Serialize,
    {
        let api = self.api::<K>();
        let probe = async || match api.get_opt(name).await? {
            Some(object) if is(&object) => Ok(Some(object)),
            Some(object) => bail!("its status is {}", status_of(&object)?),
            None => Ok(None),
        };
        until(&format!("{} {name} {what}", K::kind(&())), patience, probe).await
    }

    /// Waits until a pod is Ready.
    pub async fn ready(&self, pod: &str, patience: Duration) -> Result<Pod> {
        self.wait_for(pod, "is ready", patience, is_ready).await
    }

    /// Runs `command` in a pod and waits for its end. The container is the only one if none is
    /// named.
    pub async fn exec(
        &self,
        pod: &str,
        container: Option<&str>,
        command: &[&str],
        stdin: Option<&[u8]>,
    ) -> Result<Output> {
        pods::exec(&self.api(), pod, container, command, stdin).await
    }

    /// What a pod has written so far.
    pub async fn logs(&self, pod: &str, container: Option<&str>) -> Result<String> {
        pods::logs(&self.api(), pod, container, false).await
    }

    /// The processes of a pod's first container, as this machine knows them, lowest first.
    pub async fn processes(&self, pod: &str) -> Result<Vec<i32>> {
        let status = self.api::<Pod>().get(pod).await?.status.unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        let id = containers.into_iter().find_map(|one| one.container_id);
        let id = id.with_context(|| format!("the container of pod {pod} has no id"))?;
        cgroup::processes(id.rsplit('/').next().unwrap_or(&id))
    }

    /// From now on takes only pods that keep to the Pod Security Standard `restricted`.
    pub async fn restrict(&self) -> Result<()> {
        let label = json!({"metadata": {"labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
        }}});
        let namespaces = Api::<KubeNamespace>::all(self.client.clone());
        namespaces
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(label))
            .await?;
        Ok(())
    }

    /// The content of a file in a pod that has `cat`.
    pub async fn read_file(&self, pod: &str, path: &str) -> Result<Vec<u8>> {
        let output = self.exec(pod, None, &["cat", path], None).await?;
        if output.code != 0 {
            output
                .clone()
                .text()
                .with_context(|| format!("could not read {path} in {pod}"))?;
        }
        Ok(output.stdout)
    }

    /// Writes a file in a pod that has `sh` and `cat`.
    pub async fn write_file(&self, pod: &str, path: &str, content: &[u8]) -> Result<()> {
        // The shell must stay, and so not end with cat: containerd closes a command's standard
        // input as soon as nobody holds its standard output any more, and the file would be short.
        let command = ["sh", "-c", "cat > \"$0\"; exit $?", path];
        let output = self.exec(pod, None, &command, Some(content)).await?;
        output
            .text()
            .with_context(|| format!("could not write {path} in {pod}"))?;
        Ok(())
    }

    /// The test has succeeded: deletes the namespace and waits until it is gone.
    pub async fn done(mut self) -> Result<()> {
        self.done = true;
        delete(&self.client, &self.name).await?;
        let namespaces = Api::<KubeNamespace>::all(self.client.clone());
        let gone = async || {
            Ok(namespaces
                .get_opt(&self.name)
                .await?
                .is_none()
                .then_some(()))
        };
        until(&format!("the namespace {} is gone", self.name), GONE, gone).await
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (name, kubeconfig) = (self.name.clone(), self.kubeconfig.clone());
        // The runtime of the test may be going away, and nothing can be awaited here.
        let ended = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(fail(&kubeconfig, &name))
        });
        match ended.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("could not end the namespace {}: {error:#}", self.name),
            Err(_) => eprintln!("could not end the namespace {}", self.name),
        }
    }
}

/// What an object says about itself, on one line.
fn status_of(object: &impl Serialize) -> Result<serde_json::Value> {
    Ok(serde_json::to_value(object)?["status"].take())
}

/// Whether a pod's Ready condition is true.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

async fn fail(kubeconfig: &Path, name: &str) -> Result<()> {
    let client = client(kubeconfig).await?;
    let folder = std::env::temp_dir().join("cassandra-backup-bed").join(name);
    match dump(&client, name, &folder).await {
        Ok(()) => eprintln!(
            "what was in the namespace {name} is in {}",
            folder.display()
        ),
        Err(error) => eprintln!("could not write down what was in {name}: {error:#}"),
    }
    delete(&client, name).await
}

/// Writes objects, events and logs of a namespace, and the logs of the bed, to `folder`.
async fn dump(client: &Client, name: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    // The next bed begins with empty ones.
    let logs = fs::read_dir(Ground::here().state().join("log"));
    for log in logs.into_iter().flatten().flatten() {
        let name = format!("bed-{}", log.file_name().to_string_lossy());
        fs::copy(log.path(), folder.join(name))?;
    }
    list::<Event>(client, name, &folder.join("events.json")).await?;
    list::<PersistentVolumeClaim>(client, name, &folder.join("claims.json")).await?;
    let pods = Api::<Pod>::namespaced(client.clone(), name);
    for pod in list::<Pod>(client, name, &folder.join("pods.json")).await? {
        let pod_name = pod.name_any();
        let spec = pod.spec.unwrap_or_default();
        let containers = spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers);
        for container in containers.map(|container| &container.name) {
            for (previous, suffix) in [(false, "log"), (true, "previous.log")] {
                let logs = pods::logs(&pods, &pod_name, Some(container), previous);
                // There is none before a start, and no previous one before a restart.
                if let Ok(text) = logs.await {
                    let file = format!("{pod_name}.{container}.{suffix}");
                    fs::write(folder.join(file), text)?;
                }
            }
        }
    }
    Ok(())
}

async fn list<K>(client: &Client, namespace: &str, file: &Path) -> Result<Vec<K>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let items = api.list(&ListParams::default()).await?.items;
    fs::write(file, serde_json::to_vec_pretty(&items)?)?;
    Ok(items)
}

/// Deletes a namespace and the volumes that are bound to claims in it. Pods get no grace: what
/// they do while they end is of no interest any more.
async fn delete(client: &Client, name: &str) -> Result<()> {
    // First, so that no controller makes new pods, which would get theirs.
    let namespaces = Api::<KubeNamespace>::all(client.clone());
    ignore_missing(namespaces.delete(name, &DeleteParams::default()).await)?;
    let now = DeleteParams::default().grace_period(0);
    let pods = Api::<Pod>::namespaced(client.clone(), name);
    pods.delete_collection(&now, &ListParams::default()).await?;
    let volumes = Api::<PersistentVolume>::all(client.clone());
    for volume in volumes.list(&ListParams::default()).await? {
        let claim = volume
            .spec
            .as_ref()
            .and_then(|spec| spec.claim_ref.as_ref());
        if claim.is_some_and(|claim| claim.namespace.as_deref() == Some(name)) {
            let volume = volume.name_any();
            ignore_missing(volumes.delete(&volume, &DeleteParams::default()).await)?;
        }
    }
    Ok(())
}

fn ignore_missing<T>(result: kube::Result<T>) -> kube::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        result => result.map(drop),
    }
}

/// Deletes the namespaces whose makers do not live any more.
pub async fn sweep(ground: &Ground) -> Result<()> {
    let client = client(&ground.kubeconfig()).await?;
    let namespaces = Api::<KubeNamespace>::all(client.clone());
    for namespace in namespaces
        .list(&ListParams::default().labels(OWNER))
        .await?
    {
        let owner = namespace
            .labels()
            .get(OWNER)
            .and_then(|owner| parse_owner(owner));
        let going = namespace.metadata.deletion_timestamp.is_some();
        if !going && !owner.is_some_and(Identity::alive) {
            eprintln!(
                "deleting namespace {}, whose maker was killed",
                namespace.name_any()
            );
            delete(&client, &namespace.name_any()).await?;
        }
    }
    Ok(())
}

fn parse_owner(text: &str) -> Option<Identity> {
    let (pid, start) = text.split_once('-')?;
    Some(Identity {
        pid: pid.parse().ok()?,
        start: start.parse().ok()?,
    })
}
