//! Container images, made of what this machine and the registries have, without Docker. Every
//! image is tagged with a hash of its content, so that a change is never mistaken for what a
//! cluster holds already.

mod archive;
mod rootfs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::binaries::Binaries;
use super::cassandra::{Distribution, Version};
use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::{cache, packages};

pub use rootfs::Rootfs;

/// The user that Cassandra runs as in its image.
pub const CASSANDRA_UID: u32 = 999;
/// The user that the operator runs as in its image.
pub const OPERATOR_UID: u32 = 65532;

/// An image on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What pods call it: `docker.io/bed/NAME:TAG`.
    pub name: String,
    /// A tar in docker-archive form, for `ctr images import`.
    pub archive: PathBuf,
}

/// How a container of an image starts, where a pod does not say otherwise.
#[derive(Debug, Clone, Default)]
struct Config {
    user: String,
    env: Vec<String>,
    entrypoint: Vec<String>,
}

/// The container that holds a pod's namespaces.
pub async fn pause() -> Result<Image> {
    asleep("pause").await
}

/// An image without a shell: one program that sleeps.
pub async fn without_shell() -> Result<Image> {
    asleep("without-shell").await
}

/// An image with musl for its libc and no other, and a shell that needs none.
pub async fn musl() -> Result<Image> {
    packages::ensure(&["musl"]).await?;
    let libc = Path::new("/usr/lib/x86_64-linux-musl/libc.so");
    let rootfs = shell(Rootfs::new())
        .await?
        .file("/lib/ld-musl-x86_64.so.1", libc)?
        .text("/etc/passwd", 0o644, PASSWD)
        .directory("/tmp", 0o1777, 0);
    let config = Config {
        user: CASSANDRA_UID.to_string(),
        env: vec![PATH.into()],
        entrypoint: words("/bin/sleep inf"),
    };
    make("musl", "", rootfs, config).await
}

/// Cassandra with its Java, nodetool, bash and busybox. What it is told is rendered by
/// [`super::cassandra::config`] and mounted.
pub async fn cassandra(version: Version) -> Result<Image> {
    let rootfs = shell(java(version).await?).await?;
    let rootfs = rootfs
        .file("/bin/bash", Path::new("/bin/bash"))?
        .libraries(&["/bin/bash".into()])
        .await?
        .text("/usr/bin/nodetool", 0o755, NODETOOL);
    make("cassandra", version.number(), rootfs, of_cassandra()).await
}

/// The same without any shell or tool.
pub async fn cassandra_without_shell(version: Version) -> Result<Image> {
    make(
        "cassandra-without-shell",
        version.number(),
        java(version).await?,
        of_cassandra(),
    )
    .await
}

/// The operator and, for it to inject, the agent.
pub async fn operator(binaries: &Binaries) -> Result<Image> {
    let (rootfs, config) = of_operator(binaries).await?;
    make("operator", "", rootfs, config).await
}

/// Writes the same as a tar, under a name of one's own.
pub async fn write_operator(binaries: &Binaries, name: &str, path: &Path) -> Result<()> {
    let (rootfs, config) = of_operator(binaries).await?;
    archive::write(path, name, &rootfs, &config)
}

async fn of_operator(binaries: &Binaries) -> Result<(Rootfs, Config)> {
    packages::ensure(&["ca-certificates"]).await?;
    let trusted = "/etc/ssl/certs/ca-certificates.crt";
    let rootfs = Rootfs::new()
        .file(trusted, &fs::canonicalize(trusted)?)?
        .file(
            "/usr/local/bin/cassandra-backup-operator",
            &binaries.operator,
        )?
        .file("/usr/local/bin/cassandra-backup", &binaries.agent)?
        .text("/etc/passwd", 0o644, PASSWD)
        .directory("/tmp", 0o1777, 0);
    let config = Config {
        user: OPERATOR_UID.to_string(),
        env: vec!["PATH=/usr/local/bin".into()],
        entrypoint: words("/usr/local/bin/cassandra-backup-operator"),
    };
    Ok((rootfs, config))
}

/// The agent and a shell, for a container of its own beside Cassandra.
pub async fn agent(binaries: &Binaries) -> Result<Image> {
    let rootfs = shell(Rootfs::new())
        .await?
        .file("/usr/local/bin/cassandra-backup", &binaries.agent)?
        .text("/etc/passwd", 0o644, PASSWD)
        .directory("/tmp", 0o1777, 0);
    let config = Config {
        user: CASSANDRA_UID.to_string(),
        env: vec![PATH.into()],
        entrypoint: words("/bin/sleep inf"),
    };
    make("agent", "", rootfs, config).await
}

