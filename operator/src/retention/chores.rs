//! Purges and deletions that are at work, in memory.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::task::AbortHandle;

use super::report::Ended;

/// What ended so long ago concerns nobody any more.
const FORGOTTEN: SignedDuration = SignedDuration::from_hours(48);

/// Where is deleted: by one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    /// Name of the BackupStorage.
    pub(crate) storage: String,
    /// Cluster id in it.
    pub(crate) cluster: String,
}

/// What is known of the purge or deletion of a resource.
#[derive(Clone, Debug)]
pub(crate) enum Chore {
    /// It is at work.
    Running,
    /// It has ended, and so many in a row did not go through.
    Ended { ended: Arc<Ended>, failures: u32 },
}

/// All purges and deletions, by the uid of their resource.
#[derive(Default)]
pub(crate) struct Chores(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    known: HashMap<String, Known>,
    busy: HashSet<Place>,
}

#[derive(Default)]
struct Known {
    /// None while it is at work.
    ended: Option<Arc<Ended>>,
    work: Option<AbortHandle>,
    failures: u32,
}

impl Chores {
    /// What is known of a resource's.
    pub(crate) fn of(&self, uid: &str) -> Option<Chore> {
        let inner = self.lock();
        let known = inner.known.get(uid)?;
        Some(match &known.ended {
            None => Chore::Running,
            Some(ended) => Chore::Ended {
                ended: Arc::clone(ended),
                failures: known.failures,
            },
        })
    }

    /// Starts one, and wakes its resource at the end. `false` if it is at work already, or another
    /// one is at the same place.
    pub(crate) fn start(
        self: &Arc<Self>,
        uid: String,
        place: Place,
        work: impl Future<Output = Ended> + Send + 'static,
        wake: impl FnOnce() + Send + 'static,
    ) -> bool {
        let work = {
            let mut inner = self.lock();
            let running = inner.known.get(&uid).is_some_and(|it| it.ended.is_none());
            if running || !inner.busy.insert(place.clone()) {
                return false;
            }
            let long_ago = Timestamp::now().saturating_sub(FORGOTTEN);
            // Of resources that went meanwhile; nobody waits so long to try again.
            inner.known.retain(|_, known| {
                let ended = known.ended.as_ref();
                ended.is_none_or(|it| long_ago.as_ref().is_ok_and(|long_ago| it.ended > *long_ago))
            });
            // Apart, for a panic would leave it at work for ever.
            let work = tokio::spawn(work);
            let known = inner.known.entry(uid.clone()).or_default();
            known.ended = None;
            known.work = Some(work.abort_handle());
            work
        };
        let chores = Arc::clone(self);
        tokio::spawn(async move {
            let ended = work.await.unwrap_or_else(Ended::panicked);
            let mut inner = chores.lock();
            inner.busy.remove(&place);
            if let Some(known) = inner.known.get_mut(&uid) {
                known.failures = if ended.is_success() {
                    0
                } else {
                    known.failures + 1
                };
                known.ended = Some(Arc::new(ended));
            }
            drop(inner);
            wake();
        });
        true
    }

    /// Ends what is at work and forgets it; whether something was. Its condemned list stays in the storage
    /// until its deadline.
    pub(crate) fn stop(&self, uid: &str) -> bool {
        let known = self.lock().known.remove(uid);
        let work = known.filter(|known| known.ended.is_none());
        let work = work.and_then(|known| known.work);
        work.map(|work| work.abort()).is_some()
    }

    /// Forgets what has ended. What is at work goes on, and nobody is told how it ends.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().known.remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
