//! The test bed: real Kubernetes, real Cassandra, real stores.