const PATH: &str = "PATH=/usr/local/bin:/usr/bin:/bin";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      cassandra:x:999:999::/var/lib/cassandra:/bin/sh\n\
                      operator:x:65532:65532::/tmp:/bin/sh\n";
/// Its arguments are rendered with the node's configuration.
const NODETOOL: &str = "#!/bin/sh\n\
    exec /opt/java/bin/java @/var/lib/cassandra/conf/nodetool.args \"$@\"\n";

fn of_cassandra() -> Config {
    Config {
        user: CASSANDRA_UID.to_string(),
        env: vec![PATH.into(), "JAVA_HOME=/opt/java".into()],
        entrypoint: words("/opt/java/bin/java @/var/lib/cassandra/conf/cassandra.args"),
    }
}

/// Java, the jars, and the libraries that the native code in both needs.
async fn java(version: Version) -> Result<Rootfs> {
    let Distribution { jdk, jars, .. } = Distribution::ensure(version).await?;
    let rootfs = Rootfs::new()
        .tree("/opt/java", &jdk.home)?
        .tree("/opt/cassandra/lib", &jars)?;
    let lib = jdk.home.join("lib");
    let mut natives = vec![
        jdk.java(),
        lib.join("server/libjvm.so"),
        lib.join("libnet.so"),
    ];
    // Snappy, in its jar, is C++.
    let cxx = Run::new("ldconfig").arg("-p").output().await?;
    let cxx = cxx
        .lines()
        .find(|line| line.contains("libstdc++.so.6") && line.contains("x86-64"));
    let cxx = cxx
        .and_then(|line| line.split_once(" => "))
        .context("no libstdc++.so.6")?
        .1;
    natives.push(cxx.into());
    let rootfs = rootfs
        .file(cxx, &fs::canonicalize(cxx)?)?
        .libraries(&natives)
        .await?;
    Ok(rootfs
        .text("/etc/passwd", 0o644, PASSWD)
        .text("/etc/group", 0o644, "root:x:0:\ncassandra:x:999:\n")
        .directory("/tmp", 0o1777, 0)
        .directory("/var/lib/cassandra", 0o755, CASSANDRA_UID))
}

/// busybox under all of its names.
async fn shell(rootfs: Rootfs) -> Result<Rootfs> {
    let busybox = busybox().await?;
    let names = Run::new(&busybox).arg("--list").output().await?;
    let rootfs = rootfs.file("/bin/busybox", &busybox)?;
    let names = names.lines().filter(|name| *name != "busybox");
    Ok(names.fold(rootfs, |rootfs, name| {
        rootfs.link(&format!("/bin/{name}"), "busybox")
    }))
}

/// An image that holds busybox under one name and does what that name says.
async fn asleep(name: &str) -> Result<Image> {
    let rootfs = Rootfs::new().file("/sleep", &busybox().await?)?;
    let config = Config {
        entrypoint: words("/sleep inf"),
        ..Config::default()
    };
    make(name, "", rootfs, config).await
}

/// The static busybox of Debian's `busybox-static`.
async fn busybox() -> Result<PathBuf> {
    packages::ensure(&["busybox-static"]).await?;
    Ok(PathBuf::from("/bin/busybox"))
}

/// Makes the image `docker.io/bed/{name}`, tagged with `version` if there is one, and hash.
async fn make(name: &str, version: &str, rootfs: Rootfs, config: Config) -> Result<Image> {
    let (rootfs, config, hash) = tokio::task::spawn_blocking(move || -> Result<_> {
        let mut hasher = rootfs.hash()?;
        hasher.update(format!("{config:?}").as_bytes());
        let hash = hasher.finalize().to_hex()[..12].to_owned();
        Ok((rootfs, config, hash))
    })
    .await??;
    let tag = if version.is_empty() {
        hash
    } else {
        format!("{version}-{hash}")
    };
    let full = format!("docker.io/bed/{name}:{tag}");
    let artefact = format!("image-{name}");
    let dir = cache::ensure(&artefact, &tag, async |dir| {
        let full = full.clone();
        let written = tokio::task::spawn_blocking(move || {
            archive::write(&dir.join("image.tar"), &full, &rootfs, &config)
        });
        step(format!("write the image {name}"), async { written.await? }).await
    });
    Ok(Image {
        archive: dir.await?.join("image.tar"),
        name: full,
    })
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(ToOwned::to_owned).collect()
}
