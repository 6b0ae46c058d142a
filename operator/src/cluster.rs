//! What is read from the cluster while a backup runs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use crds::BackupStorage;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, ListParams};
use kube::core::Selector;

use crate::pod::PodView;

/// Reads from the cluster; a trait so that runs can be tested without one.
#[async_trait]
pub(crate) trait Cluster: Send + Sync {
    /// The pod of that name.
    async fn pod(&self, namespace: &str, name: &str) -> Result<Option<PodView>, kube::Error>;
    /// The pods that a selector matches, by name.
    async fn pods(&self, namespace: &str, selector: &Selector)
    -> Result<Vec<PodView>, kube::Error>;
    /// The storage of that name.
    async fn storage(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BackupStorage>, kube::Error>;
    /// The content of a secret.
    async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, kube::Error>;
    /// The content of a config map.
    async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, kube::Error>;
}

/// The cluster that a client is connected to.
pub(crate) struct KubeCluster {
    client: kube::Client,
}

impl KubeCluster {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl Cluster for KubeCluster {
    async fn pod(&self, namespace: &str, name: &str) -> Result<Option<PodView>, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        Ok(pods.get_opt(name).await?.as_ref().map(PodView::of))
    }

    async fn pods(
        &self,
        namespace: &str,
        selector: &Selector,
    ) -> Result<Vec<PodView>, kube::Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let list = pods
            .list(&ListParams::default().labels_from(selector))
            .await?;
        let mut views: Vec<_> = list.iter().map(PodView::of).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }

    async fn storage(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BackupStorage>, kube::Error> {
        let storages: Api<BackupStorage> = Api::namespaced(self.client.clone(), namespace);
        storages.get_opt(name).await
    }

    async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, kube::Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let Some(secret) = secrets.get_opt(name).await? else {
            return Ok(None);
        };
        let data = secret.data.unwrap_or_default();
        Ok(Some(
            data.into_iter()
                .map(|(key, value)| (key, value.0))
                .collect(),
        ))
    }

    async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, kube::Error> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        Ok(maps
            .get_opt(name)
            .await?
            .map(|map| map.data.unwrap_or_default()))
    }
}
