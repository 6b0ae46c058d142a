//! What a request needs that is read from the cluster: storage, passwords.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crds::BackupStorageSpec;
use protocol::{JmxAccess, Password, StorageAccess};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// What was read is taken for what is there for so long: a secret may be exchanged at any time.
const FRESH: Duration = Duration::from_secs(2);

/// What a request needs that is read from the cluster.
pub(crate) struct Fetched {
    pub(crate) storage_spec: BackupStorageSpec,
    pub(crate) storage: StorageAccess,
    pub(crate) jmx: JmxAccess,
    pub(crate) cql: Option<Password>,
}

/// What proves to storage and Cassandra who asks, as its BLAKE3: to be compared, and small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Secrets(blake3::Hash);

impl Fetched {
    pub(super) fn secrets(&self) -> Secrets {
        let all = serde_json::to_vec(&(&self.storage, &self.jmx, &self.cql));
        // It cannot fail; then they would count as never exchanged.
        Secrets(blake3::hash(&all.unwrap_or_default()))
    }
}

/// What the nodes of a job that are asked at the same time share, so that a thousand do not read the
/// same a thousand times. It is kept no longer than one of them needs it.
#[derive(Debug, Default)]
pub(crate) struct Sharing(Mutex<(Option<Instant>, Weak<Fetched>)>);

impl Sharing {
    /// What another one has just read, or reads meanwhile; else what `read` gives.
    pub(super) async fn or<E>(
        &self,
        read: impl Future<Output = Result<Fetched, E>>,
    ) -> Result<Arc<Fetched>, E> {
        let asked = Instant::now();
        let mut shared = self.0.lock().await;
        let (at, fetched) = &*shared;
        // However long it took: whoever waited for it asked no later than it came.
        if at.is_some_and(|at| asked.saturating_duration_since(at) < FRESH)
            && let Some(fetched) = fetched.upgrade()
        {
            return Ok(fetched);
        }
        // What comes after this moment may not be in it.
        let at = Instant::now();
        let fetched = Arc::new(read.await?);
        *shared = (Some(at), Arc::downgrade(&fetched));
        Ok(fetched)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn read(times: &Cell<u32>) -> Result<Fetched, ()> {
        times.set(times.get() + 1);
        Ok(Fetched {
            storage_spec: serde_json::from_str("{}").map_err(drop)?,
            storage: StorageAccess::File {
                path: times.get().to_string(),
            },
            jmx: JmxAccess::default(),
            cql: None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_read_once_for_those_who_need_it_at_the_same_time() {
        let (shared, times) = (Sharing::default(), Cell::new(0));
        let first = shared.or(read(&times)).await.unwrap();
        let second = shared.or(read(&times)).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        // Nobody needs it any more, and so it is gone.
        drop((first, second));
        let third = shared.or(read(&times)).await.unwrap();
        assert_eq!(times.get(), 2);
        tokio::time::advance(FRESH).await;
        let fourth = shared.or(read(&times)).await.unwrap();
        assert_ne!(third.secrets(), fourth.secrets());
        assert_eq!(times.get(), 3);
        // Those who wait for a slow one take what it reads.
        tokio::time::advance(FRESH).await;
        let slow = || async {
            tokio::time::sleep(2 * FRESH).await;
            read(&times).await
        };
        let (one, other) = tokio::join!(shared.or(slow()), shared.or(slow()));
        assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
        assert_eq!(times.get(), 4);
        // What could not be read is read again.
        tokio::time::advance(FRESH).await;
        assert!(shared.or(async { Err::<Fetched, ()>(()) }).await.is_err());
        assert!(shared.or(read(&times)).await.is_ok());
    }
}
