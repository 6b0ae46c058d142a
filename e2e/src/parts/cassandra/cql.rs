//! CQL sessions with named nodes, and with no others: a session never wanders off to a node that a
//! test did not ask for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::host_filter::AllowListHostFilter;
use scylla::statement::unprepared::Statement;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::config::Credentials;
use crate::bed::wait::until;

pub use scylla::client::session::Session;
pub use scylla::statement::Consistency;

/// The port of CQL on every node of the bed.
pub const PORT: u16 = 9042;
/// Long, since everything shares two cores.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A node that has been up for a minute asks for a schema that it has missed only another minute later
/// (`MigrationCoordinator`).
const AGREEMENT: Duration = Duration::from_secs(150);

/// A session with the nodes at `addresses` alone, which tries for half a minute.
pub async fn connect(addresses: &[&str], credentials: Option<&Credentials>) -> Result<Session> {
    let began = Instant::now();
    loop {
        match try_connect(addresses, credentials).await {
            Ok(session) => return Ok(session),
            Err(error) if began.elapsed() > Duration::from_secs(30) => {
                return Err(error).context(format!("no CQL session with {}", addresses.join(", ")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

/// Waits until each of the nodes of a cluster knows that all of them are up. Until then it answers,
/// but refuses what needs all replicas.
pub async fn agree(nodes: &[&str], credentials: Option<&Credentials>) -> Result<()> {
    // A table that is on every node; one node alone has nobody to agree with.
    let table = match nodes.len() {
        0 | 1 => return Ok(()),
        2 => "system_traces.sessions",
        _ => "system_distributed.repair_history",
    };
    let mut ask = Statement::new(format!("SELECT * FROM {table} LIMIT 1"));
    ask.set_consistency(Consistency::All);
    for node in nodes {
        let session = connect(&[node], credentials).await?;
        let agrees = async || {
            session.query_unpaged(ask.clone(), ()).await?;
            Ok(Some(()))
        };
        let what = format!("{node} knows that all nodes are up");
        until(&what, Duration::from_secs(120), agrees).await?;
    }
    Ok(())
}

async fn try_connect(addresses: &[&str], credentials: Option<&Credentials>) -> Result<Session> {
    let nodes: Vec<_> = addresses
        .iter()
        .map(|address| format!("{address}:{PORT}"))
        .collect();
    let profile = ExecutionProfile::builder()
        .request_timeout(Some(TIMEOUT))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&nodes)
        .host_filter(Arc::new(AllowListHostFilter::new(&nodes)?))
        .default_execution_profile_handle(profile.into_handle())
        .fetch_schema_metadata(false)
        .schema_agreement_timeout(AGREEMENT)
        .connection_timeout(Duration::from_secs(10));
    if let Some(Credentials { user, password }) = credentials {
        builder = builder.user(user, password);
    }
    Ok(builder.build().await?)
}

/// Makes a superuser of this name on a node that still has the one it was born with.
pub async fn create_superuser(address: &str, wanted: &Credentials) -> Result<()> {
    // The first superuser appears some time after the node answers.
    let born = Credentials::new("cassandra", "cassandra");
    let session = connect(&[address], Some(&born)).await?;
    let Credentials { user, password } = wanted;
    let statement = format!(
        "CREATE ROLE IF NOT EXISTS {} WITH PASSWORD = {} AND LOGIN = true AND SUPERUSER = true",
        literal(user),
        literal(password)
    );
    session
        .query_unpaged(statement, ())
        .await
        .context("could not create a superuser")?;
    Ok(())
}

/// Whether something at this address speaks CQL.
pub async fn answers(address: &str, port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect((address, port)).await?;
        // Version 4, stream 0, OPTIONS, no body; the answer's opcode is SUPPORTED.
        stream.write_all(&[4, 0, 0, 0, 5, 0, 0, 0, 0]).await?;
        let mut header = [0; 9];
        stream.read_exact(&mut header).await?;
        if header[4] != 6 {
            bail!("opcode {}", header[4]);
        }
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(2), ask)
        .await
        .is_ok_and(|answer| answer.is_ok())
}

/// A string as CQL writes it.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as CQL writes it, case kept.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
