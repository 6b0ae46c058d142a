//! The parts of the bed, each by itself.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cassandra_cluster;
mod cassandra_host;
mod images;
mod stores;
