//! A schema, as statements of which it is known what they make.

use super::lex::{self, Class, Cursor, Token, canonical, quoted_pair};

/// What a statement makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A keyspace.
    Keyspace,
    /// A user-defined type.
    Type,
    /// A user-defined function.
    Function,
    /// A user-defined aggregate.
    Aggregate,
    /// A table.
    Table,
    /// The drop, or the return, of a column: `DESCRIBE` tells those after the table.
    AlterTable,
    /// An index, of any sort.
    Index,
    /// A materialized view.
    View,
    /// Anything else.
    Other,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Its text, without comments and without the semicolon.
    pub text: String,
    /// What it makes.
    pub kind: Kind,
    /// The keyspace, as it is really named; empty for [`Kind::Other`].
    pub keyspace: String,
    /// What is made, as it is really named; of a function without its arguments.
    pub name: String,
    /// The table of an index or a view; it is in the same keyspace.
    pub on: Option<String>,
}

/// The statements of a schema, in their order. What follows the last semicolon is no statement.
pub fn split(cql: &str) -> Vec<Statement> {
    let mut found = Vec::new();
    let mut text = String::new();
    let mut rest = cql;
    while let Some((class, length)) = lex::first(rest) {
        let (taken, after) = rest.split_at(length);
        rest = after;
        match class {
            Class::Comment => text.push(' '),
            Class::Sign if taken == ";" => {
                if !text.trim().is_empty() {
                    found.push(Statement::new(text.trim()));
                }
                text.clear();
            }
            _ => text.push_str(taken),
        }
    }
    found
}

impl Statement {
    fn new(text: &str) -> Self {
        let mut statement = Self {
            text: text.to_owned(),
            kind: Kind::Other,
            keyspace: String::new(),
            name: String::new(),
            on: None,
        };
        if let Some((kind, (keyspace, name), on)) = classify(&mut Cursor::new(text)) {
            (statement.kind, statement.keyspace) = (kind, keyspace);
            (statement.name, statement.on) = (name, on);
        }
        statement
    }

    /// `keyspace.name`, for people.
    pub fn title(&self) -> String {
        format!("{}.{}", self.keyspace, self.name)
    }

    /// What tells functions and aggregates of one name apart: the name with the types of the
    /// arguments.
    pub(super) fn signature(&self) -> Option<String> {
        let mut cursor = Cursor::new(&self.text);
        cursor.skip_to(&["("]);
        cursor.expect("(")?;
        let mut types = Vec::new();
        while !cursor.eat(&[")"]) {
            if self.kind == Kind::Function {
                cursor.name()?;
            }
            types.push(canonical(&cursor.type_text()?, true));
            cursor.eat(&[","]);
        }
        Some(format!("{}({})", self.name, types.join(", ")))
    }

    /// The id of a table or a view.
    pub(super) fn id(&self) -> Option<String> {
        let tokens = lex::tokens(&self.text);
        id_at(&tokens).map(|at| tokens[at + 2].value())
    }

    /// The text as one that does nothing where there is such a thing already.
    pub(super) fn if_not_exists(&self) -> String {
        insert_if_not_exists(&self.text)
    }

    /// A view's text with an id of its own: what it had is not restored, and the files of the old
    /// one may still be there.
    pub(super) fn with_new_id(&self) -> String {
        edited(&self.text, without_id(&self.text).into_iter().collect())
    }

    /// The text of a table, of its change or of its index, for a table of another name; an index
    /// is called `index`.
    pub(super) fn renamed(&self, keyspace: &str, table: &str, index: &str) -> Option<String> {
        let mut edits = Vec::new();
        let mut cursor = Cursor::new(&self.text);
        if self.kind == Kind::Index {
            cursor.skip_to(&["ON"]);
            let name = *cursor.tokens.get(cursor.at.checked_sub(1)?)?;
            edits.push((name.start, name.end(), lex::quoted(index)));
            cursor.at += 1;
        } else {
            edits.extend(without_id(&self.text));
            cursor.skip_to(&["TABLE"]);
            cursor.at += 1;
            cursor.eat(&["IF", "NOT", "EXISTS"]);
        }
        let start = cursor.peek()?.start;
        cursor.qualified()?;
        let end = cursor.tokens.get(cursor.at - 1)?.end();
        edits.push((start, end, quoted_pair(keyspace, table)));
        Some(edited(&self.text, edits))
    }
}

