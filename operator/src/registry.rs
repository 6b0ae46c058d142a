//! Resources that are at work, in memory. For them, what is here is the truth: what the watch delivers
//! may be older than what was written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A resource that is at work, for one task at a time.
pub(crate) type Shared<T> = Arc<tokio::sync::Mutex<T>>;

/// What can be told that nobody wants it any more.
pub(crate) trait AtWork {
    /// Cancels everything.
    fn stop_all(&self);
}

/// All resources of a kind that are at work, by their uid.
pub(crate) struct Registry<T> {
    at_work: Mutex<HashMap<String, Shared<T>>>,
    /// Uids by namespace and name, to find what a deleted resource left.
    names: Mutex<HashMap<(String, String), String>>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self {
            at_work: Mutex::default(),
            names: Mutex::default(),
        }
    }
}

impl<T: AtWork> Registry<T> {
    /// What is at work for this uid.
    pub(crate) fn get(&self, uid: &str) -> Option<Shared<T>> {
        lock(&self.at_work).get(uid).cloned()
    }

    /// Takes one in. Where another one had its name, it was made anew so soon that nobody saw that one
    /// gone; its work is stopped.
    pub(crate) async fn add(&self, uid: &str, namespace: &str, name: &str, one: T) -> Shared<T> {
        let one = Arc::new(tokio::sync::Mutex::new(one));
        lock(&self.at_work).insert(uid.to_owned(), Arc::clone(&one));
        let key = (namespace.to_owned(), name.to_owned());
        let before = lock(&self.names).insert(key, uid.to_owned());
        if let Some(before) = before.filter(|before| before != uid) {
            self.stop(&before).await;
        }
        one
    }

    /// Forgets one that is over.
    pub(crate) fn forget(&self, uid: &str) {
        lock(&self.at_work).remove(uid);
        lock(&self.names).retain(|_, other| other != uid);
    }

    /// Stops the work of a resource that was deleted.
    pub(crate) async fn abandon(&self, namespace: &str, name: &str) {
        let uid = lock(&self.names).remove(&(namespace.to_owned(), name.to_owned()));
        let Some(uid) = uid else { return };
        self.stop(&uid).await;
    }

    async fn stop(&self, uid: &str) {
        let one = lock(&self.at_work).remove(uid);
        if let Some(one) = one {
            tracing::info!(uid, "the resource was deleted, its runs are cancelled");
            one.lock().await.stop_all();
        }
    }

    /// How many are at work.
    pub(crate) fn len(&self) -> usize {
        lock(&self.at_work).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
