//! Files that are read and written as a guest of Cassandra's page cache.

mod read;
mod write;

pub use read::{GentleFile, read};
pub use write::GentleWriter;
