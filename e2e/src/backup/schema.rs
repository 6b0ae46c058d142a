//! A stored schema, as statements that can be executed one by one.

/// The statements that make the users' own keyspaces, in their order.
pub fn users(schema: &str) -> Vec<String> {
    let mut statements = statements(schema);
    statements.retain(|one| keyspace(one).is_some_and(|keyspace| !keyspace.starts_with("system")));
    statements
}

/// Splits CQL into statements, without comments and semicolons. Strings, quoted names and `$$`
/// bodies of functions may hold either.
pub fn statements(cql: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current = String::new();
    let mut rest = cql;
    while let Some(next) = rest.chars().next() {
        let opened = |open: &str| rest.starts_with(open);
        let taken = if opened("--") || opened("//") {
            skip(&mut rest, 2, "\n");
            "\n"
        } else if opened("/*") {
            skip(&mut rest, 2, "*/");
            " "
        } else if opened("$$") {
            skip(&mut rest, 2, "$$")
        } else if next == '\'' || next == '"' {
            // A doubled quote ends one string and begins the next, which comes to the same.
            skip(&mut rest, 1, &next.to_string())
        } else if next == ';' {
            rest = &rest[1..];
            found.push(std::mem::take(&mut current));
            ""
        } else {
            let (taken, after) = rest.split_at(next.len_utf8());
            rest = after;
            taken
        };
        current.push_str(taken);
    }
    found.push(current);
    found
        .iter()
        .map(|one| one.trim().to_owned())
        .filter(|one| !one.is_empty())
        .collect()
}

/// Moves `rest` behind the next `end` that comes after its first `from` bytes; returns what was
/// passed.
fn skip<'a>(rest: &mut &'a str, from: usize, end: &str) -> &'a str {
    let all = *rest;
    let length = all[from..]
        .find(end)
        .map_or(all.len(), |at| from + at + end.len());
    *rest = &all[length..];
    &all[..length]
}

/// The keyspace that a statement of a schema belongs to.
fn keyspace(statement: &str) -> Option<String> {
    let mut words = statement.split_whitespace();
    let verb = words.next()?.to_ascii_uppercase();
    let mut what = words.next()?.to_ascii_uppercase();
    while matches!(what.as_str(), "OR" | "REPLACE" | "CUSTOM" | "MATERIALIZED") {
        what = words.next()?.to_ascii_uppercase();
    }
    if !matches!(verb.as_str(), "CREATE" | "ALTER") {
        return None;
    }
    if what == "INDEX" {
        words
            .by_ref()
            .find(|word| word.eq_ignore_ascii_case("ON"))?;
    }
    let name = words.find(|word| {
        !["IF", "NOT", "EXISTS"]
            .iter()
            .any(|keyword| word.eq_ignore_ascii_case(keyword))
    })?;
    let name = match name.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => name.split(['.', '(', ';']).next()?,
    };
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"
CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy; really'} AND durable_writes = true;
/*
Warning: Table system.x cannot be created; it is virtual.
*/
CREATE TABLE system.x (k int PRIMARY KEY);
CREATE KEYSPACE "Mixed;Case" WITH replication = {'class': 'SimpleStrategy'}; -- a; comment
CREATE TABLE shop.t (k int PRIMARY KEY, v text) WITH ID = 1 AND comment = 'it''s; here';
ALTER TABLE shop.t DROP old USING TIMESTAMP 1;
CREATE OR REPLACE FUNCTION shop.f(a int) RETURNS NULL ON NULL INPUT RETURNS int LANGUAGE java AS $$ return a; $$;
CREATE CUSTOM INDEX by_v ON shop.t (v) USING 'sai';
CREATE INDEX IF NOT EXISTS ON system_auth.roles (x);
"#;

    #[test]
    fn statements_end_only_at_semicolons_of_their_own() {
        let all = statements(SCHEMA);
        assert_eq!(all.len(), 8);
        assert!(all[3].ends_with("comment = 'it''s; here'"), "{}", all[3]);
        assert!(all[5].ends_with("$$ return a; $$"), "{}", all[5]);
        assert!(all[1].starts_with("CREATE TABLE system.x"), "{}", all[1]);
    }

    #[test]
    fn cassandras_own_keyspaces_are_left_out() {
        let users = users(SCHEMA);
        assert_eq!(users.len(), 6);
        assert!(users.iter().all(|one| !one.contains("system")));
        assert_eq!(keyspace(&users[1]).unwrap(), "Mixed;Case");
    }
}
