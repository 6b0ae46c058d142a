//! Keeps out of Cassandra's way: priorities, memory, threads, and the right user.
//!
//! What is here is about the process as a whole. How files are read without disturbing the page
//! cache, and how much bandwidth is used, is the business of those who read and send.

mod groups;
mod memory;
mod owner;
mod priority;

use std::io;
use std::sync::OnceLock;

pub use memory::{NoMemory, enough_memory};
pub use owner::{Owner, OwnerError, become_owner_of};

/// Worker threads of the runtime: what waits for the network and decides needs no more.
const WORKERS: usize = 2;

/// Threads that read and hash files. Each costs a stack and a buffer.
const BLOCKING_THREADS: usize = 16;

/// Prepares the process, once: it dies first when memory runs out, gets CPU and disk only when
/// nobody else wants them, and keeps few heaps. Says, for each measure that was not allowed, which
/// and why.
///
/// Priorities are those of a thread and inherited by the threads that it starts, so the first call
/// comes from `main`, before there are others. Later calls change nothing and tell the same.
pub fn apply() -> Vec<String> {
    static MISSED: OnceLock<Vec<String>> = OnceLock::new();
    MISSED.get_or_init(priority::apply).clone()
}

/// The runtime of a run.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("cassandra-backup")
        .enable_all()
        .build()
}
