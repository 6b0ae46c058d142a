//! The runs of a resource that are followed, by pod.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{NodeReport, Stop};

/// By which a run that is followed is told something.
pub(crate) struct Orders {
    pub(crate) stop: watch::Sender<Option<Stop>>,
    pub(crate) turn: watch::Sender<bool>,
}

struct Following {
    report: watch::Receiver<NodeReport>,
    orders: Orders,
    task: JoinHandle<()>,
}

/// The runs that are followed, by pod.
#[derive(Default)]
pub(crate) struct Followed(BTreeMap<String, Following>);

impl Followed {
    /// Pods whose run is followed.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn follow(
        &mut self,
        pod: String,
        report: watch::Receiver<NodeReport>,
        orders: Orders,
        task: JoinHandle<()>,
    ) {
        let following = Following {
            report,
            orders,
            task,
        };
        self.0.insert(pod, following);
    }

    /// Lets the run of a pod go on after its snapshot.
    pub(crate) fn proceed(&self, pod: &str) {
        if let Some(following) = self.0.get(pod) {
            following.orders.turn.send_replace(true);
        }
    }

    /// Tells the run of a pod to stop; the first reason counts.
    pub(crate) fn stop(&self, pod: &str, stop: Stop) {
        if let Some(following) = self.0.get(pod) {
            following.orders.stop.send_if_modified(|now| {
                let first = now.is_none();
                *now = now.or(Some(stop));
                first
            });
        }
    }

    /// Cancels everything; nobody wants to know any more.
    pub(crate) fn stop_all(&self) {
        for pod in self.0.keys() {
            self.stop(pod, Stop::Cancelled);
        }
    }

    /// Tells what is new of each run, lets go of those that ended, and names these.
    pub(crate) fn collect(&mut self, mut tell: impl FnMut(NodeReport)) -> Vec<String> {
        let mut ended = Vec::new();
        for (pod, following) in &mut self.0 {
            // Looked at first: what is reported before the end is then not missed.
            let task_ended = following.task.is_finished();
            if following.report.has_changed().unwrap_or(true) {
                tell(following.report.borrow_and_update().clone());
            }
            if task_ended {
                ended.push(pod.clone());
            }
        }
        for pod in &ended {
            self.0.remove(pod);
        }
        ended
    }
}
