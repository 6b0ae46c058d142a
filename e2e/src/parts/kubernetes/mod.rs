//! Kubernetes 1.34.4: one real node with a real control plane. The programs are built from the Go
//! module `k8s.io/kubernetes` as one executable (`e2e/go/kubernetes`); what they stand on comes
//! from Debian.
//!
//! 1.34, because Debian 12's containerd is too old for kubelets after 1.35, and those refuse
//! machines with cgroup v1. There is no DNS in the cluster.

mod credentials;
mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::Api;

use super::{Facts, Part, containerd, etcd, images, network};
use crate::bed::ground::Ground;
use crate::bed::wait::until;
use crate::host::go::{Program, Source};
use crate::host::progress::step;
use crate::host::{packages, tools};
use credentials::Credentials;
use programs::Programs;

/// The version of all its programs.
pub const VERSION: &str = "1.34.4";
/// The name of the only node.
pub const NODE: &str = "node1";

const LDFLAGS: &str = "-X k8s.io/component-base/version.gitVersion=v1.34.4 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34";

/// Where the kubelet links the logs of containers.
const CONTAINER_LOGS: &str = "/var/log/containers";
/// Where the kubelet listens for device plug-ins.
const DEVICE_PLUGINS: &str = "/var/lib/kubelet/device-plugins";

/// What Debian has, besides etcd and containerd.
const PACKAGES: [&str; 7] = [
    "busybox-static",
    "conntrack",
    "containernetworking-plugins",
    "ethtool",
    "iproute2",
    "iptables",
    "socat",
];

/// Kubernetes, with etcd, containerd and the network below it.
pub struct Kubernetes;

#[async_trait(?Send)]
impl Part for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn version(&self) -> &'static str {
        VERSION
    }

    fn source(&self) -> &'static str {
        "Go module k8s.io/kubernetes; Debian: etcd-server, containerd, runc"
    }

    fn daemons(&self) -> Vec<String> {
        let below = [etcd::DAEMON, containerd::DAEMON].into_iter();
        below.chain(programs::ALL).map(str::to_owned).collect()
    }

    async fn start(&self, ground: &Ground) -> Result<Facts> {
        tools::require(&[tools::APT, tools::GO])?;
        let mut debian = PACKAGES.to_vec();
        debian.push(etcd::PACKAGE);
        debian.extend(containerd::PACKAGES);
        packages::ensure(&debian).await?;
        let executable = build().await?;
        let pause = images::pause().await?;
        step("start Kubernetes", start(ground, executable, &pause)).await?;
        Ok(Facts::from([
            (
                "kubeconfig".into(),
                ground.kubeconfig().display().to_string(),
            ),
            ("server".into(), programs::SERVER.into()),
            ("node".into(), NODE.into()),
        ]))
    }
}

/// The executable, built when it is not in the cache: about 7 minutes on two idle cores.
async fn build() -> Result<PathBuf> {
    let files = [
        ("go.mod", include_str!("../../../go/kubernetes/go.mod")),
        ("go.sum", include_str!("../../../go/kubernetes/go.sum")),
        ("main.go", include_str!("../../../go/kubernetes/main.go")),
    ];
    Program {
        name: "kubernetes",
        source: Source::Files(&files),
        ldflags: LDFLAGS,
    }
    .ensure()
    .await
}

async fn start(ground: &Ground, executable: PathBuf, pause: &images::Image) -> Result<()> {
    network::start().await?;
    let credentials = Credentials::make(&ground.dir("kubernetes")?)?;
    let programs = Programs {
        ground,
        executable,
        credentials,
    };
    tokio::try_join!(etcd::start(ground), containerd::start(ground, pause))?;
    programs.api_server().await?;
    tokio::try_join!(
        programs.controller_manager(),
        programs.scheduler(),
        programs.kubelet(),
        programs.proxy(),
    )?;
    usable(ground).await
}

/// Ends the API server and starts it again as it was.
pub async fn restart_api_server(ground: &Ground) -> Result<()> {
    programs::restart_api_server(ground).await?;
    usable(ground).await
}

/// Ends the kubelet and starts it again as it was: connections into pods are cut, containers run on.
pub async fn restart_kubelet(ground: &Ground) -> Result<()> {
    programs::restart_kubelet(ground).await?;
    usable(ground).await
}

/// Waits until pods can be created: the node is ready, and the controllers have made the service
/// account that every pod needs.
async fn usable(ground: &Ground) -> Result<()> {
    let client = crate::bed::client(&ground.kubeconfig()).await?;
    let nodes = Api::<Node>::all(client.clone());
    let accounts = Api::<ServiceAccount>::namespaced(client, "default");
    let ready = async || {
        let node = nodes.get_opt(NODE).await?;
        let conditions = node
            .and_then(|node| node.status?.conditions)
            .unwrap_or_default();
        let ready = conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True");
        Ok((ready && accounts.get_opt("default").await?.is_some()).then_some(()))
    };
    until("the node is ready", Duration::from_secs(60), ready)
        .await
        .with_context(|| format!("see the logs in {}", ground.state().join("log").display()))
}

/// Removes what the kubelet leaves outside of our directories, where it cannot be told otherwise.
pub fn clean(ground: &Ground) -> Result<()> {
    // Links to the logs of containers, for log collectors.
    if let Ok(links) = fs::read_dir(CONTAINER_LOGS) {
        for link in links.flatten() {
            if link
                .path()
                .read_link()
                .is_ok_and(|to| to.starts_with(ground.state()))
            {
                fs::remove_file(link.path())?;
            }
        }
    }
    if ground.kubeconfig().exists() {
        for file in ["kubelet.sock", "kubelet_internal_checkpoint"] {
            let _ = fs::remove_file(Path::new(DEVICE_PLUGINS).join(file));
        }
    }
    for shared in [CONTAINER_LOGS, DEVICE_PLUGINS, "/var/lib/kubelet"] {
        // Goes only when it is empty.
        let _ = fs::remove_dir(shared);
    }
    Ok(())
}