type Named = (Kind, (String, String), Option<String>);

fn classify(cursor: &mut Cursor<'_>) -> Option<Named> {
    if cursor.eat(&["ALTER", "TABLE"]) {
        return Some((Kind::AlterTable, cursor.qualified()?, None));
    }
    cursor.expect("CREATE")?;
    cursor.eat(&["OR", "REPLACE"]);
    let kind = made(cursor)?;
    cursor.eat(&["IF", "NOT", "EXISTS"]);
    match kind {
        Kind::Keyspace => {
            let name = cursor.name()?;
            Some((kind, (name.clone(), name), None))
        }
        Kind::Index => {
            let name = cursor.name()?;
            cursor.expect("ON")?;
            let (keyspace, table) = cursor.qualified()?;
            Some((kind, (keyspace, name), Some(table)))
        }
        Kind::View => {
            let name = cursor.qualified()?;
            cursor.skip_to(&["FROM"]);
            cursor.at += 1;
            let (_, table) = cursor.qualified()?;
            Some((kind, name, Some(table)))
        }
        _ => Some((kind, cursor.qualified()?, None)),
    }
}

fn made(cursor: &mut Cursor<'_>) -> Option<Kind> {
    let words: [(&[&str], Kind); 8] = [
        (&["KEYSPACE"], Kind::Keyspace),
        (&["TYPE"], Kind::Type),
        (&["FUNCTION"], Kind::Function),
        (&["AGGREGATE"], Kind::Aggregate),
        (&["TABLE"], Kind::Table),
        (&["INDEX"], Kind::Index),
        (&["CUSTOM", "INDEX"], Kind::Index),
        (&["MATERIALIZED", "VIEW"], Kind::View),
    ];
    let found = words.iter().find(|(words, _)| cursor.eat(words));
    found.map(|(_, kind)| *kind)
}

/// Where the option `ID = …` begins: after `WITH` or `AND`, behind the columns.
fn id_at(tokens: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "{" => depth += 1,
            ")" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let begins = depth == 0 && (token.is("WITH") || token.is("AND"));
        if begins
            && let [id, equals, value, ..] = &tokens[at + 1..]
            && id.is("ID")
            && equals.is("=")
            && value.class == Class::Word
        {
            return Some(at + 1);
        }
    }
    None
}

/// A change of a text: from, to, and what comes there.
type Edit = (usize, usize, String);

fn without_id(text: &str) -> Option<Edit> {
    let tokens = lex::tokens(text);
    let at = id_at(&tokens)?;
    let (before, value) = (tokens[at - 1], tokens[at + 2]);
    let (start, end) = match (tokens.get(at + 3), tokens.get(at + 4)) {
        (Some(and), Some(next)) if and.is("AND") => (tokens[at].start, next.start),
        _ => (before.start, value.end()),
    };
    Some((start, end, String::new()))
}

fn edited(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_unstable();
    let mut new = text.to_owned();
    for (start, end, with) in edits.into_iter().rev() {
        new.replace_range(start..end, &with);
    }
    new.truncate(new.trim_end().len());
    new
}

/// `CREATE … IF NOT EXISTS`; what has it, and what alters, stays as it is.
pub(super) fn insert_if_not_exists(text: &str) -> String {
    let mut cursor = Cursor::new(text);
    let fits = cursor.eat(&["CREATE"]) && made(&mut cursor).is_some();
    if !fits || cursor.sees(&["IF"]) {
        return text.to_owned();
    }
    let end = cursor.tokens[cursor.at - 1].end();
    edited(text, vec![(end, end, " IF NOT EXISTS".into())])
}
