//! Purges of a storage of files.

// The lint allows these in test functions, not in the functions that they share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod deletes;
mod ground;
mod half_way;
mod honours;
mod refuses;
