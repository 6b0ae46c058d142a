//! Images that are on the node before somebody asks for them, for `cargo bed up`: whoever tries
//! something by hand should not wait for a build. Tests import what they use.

use anyhow::Result;
use async_trait::async_trait;

use super::cassandra::Version;
use super::{Facts, Part, containerd, images};
use crate::bed::ground::Ground;

/// The images.
pub struct Preloaded;

#[async_trait(?Send)]
impl Part for Preloaded {
    fn name(&self) -> &'static str {
        "images"
    }

    fn version(&self) -> &'static str {
        Version::default().number()
    }

    fn source(&self) -> &'static str {
        "Cassandra from Maven Central, Java and busybox of this machine"
    }

    async fn start(&self, ground: &Ground) -> Result<Facts> {
        let cassandra = images::cassandra(Version::default()).await?;
        containerd::import(ground, &cassandra).await?;
        Ok(Facts::from([("cassandra".into(), cassandra.name)]))
    }
}
