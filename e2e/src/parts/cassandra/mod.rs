//! Apache Cassandra, from Maven Central: `org.apache.cassandra:cassandra-all` and what it needs.

pub mod cluster;
pub mod config;
pub mod cql;
pub mod host;
pub mod manifests;
pub mod rows;
pub mod tls;

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::jdk::{self, Jdk};
use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::{cache, tools};

/// A Cassandra that the bed can run. The newest of each line on Maven Central.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// 4.0, on Java 11.
    V4_0,
    /// 4.1, on Java 11.
    V4_1,
    /// 5.0, on Java 17.
    #[default]
    V5_0,
}

impl Version {
    /// The full version.
    pub fn number(self) -> &'static str {
        match self {
            Self::V4_0 => "4.0.19",
            Self::V4_1 => "4.1.10",
            Self::V5_0 => "5.0.9",
        }
    }

    /// The Java it runs on.
    pub async fn jdk(self) -> Result<Jdk> {
        match self {
            Self::V4_0 | Self::V4_1 => jdk::jdk11().await,
            Self::V5_0 => jdk::jdk17().await,
        }
    }
}

/// A Cassandra's programs on this machine.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// Which.
    pub version: Version,
    /// Its Java.
    pub jdk: Jdk,
    /// The directory that holds its jars and nothing else.
    pub jars: PathBuf,
}

impl Distribution {
    /// Fetches what is not in the cache: 66 MB of jars in about 20 s, and a Java runtime.
    pub async fn ensure(version: Version) -> Result<Self> {
        let (jars, jdk) = tokio::try_join!(jars(version), version.jdk())?;
        Ok(Self { version, jdk, jars })
    }

    /// The agent that measures the heap, without which Cassandra does not start.
    pub fn jamm(&self) -> Result<String> {
        for entry in fs::read_dir(&self.jars)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("jamm-") {
                return Ok(name);
            }
        }
        bail!("no jamm-*.jar in {}", self.jars.display())
    }
}

async fn jars(version: Version) -> Result<PathBuf> {
    let number = version.number();
    let dir = cache::ensure("cassandra", number, async |dir| {
        tools::require(&[tools::MVN])?;
        fs::write(dir.join("pom.xml"), pom(number))?;
        let maven = Run::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies"])
            .args(["-DincludeScope=runtime", "-DoutputDirectory=jars"])
            .dir(&dir);
        step(format!("fetch Cassandra {number} from Maven"), maven.ok()).await?;
        for entry in fs::read_dir(dir.join("jars"))? {
            let entry = entry?;
            if foreign(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    });
    Ok(dir.await?.join("jars"))
}

/// Native code for systems that the bed does not run on.
fn foreign(jar: &str) -> bool {
    ["osx", "macos", "windows", "aarch_64", "riscv64"]
        .iter()
        .any(|system| jar.contains(system))
}

fn pom(version: &str) -> String {
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>bed</groupId>
  <artifactId>cassandra</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId>
      <artifactId>cassandra-all</artifactId>
      <version>{version}</version>
    </dependency>
  </dependencies>
</project>
"#
    )
}
