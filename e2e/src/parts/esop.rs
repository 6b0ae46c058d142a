//! Esop, Instaclustr's backup tool, from Maven Central: one jar.

use std::path::PathBuf;

use anyhow::Result;

use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::{cache, tools};

/// Its version.
pub const VERSION: &str = "3.0.1";

/// The jar, fetched when it is not in the cache.
pub async fn ensure() -> Result<PathBuf> {
    let dir = cache::ensure("esop", VERSION, async |dir| {
        tools::require(&[tools::MVN])?;
        let maven = Run::new("mvn")
            .args(["-q", "-B", "dependency:copy"])
            .arg(format!("-Dartifact=com.instaclustr:esop:{VERSION}"))
            .arg(format!("-DoutputDirectory={}", dir.display()))
            .dir(&dir);
        step(format!("fetch Esop {VERSION} from Maven"), maven.ok()).await?;
        Ok(())
    });
    Ok(dir.await?.join(format!("esop-{VERSION}.jar")))
}
