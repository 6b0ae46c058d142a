//! Backs up one Cassandra node.
