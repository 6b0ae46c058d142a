//! Which tables are restored, and under which names.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Serialize;

use crate::restore::names::{TableName, is_cassandras_own, is_name};

/// The keyspace of roles and passwords, which is restored where it is named.
const ROLES: &str = "system_auth";

/// A table that is to come under another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// As it was.
    pub from: TableName,
    /// As it is to be.
    pub into: TableName,
}

impl FromStr for Rename {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, into) = text.split_once('=').ok_or_else(|| {
            format!("{text:?} renames nothing; an example is shop.orders=shop.orders_of_may")
        })?;
        let (from, into): (TableName, TableName) = (from.parse()?, into.parse()?);
        let system = |it: &TableName| is_cassandras_own(&it.keyspace);
        if system(&from) || system(&into) {
            return Err("tables of Cassandra itself cannot be renamed".into());
        }
        Ok(Self { from, into })
    }
}

/// Which tables, and under which names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Selection {
    keyspaces: Vec<String>,
    tables: Vec<TableName>,
    renames: BTreeMap<TableName, TableName>,
}

impl Selection {
    /// All tables of these keyspaces, these tables, and those that get another name; all but
    /// Cassandra's own if nothing is named.
    pub fn new(
        mut keyspaces: Vec<String>,
        mut tables: Vec<TableName>,
        renames: Vec<Rename>,
    ) -> Result<Self, String> {
        for name in &keyspaces {
            if !is_name(name) {
                return Err(format!("{name:?} is no name of a keyspace"));
            }
        }
        let mut by_source = BTreeMap::new();
        let mut taken = std::collections::BTreeSet::new();
        for Rename { from, into } in renames {
            if !taken.insert(into.clone()) {
                return Err(format!("two tables cannot both become {into}"));
            }
            if by_source.insert(from.clone(), into).is_some() {
                return Err(format!("{from} cannot become two tables"));
            }
        }
        let all = keyspaces.iter().chain(tables.iter().map(|it| &it.keyspace));
        let own = |name: &&String| is_cassandras_own(name) && *name != ROLES;
        if let Some(own) = all.clone().find(own) {
            return Err(format!(
                "keyspace {own} belongs to the node itself and is never restored while Cassandra is up; `restore --offline` brings a whole node back"
            ));
        }
        // The same selection is the same restore, in whatever order it was typed.
        keyspaces.sort();
        keyspaces.dedup();
        tables.sort();
        tables.dedup();
        let selection = Self {
            keyspaces,
            tables,
            renames: by_source,
        };
        let kept = selection.renames.values();
        let clash = kept
            .clone()
            .find(|into| selection.wants(into) && !selection.renames.contains_key(into));
        match clash {
            Some(into) => Err(format!(
                "{into} is restored under its own name, too: name the tables that you want with --tables"
            )),
            None => Ok(selection),
        }
    }

    /// Whether a table is restored.
    pub fn wants(&self, name: &TableName) -> bool {
        let named = self.keyspaces.contains(&name.keyspace)
            || self.tables.contains(name)
            || self.renames.contains_key(name);
        let all = self.is_all() && !is_cassandras_own(&name.keyspace);
        named || all
    }

    /// The name that it gets.
    pub fn target(&self, name: &TableName) -> TableName {
        self.renames.get(name).unwrap_or(name).clone()
    }

    /// Whether roles and passwords are among it.
    pub fn has_roles(&self) -> bool {
        let mut named = self.named().map(|it| &it.keyspace);
        self.keyspaces.iter().any(|it| it == ROLES) || named.any(|it| it == ROLES)
    }

    /// Whether nothing is named.
    pub fn is_all(&self) -> bool {
        self.keyspaces.is_empty() && self.tables.is_empty() && self.renames.is_empty()
    }

    /// Tables that are named one by one and have to be in the backup.
    pub fn named(&self) -> impl Iterator<Item = &TableName> {
        self.tables.iter().chain(self.renames.keys())
    }

