//! The client against the JDK's own JMX server: the program in `tests/java`, compiled and run with
//! the machine's JDK.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but does not see that helpers are tests too"
)]

mod beans;
mod cassandra;
mod faults;
mod network;
mod security;
mod silence;
mod support;
mod values;
