//! The restores that are at work.

use std::collections::BTreeSet;
use std::sync::Arc;

use crds::{CassandraRestore, CassandraRestoreStatus, RestoreNodePhase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Api;
use kube::{Client, ResourceExt};
use protocol::Reason;
use tokio::time::Instant;

use super::{is_final, node};
use crate::exclusion::Exclusion;
use crate::node::{Followed, NodeReport, Sharing};
use crate::publish::Written;
use crate::registry::{AtWork, Registry, Shared};
use crate::ring;
use crate::throttle::Throttle;

/// Warnings that a status keeps.
const WARNINGS: usize = 50;

/// A restore at work.
pub(crate) struct Tracked {
    pub(super) uid: String,
    pub(super) status: CassandraRestoreStatus,
    pub(super) written: Written<CassandraRestoreStatus>,
    pub(super) exclusion: Exclusion,
    pub(super) wakes: Arc<Throttle>,
    pub(super) followed: Followed,
    pub(super) shared: Arc<Sharing>,
}

impl Tracked {
    /// Pods that are being worked on.
    pub(super) fn active(&self) -> BTreeSet<String> {
        self.followed.pods().cloned().collect()
    }

    /// Folds what the tasks report into the status, and lets go of those that ended.
    pub(super) fn collect(&mut self) {
        let status = &mut self.status;
        let ended = self.followed.collect(|report| fold(status, &report));
        for pod in ended {
            let node = status.nodes.iter_mut().find(|node| node.pod == pod);
            if let Some(node) = node.filter(|node| !node.phase.is_final()) {
                // The task panicked; the next one finds out where the run is.
                node.phase = RestoreNodePhase::Waiting;
                node.reason = Some(Reason::Interrupted.to_string());
            }
        }
    }

    /// Whether nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        is_final(&self.status) && self.followed.is_empty()
    }
}

impl AtWork for Tracked {
    fn stop_all(&self) {
        self.followed.stop_all();
    }
}

/// Folds what a run says into the status.
pub(super) fn fold(status: &mut CassandraRestoreStatus, report: &NodeReport) {
    for warning in &report.warnings {
        if status.warnings.len() < WARNINGS && !status.warnings.contains(warning) {
            status.warnings.push(warning.clone());
        }
    }
    if let Some(members) = &report.ring {
        ring::fold(&mut status.ring, members, &[]);
    }
    if let Some(plan) = &report.plan {
        status.backup_name.get_or_insert(plan.backup.clone());
        if status.snapshot_time.is_none() {
            status.snapshot_time = plan.snapshot_started_at.map(Time);
        }
    }
    if let Some(rehearsed) = &report.rehearsed {
        status.rehearsed = Some(node::found(rehearsed));
    }
    let known = status
        .nodes
        .iter_mut()
        .find(|node| node.pod == report.node.pod);
    // A run of an earlier step has nothing to say any more.
    if let Some(known) = known.filter(|known| known.run_id == report.node.run_id) {
        node::take_over(known, report);
    }
    let selected = status.nodes.iter().filter_map(|node| node.host_id.as_ref());
    ring::leave_out(&mut status.ring, selected);
}

/// All restores at work.
pub(crate) type Runs = Registry<Tracked>;

/// The restore's state, taken over from the API server if it is not here yet; `None` if there is
/// nothing left to do.
pub(super) async fn adopt(
    runs: &Runs,
    client: &Client,
    restore: &CassandraRestore,
) -> Result<Option<Shared<Tracked>>, kube::Error> {
    let uid = restore.uid().unwrap_or_default();
    if let Some(tracked) = runs.get(&uid) {
        return Ok(Some(tracked));
    }
    let is_over = |restore: &CassandraRestore| restore.status.as_ref().is_some_and(is_final);
    if is_over(restore) {
        return Ok(None);
    }
    let (namespace, name) = (restore.namespace().unwrap_or_default(), restore.name_any());
    let api: Api<CassandraRestore> = Api::namespaced(client.clone(), &namespace);
    let Some(fresh) = api.get_opt(&name).await? else {
        return Ok(None);
    };
    if fresh.uid().as_deref() != Some(&uid) || is_over(&fresh) {
        return Ok(None);
    }
    let status = fresh.status.unwrap_or_default();
    let tracked = Tracked {
        uid: uid.clone(),
        status: status.clone(),
        written: Some((status, Instant::now())),
        exclusion: Exclusion::default(),
        wakes: Arc::default(),
        followed: Followed::default(),
        shared: Arc::default(),
    };
    Ok(Some(runs.add(&uid, &namespace, &name, tracked).await))
}
