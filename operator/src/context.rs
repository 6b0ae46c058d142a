//! What the controllers share.

use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::Client;
use kube::Resource;
use kube::runtime::events::{Event, Recorder};
use kube::runtime::reflector::{Lookup, ObjectRef};

use crate::backup::{self, Runs};
use crate::cron;
use crate::maintenance::Home;
use crate::metrics::Metrics;
use crate::node::Tools;
use crate::restore;
use crate::retention::Chores;

/// What the controllers share.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) tools: Arc<Tools>,
    pub(crate) runs: Runs,
    pub(crate) restores: restore::Runs,
    pub(crate) wakes: Wakes<backup::Guarded>,
    pub(crate) cron_wakes: Wakes<cron::Guarded>,
    pub(crate) restore_wakes: Wakes<restore::Guarded>,
    /// Purges and deletions at work.
    pub(crate) chores: Arc<Chores>,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
    /// For what needs no Cassandra.
    pub(crate) home: Home,
}

impl Context {
    /// Tells news of a resource as Events.
    pub(crate) async fn tell<K>(&self, about: &K, news: impl IntoIterator<Item = Event>)
    where
        K: Resource<DynamicType = ()>,
    {
        let about = about.object_ref(&());
        for event in news {
            if let Err(error) = self.recorder.publish(&event, &about).await {
                tracing::warn!(%error, "an Event could not be recorded");
            }
        }
    }
}

/// A controller's namespace, and where it is told what to reconcile.
type Listener<K> = (Option<String>, UnboundedSender<ObjectRef<K>>);

/// Lets what runs ask for a reconciliation of its resource.
pub(crate) struct Wakes<K: Lookup<DynamicType = ()>> {
    /// By namespace; none for the controller of all namespaces.
    senders: Mutex<Vec<Listener<K>>>,
}

impl<K: Lookup<DynamicType = ()>> Default for Wakes<K> {
    fn default() -> Self {
        Self {
            senders: Mutex::default(),
        }
    }
}

impl<K: Lookup<DynamicType = ()>> Wakes<K> {
    /// What a controller of this namespace has to reconcile.
    pub(crate) fn subscribe(&self, namespace: Option<String>) -> UnboundedReceiver<ObjectRef<K>> {
        let (sender, receiver) = unbounded();
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        senders.push((namespace, sender));
        receiver
    }

    pub(crate) fn wake(&self, object: ObjectRef<K>) {
        let senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        for (namespace, sender) in senders.iter() {
            if namespace.is_none() || *namespace == object.namespace {
                // It fails when the controller has ended, and then the process does.
                let _ = sender.unbounded_send(object.clone());
            }
        }
    }
}
