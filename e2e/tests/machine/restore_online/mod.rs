//! `restore` into clusters that are up: real rings, all rows read at consistency ALL.

mod access;
mod cluster;
mod datacenters;
mod faults;
mod forged;
mod groups;
mod meanwhile;
mod one_node;
mod rehearsal;
mod rings;
mod types;
