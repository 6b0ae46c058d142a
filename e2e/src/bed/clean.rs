//! Taking a bed away: the same way for one that ends and for one that was killed in any state.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use super::ground::Ground;
use crate::host::process::Identity;
use crate::host::{mounts, sysctl};
use crate::parts::{containerd, kubernetes, network};

/// What stays in the state directory: locks and the socket that somebody may be waiting for, and
/// the logs, until the next bed.
const KEPT: [&str; 5] = [
    "keeper.lock",
    "keeper.log",
    "keeper.socket",
    "log",
    "users.lock",
];
/// The settings of the machine before the bed.
const SETTINGS: &str = "sysctl.json";
/// What kubelet and kube-proxy set for the whole machine.
const SYSCTLS: [&str; 11] = [
    "kernel.keys.root_maxbytes",
    "kernel.keys.root_maxkeys",
    "kernel.panic",
    "kernel.panic_on_oops",
    "net.ipv4.conf.all.route_localnet",
    "net.ipv4.ip_forward",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
];

/// To be called before anything is changed on the machine: remembers what it was like.
pub async fn before_start(ground: &Ground) -> Result<()> {
    let settings = ground.state().join(SETTINGS);
    if settings.exists() {
        // The bed has begun already.
        return Ok(());
    }
    network::check_free().await?;
    sysctl::remember(&settings, &SYSCTLS)
}

/// Ends every process of the bed but `spare`, and removes its containers, mounts, links, iptables
/// chains, settings and files. Does nothing where there is nothing to do.
pub async fn clean(ground: &Ground, spare: &[Identity]) -> Result<()> {
    let daemons = ground.daemons();
    let names: Vec<_> = daemons
        .list()
        .into_iter()
        .map(|daemon| daemon.name)
        .collect();
    let ends = names.iter().map(|name| daemons.end(name));
    futures::future::try_join_all(ends).await?;
    daemons.kill_strays(spare).await?;
    containerd::clean(ground).await?;
    mounts::unmount_below(ground.state())?;
    network::clean().await?;
    let settings = ground.state().join(SETTINGS);
    // Without them no bed was ever started, and the chains are somebody else's.
    if settings.exists() {
        network::iptables::clean().await?;
    }
    kubernetes::clean(ground)?;
    sysctl::put_back(&settings)?;
    remove_state(ground.state())
}

fn remove_state(state: &Path) -> Result<()> {
    let entries = match fs::read_dir(state) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if KEPT.iter().any(|kept| entry.file_name() == *kept) {
            continue;
        }
        let path = entry.path();
        let removed = match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.with_context(|| format!("could not remove {}", path.display()))?;
    }
    Ok(())
}
