//! What a keyspace says of its replicas, and one that has a single one.

use std::collections::BTreeMap;

use super::lex::{Class, Cursor, quoted};
use super::statements::{Kind, Statement};

/// How a keyspace is replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// The strategy, without its package.
    pub class: String,
    /// All other options, such as a number for each datacenter.
    pub options: BTreeMap<String, String>,
}

/// One replica, wherever it is.
pub fn single() -> Replication {
    Replication {
        class: "SimpleStrategy".into(),
        options: [("replication_factor".into(), "1".into())].into(),
    }
}

/// A schema whose keyspaces have one replica each, and all else as it is.
pub fn with_single_replicas(schema: &mut [Statement]) {
    let keyspaces = schema.iter_mut().filter(|it| it.kind == Kind::Keyspace);
    for one in keyspaces {
        one.text = format!(
            "CREATE KEYSPACE {} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': '1'}}",
            quoted(&one.keyspace)
        );
    }
}

/// The replication that a `CREATE KEYSPACE` tells.
pub fn replication(statement: &Statement) -> Option<Replication> {
    if statement.kind != Kind::Keyspace {
        return None;
    }
    let mut cursor = Cursor::new(&statement.text);
    cursor.skip_to(&["REPLICATION"]);
    if !cursor.eat(&["REPLICATION", "=", "{"]) {
        return None;
    }
    let mut options = BTreeMap::new();
    while !cursor.eat(&["}"]) {
        let (key, colon, value) = (cursor.next()?, cursor.next()?, cursor.next()?);
        let plain = matches!(value.class, Class::Text | Class::Word);
        if key.class != Class::Text || !colon.is(":") || !plain {
            return None;
        }
        options.insert(key.value(), value.value());
        cursor.eat(&[","]);
    }
    let class = options.remove("class")?;
    Some(Replication {
        class: class.rsplit('.').next()?.to_owned(),
        options,
    })
}
