//! The `cassandra-backup` program.
fn main() {}
