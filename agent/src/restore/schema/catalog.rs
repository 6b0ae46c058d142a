//! A schema by its names.

use std::collections::BTreeMap;

use super::statements::{Kind, Statement};
use crate::restore::TableName;

/// A keyspace and a name in it, of a table or of anything else.
pub(super) type Name = TableName;

/// The name, as a key.
pub(super) fn key(keyspace: &str, name: &str) -> Name {
    TableName::new(keyspace, name)
}

/// A table with all that hangs on it.
#[derive(Debug, Default)]
pub(super) struct Made<'a> {
    pub create: Option<&'a Statement>,
    pub alters: Vec<&'a Statement>,
    pub indexes: Vec<&'a Statement>,
    pub views: Vec<&'a Statement>,
}

/// All statements by what they make.
#[derive(Debug, Default)]
pub(super) struct Catalog<'a> {
    pub keyspaces: BTreeMap<&'a str, &'a Statement>,
    pub types: BTreeMap<Name, &'a Statement>,
    /// Functions and aggregates, by keyspace and signature.
    pub functions: BTreeMap<Name, &'a Statement>,
    pub tables: BTreeMap<Name, Made<'a>>,
    pub views: BTreeMap<Name, &'a Statement>,
    /// Tables and views.
    pub ids: BTreeMap<String, &'a Statement>,
}

impl<'a> Catalog<'a> {
    pub fn new(statements: &'a [Statement]) -> Self {
        let mut catalog = Self::default();
        for statement in statements {
            catalog.add(statement);
        }
        catalog
    }

    /// The table, if it is made by these statements.
    pub fn table(&self, keyspace: &str, name: &str) -> Option<(&'a Statement, &Made<'a>)> {
        let made = self.tables.get(&key(keyspace, name))?;
        Some((made.create?, made))
    }

    fn add(&mut self, statement: &'a Statement) {
        let keyspace = statement.keyspace.as_str();
        let name = key(keyspace, &statement.name);
        let on = key(keyspace, statement.on.as_deref().unwrap_or_default());
        if matches!(statement.kind, Kind::Table | Kind::View) {
            self.ids
                .extend(statement.id().map(|found| (found, statement)));
        }
        match statement.kind {
            Kind::Keyspace => {
                self.keyspaces.insert(keyspace, statement);
            }
            Kind::Type => {
                self.types.insert(name, statement);
            }
            Kind::Function | Kind::Aggregate => {
                let signature = statement.signature();
                self.functions
                    .extend(signature.map(|found| (key(keyspace, &found), statement)));
            }
            Kind::Table => self.tables.entry(name).or_default().create = Some(statement),
            Kind::AlterTable => self.tables.entry(name).or_default().alters.push(statement),
            Kind::Index => self.tables.entry(on).or_default().indexes.push(statement),
            Kind::View => {
                self.views.insert(name, statement);
                self.tables.entry(on).or_default().views.push(statement);
            }
            Kind::Other => {}
        }
    }
}
