//! What a table consists of.

use std::collections::BTreeMap;
use std::fmt;

use super::lex::{Class, Cursor, canonical};
use super::statements::Statement;

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its real name.
    pub name: String,
    /// Its type, as it is written, with one space after commas.
    pub type_text: String,
    /// What it is in a row.
    pub kind: ColumnKind,
}

/// What a column is in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Of the partition key, with its position.
    Partition(usize),
    /// Of the clustering key.
    Clustering {
        /// Its position.
        position: usize,
        /// Whether it is ordered backwards.
        descending: bool,
    },
    /// One value for all rows of a partition.
    Static,
    /// Any other.
    Regular,
}

impl fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(position) => write!(f, "number {} of the partition key", position + 1),
            Self::Clustering {
                position,
                descending,
            } => {
                let order = if *descending { "DESC" } else { "ASC" };
                write!(f, "number {} of the clustering key, {order}", position + 1)
            }
            Self::Static => write!(f, "static"),
            Self::Regular => write!(f, "regular"),
        }
    }
}

/// The columns of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Those that it has.
    pub columns: Vec<Column>,
    /// Those that it had, some of which it may have again, with the time of the drop.
    pub dropped: BTreeMap<String, i64>,
}

impl Table {
    /// Reads a `CREATE TABLE`, and what was altered since; `None` if it is not understood.
    pub fn parse(create: &Statement, alters: &[&Statement]) -> Option<Self> {
        let mut cursor = Cursor::new(&create.text);
        cursor.skip_to(&["("]);
        cursor.expect("(")?;
        let (mut columns, mut key) = (Vec::new(), None);
        while !cursor.eat(&[")"]) {
            if cursor.eat(&["PRIMARY", "KEY", "("]) {
                key = Some(primary_key(&mut cursor)?);
            } else {
                let (column, is_key) = column(&mut cursor)?;
                if is_key {
                    key = Some((vec![column.name.clone()], Vec::new()));
                }
                columns.push(column);
            }
            if !cursor.sees(&[")"]) {
                cursor.expect(",")?;
            }
        }
        let (partition, clustering) = key?;
        let descending = descending(&mut cursor);
        let by_name: BTreeMap<String, usize> = (columns.iter().enumerate())
            .map(|(at, column)| (column.name.clone(), at))
            .collect();
        for (position, name) in partition.iter().enumerate() {
            columns[*by_name.get(name)?].kind = ColumnKind::Partition(position);
        }
        for (position, name) in clustering.iter().enumerate() {
            columns[*by_name.get(name)?].kind = ColumnKind::Clustering {
                position,
                descending: descending.contains(name),
            };
        }
        let mut table = Self {
            columns,
            dropped: BTreeMap::new(),
        };
        for alter in alters {
            table.alter(&alter.text)?;
        }
        Some(table)
    }

