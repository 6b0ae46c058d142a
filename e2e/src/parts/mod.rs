//! The parts of the bed, one module each: where it comes from, which version, how it is started.

pub mod awscli;
pub mod azurite;
pub mod b3sum;
pub mod binaries;
pub mod cassandra;
pub mod containerd;
pub mod definitions;
pub mod esop;
pub mod etcd;
pub mod fake_gcs;
pub mod filesystem;
pub mod grafana;
pub mod helm;
pub mod images;
pub mod jdk;
pub mod kubectl;
pub mod kubernetes;
pub mod kwok;
pub mod medusa;
pub mod minio;
pub mod network;
pub mod preloaded;
pub mod python;
pub mod rclone;
pub mod versitygw;
pub mod victoria;
pub mod vmalert;

use std::collections::BTreeMap;

use anyhow::Result;
use async_trait::async_trait;

use crate::bed::ground::Ground;

/// What others need to use a part: addresses, names, keys of this run.
pub type Facts = BTreeMap<String, String>;

/// A part of the bed that the keeper starts and ends. Its daemons are started through
/// [`Ground::daemons`], so that they end with the bed, however the bed ends.
#[async_trait(?Send)]
pub trait Part: Send + Sync {
    /// What it is called, in `status` and by those who ask for it.
    fn name(&self) -> &'static str;

    /// Its version.
    fn version(&self) -> &'static str;

    /// Where it comes from.
    fn source(&self) -> &'static str;

    /// Starts it and waits until it can be used. What has to be built comes from the cache.
    async fn start(&self, ground: &Ground) -> Result<Facts>;

    /// The names of its daemons. When one of them has died, the part is started again.
    fn daemons(&self) -> Vec<String> {
        Vec::new()
    }
}

/// All parts, in the order in which `cargo bed up` starts them. Kubernetes is the first: it is
/// what the others stand on.
pub fn all() -> Vec<&'static dyn Part> {
    vec![&kubernetes::Kubernetes, &preloaded::Preloaded]
}
