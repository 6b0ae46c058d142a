//! Leases: who holds one, for how long, and how it is taken without two ever holding it.
//!
//! The crate `kube-lease-manager` is not used: it compares the holder's time with its own clock, so
//! that a clock that is ahead takes what is held, and it takes an expired lease by a patch without
//! a resource version, so that two can take it at once. Here every write names the version that it
//! was decided on, and no clock of another machine is ever read.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use tokio::time::Instant;

/// A lease as it was read, and since when it has been like that, by our own clock.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) lease: Lease,
    pub(crate) since: Instant,
}

impl Observed {
    /// What was read now: the time starts anew when anything of the lease has changed.
    pub(crate) fn anew(before: Option<Self>, lease: Lease, now: Instant) -> Self {
        match before {
            Some(before)
                if before.lease.metadata.uid == lease.metadata.uid
                    && before.lease.metadata.resource_version
                        == lease.metadata.resource_version =>
            {
                before
            }
            _ => Self { lease, since: now },
        }
    }

    /// Whether its holder has not renewed it for as long as it was to last. A lease that does not
    /// say how long lasts `usual`.
    pub(crate) fn is_expired(&self, usual: Duration, now: Instant) -> bool {
        let seconds = spec(&self.lease).and_then(|spec| spec.lease_duration_seconds);
        let lasts = seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(usual, Duration::from_secs);
        now.duration_since(self.since) >= lasts
    }
}

/// Who holds it, if anybody does.
pub(crate) fn holder(lease: &Lease) -> Option<&str> {
    let holder = spec(lease)?.holder_identity.as_deref()?;
    (!holder.is_empty()).then_some(holder)
}

fn spec(lease: &Lease) -> Option<&LeaseSpec> {
    lease.spec.as_ref()
}

/// The lease as `by` holds it from now on. Times in it are for people.
pub(crate) fn held(mut lease: Lease, by: &str, lasts: Duration, now: Timestamp) -> Lease {
    let stays = holder(&lease) == Some(by);
    let spec = lease.spec.get_or_insert_default();
    if !stays {
        spec.holder_identity = Some(by.to_owned());
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
    }
    spec.renew_time = Some(MicroTime(now));
    spec.lease_duration_seconds = Some(i32::try_from(lasts.as_secs()).unwrap_or(i32::MAX));
    lease
}

/// The lease without a holder.
pub(crate) fn free(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = None;
    spec.acquire_time = None;
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// What became of a write.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// The lease as it is now.
    Done(Box<Lease>),
    /// It is not what the write was decided on any more.
    Refused,
}

/// Leases of one namespace.
pub(crate) struct Desk {
    api: Api<Lease>,
}

impl Desk {
    pub(crate) fn new(client: &Client, namespace: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
        }
    }

    pub(crate) async fn read(&self, name: &str) -> Result<Option<Lease>, kube::Error> {
        self.api.get_opt(name).await
    }

    /// Creates a lease without a version, and replaces exactly the version of one that has it.
    pub(crate) async fn write(&self, lease: &Lease) -> Result<Written, kube::Error> {
        let parameters = PostParams::default();
        let written = match (&lease.metadata.name, &lease.metadata.resource_version) {
            (Some(name), Some(_)) => self.api.replace(name, &parameters, lease).await,
            _ => self.api.create(&parameters, lease).await,
        };
        match written {
            Ok(lease) => Ok(Written::Done(Box::new(lease))),
            // Deleted, changed, or created by another one meanwhile. A namespace that is missing
            // is not found too, and is told when it is read again.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Written::Refused),
            Err(kube::Error::Api(status))
                if status.code == 404 && lease.metadata.resource_version.is_some() =>
            {
                Ok(Written::Refused)
            }
            Err(error) => Err(error),
        }
    }

    /// Deletes exactly this version.
    pub(crate) async fn delete(&self, lease: &Lease) -> Result<(), kube::Error> {
        let parameters = DeleteParams::default().preconditions(Preconditions {
            uid: lease.metadata.uid.clone(),
            resource_version: lease.metadata.resource_version.clone(),
        });
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        match self.api.delete(name, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
