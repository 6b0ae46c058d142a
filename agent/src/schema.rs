//! The whole schema over CQL, as `DESCRIBE FULL SCHEMA WITH INTERNALS` tells it.

use std::net::IpAddr;
use std::time::Duration;

use futures::TryStreamExt;
use protocol::CqlAccess;
use scylla::client::session::Session;

use crate::cql::{self, CqlError};

/// Long enough for thousands of tables on a busy node.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why the schema could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// No session.
    #[error(transparent)]
    Connect(#[from] CqlError),
    /// The statement failed.
    #[error("DESCRIBE FULL SCHEMA failed: {0}")]
    Describe(String),
    /// Nothing came.
    #[error("DESCRIBE FULL SCHEMA gave nothing")]
    Empty,
}

/// All statements that make the schema anew, in the order in which they must run.
///
/// `fallbacks` are tried after loopback where the access names no host.
pub async fn describe(access: &CqlAccess, fallbacks: &[IpAddr]) -> Result<String, SchemaError> {
    describe_over(&cql::connect(access, fallbacks).await?).await
}

/// The same, over a session that there is.
pub async fn describe_over(session: &Session) -> Result<String, SchemaError> {
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