    fn alter(&mut self, text: &str) -> Option<()> {
        let mut cursor = Cursor::new(text);
        cursor.at = 2;
        cursor.qualified()?;
        if cursor.eat(&["DROP"]) {
            let name = cursor.name()?;
            self.columns.retain(|column| column.name != name);
            let time = cursor.eat(&["USING", "TIMESTAMP"]).then(|| cursor.next());
            let time = time.flatten().and_then(|time| time.text.parse().ok());
            self.dropped.insert(name, time.unwrap_or(i64::MAX));
        } else if cursor.eat(&["ADD"]) {
            self.columns.push(column(&mut cursor)?.0);
        }
        Some(())
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Why SSTables of this table, which is the source's, cannot come into another one.
    ///
    /// Cassandra refuses SSTables with columns that the table neither has nor had, so that those
    /// that were dropped count, too (`SerializationHeader.Component.toHeader`).
    pub fn differences(&self, target: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for column in &self.columns {
            let name = &column.name;
            match target.column(name) {
                None if target.dropped.contains_key(name) => {}
                None => found.push(format!("the target lacks column {name}")),
                Some(other) => {
                    let (here, there) = (&column.type_text, &other.type_text);
                    if canonical(here, false) != canonical(there, false) {
                        found.push(format!(
                            "column {name} is {here} in the source and {there} in the target"
                        ));
                    }
                    if column.kind != other.kind {
                        let (here, there) = (column.kind, other.kind);
                        found.push(format!(
                            "column {name} is {here} in the source, and {there} in the target"
                        ));
                    }
                }
            }
        }
        for column in &target.columns {
            let is_key = !matches!(column.kind, ColumnKind::Static | ColumnKind::Regular);
            if is_key && self.column(&column.name).is_none() {
                let name = &column.name;
                found.push(format!("the target's key has one more column, {name}"));
            }
        }
        for (name, time) in &self.dropped {
            let dropped_there = target.dropped.get(name);
            match target.column(name) {
                None if dropped_there.is_none() => found.push(format!(
                    "the source has dropped column {name}, which the target never had: add it there and drop it"
                )),
                Some(_) if dropped_there.is_none_or(|there| there < time) => found.push(format!(
                    "the source has dropped column {name}, and the target has not: what was in it would come back"
                )),
                _ => {}
            }
        }
        found
    }
}

/// The fields of a `CREATE TYPE`, in their order.
pub(super) fn fields(statement: &Statement) -> Option<Vec<(String, String)>> {
    let mut cursor = Cursor::new(&statement.text);
    cursor.skip_to(&["("]);
    cursor.expect("(")?;
    let mut found = Vec::new();
    while !cursor.eat(&[")"]) {
        found.push((cursor.name()?, cursor.type_text()?));
        cursor.eat(&[","]);
    }
    Some(found)
}

/// The names in a type: among them those of user-defined ones.
pub(super) fn names(type_text: &str) -> Vec<String> {
    let cursor = Cursor::new(type_text);
    let names = cursor.tokens.iter();
    names
        .filter(|token| matches!(token.class, Class::Word | Class::Quoted))
        .map(|token| token.value())
        .collect()
}

/// A column, and whether it is the primary key. Masks and constraints are passed over.
fn column(cursor: &mut Cursor<'_>) -> Option<(Column, bool)> {
    let (name, type_text) = (cursor.name()?, cursor.type_text()?);
    let kind = if cursor.eat(&["STATIC"]) {
        ColumnKind::Static
    } else {
        ColumnKind::Regular
    };
    cursor.skip_to(&[",", ")", "PRIMARY"]);
    let is_key = cursor.eat(&["PRIMARY", "KEY"]);
    cursor.skip_to(&[",", ")"]);
    let column = Column {
        name,
        type_text,
        kind,
    };
    Some((column, is_key))
}

/// The names of the partition key and of the clustering key.
fn primary_key(cursor: &mut Cursor<'_>) -> Option<(Vec<String>, Vec<String>)> {
    let (mut partition, mut clustering) = (Vec::new(), Vec::new());
    if cursor.eat(&["("]) {
        while !cursor.eat(&[")"]) {
            partition.push(cursor.name()?);
            cursor.eat(&[","]);
        }
    } else {
        partition.push(cursor.name()?);
    }
    cursor.eat(&[","]);
    while !cursor.eat(&[")"]) {
        clustering.push(cursor.name()?);
        cursor.eat(&[","]);
    }
    Some((partition, clustering))
}

fn descending(cursor: &mut Cursor<'_>) -> Vec<String> {
    let mut found = Vec::new();
    cursor.skip_to(&["CLUSTERING"]);
    if !cursor.eat(&["CLUSTERING", "ORDER", "BY", "("]) {
        return found;
    }
    while let Some(name) = cursor.name() {
        if cursor.eat(&["DESC"]) {
            found.push(name);
        } else {
            cursor.eat(&["ASC"]);
        }
        cursor.eat(&[","]);
    }
    found
}
