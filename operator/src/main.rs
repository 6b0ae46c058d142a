//! The `cassandra-backup-operator` program.
fn main() {}
