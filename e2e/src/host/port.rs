//! Ports for servers of tests.

use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result};

/// A port of `address` that nobody listens on: taken by nobody else in the moment that a server needs to
/// start, as good as surely.
pub fn free(address: IpAddr) -> Result<SocketAddr> {
    let listener =
        TcpListener::bind((address, 0)).with_context(|| format!("no free port on {address}"))?;
    Ok(listener.local_addr()?)
}
