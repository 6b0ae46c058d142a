//! A session of CQL with one node.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use protocol::{CqlAccess, Reason};
use scylla::client::PoolSize;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind as Setup, DbError,
    MetadataError, NewSessionError,
};
use scylla::policies::host_filter::AllowListHostFilter;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum CqlError {
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
    /// It wants to know who asks.
    #[error("CQL at {address} asks for a user and a password, and there is none")]
    NoCredentials {
        /// Where.
        address: String,
    },
    /// It does not believe who asks.
    #[error("CQL at {address} does not take the user or the password: {text}")]
    Denied {
        /// Where.
        address: String,
        /// Cassandra's words.
        text: String,
    },
}

impl CqlError {
    /// The word for it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Address(_) => Reason::InvalidRequest,
            Self::Connect { .. } => Reason::CqlUnreachable,
            Self::NoCredentials { .. } | Self::Denied { .. } => Reason::CqlDenied,
        }
    }

    fn of(address: SocketAddr, error: &NewSessionError) -> Self {
        let address = address.to_string();
        match setup(error) {
            Some(Setup::MissingAuthentication) => Self::NoCredentials { address },
            // "Unable to perform authentication": it could not read its roles, which may pass.
            Some(Setup::DbError(DbError::AuthenticationError, text))
                if !text.starts_with("Unable") =>
            {
                Self::Denied {
                    address,
                    text: text.clone(),
                }
            }
            _ => Self::Connect {
                address,
                text: error.to_string(),
            },
        }
    }
}

/// What went wrong at the first words of the connection.
fn setup(error: &NewSessionError) -> Option<&Setup> {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(
        ConnectionPoolError::Broken {
            last_connection_error: ConnectionError::ConnectionSetupRequestError(error),
        },
    )) = error
    else {
        return None;
    };
    Some(error.get_error())
}

/// A session with the first address that answers.
///
/// `fallbacks` are tried after loopback where the access names no host: nodes often listen on
/// their own address only.
pub async fn connect(access: &CqlAccess, fallbacks: &[IpAddr]) -> Result<Session, CqlError> {
    let mut last = CqlError::Address(access.host.clone().unwrap_or_default());
    for address in addresses(access, fallbacks).await? {
        match connect_to(access, address).await {
            Ok(session) => return Ok(session),
            Err(error @ CqlError::Address(_)) => return Err(error),
            // That somebody answers, and refuses, says more.
            Err(error) if !last.reason().is_denial() => last = error,
            Err(_) => {}
        }
    }
    Err(last)
}

async fn addresses(access: &CqlAccess, fallbacks: &[IpAddr]) -> Result<Vec<SocketAddr>, CqlError> {
    match &access.host {
        Some(host) => {
            let found = tokio::net::lookup_host((host.as_str(), access.port))
                .await
                .map_err(|_| CqlError::Address(host.clone()))?;
            Ok(found.collect())
        }
        None => {
            let loopback = IpAddr::from([127, 0, 0, 1]);
            let all = std::iter::once(&loopback).chain(fallbacks);
            Ok(all.map(|ip| SocketAddr::new(*ip, access.port)).collect())
        }
    }
}

async fn connect_to(access: &CqlAccess, address: SocketAddr) -> Result<Session, CqlError> {
    let connect = |text: String| CqlError::Connect {
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
        .map_err(|error| CqlError::Address(error.to_string()))?;
    let one = std::num::NonZeroUsize::MIN;
    let mut builder = SessionBuilder::new()
        .known_node_addr(address)
        .host_filter(Arc::new(only_here))
        .pool_size(PoolSize::PerHost(one))
        .disallow_shard_aware_port(true)
        .fetch_schema_metadata(false)
        .fetch_full_schema_metadata(false)
        // It would ask the one node that it may connect to.
        .auto_await_schema_agreement(false)
        .connection_timeout(CONNECT_TIMEOUT);
    if let Some(credentials) = &access.credentials {
        builder = builder.user(&credentials.username, credentials.password.reveal());
    }
    let built = builder.build().await;
    built.map_err(|error| CqlError::of(address, &error))
}
