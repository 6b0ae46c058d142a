//! What a keyspace says of its replicas.

use std::collections::BTreeMap;

use super::lex::{Class, Cursor};
use super::statements::{Kind, Statement};

/// How a keyspace is replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// The strategy, without its package.
    pub class: String,
    /// All other options, such as a number for each datacenter.
    pub options: BTreeMap<String, String>,
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
