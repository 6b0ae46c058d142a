//! One at work on a cluster at a time: the one that holds the cluster's Lease.
//!
//! The Lease is in the namespace of the resources and named by a hash of the cluster id. Its holder
//! is `kind/name/uid` of a resource, which also owns it, so that it goes with it. That the agents
//! lock each node is the last line of defence, not the first: it would let two backups share the
//! nodes between them, and both be partial.

use std::time::Duration;

use crds::{BackupPhase, CassandraBackup, CassandraRestore, RestorePhase};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::Api;
use kube::{Client, Resource, ResourceExt};
use tokio::time::Instant;

use protocol::Reason;

use crate::lease::{Desk, Observed, Written, held, holder};
use crate::prerequisites::Obstacle;

/// So long after its last renewal, a holder that cannot be looked up is believed to be gone.
const LASTS: Duration = Duration::from_secs(60);
/// Between two renewals.
const RENEW: Duration = Duration::from_secs(15);
/// Annotation with the cluster id, for people.
const CLUSTER: &str = "cassandrabackup.io/cluster";

/// Who wants to be at work on a cluster.
pub(crate) struct Claim {
    namespace: String,
    /// Cluster id in the storage.
    cluster: String,
    identity: String,
    owner: Option<OwnerReference>,
}

impl Claim {
    pub(crate) fn of<K: Resource<DynamicType = ()>>(resource: &K, cluster: &str) -> Self {
        Self {
            namespace: resource.namespace().unwrap_or_default(),
            cluster: cluster.to_owned(),
            identity: identity(resource),
            owner: resource.owner_ref(&()),
        }
    }
}

/// Where one resource stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Turn {
    /// It is at work, and nobody else is.
    Ours,
    /// This one is at work: `kind name`.
    Busy(String),
}

/// What is known of a holder besides its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HolderIs {
    /// Its resource has not ended.
    AtWork,
    /// Its resource has ended, is gone, or another one has its name.
    Over,
    /// It is of a kind that is not known here.
    Unknown,
}

/// What to do about the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Create, take or renew it.
    Take,
    /// Find out whether its holder is still at work.
    LookUp,
    Wait,
}

fn decide(observed: Option<&Observed>, ours: &str, is: Option<HolderIs>, now: Instant) -> Step {
    let Some(observed) = observed else {
        return Step::Take;
    };
    match holder(&observed.lease) {
        None => Step::Take,
        Some(holder) if holder == ours => Step::Take,
        Some(_) if observed.is_expired(LASTS, now) => Step::Take,
        Some(_) => match is {
            None => Step::LookUp,
            Some(HolderIs::Over) => Step::Take,
            Some(HolderIs::AtWork | HolderIs::Unknown) => Step::Wait,
        },
    }
}

/// A resource's share in the exclusion, as this process knows it.
#[derive(Debug, Default)]
pub(crate) struct Exclusion {
    observed: Option<Observed>,
    renewed: Option<Instant>,
    waits: bool,
}

impl Exclusion {
    /// Whether another one was at work when it was last looked at.
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Takes or renews the cluster's lease, if nobody else is at work.
    async fn take(&mut self, client: &Client, claim: &Claim) -> Result<Turn, kube::Error> {
        if self.renewed.is_some_and(|since| since.elapsed() < RENEW) {
            return Ok(Turn::Ours);
        }
        let desk = Desk::new(client, &claim.namespace);
        let name = lease_name(&claim.cluster);
        let found = desk.read(&name).await?;
        let before = self.observed.take();
        self.observed = found.map(|lease| Observed::anew(before, lease, Instant::now()));
        let ours = claim.identity.as_str();
        let mut step = decide(self.observed.as_ref(), ours, None, Instant::now());
        if step == Step::LookUp {
            let is = Some(self.look_up(client, &claim.namespace).await?);
            step = decide(self.observed.as_ref(), ours, is, Instant::now());
        }
        let written = match step {
            Step::Take => desk.write(&self.as_ours(claim, name)).await?,
            Step::Wait | Step::LookUp => Written::Refused,
        };
        self.waits = matches!(written, Written::Refused);
        Ok(match written {
            Written::Done(lease) => {
                self.renewed = Some(Instant::now());
                self.observed = Some(Observed::anew(None, *lease, Instant::now()));
                Turn::Ours
            }
            Written::Refused => {
                self.renewed = None;
                let holder = self.observed.as_ref().and_then(|one| holder(&one.lease));
                Turn::Busy(shown(holder.filter(|holder| *holder != ours)))
            }
        })
    }

    /// Whether it is the claim's turn on its cluster, or who is at work.
    pub(crate) async fn turn(
        &mut self,
        client: &Client,
        claim: &Claim,
    ) -> Result<Result<(), Obstacle>, kube::Error> {
        Ok(match self.take(client, claim).await? {
            Turn::Ours => Ok(()),
            Turn::Busy(holder) => Err(Obstacle {
                reason: Reason::ClusterBusy,
                message: format!(
                    "{holder} is at work on cluster {}; this one begins when that has ended",
                    claim.cluster
                ),
                passing: true,
            }),
        })
    }

    /// Keeps others from the cluster while something is at work. It goes on where that fails: the
    /// agents lock their nodes themselves.
    pub(crate) async fn keep(&mut self, client: &Client, claim: &Claim) {
        match self.take(client, claim).await {
            Ok(Turn::Ours) => {}
            Ok(Turn::Busy(holder)) => {
                tracing::warn!(holder, "another one is at work on the cluster too");
            }
            Err(error) => tracing::warn!(%error, "the cluster's Lease could not be renewed"),
        }
    }

