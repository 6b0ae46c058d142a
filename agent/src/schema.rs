//! The whole schema over CQL, as `DESCRIBE FULL SCHEMA WITH INTERNALS` tells it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use protocol::CqlAccess;
use scylla::client::PoolSize;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::host_filter::AllowListHostFilter;

/// Long enough for thousands of tables on a busy node.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the schema could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The address is no address.
    #[error("{0} is no host that can be resolved")]
    Address(String),
    /// No address answered.
    #[error("cannot connect to CQL at {address}: {text}")]
    Connect {
        /// What was tried last.
        address: String,
        /// The driver's words.
        text: String,
    },
    /// The statement failed.
    #[error("DESCRIBE FULL SCHEMA failed: {0}")]
    Describe(String),
    /// Nothing came.
    #[error("DESCRIBE FULL SCHEMA gave nothing")]
    Empty,
}

/// All statements that make the schema anew, in the order in which they must run.
///
/// `fallbacks` are tried after loopback where the access names no host: nodes often listen on
/// their own address only.
pub async fn describe(access: &CqlAccess, fallbacks: &[IpAddr]) -> Result<String, SchemaError> {
    let mut last = SchemaError::Empty;
    for address in addresses(access, fallbacks).await? {
        match describe_at(access, address).await {
            Ok(schema) => return Ok(schema),
            Err(error @ SchemaError::Connect { .. }) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

async fn addresses(
    access: &CqlAccess,
    fallbacks: &[IpAddr],
) -> Result<Vec<SocketAddr>, SchemaError> {
    match &access.host {
        Some(host) => {
            let found = tokio::net::lookup_host((host.as_str(), access.port))
                .await
                .map_err(|_| SchemaError::Address(host.clone()))?;
            Ok(found.collect())
        }
        None => {
            let loopback = IpAddr::from([127, 0, 0, 1]);
            let all = std::iter::once(&loopback).chain(fallbacks);
            Ok(all.map(|ip| SocketAddr::new(*ip, access.port)).collect())
        }
    }
}

async fn describe_at(access: &CqlAccess, address: SocketAddr) -> Result<String, SchemaError> {
    let connect = |text: String| SchemaError::Connect {
        address: address.to_string(),
        text,
    };
    // Asked first because the driver goes on trying for long where nobody listens.
    match tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::TcpStream::connect(address)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(connect(error.to_string())),
        Err(_) => return Err(connect("no answer".into())),
    }
    // The driver would open connections to every node of the cluster; this one is enough.
    let only_here = AllowListHostFilter::new([address])
        .map_err(|error| SchemaError::Address(error.to_string()))?;
    let one = std::num::NonZeroUsize::MIN;
    let mut builder = SessionBuilder::new()
        .known_node_addr(address)
        .host_filter(Arc::new(only_here))
        .pool_size(PoolSize::PerHost(one))
        .disallow_shard_aware_port(true)
        .fetch_schema_metadata(false)
        .connection_timeout(CONNECT_TIMEOUT);
    if let Some(credentials) = &access.credentials {
        builder = builder.user(&credentials.username, credentials.password.reveal());
    }
    let session = builder
        .build()
        .await
        .map_err(|error| connect(error.to_string()))?;
    let read = async {
        let failed = |error: &dyn std::fmt::Display| SchemaError::Describe(error.to_string());
        let rows = session
            .query_iter("DESCRIBE FULL SCHEMA WITH INTERNALS", ())
            .await
            .map_err(|error| failed(&error))?
            .rows_stream::<(Option<String>, String, String, String)>()
            .map_err(|error| failed(&error))?;
        rows.map_ok(|(_, _, _, statement)| statement)
            .try_collect::<Vec<_>>()
            .await
            .map_err(|error| failed(&error))
    };
    let statements = tokio::time::timeout(TIMEOUT, read)
        .await
        .map_err(|_| SchemaError::Describe(format!("no answer within {TIMEOUT:?}")))??;
    if statements.is_empty() {
        return Err(SchemaError::Empty);
    }
    let mut text = String::new();
    for statement in statements {
        text.push_str(statement.trim_end());
        if !text.ends_with(';') {
            text.push(';');
        }
        text.push_str("\n\n");
    }
    Ok(text)
}