    /// Keyspaces that are named and have to be in the backup.
    pub fn keyspaces(&self) -> &[String] {
        &self.keyspaces
    }

    /// Whether a backup of some keyspaces and tables, or of all if none is named, can have it.
    pub fn is_covered_by(&self, scope: &manifest::Scope) -> bool {
        let keyspace = |name: &String| scope.keyspaces.contains(name);
        let table =
            |name: &TableName| keyspace(&name.keyspace) || scope.tables.contains(&name.to_string());
        let everything = scope.keyspaces.is_empty() && scope.tables.is_empty();
        // What is not said in the restore is what the backup has.
        everything || (self.keyspaces.iter().all(keyspace) && self.named().all(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TableName {
        text.parse().unwrap()
    }

    fn selection(
        keyspaces: &[&str],
        tables: &[&str],
        renames: &[&str],
    ) -> Result<Selection, String> {
        let keyspaces = keyspaces.iter().map(|it| (*it).to_owned()).collect();
        let tables = tables.iter().map(|it| name(it)).collect();
        let renames = renames.iter().map(|it| it.parse().unwrap()).collect();
        Selection::new(keyspaces, tables, renames)
    }

    #[test]
    fn without_a_name_all_is_restored_but_what_is_cassandras_own() {
        let all = selection(&[], &[], &[]).unwrap();
        assert!(all.wants(&name("shop.orders")) && all.wants(&name("systems.orders")));
        for own in ["system.local", "system_schema.tables", "system_auth.roles"] {
            assert!(!all.wants(&name(own)), "{own}");
        }
        let roles = selection(&["system_auth"], &[], &[]).unwrap();
        assert!(roles.wants(&name("system_auth.roles")) && !roles.wants(&name("shop.orders")));
        assert!(
            selection(&["system"], &[], &[])
                .unwrap_err()
                .contains("--offline")
        );
        assert!(selection(&[], &["system_schema.tables"], &[]).is_err());
    }

    #[test]
    fn a_rename_alone_is_of_one_table() {
        let one = selection(&[], &[], &["shop.orders=shop.old"]).unwrap();
        assert!(one.wants(&name("shop.orders")) && !one.wants(&name("shop.items")));
        assert_eq!(one.target(&name("shop.orders")), name("shop.old"));
        for wrong in [
            "shop.orders",
            "a.b=",
            "a.b=c",
            "a.b=system.local",
            "a.b=c.d e",
        ] {
            assert!(wrong.parse::<Rename>().is_err(), "{wrong}");
        }
        assert!(selection(&[], &[], &["a.b=a.x", "a.c=a.x"]).is_err());
        assert!(selection(&[], &[], &["a.b=a.x", "a.b=a.y"]).is_err());
        assert!(selection(&["a"], &[], &["a.b=a.c"]).is_err());
        // Two that change places do not meet.
        assert!(selection(&[], &[], &["a.b=a.c", "a.c=a.b"]).is_ok());
    }

    #[test]
    fn a_backup_of_some_tables_has_only_those() {
        let of = |keyspaces: &[&str], tables: &[&str]| manifest::Scope {
            keyspaces: keyspaces.iter().map(|it| (*it).to_owned()).collect(),
            tables: tables.iter().map(|it| (*it).to_owned()).collect(),
            datacenters: Vec::new(),
        };
        let shop = selection(&["shop"], &[], &[]).unwrap();
        assert!(shop.is_covered_by(&of(&[], &[])) && shop.is_covered_by(&of(&["shop"], &[])));
        assert!(!shop.is_covered_by(&of(&[], &["shop.orders"])));
        let orders = selection(&[], &["shop.orders"], &[]).unwrap();
        assert!(orders.is_covered_by(&of(&[], &["shop.orders"])));
        assert!(!orders.is_covered_by(&of(&["stock"], &[])));
        assert!(
            selection(&[], &[], &[])
                .unwrap()
                .is_covered_by(&of(&["stock"], &[]))
        );
    }
}
