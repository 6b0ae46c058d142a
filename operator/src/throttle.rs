//! Many nodes have news at the same time, and a backup is looked at once for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

/// To look at a backup of a thousand nodes takes some milliseconds, and its status has half a megabyte.
const PAUSE_PER_NODE: Duration = Duration::from_millis(1);

/// Wakes that come close together, as one.
#[derive(Debug, Default)]
pub(crate) struct Throttle(AtomicBool);

impl Throttle {
    /// Wakes a resource of so many nodes soon, unless that is under way.
    pub(crate) fn wake(self: &Arc<Self>, nodes: usize, wake: impl FnOnce() + Send + 'static) {
        if self.0.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = Arc::clone(self);
        let pause = PAUSE_PER_NODE * u32::try_from(nodes).unwrap_or(u32::MAX);
        tokio::spawn(async move {
            sleep(pause).await;
            // Before: what comes from now on may not be seen by the one that is woken.
            this.0.store(false, Ordering::Release);
            wake();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_wakes_are_one_and_a_later_one_is_another() {
        let (throttle, woken) = (Arc::new(Throttle::default()), Arc::new(AtomicUsize::new(0)));
        let wake = || {
            let woken = Arc::clone(&woken);
            throttle.wake(1_000, move || {
                woken.fetch_add(1, Ordering::Relaxed);
            });
        };
        (0..1_000).for_each(|_| wake());
        sleep(Duration::from_millis(999)).await;
        assert_eq!(woken.load(Ordering::Relaxed), 0);
        sleep(Duration::from_millis(2)).await;
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        wake();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }
}
