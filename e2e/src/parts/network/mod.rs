//! The network of the bed: one bridge, a CNI configuration for pods, and the traces that
//! kube-proxy leaves. The plug-ins are Debian's `containernetworking-plugins`.

pub mod iptables;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::bed::ground::Ground;
use crate::host::run::Run;

/// The bridge that pods are plugged into.
pub const BRIDGE: &str = "bed0";
/// The address of the bridge: the node, the API server and the pods' gateway.
pub const NODE: &str = "10.88.0.1";
/// Where pods get their addresses from.
pub const PODS: &str = "10.88.0.0/24";
/// Where Services get theirs from.
pub const SERVICES: &str = "10.96.0.0/16";
/// The first address of [`SERVICES`], which Kubernetes gives to its own API.
pub const API_SERVICE: &str = "10.96.0.1";
/// The plug-ins.
pub const PLUGINS: &str = "/usr/lib/cni";

/// The name of the CNI network. It begins the names of the results that CNI keeps.
const NETWORK: &str = "cassandra-backup-bed";
/// Where libcni keeps results, whatever it is told.
const RESULTS: &str = "/var/lib/cni/results";

/// Makes the bridge.
pub async fn start() -> Result<()> {
    ip(&["link", "add", BRIDGE, "type", "bridge"]).await.context(
        "could not make the bridge of the bed: does this machine allow network namespaces and bridges?",
    )?;
    ip(&["address", "add", &format!("{NODE}/24"), "dev", BRIDGE]).await?;
    ip(&["link", "set", BRIDGE, "up"]).await?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("could not let the node forward")
}

/// Writes the CNI configuration and returns the directory it is in.
pub fn cni(ground: &Ground) -> Result<PathBuf> {
    let dir = ground.dir("cni")?;
    let config = json!({
        "cniVersion": "0.4.0",
        "name": NETWORK,
        "plugins": [{
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": PODS, "gateway": NODE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                // With the state, so that leases end with the bed.
                "dataDir": ground.dir("cni-leases")?,
            },
        }],
    });
    fs::write(
        dir.join("10-bed.conflist"),
        serde_json::to_vec_pretty(&config)?,
    )?;
    Ok(dir)
}

/// Removes the bridge, what is plugged into it and what CNI remembers of it, from whichever state.
pub async fn clean() -> Result<()> {
    for link in links(|link| {
        link.join("master")
            .read_link()
            .is_ok_and(|m| m.ends_with(BRIDGE))
    }) {
        // A pod's end may go away by itself at any time, together with its network namespace.
        let _ = ip(&["link", "delete", &link]).await;
    }
    if Path::new("/sys/class/net").join(BRIDGE).exists() {
        ip(&["link", "delete", BRIDGE]).await?;
    }
    forget(|result| result.starts_with(NETWORK))?;
    for shared in [RESULTS, "/var/lib/cni"] {
        // Goes only when it is empty.
        let _ = fs::remove_dir(shared);
    }
    Ok(())
}

/// Removes what CNI remembers of the sandbox with this id; its loopback is not in our network.
pub fn forget_sandbox(id: &str) -> Result<()> {
    forget(|result| result.contains(id))
}

fn forget(ours: impl Fn(&str) -> bool) -> Result<()> {
    let Ok(results) = fs::read_dir(RESULTS) else {
        return Ok(());
    };
    for result in results.flatten() {
        if ours(&result.file_name().to_string_lossy()) {
            fs::remove_file(result.path())?;
        }
    }
    Ok(())
}

fn links(wanted: impl Fn(&Path) -> bool) -> Vec<String> {
    let Ok(links) = fs::read_dir("/sys/class/net") else {
        return Vec::new();
    };
    let links = links.flatten().filter(|link| wanted(&link.path()));
    links
        .filter_map(|link| link.file_name().into_string().ok())
        .collect()
}

async fn ip(args: &[&str]) -> Result<()> {
    Ok(Run::new("ip").args(args).ok().await?)
}

/// Fails when something else on this machine uses what the bed needs to itself.
pub async fn check_free() -> Result<()> {
    if iptables::any().await? {
        bail!(
            "another Kubernetes seems to run on this machine: there are KUBE- chains in iptables, \
             and they are not of a bed. The bed would break it. Use a machine without one; \
             if they are left over, remove them with iptables -F and -X"
        );
    }
    Ok(())
}
