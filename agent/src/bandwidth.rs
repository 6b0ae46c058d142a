//! One budget of bytes per second for all that a run reads and sends.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// How far transfers may run ahead of the rate, so that chunks do not wait one by one.
const BURST: Duration = Duration::from_millis(100);

/// Large enough that a system call and a thread hand-over cost nothing beside it.
const LARGEST_PIECE: usize = 1 << 20;

/// How long a piece lasts at a limited rate.
const PIECE: Duration = Duration::from_micros(2500);

/// Pieces are multiples of it, in bytes: the largest pages of common file systems and memories.
const PIECE_STEP: usize = 64 << 10;

/// A limit of bytes per second, shared by all files of a node.
pub struct Bandwidth {
    rate: Option<f64>,
    /// When all that was taken so far has been paid for.
    paid_at: Mutex<Instant>,
}

impl Bandwidth {
    /// No limit.
    pub fn unlimited() -> Self {
        Self::new(None)
    }

    /// `rate` bytes per second; `None` and 0 mean no limit.
    pub fn new(rate: Option<u64>) -> Self {
        let rate = rate.filter(|rate| *rate > 0).map(|rate| rate as f64);
        Self {
            rate,
            paid_at: Mutex::new(Instant::now()),
        }
    }

    /// How much to move in one go, in bytes: at a limited rate so little that one piece keeps a
    /// core or a disk for a moment only, in which somebody else may wait for it.
    pub fn piece(&self) -> usize {
        match self.rate {
            None => LARGEST_PIECE,
            Some(rate) => {
                let bytes = (rate * PIECE.as_secs_f64()) as usize;
                bytes.max(1).next_multiple_of(PIECE_STEP).min(LARGEST_PIECE)
            }
        }
    }

    /// Waits until `bytes` more fit the limit.
    pub async fn take(&self, bytes: u64) {
        if let Some(wait_until) = self.reserve(bytes, Instant::now()) {
            tokio::time::sleep_until(wait_until).await;
        }
    }

    /// Takes `bytes` more; until when to wait before anything else is moved, if at all.
    pub fn reserve(&self, bytes: u64, now: Instant) -> Option<Instant> {
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate?);
        let mut paid_at = self
            .paid_at
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        *paid_at = (*paid_at).max(now) + cost;
        (*paid_at > now + BURST).then(|| *paid_at - BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_small_where_the_rate_is() {
        for (rate, piece) in [
            (None, 1 << 20),
            (Some(0), 1 << 20),
            (Some(1), 64 << 10),
            (Some(50_000_000), 128 << 10),
            (Some(u64::MAX), 1 << 20),
        ] {
            assert_eq!(Bandwidth::new(rate).piece(), piece, "{rate:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_flow_at_the_rate_whatever_the_number_of_takers() {
        let bandwidth = Bandwidth::new(Some(1000));
        let start = Instant::now();
        let take = || async {
            for _ in 0..10 {
                bandwidth.take(500).await;
            }
        };
        tokio::join!(take(), take());
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(9_800), "{took:?}");
        assert!(took <= Duration::from_millis(10_200), "{took:?}");
    }
}
