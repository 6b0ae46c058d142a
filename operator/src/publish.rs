//! Writing the status.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::{Api, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::FIELD_MANAGER;
use crate::answer::{gone_is_fine, is_gone};

/// A resource at work is looked at again after so long even if nothing wakes us.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(10);
/// Between two writes of a resource at work that tell of its nodes only. With a thousand nodes a status
/// has half a megabyte, and each node has some seven turns.
const INTERVAL: Duration = Duration::from_secs(5);

/// Whether to write now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Now,
    After(Duration),
    Never,
}

/// What is written of a resource while it is at work.
pub(crate) trait Status: PartialEq {
    /// Whether this differs from `old` in more than turns and figures of nodes.
    fn is_turn(&self, old: &Self) -> bool;
}

/// Decides when `new` is written: a turn of the resource at once, turns and figures of its nodes now and
/// then. What is not written yet is found out again after a restart, from the agents.
fn when<S: Status>(written: Option<&(S, Instant)>, new: &S, now: Instant) -> When {
    let Some((old, at)) = written else {
        return When::Now;
    };
    if old == new {
        return When::Never;
    }
    let turn = new.is_turn(old);
    match INTERVAL.checked_sub(now.duration_since(*at)) {
        Some(rest) if !turn && !rest.is_zero() => When::After(rest),
        _ => When::Now,
    }
}

/// What the API server has of a resource at work, and since when.
pub(crate) type Written<S> = Option<(S, Instant)>;

/// What became of a status that was to be written.
pub(crate) enum Published<S> {
    /// It is as it was, or told before long: to be looked at again after so long.
    Rests(Duration),
    /// The API server has it, and had this before.
    Told(Option<S>),
    /// The resource is gone.
    Gone,
}

/// A kind of ours.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
{
}

/// Writes the status if it is time to.
pub(crate) async fn publish<K: Kind, S: Status + Serialize + Clone>(
    client: &Client,
    object: &K,
    written: &mut Written<S>,
    status: &S,
) -> Result<Published<S>, kube::Error> {
    match when(written.as_ref(), status, Instant::now()) {
        When::Never => return Ok(Published::Rests(HEARTBEAT)),
        When::After(rest) => return Ok(Published::Rests(rest)),
        When::Now => {}
    }
    match write(client, object, status).await {
        Ok(()) => {}
        // A namesake has another uid, which conflicts.
        Err(kube::Error::Api(status)) if is_gone(&status) => return Ok(Published::Gone),
        Err(error) => return Err(error),
    }
    let old = written.replace((status.clone(), Instant::now()));
    Ok(Published::Told(old.map(|(status, _)| status)))
}

/// Says of an object that has ended that its spec was seen as it is now: else whoever follows it by
/// `observedGeneration`, such as Flux, would wait for work that nobody does.
pub(crate) async fn observe<K: Kind>(
    client: &Client,
    object: &K,
    observed: Option<i64>,
) -> Result<(), kube::Error> {
    let generation = object.meta().generation;
    if observed.is_none() || observed == generation {
        return Ok(());
    }
    // Only this: of the rest, what is in our hands may be older than what is there.
    let only = Patch::Merge(json!({
        "metadata": {"uid": object.uid()},
        "status": {"observedGeneration": generation},
    }));
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    gone_is_fine(patch(client, object, &parameters, &only).await)
}

/// Writes the status of exactly this object: its uid keeps a namesake from being written to.
pub(crate) async fn write<K: Kind>(
    client: &Client,
    object: &K,
    status: &impl Serialize,
) -> Result<(), kube::Error> {
    let whole = Patch::Apply(json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "uid": object.uid()},
        "status": status,
    }));
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    patch(client, object, &parameters, &whole).await
}

async fn patch<K: Kind>(
    client: &Client,
    object: &K,
    parameters: &PatchParams,
    patch: &Patch<Value>,
) -> Result<(), kube::Error> {
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let name = object.name_any();
    api.patch_status(&name, parameters, patch).await.map(drop)
}

#[cfg(test)]
mod tests {
    use crds::{BackupPhase, CassandraBackupStatus};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nodes_wait_and_a_turn_of_the_backup_does_not() {
        let old = CassandraBackupStatus {
            phase: Some(BackupPhase::Uploading),
            ..CassandraBackupStatus::default()
        };
        let written = (old.clone(), Instant::now());
        assert_eq!(when(Some(&written), &old, Instant::now()), When::Never);
        let figures = CassandraBackupStatus {
            duration: Some("2s".into()),
            ..old.clone()
        };
        assert_eq!(
            when(Some(&written), &figures, Instant::now()),
            When::After(INTERVAL)
        );
        assert_eq!(
            when(Some(&written), &figures, Instant::now() + INTERVAL),
            When::Now
        );
        let turn = CassandraBackupStatus {
            phase: Some(BackupPhase::Succeeded),
            ..old
        };
        assert_eq!(when(Some(&written), &turn, Instant::now()), When::Now);
        assert_eq!(when(None, &turn, Instant::now()), When::Now);
        // Nobody comes back to a backup that has ended.
        let written = (turn.clone(), Instant::now());
        let swept = CassandraBackupStatus {
            duration: Some("3s".into()),
            ..turn
        };
        assert_eq!(when(Some(&written), &swept, Instant::now()), When::Now);
    }
}