    /// Gives the lease up, if this process has taken it.
    pub(crate) async fn release(&mut self, client: &Client, claim: &Claim) {
        if self.renewed.take().is_none() {
            return;
        }
        let Some(Observed { lease, .. }) = self.observed.take() else {
            return;
        };
        let desk = Desk::new(client, &claim.namespace);
        if let Err(error) = desk.delete(&lease).await {
            tracing::warn!(%error, "the cluster's Lease could not be given up; the next one finds that its holder has ended");
        }
    }

    fn as_ours(&self, claim: &Claim, name: String) -> Lease {
        let found = self.observed.as_ref().map(|one| one.lease.clone());
        let mut lease = found.unwrap_or_default();
        let metadata = &mut lease.metadata;
        metadata.name = Some(name);
        metadata.owner_references = claim.owner.clone().map(|owner| vec![owner]);
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(CLUSTER.into(), claim.cluster.clone());
        held(lease, &claim.identity, LASTS, Timestamp::now())
    }

    async fn look_up(&self, client: &Client, namespace: &str) -> Result<HolderIs, kube::Error> {
        let holder = self.observed.as_ref().and_then(|one| holder(&one.lease));
        let Some((kind, name, uid)) = holder.and_then(parts) else {
            return Ok(HolderIs::Unknown);
        };
        let at_work = if kind == CassandraBackup::kind(&()) {
            let backups: Api<CassandraBackup> = Api::namespaced(client.clone(), namespace);
            let found = backups
                .get_opt(name)
                .await?
                .filter(|it| it.uid().as_deref() == Some(uid));
            let phase = |it: CassandraBackup| it.status.and_then(|status| status.phase);
            found.is_some_and(|it| !phase(it).is_some_and(BackupPhase::is_final))
        } else if kind == CassandraRestore::kind(&()) {
            let restores: Api<CassandraRestore> = Api::namespaced(client.clone(), namespace);
            let found = restores
                .get_opt(name)
                .await?
                .filter(|it| it.uid().as_deref() == Some(uid));
            let phase = |it: CassandraRestore| it.status.and_then(|status| status.phase);
            found.is_some_and(|it| !phase(it).is_some_and(RestorePhase::is_final))
        } else {
            return Ok(HolderIs::Unknown);
        };
        Ok(if at_work {
            HolderIs::AtWork
        } else {
            HolderIs::Over
        })
    }
}

/// The lease of a cluster; an id may have characters that a name may not.
fn lease_name(cluster: &str) -> String {
    let hash = blake3::hash(cluster.as_bytes()).to_hex();
    format!("cassandra-backup-{}", &hash[..16])
}

fn identity<K: Resource<DynamicType = ()>>(resource: &K) -> String {
    let kind = K::kind(&());
    let uid = resource.uid().unwrap_or_default();
    format!("{kind}/{}/{uid}", resource.name_any())
}

/// Kind, name and uid.
fn parts(identity: &str) -> Option<(&str, &str, &str)> {
    let mut parts = identity.split('/');
    let of = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(of)
}

fn shown(holder: Option<&str>) -> String {
    match (holder, holder.and_then(parts)) {
        (_, Some((kind, name, _))) => format!("{kind} {name}"),
        (Some(other), None) => other.to_owned(),
        (None, None) => "another one".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;

    use super::*;

    fn observed(holder: Option<&str>, since: Instant) -> Observed {
        let lease = Lease {
            spec: Some(LeaseSpec {
                holder_identity: holder.map(str::to_owned),
                ..LeaseSpec::default()
            }),
            ..Lease::default()
        };
        Observed { lease, since }
    }

    #[test]
    fn a_lease_is_taken_only_from_nobody_or_from_one_that_is_over_or_silent() {
        let since = Instant::now();
        let later = since + LASTS;
        let theirs = observed(Some("CassandraBackup/b/2"), since);
        let step = |observed, is, now| decide(observed, "CassandraBackup/a/1", is, now);
        assert_eq!(step(None, None, since), Step::Take);
        let free = observed(None, since);
        assert_eq!(step(Some(&free), None, since), Step::Take);
        let ours = observed(Some("CassandraBackup/a/1"), since);
        assert_eq!(step(Some(&ours), None, since), Step::Take);
        assert_eq!(step(Some(&theirs), None, since), Step::LookUp);
        for (is, expected) in [
            (HolderIs::Over, Step::Take),
            (HolderIs::AtWork, Step::Wait),
            (HolderIs::Unknown, Step::Wait),
        ] {
            assert_eq!(step(Some(&theirs), Some(is), since), expected);
            assert_eq!(step(Some(&theirs), Some(is), later), Step::Take);
        }
    }

    #[test]
    fn leases_are_named_by_the_cluster_and_holders_by_their_resource() {
        assert_eq!(lease_name("prod"), lease_name("prod"));
        assert_ne!(lease_name("prod"), lease_name("Prod"));
        assert_eq!(lease_name("a_B.c").len(), "cassandra-backup-".len() + 16);
        assert_eq!(
            parts("CassandraRestore/r/1"),
            Some(("CassandraRestore", "r", "1"))
        );
        assert_eq!(parts("a/b"), None);
        assert_eq!(shown(Some("CassandraRestore/r/1")), "CassandraRestore r");
        assert_eq!(shown(Some("tool")), "tool");
    }
}
