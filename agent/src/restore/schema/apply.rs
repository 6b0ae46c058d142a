//! Schema statements, run one after another on a live cluster.

use std::net::IpAddr;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::response::query_result::QueryResult;
use scylla::statement::Statement;
use tokio::time::Instant;
use uuid::Uuid;

use super::lex::quoted_pair;

/// How long one statement may take; Cassandra gives up before.
const STATEMENT: Duration = Duration::from_secs(120);
/// `truncate_request_timeout` is 60 seconds, and may have been made longer.
const TRUNCATE: Duration = Duration::from_secs(600);
/// How long the ring may take to agree. A node that has been up for a minute asks for a change that it has
/// missed only another minute later (Cassandra's `MigrationCoordinator`).
pub(in crate::restore) const AGREEMENT: Duration = Duration::from_secs(150);
const BETWEEN: Duration = Duration::from_millis(200);

/// Why the schema is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Cassandra refuses a statement.
    #[error("Cassandra refuses `{statement}`: {source}")]
    Statement {
        /// Its text.
        statement: String,
        /// Cassandra's words.
        source: Box<ExecutionError>,
    },
    /// A table of Cassandra's own is not as expected.
    #[error("cannot read {table}: {text}")]
    Read {
        /// The table.
        table: &'static str,
        /// Why.
        text: String,
    },
    /// Some nodes have another schema.
    #[error(
        "{} do not have the schema of the node that was asked, {AGREEMENT:?} after `{statement}`: see `nodetool describecluster`, and restore again when all agree",
        .nodes.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
    )]
    Agreement {
        /// What was run.
        statement: String,
        /// The others.
        nodes: Vec<IpAddr>,
    },
}

/// Runs the statements, and has all nodes agree after each. What is there already is passed over,
/// so that a list can be run again from its beginning.
///
/// Nodes that are `down` are not waited for: CQL does not tell which those are.
pub async fn apply(
    session: &Session,
    statements: &[String],
    down: &[IpAddr],
) -> Result<(), ApplyError> {
    for statement in statements {
        match run(session, statement, STATEMENT).await {
            Err(ApplyError::Statement { source, .. }) if is_done(statement, &source) => {}
            result => drop(result?),
        }
        agree(session, statement, down).await?;
    }
    Ok(())
}

/// Removes all rows of a table. All nodes must be up.
pub async fn truncate(session: &Session, keyspace: &str, table: &str) -> Result<(), ApplyError> {
    let statement = format!("TRUNCATE TABLE {}", quoted_pair(keyspace, table));
    run(session, &statement, TRUNCATE).await.map(drop)
}

async fn run(session: &Session, text: &str, timeout: Duration) -> Result<QueryResult, ApplyError> {
    let mut statement = Statement::new(text);
    statement.set_request_timeout(Some(timeout));
    session
        .query_unpaged(statement, ())
        .await
        .map_err(|source| ApplyError::Statement {
            statement: text.to_owned(),
            source: Box::new(source),
        })
}

pub(super) async fn read<Row: for<'a, 'b> scylla::deserialize::row::DeserializeRow<'a, 'b>>(
    session: &Session,
    table: &'static str,
    ask: &str,
) -> Result<Vec<Row>, ApplyError> {
    let failed = |text: String| ApplyError::Read { table, text };
    let result = run(session, ask, STATEMENT).await?;
    let rows = result
        .into_rows_result()
        .map_err(|error| failed(error.to_string()))?;
    rows.rows::<Row>()
        .map_err(|error| failed(error.to_string()))?
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error.to_string()))
}

/// Whether the error says that nothing is left to do: `CREATE` has `IF NOT EXISTS`, which `ALTER`
/// has since 4.1 only.
fn is_done(statement: &str, error: &ExecutionError) -> bool {
    let ExecutionError::LastAttemptError(RequestAttemptError::DbError(kind, text)) = error else {
        return false;
    };
    let alters = |what: &str| statement.starts_with("ALTER TABLE") && text.contains(what);
    match kind {
        DbError::AlreadyExists { .. } => true,
        // The words of AlterTableStatement, the same from 4.0 to 5.0.
        DbError::Invalid => alters("was not found in table") || alters("already exists"),
        _ => false,
    }
}

async fn agree(session: &Session, statement: &str, down: &[IpAddr]) -> Result<(), ApplyError> {
    let end = Instant::now() + AGREEMENT;
    loop {
        let ask = "SELECT schema_version FROM system.local";
        let own = read::<(Option<Uuid>,)>(session, "system.local", ask).await?;
        let ask = "SELECT peer, schema_version FROM system.peers_v2";
        let peers = read(session, "system.peers_v2", ask).await?;
        let nodes = others(own.first().and_then(|(own,)| *own), &peers, down);
        if nodes.is_empty() {
            return Ok(());
        }
        if Instant::now() >= end {
            let statement = statement.to_owned();
            return Err(ApplyError::Agreement { statement, nodes });
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// The peers that have another schema. A row without one is of a node that is not yet, or no
/// longer, of the ring.
fn others(own: Option<Uuid>, peers: &[(IpAddr, Option<Uuid>)], down: &[IpAddr]) -> Vec<IpAddr> {
    let others = peers
        .iter()
        .filter(|(peer, version)| version.is_some() && *version != own && !down.contains(peer));
    others.map(|(peer, _)| *peer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_already_is_passed_over() {
        let error = |kind: DbError, text: &str| {
            ExecutionError::LastAttemptError(RequestAttemptError::DbError(kind, text.into()))
        };
        let exists = DbError::AlreadyExists {
            keyspace: "a".into(),
            table: "b".into(),
        };
        let dropped = error(DbError::Invalid, "Column c was not found in table 'a.b'");
        assert!(is_done("CREATE TABLE a.b", &error(exists, "")));
        assert!(is_done("ALTER TABLE a.b DROP c", &dropped));
        let added = error(DbError::Invalid, "Column with name 'c' already exists");
        assert!(is_done("ALTER TABLE a.b ADD c int", &added));
        assert!(!is_done("CREATE INDEX", &dropped));
        let refused = error(DbError::Invalid, "Cannot re-add previously dropped column");
        assert!(!is_done("ALTER TABLE a.b ADD c int", &refused));
        assert!(!is_done("CREATE TABLE a.b", &ExecutionError::EmptyPlan));
    }

    #[test]
    fn nodes_that_are_up_and_have_another_schema_are_waited_for() {
        let (own, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let node = |n: u8| IpAddr::from([10, 0, 0, n]);
        let peers = [
            (node(2), own),
            (node(3), other),
            (node(4), None),
            (node(5), other),
        ];
        assert_eq!(others(own, &peers, &[node(5)]), [node(3)]);
        assert_eq!(others(None, &peers[..1], &[]), [node(2)]);
    }
}
