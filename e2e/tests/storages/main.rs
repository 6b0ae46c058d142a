//! The storages of the agent against real servers.

// The helpers of a test may panic as it does itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod identities_on_s3;
mod store_conformance;
mod store_on_azure;
mod store_on_gcs;
