//! How much is staged before it is imported, and what that takes of the disk.

/// Batches are not smaller than this, so that imports and cleanups are few.
const SMALLEST: u64 = 1 << 30;
/// Nor larger, so that not all is fetched again after a node has lost its disk.
const LARGEST: u64 = 64 << 30;
/// SSTables of a batch at most: each takes about 2 KiB of memory meanwhile.
const SSTABLES: usize = 2000;

/// The batches of a restore, in order.
#[derive(Clone, Debug)]
pub struct Batches {
    limit: u64,
    /// Whether a batch is there twice while it is imported.
    copied: bool,
    sstables: usize,
    bytes: u64,
    kept_of_batch: u64,
    kept: u64,
    peak: u64,
}

impl Batches {
    /// For so much free space, of which an eighth is a batch unless it is said. Between file systems
    /// Cassandra copies instead of moving.
    pub fn new(free: u64, copied: bool, limit: Option<u64>) -> Self {
        Self {
            limit: limit.unwrap_or((free / 8).clamp(SMALLEST, LARGEST)),
            copied,
            sstables: 0,
            bytes: 0,
            kept_of_batch: 0,
            kept: 0,
            peak: 0,
        }
    }

    /// Whether the batch is to be imported before so many bytes are added.
    pub fn is_full(&self, bytes: u64) -> bool {
        let large = self.bytes.saturating_add(bytes) > self.limit;
        self.sstables > 0 && (large || self.sstables >= SSTABLES)
    }

    /// Adds an SSTable, of whose bytes some are kept in the end.
    pub fn add(&mut self, bytes: u64, kept: u64) {
        self.sstables += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.kept_of_batch = self.kept_of_batch.saturating_add(kept);
    }

    /// Ends the batch; `cleaned` if a cleanup writes anew what is kept, beside what there is.
    pub fn end(&mut self, cleaned: bool) {
        let rewritten = if cleaned { self.kept_of_batch } else { 0 };
        let copies = if self.copied { self.bytes } else { 0 };
        let now = self.bytes.saturating_add(rewritten.max(copies));
        self.peak = self.peak.max(self.kept.saturating_add(now));
        self.kept = self.kept.saturating_add(self.kept_of_batch);
        (self.sstables, self.bytes, self.kept_of_batch) = (0, 0, 0);
    }

    /// Bytes that the node needs at the worst moment of the batches that have ended.
    pub fn peak(&self) -> u64 {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_batch_is_an_eighth_of_the_room_within_bounds() {
        let full = |free: u64, has: u64, next: u64| {
            let mut batches = Batches::new(free, false, None);
            batches.add(has, has);
            batches.is_full(next)
        };
        assert!(!full(16 * GIB, GIB, GIB) && full(16 * GIB, GIB, GIB + 1));
        assert!(!full(GIB, GIB / 2, GIB / 2) && full(1 << 50, 64 * GIB, 1));
        let mut small = Batches::new(1 << 40, false, Some(10));
        small.add(10, 10);
        assert!(small.is_full(1));
        // One that is larger is a batch of its own.
        assert!(!Batches::new(0, false, None).is_full(100 * GIB));
        let mut many = Batches::new(1 << 40, false, None);
        (0..SSTABLES).for_each(|_| many.add(1, 1));
        assert!(many.is_full(1));
    }

    #[test]
    fn the_peak_counts_what_is_kept_and_the_batch_at_hand() {
        let peak = |copied: bool, cleaned: bool| {
            let mut batches = Batches::new(0, copied, None);
            for _ in 0..3 {
                batches.add(100, 40);
                batches.end(cleaned);
            }
            batches.peak()
        };
        assert_eq!(peak(false, false), 40 + 40 + 100);
        assert_eq!(peak(false, true), 40 + 40 + 100 + 40);
        assert_eq!(peak(true, false), 40 + 40 + 200);
    }
}
