//! `restore` into clusters that are up: real rings, all rows read at consistency ALL.

mod cluster;
mod one_node;
mod rehearsal;
mod rings;
mod types;
