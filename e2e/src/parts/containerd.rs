//! containerd and runc, which run the containers: 1.6 and 1.1 from Debian's `containerd` and
//! `runc`. With a root, state and socket of its own, so that it never meets another containerd.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::images::Image;
use super::network;
use crate::bed::ground::Ground;
use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::{cache, cgroup};

/// The Debian packages.
pub const PACKAGES: [&str; 2] = ["containerd", "runc"];
/// The daemon's name.
pub const DAEMON: &str = "containerd";

/// containerd's namespace for what the kubelet runs, and the cgroup of its containers.
const NAMESPACE: &str = "k8s.io";
/// Where shims listen, whatever containerd's own state directory is.
const SHIM_SOCKETS: &str = "/run/containerd/s";

/// Starts containerd and waits until it answers. `pause` is the container that holds a pod's
/// namespaces.
pub async fn start(ground: &Ground, pause: &Image) -> Result<()> {
    let dir = ground.dir("containerd")?;
    let config = dir.join("config.toml");
    fs::write(
        &config,
        configuration(&dir, &network::cni(ground)?, &pause.name),
    )?;
    let mut containerd = Command::new("containerd");
    containerd.arg("--config").arg(config);
    let daemons = ground.daemons();
    let daemon = daemons.start(DAEMON, containerd).await?;
    let answers = async || ctr(ground).arg("version").ok().await.is_ok();
    daemons
        .ready(&daemon, Duration::from_secs(30), answers)
        .await?;
    import(ground, pause).await
}

/// The socket of containerd's API and of its CRI.
pub fn socket(ground: &Ground) -> PathBuf {
    ground.state().join("containerd/containerd.sock")
}

/// Gives an image to containerd if it has none of that name, so that pods can use it with
/// `imagePullPolicy: Never`. Names end in a hash of the content. Tests that want the same image
/// wait for each other: containerd refuses the second of two imports.
pub async fn import(ground: &Ground, image: &Image) -> Result<()> {
    let _others = cache::lock(&ground.dir("containerd")?.join("import.lock")).await?;
    let names = ctr(ground).args(["images", "list", "-q"]).output().await?;
    if names.lines().any(|name| name == image.name) {
        return Ok(());
    }
    let import = ctr(ground)
        .args(["images", "import"])
        .arg(&image.archive)
        .ok();
    step(format!("import {}", image.name), import)
        .await
        .with_context(|| format!("could not import the image {}", image.archive.display()))
}

fn ctr(ground: &Ground) -> Run {
    Run::new("ctr")
        .arg("--address")
        .arg(socket(ground))
        .args(["--namespace", NAMESPACE])
}

/// Ends what runs in containers and removes what they leave outside of our directories. The
/// daemon itself, and its shims, have ended before.
pub async fn clean(ground: &Ground) -> Result<()> {
    for bundle in bundles(ground) {
        // containerd shares the directory of these sockets with every other containerd, and a
        // killed shim leaves its own there.
        let address = fs::read_to_string(bundle.join("address")).unwrap_or_default();
        if let Some(socket) = address.trim().strip_prefix("unix://") {
            let _ = fs::remove_file(socket);
        }
        if let Some(id) = bundle.file_name().and_then(|id| id.to_str()) {
            cgroup::remove(&Path::new(NAMESPACE).join(id)).await?;
            network::forget_sandbox(id)?;
        }
    }
    for shared in [SHIM_SOCKETS, "/run/containerd"] {
        // Goes only when it is empty.
        let _ = fs::remove_dir(shared);
    }
    cgroup::remove_empty(Path::new(NAMESPACE));
    Ok(())
}

/// The directories of the containers, named by their ids.
fn bundles(ground: &Ground) -> Vec<PathBuf> {
    let dir = ground
        .state()
        .join("containerd/state/io.containerd.runtime.v2.task")
        .join(NAMESPACE);
    let Ok(bundles) = fs::read_dir(dir) else {
        return Vec::new();
    };
    bundles.flatten().map(|bundle| bundle.path()).collect()
}

fn configuration(dir: &Path, cni: &Path, pause: &str) -> String {
    let (dir, cni) = (dir.display(), cni.display());
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
# What we do not use would make directories outside of ours.
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
address = "{dir}/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Without CAP_SYS_RESOURCE a negative score cannot be set, and every sandbox would die.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
disable_tcp_service = true
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{cni}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
Root = "{dir}/runc"
"#,
        plugins = network::PLUGINS,
    )
}
