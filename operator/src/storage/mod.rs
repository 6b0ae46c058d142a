//! `BackupStorage`: whether it can be used, as conditions.

use std::sync::Arc;
use std::time::Duration;

use crds::{BackupStorage, BackupStorageSpec, BackupStorageStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};
use protocol::{Operation, ProbeRequest, Reason, StorageAccess};
use serde_json::json;

use crate::FIELD_MANAGER;
use crate::access;
use crate::conditions::{self, Is};
use crate::context::Context;
use crate::{humane, maintenance};

/// The resource, or why it cannot be read.
pub(crate) type Guarded = DeserializeGuard<BackupStorage>;

/// Probed again after so long.
const WORKING: Duration = Duration::from_secs(600);
const BROKEN: Duration = Duration::from_secs(30);
/// A storage that does not answer within this time does not answer.
const PROBE_LIMIT: Duration = Duration::from_secs(60);
/// Messages come from elsewhere and end up in a status.
const LONGEST_MESSAGE: usize = 1024;

/// A reconciliation that did not go through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Access(access::AccessError),
    #[error("cannot write the status: {0}")]
    Write(#[source] Box<kube::Error>),
}

/// What is known about whether the storage can be used.
struct Finding {
    ready: bool,
    reason: Reason,
    message: String,
    /// Whether somebody asked the storage itself.
    probed: bool,
}

/// Checks the storage and says so in its status.
pub(crate) async fn reconcile(
    object: Arc<Guarded>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let storage = match &object.0 {
        Ok(storage) => storage,
        Err(invalid) => {
            tracing::warn!(name = ?invalid.metadata.name, error = %invalid.error, "a BackupStorage that cannot be read");
            return Ok(Action::await_change());
        }
    };
    if let Some(rest) = still_fresh(storage, Timestamp::now()) {
        return Ok(Action::requeue(rest));
    }
    let finding = find(&context, storage).await?;
    let again = if finding.ready { WORKING } else { BROKEN };
    let status = status(storage, finding, Timestamp::now());
    write(&context, storage, &status).await?;
    Ok(Action::requeue(again))
}

/// Our own writes come back as changes; what was just probed is not probed again for them.
fn still_fresh(storage: &BackupStorage, now: Timestamp) -> Option<Duration> {
    let status = storage.status.as_ref()?;
    let ready = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")?;
    if status.observed_generation != storage.meta().generation {
        return None;
    }
    let interval = if ready.status == Is::True.as_str() {
        WORKING
    } else {
        BROKEN
    };
    let since = status.last_probe_time.as_ref()?.0;
    let age = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    interval.checked_sub(age).filter(|rest| !rest.is_zero())
}

async fn find(context: &Context, storage: &BackupStorage) -> Result<Finding, Error> {
    let namespace = storage.namespace().unwrap_or_default();
    let cluster = &*context.tools.cluster;
    let access = match access::storage(cluster, &namespace, &storage.spec).await {
        Ok(access) => access,
        Err(error) if error.is_temporary() => return Err(Error::Access(error)),
        Err(error) => {
            return Ok(Finding {
                ready: false,
                reason: error.reason(),
                message: error.to_string(),
                probed: false,
            });
        }
    };
    if let Err(error) = access::maintenance_storage(cluster, &namespace, &storage.spec).await
        && error.reason() == Reason::SecretNotFound
    {
        return Ok(Finding {
            ready: false,
            reason: error.reason(),
            message: error.to_string(),
            probed: false,
        });
    }
    if storage.spec.file.is_some() || is_ambient(&access) {
        return Ok(Finding {
            ready: true,
            reason: Reason::NotProbed,
            message: Reason::NotProbed.explanation().into(),
            probed: false,
        });
    }
    let probe = Operation::Probe(ProbeRequest {
        storage: access,
        object: None,
        leave: false,
    });
    let asked = maintenance::run(&context.agent_path, probe, PROBE_LIMIT).await;
    Ok(match asked {
        Ok(outcome) => Finding {
            ready: outcome.exit_code == 0 && outcome.reason == Reason::Reachable,
            reason: outcome.reason,
            message: outcome.message,
            probed: true,
        },
        Err(error) => Finding {
            ready: false,
            reason: Reason::Failed,
            message: error.to_string(),
            probed: true,
        },
    })
}

/// Whether it is used with the identity of the pods' environment.
fn is_ambient(access: &StorageAccess) -> bool {
    match access {
        StorageAccess::File { .. } => false,
        StorageAccess::S3(s3) => s3.credentials.is_none(),
        StorageAccess::Gcs(gcs) => gcs.credentials.is_none(),
        StorageAccess::Azure(azure) => azure.credentials.is_none(),
    }
}

fn status(storage: &BackupStorage, finding: Finding, now: Timestamp) -> BackupStorageStatus {
    let generation = storage.meta().generation;
    let mut status = storage.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    (status.kind, status.location) = describe(&storage.spec);
    // Also when nobody could be asked: it says when the status was last true.
    status.last_probe_time = Some(Time(now));
    let message = humane::shortened(&finding.message, LONGEST_MESSAGE);
    let why = (finding.reason.as_str(), message.as_str());
    let conditions = &mut status.conditions;
    conditions::set(
        conditions,
        "Ready",
        finding.ready.into(),
        why,
        generation,
        now,
    );
    conditions::set(
        conditions,
        "Stalled",
        (!finding.ready).into(),
        why,
        generation,
        now,
    );
    tracing::info!(
        namespace = storage.namespace(), storage = storage.name_any(),
        reason = %finding.reason, probed = finding.probed, "storage checked"
    );
    status
}

/// Kind and place for people.
fn describe(spec: &BackupStorageSpec) -> (Option<String>, Option<String>) {
    let below = |place: String, prefix: &str| match prefix {
        "" => place,
        prefix => format!("{place}/{prefix}"),
    };
    let (kind, location) = if let Some(file) = &spec.file {
        ("File", file.path.clone())
    } else if let Some(s3) = &spec.s3 {
        ("S3", below(format!("s3://{}", s3.bucket), &s3.prefix))
    } else if let Some(gcs) = &spec.gcs {
        ("GCS", below(format!("gs://{}", gcs.bucket), &gcs.prefix))
    } else if let Some(azure) = &spec.azure {
        let container = format!("azure://{}/{}", azure.account, azure.container);
        ("Azure", below(container, &azure.prefix))
    } else {
        return (None, None);
    };
    (Some(kind.into()), Some(location))
}

async fn write(
    context: &Context,
    storage: &BackupStorage,
    status: &BackupStorageStatus,
) -> Result<(), Error> {
    let namespace = storage.namespace().unwrap_or_default();
    let api: Api<BackupStorage> = Api::namespaced(context.client.clone(), &namespace);
    let patch = json!({
        "apiVersion": BackupStorage::api_version(&()),
        "kind": BackupStorage::kind(&()),
        "metadata": {"name": storage.name_any(), "uid": storage.uid()},
        "status": status,
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    match api
        .patch_status(&storage.name_any(), &parameters, &Patch::Apply(patch))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(Error::Write(Box::new(error))),
    }
}
