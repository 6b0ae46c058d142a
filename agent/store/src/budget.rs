//! How much of all uploads together may be in memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of the budget: a semaphore counts to less than 2³² at once.
const UNIT: u64 = 1024;

/// A bound on the bytes in flight.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    left: Arc<Semaphore>,
}

/// A share of the bytes in flight, given back when dropped.
pub(crate) struct Share {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Budget {
    /// At most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            left: Arc::new(Semaphore::new(units(limit) as usize)),
        }
    }

    /// Waits until `bytes` more may be in memory. Taken for a whole part before its first byte,
    /// so that uploads never wait for each other with parts half filled.
    pub async fn share(&self, bytes: u64) -> Share {
        let wanted = units(bytes.min(self.limit));
        // The semaphore is never closed; without a permit the only loss would be the bound.
        let permit = Arc::clone(&self.left).acquire_many_owned(wanted).await;
        Share {
            _permit: permit.ok(),
        }
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}
