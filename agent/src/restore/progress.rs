//! How far a restore is.

use std::sync::atomic::{AtomicU64, Ordering};

/// Files that are fetched, or were there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Files in their place.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What was told so far.
#[derive(Default)]
pub(super) struct Told {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Told {
    /// Counts files more.
    pub(super) fn add(&self, files: u64, bytes: u64) -> Seen {
        Seen {
            files: self.files.fetch_add(files, Ordering::Relaxed) + files,
            bytes: self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes,
        }
    }
}
