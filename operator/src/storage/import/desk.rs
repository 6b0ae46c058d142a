//! Requests to the API server, about the resources of one storage.

use crds::{BackupStorage, CassandraBackup};
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::{Client, ResourceExt};
use protocol::BackupFound;

use super::ImportError;
use super::build::{build, names};
use crate::FIELD_MANAGER;
use crate::answer::{is_gone, is_refusal};
use crate::backup::name_in_storage;

/// What came of a resource that was to be made.
pub(super) enum Made {
    /// It is there.
    There(Box<CassandraBackup>),
    /// It is not, and why.
    Refused(String),
}

/// Requests about a storage's backups.
pub(super) struct Desk<'a> {
    storage: &'a BackupStorage,
    backups: Api<CassandraBackup>,
    listed: Api<DeserializeGuard<CassandraBackup>>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(client: &Client, storage: &'a BackupStorage) -> Self {
        let namespace = storage.namespace().unwrap_or_default();
        Self {
            storage,
            backups: Api::namespaced(client.clone(), &namespace),
            listed: Api::namespaced(client.clone(), &namespace),
        }
    }

    /// The resources of the storage, but those that cannot be read.
    pub(super) async fn list(&self) -> Result<Vec<CassandraBackup>, ImportError> {
        let list = self.listed.list(&ListParams::default()).await;
        let list = list.map_err(|error| ImportError::List(Box::new(error)))?;
        let readable = list.items.into_iter().filter_map(|item| item.0.ok());
        let name = self.storage.name_any();
        Ok(readable
            .filter(|backup| backup.spec.storage.name == name)
            .collect())
    }

    /// Makes the resource of a cluster's backup.
    pub(super) async fn make(
        &self,
        cluster: &str,
        found: &BackupFound,
    ) -> Result<Made, ImportError> {
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        for name in names(cluster, &found.backup) {
            let failed = |cause| ImportError::Make {
                name: name.clone(),
                cause: Box::new(cause),
            };
            let backup = build(self.storage, cluster, found, &name);
            match self.backups.create(&parameters, &backup).await {
                Ok(made) => return Ok(Made::There(Box::new(made))),
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(kube::Error::Api(status)) if is_refusal(&status) => {
                    return Ok(Made::Refused(format!(
                        "CassandraBackup {name}: {}",
                        status.message
                    )));
                }
                Err(error) => return Err(failed(error)),
            }
            let there = self.listed.get_opt(&name).await.map_err(failed)?;
            let there = there.and_then(|there| there.0.ok());
            if let Some(there) = there.filter(|there| self.is_of(there, cluster, found)) {
                return Ok(Made::There(Box::new(there)));
            }
        }
        Ok(Made::Refused(format!(
            "backup {} of cluster {cluster} gets no resource: other CassandraBackups have its names",
            found.backup
        )))
    }

    /// Whether a resource is about this backup; one that another operator has just made.
    fn is_of(&self, there: &CassandraBackup, cluster: &str, found: &BackupFound) -> bool {
        there.spec.imported
            && there.spec.storage.name == self.storage.name_any()
            && there.spec.cluster == cluster
            && name_in_storage(there) == found.backup
    }

    /// Deletes a mirror. Its backup is gone.
    pub(super) async fn delete(&self, mirror: &CassandraBackup) -> Result<(), ImportError> {
        let name = mirror.name_any();
        let parameters = DeleteParams::background().preconditions(Preconditions {
            uid: mirror.uid(),
            resource_version: None,
        });
        match self.listed.delete(&name, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if is_gone(&status) => Ok(()),
            Err(error) => Err(ImportError::Delete {
                name,
                cause: Box::new(error),
            }),
        }
    }
}
