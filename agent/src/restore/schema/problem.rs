//! Why a schema cannot be restored into another one.

use std::fmt;

/// One reason, with what to do. Names are those of the target, if not said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaProblem {
    /// No schema has the table.
    #[error(
        "neither the backup's schema nor the target has table {table} (`DESCRIBE` leaves out tables that were made over Thrift): name another one, or make it in the target first"
    )]
    NoTable {
        /// The table in the source.
        table: String,
    },
    /// A table of Cassandra's own.
    #[error(
        "the target has no table {table}, and tables of Cassandra's own keyspaces are not made: restore without it"
    )]
    SystemTable {
        /// The table.
        table: String,
    },
    /// A table is there, and is another one.
    #[error(
        "table {table} is there and differs: {}. Restore it under another name, or drop it, or alter it",
        .how.join("; ")
    )]
    TableDiffers {
        /// The table.
        table: String,
        /// In what.
        how: Vec<String>,
    },
    /// A type is there, and is another one.
    #[error(
        "type {name} is there and differs: {how}. Alter it, or restore into a cluster that does not have it"
    )]
    TypeDiffers {
        /// The type.
        name: String,
        /// In what.
        how: String,
    },
    /// A function or an aggregate is there, and is another one.
    #[error(
        "function or aggregate {name} is there and is another one: drop it, and the restore makes that of the backup, or make it the same"
    )]
    FunctionDiffers {
        /// The function with its arguments.
        name: String,
    },
    /// A view would not be told of the rows.
    #[error(
        "table {table} has the materialized view {view}, which an import of SSTables does not update: drop the view; {}",
        if *.again { "the restore makes it again afterwards" } else { "make it again after the restore" }
    )]
    HasView {
        /// The table.
        table: String,
        /// The view.
        view: String,
        /// Whether the restore makes it.
        again: bool,
    },
    /// A keyspace is missing, and how it was is not known.
    #[error(
        "the target has no keyspace {keyspace}, and neither has the backup's schema: make it with the replication that it is to have"
    )]
    NoKeyspace {
        /// The keyspace.
        keyspace: String,
    },
    /// A type does not come along into another keyspace.
    #[error(
        "table {table} cannot be restored as {into}: its column {column} uses the type {name}, and its SSTables name that with keyspace {keyspace}. Restore it into keyspace {keyspace}"
    )]
    RenameWithType {
        /// The table in the source.
        table: String,
        /// What it was to be.
        into: String,
        /// The column.
        column: String,
        /// Its type.
        name: String,
        /// The keyspace of the source.
        keyspace: String,
    },
    /// Another table has the id.
    #[error(
        "table {by} has the id {id}, which table {table} had: restore {table} under another name, which gives it an id of its own, or drop {by}"
    )]
    IdTaken {
        /// The table.
        table: String,
        /// The id.
        id: String,
        /// The table that has it.
        by: String,
    },
    /// Something else has the name.
    #[error("{what} {name} cannot be made: {by} has that name. Rename or drop that one")]
    NameTaken {
        /// What is to be made.
        what: &'static str,
        /// Its name.
        name: String,
        /// What has it.
        by: String,
    },
    /// Nothing can be said of it.
    #[error("the statement that makes {name} is not understood: please report it, with its text")]
    Unreadable {
        /// What it makes.
        name: String,
    },
}

/// All the reasons, each on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaProblems(pub Vec<SchemaProblem>);

impl fmt::Display for SchemaProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let line = if at == 0 { "" } else { "\n" };
            write!(f, "{line}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SchemaProblems {}
