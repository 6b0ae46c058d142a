//! Runs that outlive their callers: real processes that are killed, attached to and resumed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod attach;
mod control;
mod harness;
mod neighbour;
mod owner;
mod resume;
mod secrets;
mod streams;
