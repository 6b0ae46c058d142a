//! Secrets and config maps, key by key.

use std::collections::BTreeMap;

use crds::CaCertificateSource;

use super::AccessError;
use crate::cluster::Cluster;

/// A secret that was read, with its name for messages.
pub(super) struct Held<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    data: BTreeMap<String, Vec<u8>>,
}

impl<'a> Held<'a> {
    pub(super) async fn read(
        cluster: &dyn Cluster,
        namespace: &'a str,
        name: &'a str,
    ) -> Result<Self, AccessError> {
        let data = cluster
            .secret(namespace, name)
            .await
            .map_err(|cause| AccessError::Api {
                what: format!("secret {name}"),
                cause: Box::new(cause),
            })?;
        match data {
            Some(data) => Ok(Self {
                namespace,
                name,
                data,
            }),
            None => Err(AccessError::SecretNotFound {
                namespace: namespace.into(),
                name: name.into(),
            }),
        }
    }

    /// Whether it has a key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.data.contains_key(key)
    }

    /// A value. Secrets are often made with `echo`, so a line end is not part of it.
    pub(super) fn text(&self, key: &str) -> Result<String, AccessError> {
        self.optional_text(key)?
            .ok_or_else(|| AccessError::KeyNotFound {
                namespace: self.namespace.into(),
                name: self.name.into(),
                key: key.into(),
            })
    }

    pub(super) fn optional_text(&self, key: &str) -> Result<Option<String>, AccessError> {
        let Some(bytes) = self.data.get(key) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(bytes).map_err(|_| AccessError::NotText {
            namespace: self.namespace.into(),
            name: self.name.into(),
            key: key.into(),
        })?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// Certificates in PEM.
pub(super) async fn certificate(
    cluster: &dyn Cluster,
    namespace: &str,
    source: &CaCertificateSource,
) -> Result<String, AccessError> {
    if let Some(name) = &source.secret_name {
        return Held::read(cluster, namespace, name)
            .await?
            .text(&source.key);
    }
    let name = source.config_map_name.clone().unwrap_or_default();
    let data = cluster
        .config_map(namespace, &name)
        .await
        .map_err(|cause| AccessError::Api {
            what: format!("config map {name}"),
            cause: Box::new(cause),
        })?;
    data.and_then(|mut data| data.remove(&source.key))
        .ok_or_else(|| AccessError::ConfigMapNotFound {
            namespace: namespace.into(),
            name,
            key: source.key.clone(),
        })
}
