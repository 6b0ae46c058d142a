//! The backups that are at work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::{BackupPhase, CassandraBackup, CassandraBackupStatus, CoverageStatus, NodePhase};
use futures::FutureExt;
use kube::api::Api;
use kube::{Client, ResourceExt};
use protocol::Reason;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{coverage, ring};
use crate::exclusion::Exclusion;
use crate::node::{Followed, Job, NodeReport, Ring};
use crate::publish::Written;
use crate::registry::{AtWork, Registry, Shared};
use crate::rehearsal;
use crate::throttle::Throttle;

/// Warnings that a status keeps.
const WARNINGS: usize = 50;

/// A backup at work.
pub(crate) struct Tracked {
    pub(super) uid: String,
    pub(super) status: CassandraBackupStatus,
    pub(super) written: Written<CassandraBackupStatus>,
    /// What its nodes have in common, once it has begun.
    pub(super) job: Option<Arc<Job>>,
    pub(super) exclusion: Exclusion,
    pub(super) wakes: Arc<Throttle>,
    /// The ring that was folded into the status last.
    ring: Option<Ring>,
    pub(super) followed: Followed,
    sweeping: BTreeMap<String, JoinHandle<()>>,
    measuring: Option<(String, JoinHandle<CoverageStatus>)>,
}

impl Tracked {
    pub(super) fn new(uid: String, status: CassandraBackupStatus) -> Self {
        Self {
            uid,
            status,
            written: None,
            job: None,
            exclusion: Exclusion::default(),
            wakes: Arc::default(),
            ring: None,
            followed: Followed::default(),
            sweeping: BTreeMap::new(),
            measuring: None,
        }
    }

    /// Pods that are being worked on.
    pub(super) fn active(&self) -> BTreeSet<String> {
        self.followed
            .pods()
            .chain(self.sweeping.keys())
            .chain(self.measuring.as_ref().map(|(pod, _)| pod))
            .cloned()
            .collect()
    }

    pub(super) fn sweep(&mut self, pod: String, task: JoinHandle<()>) {
        self.sweeping.insert(pod, task);
    }

    pub(super) fn measure(&mut self, pod: String, task: JoinHandle<CoverageStatus>) {
        self.measuring = Some((pod, task));
    }

    /// Folds what the tasks report into the status, and lets go of those that ended.
    pub(super) fn collect(&mut self, datacenters: &[String]) {
        let (status, last) = (&mut self.status, &mut self.ring);
        let ended = self.followed.collect(|report| {
            if let Some(ring) = &report.ring
                && !last.as_ref().is_some_and(|last| Arc::ptr_eq(last, ring))
            {
                ring::fold(status, ring, datacenters);
                *last = Some(Arc::clone(ring));
            }
            fold(status, report);
        });
        for pod in ended {
            let node = self.status.nodes.iter_mut().find(|node| node.pod == pod);
            if let Some(node) = node.filter(|node| !node.phase.is_final()) {
                // The task panicked; the next one finds out where the run is.
                node.phase = NodePhase::Waiting;
                node.reason = Some(Reason::Interrupted.to_string());
            }
        }
        ring::leave_out_selected(&mut self.status);
        if let Some((_, task)) = self.measuring.take_if(|(_, task)| task.is_finished())
            && let Some(measured) = task.now_or_never()
        {
            let panicked = |error: tokio::task::JoinError| coverage::told(Err(error.to_string()));
            let ring = self.status.ring.get_or_insert_default();
            ring.coverage = Some(measured.unwrap_or_else(panicked));
        }
        let status = &mut self.status;
        self.sweeping.retain(|pod, task| {
            if task.is_finished() {
                for node in status.nodes.iter_mut().filter(|node| node.pod == *pod) {
                    node.sweep_pending = false;
                }
            }
            !task.is_finished()
        });
    }

    /// Whether nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.status.phase.is_some_and(BackupPhase::is_final)
            && self.followed.is_empty()
            && !self.status.nodes.iter().any(|node| node.sweep_pending)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        for task in self.sweeping.values() {
            task.abort();
        }
        if let Some((_, task)) = &self.measuring {
            task.abort();
        }
    }
}

fn fold(status: &mut CassandraBackupStatus, report: NodeReport) {
    let NodeReport { node, warnings, .. } = report;
    for warning in warnings {
        if status.warnings.len() < WARNINGS && !status.warnings.contains(&warning) {
            status.warnings.push(warning);
        }
    }
    if let Some(known) = status.nodes.iter_mut().find(|known| known.pod == node.pod) {
        // Turns are given here and not by the run.
        let turn_at = known.turn_at.take();
        *known = node;
        known.turn_at = turn_at;
    }
}

impl AtWork for Tracked {
    fn stop_all(&self) {
        self.followed.stop_all();
    }
}

/// All backups at work.
pub(crate) type Runs = Registry<Tracked>;

