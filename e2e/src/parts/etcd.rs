//! etcd, Kubernetes' database: 3.4 from Debian's `etcd-server`.

use std::time::Duration;

use anyhow::Result;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::bed::ground::Ground;

/// The Debian package.
pub const PACKAGE: &str = "etcd-server";
/// Where it listens; not its usual port, so that it never meets another etcd of the machine.
pub const CLIENT: &str = "127.0.0.1:12379";
const PEER: &str = "127.0.0.1:12380";

/// The daemon's name.
pub const DAEMON: &str = "etcd";

/// Starts an empty etcd and waits until it listens.
pub async fn start(ground: &Ground) -> Result<()> {
    let client = format!("http://{CLIENT}");
    let peer = format!("http://{PEER}");
    let mut etcd = Command::new("etcd");
    etcd.args(["--name", "bed", "--data-dir"])
        .arg(ground.dir("etcd")?)
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .args(["--initial-cluster", &format!("bed={peer}")])
        // Nothing here survives `down` anyway; syncing would only slow the bed.
        .arg("--unsafe-no-fsync")
        .args(["--log-level", "warn"]);
    let daemons = ground.daemons();
    let daemon = daemons.start(DAEMON, etcd).await?;
    let listening = async || TcpStream::connect(CLIENT).await.is_ok();
    daemons
        .ready(&daemon, Duration::from_secs(30), listening)
        .await
}
