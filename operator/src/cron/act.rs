//! Requests to the API server, about exactly one CronBackup.

use crds::{CassandraBackup, CronBackup, CronBackupStatus};
use jiff::{Timestamp, Zoned};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::DeserializeGuard;
use kube::{Client, Resource, ResourceExt};
use serde_json::json;

use super::Error;
use super::child::{self, Child};
use super::names::Run;
use super::status::Outcome;
use super::verify;
use crate::FIELD_MANAGER;
use crate::answer::{gone_is_fine, is_gone, is_refusal};

/// Requests about a CronBackup and its children.
pub(super) struct Desk {
    crons: Api<CronBackup>,
    backups: Api<CassandraBackup>,
    listed: Api<DeserializeGuard<CassandraBackup>>,
}

impl Desk {
    pub(super) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            crons: Api::namespaced(client.clone(), namespace),
            backups: Api::namespaced(client.clone(), namespace),
            listed: Api::namespaced(client.clone(), namespace),
        }
    }

    /// The resource as it is now: what the watch delivered may be older than what was written.
    /// `None` if it is gone or about to go.
    pub(super) async fn fresh(&self, seen: &CronBackup) -> Result<Option<CronBackup>, Error> {
        let fresh = self.crons.get_opt(&seen.name_any()).await;
        let fresh = fresh.map_err(|error| Error::Read(Box::new(error)))?;
        Ok(fresh
            .filter(|fresh| fresh.uid() == seen.uid() && fresh.meta().deletion_timestamp.is_none()))
    }

    /// Its children.
    pub(super) async fn children(&self, cron: &CronBackup) -> Result<Vec<Child>, Error> {
        let ours = ListParams::default().labels(&format!("{}={}", child::LABEL, cron.name_any()));
        let list = self.listed.list(&ours).await;
        let list = list.map_err(|error| Error::List(Box::new(error)))?;
        // What cannot be read is at work nowhere.
        let readable = list.items.iter().filter_map(|item| item.0.as_ref().ok());
        Ok(readable
            .filter_map(|backup| Child::of(cron, backup))
            .collect())
    }

    /// Makes a child, and tells what came of it.
    pub(super) async fn create(
        &self,
        cron: &CronBackup,
        run: Run,
        scheduled_at: &Zoned,
    ) -> Result<Outcome, Error> {
        let backup = child::build(cron, run, scheduled_at);
        let name = backup.name_any();
        let failed = |cause| Error::Create {
            name: name.clone(),
            cause: Box::new(cause),
        };
        let parameters = PostParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PostParams::default()
        };
        match self.backups.create(&parameters, &backup).await {
            Ok(_) => return Ok(Outcome::Created),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(kube::Error::Api(status)) if is_refusal(&status) => {
                return Ok(Outcome::Refused(status.message));
            }
            Err(error) => return Err(failed(error)),
        }
        let there = self.backups.get(&name).await.map_err(failed)?;
        Ok(if child::is_ours(cron, &there) {
            Outcome::Existed
        } else {
            Outcome::Foreign
        })
    }

    /// Tells a child to stop. Nobody but us writes its spec; it stays, and says how it ended.
    pub(super) async fn cancel(&self, child: &Child) -> Result<(), Error> {
        let patch = Patch::Merge(json!({"metadata": {"uid": child.uid}, "spec": {"cancel": true}}));
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let patched = self.backups.patch(&child.name, &parameters, &patch).await;
        gone_is_fine(patched).map_err(|cause| Error::Cancel {
            name: child.name.clone(),
            cause: Box::new(cause),
        })
    }

    /// Asks a child for its rehearsal; why the API server refuses that, if it does.
    pub(super) async fn rehearse(
        &self,
        cron: &CronBackup,
        child: &Child,
        slot: Timestamp,
    ) -> Result<Option<String>, Error> {
        let patch = Patch::Merge(verify::order(cron, child, slot));
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        let patched = self.backups.patch(&child.name, &parameters, &patch).await;
        match gone_is_fine(patched) {
            Ok(()) => Ok(None),
            Err(kube::Error::Api(status)) if is_refusal(&status) => Ok(Some(status.message)),
            Err(cause) => Err(Error::Rehearse {
                name: child.name.clone(),
                cause: Box::new(cause),
            }),
        }
    }

    /// Deletes a child; its data stays.
    pub(super) async fn delete(&self, child: &Child) -> Result<(), Error> {
        let parameters = DeleteParams::background().preconditions(Preconditions {
            uid: Some(child.uid.clone()),
            resource_version: None,
        });
        let deleted = self.listed.delete(&child.name, &parameters).await;
        gone_is_fine(deleted).map_err(|cause| Error::Delete {
            name: child.name.clone(),
            cause: Box::new(cause),
        })
    }

    /// Writes the status onto exactly what was read; `false` if somebody wrote meanwhile, or it is
    /// gone.
    pub(super) async fn write(
        &self,
        cron: &CronBackup,
        status: &CronBackupStatus,
    ) -> Result<bool, Error> {
        let name = cron.name_any();
        let patch = Patch::Apply(json!({
            "apiVersion": CronBackup::api_version(&()),
            "kind": CronBackup::kind(&()),
            "metadata": {
                "name": name,
                "uid": cron.uid(),
                "resourceVersion": cron.resource_version(),
            },
            "status": status,
        }));
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match self.crons.patch_status(&name, &parameters, &patch).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if is_gone(&status) => Ok(false),
            Err(error) => Err(Error::Write(Box::new(error))),
        }
    }
}
