//! The cluster, and the namespace in it.

use std::fmt::Debug;

use anyhow::{Context, Result, anyhow, bail};
use crds::{CassandraBackup, CassandraRestore};
use k8s_openapi::NamespaceResourceScope;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Error, Resource};

use crate::arguments::ClusterFlags;

/// A cluster, as who runs this.
pub struct Connection {
    pub client: Client,
    pub namespace: String,
}

/// A backup or a restore.
#[derive(Clone, Debug)]
pub enum Job {
    Backup(Box<CassandraBackup>),
    Restore(Box<CassandraRestore>),
}

impl Connection {
    pub async fn new(flags: &ClusterFlags) -> Result<Self> {
        let options = KubeConfigOptions {
            context: flags.context.clone(),
            ..Default::default()
        };
        let config = match &flags.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("--kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &options).await?
            }
            None if flags.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => Config::infer().await.context(
                "there is no cluster: set $KUBECONFIG or --kubeconfig, or run it in a pod",
            )?,
        };
        let namespace = flags.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self {
            client: Client::try_from(config)?,
            namespace,
        })
    }

    /// The resources of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// All resources of a kind in the namespace.
    pub async fn all<K>(&self) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + serde::de::DeserializeOwned,
    {
        let listed = self.api::<K>().list(&Default::default()).await;
        listed
            .map(|list| list.items)
            .map_err(|error| told(error, K::kind(&()).as_ref()))
    }

    /// Creates a resource.
    pub async fn create<K>(&self, resource: K) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let kind = K::kind(&()).into_owned();
        let created = self
            .api::<K>()
            .create(&PostParams::default(), &resource)
            .await;
        created.map_err(|error| told(error, &kind))
    }

    /// The backup or restore that is meant by `NAME`, `backup/NAME` or `restore/NAME`.
    pub async fn job(&self, name: &str) -> Result<Job> {
        let (kind, name) = match name.split_once('/') {
            Some((kind, name)) => (Some(kind), name),
            None => (None, name),
        };
        let backup = async || {
            let found = self.api::<CassandraBackup>().get_opt(name).await;
            found.map_err(|error| told(error, "CassandraBackup"))
        };
        let restore = async || {
            let found = self.api::<CassandraRestore>().get_opt(name).await;
            found.map_err(|error| told(error, "CassandraRestore"))
        };
        let found = match kind {
            Some("backup" | "cassandrabackup" | "cbackup") => (backup().await?, None),
            Some("restore" | "cassandrarestore" | "crestore") => (None, restore().await?),
            Some(kind) => bail!("{kind}/{name}: say backup/{name} or restore/{name}"),
            None => (backup().await?, restore().await?),
        };
        match found {
            (Some(backup), None) => Ok(Job::Backup(Box::new(backup))),
            (None, Some(restore)) => Ok(Job::Restore(Box::new(restore))),
            (Some(_), Some(_)) => bail!("there are two: say backup/{name} or restore/{name}"),
            (None, None) => bail!(
                "there is no backup or restore {name} in namespace {}; see kubectl cassandra-backup list",
                self.namespace
            ),
        }
    }
}

/// What the API server said, for people.
pub fn told(error: Error, kind: &str) -> anyhow::Error {
    match error {
        Error::Api(status) if status.code == 404 && status.message.contains("could not find") => {
            anyhow!("this cluster does not know {kind}: is the operator installed?")
        }
        Error::Api(status) => anyhow!("{kind}: {}", status.message),
        error => anyhow!(error).context(format!("{kind}: the API server did not answer")),
    }
}
