//! Asking a storage, with each of its identities.

use std::time::Duration;

use crds::{BackupStorage, BackupStorageSpec};
use protocol::{Operation, ProbeRequest};

use super::findings::{Asked, Findings};
use super::{Error, shared};
use crate::access::{self, AccessError};
use crate::context::Context;
use crate::maintenance::{self, Place};

/// A storage that does not answer within this time does not answer.
const LIMIT: Duration = Duration::from_secs(60);

/// Asks the storage. Where maintenance has an identity of its own, the pods' leaves the object that
/// it has written, and that of maintenance has to delete it: so nothing stays behind, and no right
/// is needed that is not used later.
pub(super) async fn ask(
    context: &Context,
    namespace: &str,
    storage: &BackupStorage,
    object: &str,
) -> Result<Findings, Error> {
    let spec = &storage.spec;
    if let Some(file) = &spec.file
        && let Some(pods) = &file.pods
    {
        return shared::ask(context, namespace, file, pods, spec.read_only)
            .await
            .map_err(|error| Error::Pods(Box::new(error)));
    }
    let cluster = &*context.tools.cluster;
    let object = (!spec.read_only).then(|| object.to_owned());
    let own = !spec.read_only && has_maintenance_identity(spec);
    let pods = match access::storage(cluster, namespace, spec).await {
        Ok(access) if !access::has_identity(&access) => Asked::PodsOnly,
        Ok(access) => {
            let request = ProbeRequest {
                storage: access,
                object: object.clone(),
                leave: own,
                left: false,
                survey: true,
            };
            probe(context, storage, request).await
        }
        Err(error) => missing(error)?,
    };
    let apart = own || matches!(pods, Asked::PodsOnly);
    let unasked = spec.read_only && spec.maintenance_pod.is_none();
    if !apart || spec.file.is_some() || unasked {
        return Ok(Findings {
            pods,
            maintenance: None,
            shared: None,
        });
    }
    let maintenance = match access::keeper_storage(cluster, namespace, spec).await {
        Ok(access) => {
            let request = ProbeRequest {
                storage: access,
                object,
                leave: false,
                left: false,
                // Once is enough.
                survey: matches!(pods, Asked::PodsOnly),
            };
            probe(context, storage, request).await
        }
        Err(error) => missing(error)?,
    };
    Ok(Findings {
        pods,
        maintenance: Some(maintenance),
        shared: None,
    })
}

async fn probe(context: &Context, storage: &BackupStorage, request: ProbeRequest) -> Asked {
    let place = Place::of_bucket(storage, &request.storage);
    let operation = Operation::Probe(request);
    match maintenance::carry_out(context, place, operation, LIMIT).await {
        Ok(outcome) => Asked::Told(Box::new(outcome)),
        Err(error) => Asked::Silent(error.reason(), error.to_string()),
    }
}

/// What somebody has to put right; the rest passes.
fn missing(error: AccessError) -> Result<Asked, AccessError> {
    if error.is_temporary() {
        return Err(error);
    }
    Ok(Asked::Missing(error.reason(), error.to_string()))
}

fn has_maintenance_identity(spec: &BackupStorageSpec) -> bool {
    let s3 = spec
        .s3
        .as_ref()
        .map(|it| it.maintenance_credentials.is_some());
    let gcs = spec
        .gcs
        .as_ref()
        .map(|it| it.maintenance_credentials.is_some());
    let azure = spec
        .azure
        .as_ref()
        .map(|it| it.maintenance_credentials.is_some());
    spec.maintenance_pod.is_some() || s3.or(gcs).or(azure).unwrap_or(false)
}
