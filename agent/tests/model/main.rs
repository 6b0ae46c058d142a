//! A model of the storage's protocol: backups, purges, repairs, crashes, pauses, lost answers,
//! damage from outside and a cleanup by age, in every order that a seed can make of them, over a
//! storage in memory. What runs is the real code of backups, retention, purges and `verify
//! --repair`; here is only what is around it.
//!
//! A schedule is a seed. One that loses something is printed step by step.

// The lint allows these in test functions, not in the functions that they share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod broken;
mod invariant;
mod process;
mod random;
mod right;
mod scenario;
mod schedule;
mod sim_store;
mod world;
