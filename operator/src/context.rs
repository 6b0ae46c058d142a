//! What the controllers share.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::Client;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::ObjectRef;

use crate::backup::{Guarded, Runs};
use crate::metrics::Metrics;
use crate::node::Tools;

/// What the controllers share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) tools: Arc<Tools>,
    pub(crate) runs: Runs,
    pub(crate) wakes: Wakes,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    /// The agent's executable on this machine, for what needs no pod.
    pub(crate) agent_path: PathBuf,
}

/// A controller's namespace, and where it is told what to reconcile.
type Listener = (Option<String>, UnboundedSender<ObjectRef<Guarded>>);

/// Lets runs ask for a reconciliation of their resource.
#[derive(Default)]
pub(crate) struct Wakes {
    /// By namespace; none for the controller of all namespaces.
    senders: Mutex<Vec<Listener>>,
}

impl Wakes {
    /// What a controller of this namespace has to reconcile.
    pub(crate) fn subscribe(
        &self,
        namespace: Option<String>,
    ) -> UnboundedReceiver<ObjectRef<Guarded>> {
        let (sender, receiver) = unbounded();
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.push((namespace, sender));
        receiver
    }

    pub(crate) fn wake(&self, object: ObjectRef<Guarded>) {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        for (namespace, sender) in senders.iter() {
            if namespace.is_none() || *namespace == object.namespace {
                // It fails when the controller has ended, and then the process does.
                let _ = sender.unbounded_send(object.clone());
            }
        }
    }
}
