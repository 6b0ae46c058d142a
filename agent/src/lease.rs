//! Deadlines by the storage's clock: what backups and purges promise each other with them.
//!
//! Whoever wrote an intent or a condemned list acts on it only before its deadline; everybody else
//! honours it until [`MARGIN`] later. In between lies the time of one request: one that was sent
//! before the deadline and takes the storage longer than the margin to carry out would break the
//! promise, and no storage offers a condition that could prevent it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use jiff::Timestamp;
use store::Store;

/// How long after its deadline an intent or a condemned list is still honoured: for clocks of a
/// storage's servers that differ, and for requests that are on their way.
pub const MARGIN: Duration = Duration::from_secs(600);

/// Whether what carries this deadline is still honoured at `now`, by the storage's clock.
pub fn honoured(deadline: Timestamp, now: SystemTime, margin: Duration) -> bool {
    Timestamp::try_from(now)
        .is_ok_and(|now| now < deadline.saturating_add(margin).unwrap_or(deadline))
}

/// The storage's time, for who looks only; this machine's where the storage tells none to those who may not write.
pub async fn now_for_readers(store: &dyn Store) -> Result<SystemTime, store::Error> {
    match store.now().await {
        Err(error) if !error.is_temporary() => Ok(SystemTime::now()),
        told => told,
    }
}

/// The process's own clock.
#[async_trait]
pub trait Timer: Send + Sync {
    /// Time since some start; goes on while the process is stopped and the machine asleep.
    fn now(&self) -> Duration;

    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTimer;

#[async_trait]
impl Timer for SystemTimer {
    fn now(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_nanos(time.tv_nsec.unsigned_abs())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A moment by the storage's clock after which nothing may be done.
#[derive(Debug)]
pub struct Deadline {
    at: SystemTime,
    seen: Mutex<Seen>,
}

/// The storage's clock as it was seen last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    clock: SystemTime,
    /// By our own clock, before the question was sent.
    asked: Duration,
}

impl Seen {
    async fn ask(store: &dyn Store, timer: &dyn Timer) -> Result<Self, store::Error> {
        let asked = timer.now();
        let clock = store.now().await?;
        Ok(Self { clock, asked })
    }
}

impl Deadline {
    /// `lifetime` from now.
    pub async fn after(
        lifetime: Duration,
        store: &dyn Store,
        timer: &dyn Timer,
    ) -> Result<Self, store::Error> {
        let seen = Seen::ask(store, timer).await?;
        Ok(Self {
            at: seen.clock + lifetime,
            seen: Mutex::new(seen),
        })
    }

    /// The moment itself.
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// Looks at the storage's clock again, which may have been set.
    pub async fn look(&self, store: &dyn Store, timer: &dyn Timer) -> Result<(), store::Error> {
        let seen = Seen::ask(store, timer).await?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(())
    }

    /// How long ago the storage's clock was looked at.
    pub fn unseen_for(&self, timer: &dyn Timer) -> Duration {
        timer.now().saturating_sub(self.seen().asked)
    }

    /// Whether the moment may have passed: the storage's clock has gone on by no more than our own
    /// since before it was asked, however long its answer or this process was held up.
    pub fn passed(&self, timer: &dyn Timer) -> bool {
        self.seen().clock + self.unseen_for(timer) >= self.at
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Stands still unless it is told.
    #[derive(Default)]
    struct Hand(AtomicU64);

    #[async_trait]
    impl Timer for Hand {
        fn now(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }

        async fn sleep(&self, duration: Duration) {
            self.0.fetch_add(duration.as_secs(), Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_process_that_was_stopped_knows_that_its_deadline_has_passed() {
        let directory = tempfile::tempdir().unwrap();
        let store = store::FileStore::open(directory.path()).unwrap();
        let timer = Hand::default();
        let lifetime = Duration::from_secs(60);
        let deadline = Deadline::after(lifetime, &store, &timer).await.unwrap();
        assert!(!deadline.passed(&timer));
        timer.sleep(lifetime).await;
        assert!(deadline.passed(&timer));
        // The storage's own clock is what counts.
        deadline.look(&store, &timer).await.unwrap();
        assert!(!deadline.passed(&timer));
    }

    #[tokio::test]
    async fn the_machines_clock_goes_on() {
        let before = SystemTimer.now();
        SystemTimer.sleep(Duration::from_millis(5)).await;
        assert!(SystemTimer.now() >= before + Duration::from_millis(5));
    }
}
