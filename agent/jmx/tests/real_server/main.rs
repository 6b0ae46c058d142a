//! The client against the JDK's own JMX server: the program in `tests/java`, compiled and run with
//! the machine's JDK.

mod beans;
mod cassandra;
mod faults;
mod network;
mod security;
mod support;
mod values;