/// The backup's state, taken over from the API server if it is not here yet; `None` if there is
/// nothing left to do.
pub(super) async fn adopt(
    runs: &Runs,
    client: &Client,
    backup: &CassandraBackup,
) -> Result<Option<Shared<Tracked>>, kube::Error> {
    let uid = backup.uid().unwrap_or_default();
    if let Some(tracked) = runs.get(&uid) {
        return Ok(Some(tracked));
    }
    if is_over(backup.status.as_ref()) {
        return Ok(None);
    }
    let (namespace, name) = (backup.namespace().unwrap_or_default(), backup.name_any());
    let api: Api<CassandraBackup> = Api::namespaced(client.clone(), &namespace);
    let Some(fresh) = api.get_opt(&name).await? else {
        return Ok(None);
    };
    if fresh.uid().as_deref() != Some(&uid) || is_over(fresh.status.as_ref()) {
        return Ok(None);
    }
    let mut status = fresh.status.unwrap_or_default();
    rehearsal::leave_out(&mut status);
    let mut tracked = Tracked::new(uid.clone(), status.clone());
    tracked.written = Some((status, Instant::now()));
    Ok(Some(runs.add(&uid, &namespace, &name, tracked).await))
}

pub(super) fn is_over(status: Option<&CassandraBackupStatus>) -> bool {
    status.is_some_and(|status| {
        status.phase.is_some_and(BackupPhase::is_final)
            && !status.nodes.iter().any(|node| node.sweep_pending)
    })
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};
    use tokio::sync::watch;

    use super::*;
    use crate::node::{Orders, Pace, Reporter, Stop};
    use crate::played::context;

    fn object(uid: &str) -> Value {
        json!({
            "apiVersion": "cassandrabackup.io/v1alpha1", "kind": "CassandraBackup",
            "metadata": {"name": "nightly", "namespace": "shop", "uid": uid},
            "spec": {
                "cluster": "prod", "storage": {"name": "main"},
                "cassandra": {"podSelector": {"matchLabels": {"app": "cassandra"}}},
            },
            "status": {
                "phase": "Uploading",
                "nodes": [{"pod": "c-0", "phase": "Uploading", "attempt": 1, "runId": "r"}],
            },
        })
    }

    #[tokio::test]
    async fn a_resource_made_anew_at_once_stops_the_runs_of_the_one_before_it() {
        let (context, mut api) = context();
        let path = "/apis/cassandrabackup.io/v1alpha1/namespaces/shop/cassandrabackups/nightly";
        let mut adopt_played = async |uid: &'static str| {
            let adopting = Arc::clone(&context);
            let adopted = tokio::spawn(async move {
                let backup: CassandraBackup = serde_json::from_value(object(uid)).unwrap();
                adopt(&adopting.runs, &adopting.client, &backup).await
            });
            api.expect(Method::GET, path, Ok(object(uid))).await;
            adopted.await.unwrap().unwrap().unwrap()
        };
        let first = adopt_played("first").await;
        let (stop, stopped) = watch::channel(None);
        let (turn, _its_turn) = watch::channel(false);
        let node = first.lock().await.status.nodes[0].clone();
        let (_reporter, report) = Reporter::new(node, Pace::default(), Box::new(|| ()));
        let task = tokio::spawn(std::future::pending());
        let orders = Orders { stop, turn };
        let mut one = first.lock().await;
        one.followed.follow("c-0".into(), report, orders, task);
        drop(one);
        adopt_played("second").await;
        assert_eq!(*stopped.borrow(), Some(Stop::Cancelled));
        assert_eq!(context.runs.len(), 1);
    }

    #[tokio::test]
    async fn what_a_node_reports_is_in_the_status_also_what_it_says_last() {
        let status = serde_json::from_value(object("uid")["status"].clone()).unwrap();
        let mut tracked = Tracked::new("uid".into(), status);
        let node = tracked.status.nodes[0].clone();
        let (mut reporter, report) = Reporter::new(node, Pace::default(), Box::new(|| ()));
        let (stop, _stopped) = watch::channel(None);
        let (turn, _its_turn) = watch::channel(false);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let _ = ended.await;
        });
        let orders = Orders { stop, turn };
        tracked.followed.follow("c-0".into(), report, orders, task);
        reporter.waiting(Reason::PodNotReady, "it is away".into());
        tracked.collect(&[]);
        let node = &tracked.status.nodes[0];
        assert_eq!(
            (node.phase, node.message.as_deref()),
            (NodePhase::Waiting, Some("it is away"))
        );
        reporter.finish(NodePhase::Succeeded, Reason::Succeeded, "done", false);
        end.send(()).unwrap();
        while !tracked.followed.is_empty() {
            tokio::task::yield_now().await;
            tracked.collect(&[]);
        }
        assert_eq!(tracked.status.nodes[0].phase, NodePhase::Succeeded);
    }
}
