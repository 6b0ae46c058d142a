//! `restore` into clusters that are up: real rings, all rows read at consistency ALL.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used)]

mod cluster;
mod one_node;
mod rings;
mod types;
