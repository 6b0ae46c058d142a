//! How a plan is carried out.

#![allow(clippy::unwrap_used)] // helpers of tests

mod changes;
mod concurrency;
mod ground;
