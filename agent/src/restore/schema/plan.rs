//! What a target lacks of a schema, and what of it stands in the way.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{Catalog, Made, Name, key};
use super::lex::canonical;
use super::problem::{SchemaProblem, SchemaProblems};
use super::statements::{Kind, Statement, insert_if_not_exists};
use super::table::{self, Table};
use crate::restore::names::{TableName, is_cassandras_own};

/// Cassandra takes no longer names of indexes (`SchemaConstants.NAME_LENGTH`).
const LONGEST_NAME: usize = 48;

/// A table that is to be restored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// As it was.
    pub from: TableName,
    /// As it is to be.
    pub into: TableName,
}

impl Wanted {
    fn target(&self) -> (&str, &str) {
        (&self.into.keyspace, &self.into.table)
    }

    fn is_renamed(&self) -> bool {
        self.from != self.into
    }
}

/// What makes a schema fit. All is to be run in the order that it has here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaPlan {
    /// Before rows are imported.
    pub before: Vec<String>,
    /// When rows have been imported: indexes and views, which are then built of them.
    pub after: Vec<String>,
    /// Tables of the target that are made.
    pub created: Vec<TableName>,
    /// Tables of the target that are there.
    pub existing: Vec<TableName>,
    /// Views that are not made, since their tables get another name.
    pub left_out: Vec<String>,
}

/// The materialized views of a schema: a backup has them as tables.
pub fn views(schema: &[Statement]) -> BTreeSet<TableName> {
    let views = schema.iter().filter(|one| one.kind == Kind::View);
    views.map(|view| key(&view.keyspace, &view.name)).collect()
}

/// Compares the schema of a backup with that of a target, for some tables. Either nothing is in
/// the way, or everything that is gets told.
pub fn plan(
    source: &[Statement],
    target: &[Statement],
    wanted: &[Wanted],
) -> Result<SchemaPlan, SchemaProblems> {
    let mut planner = Planner::new(source, target);
    planner.keyspaces(wanted);
    // What is restored into another keyspace takes nothing of its own keyspace along.
    let same = wanted
        .iter()
        .filter(|one| one.from.keyspace == one.into.keyspace);
    let own: BTreeSet<_> = same.map(|one| one.from.keyspace.as_str()).collect();
    for kind in [Kind::Type, Kind::Function, Kind::Aggregate] {
        let here = |one: &&Statement| one.kind == kind && own.contains(one.keyspace.as_str());
        for one in source
            .iter()
            .filter(here)
            .filter(|one| !is_cassandras_own(&one.keyspace))
        {
            planner.part(one);
        }
    }
    for one in wanted {
        planner.table(one);
    }
    if planner.problems.is_empty() {
        Ok(planner.plan)
    } else {
        Err(SchemaProblems(planner.problems))
    }
}

struct Planner<'a> {
    source: Catalog<'a>,
    target: Catalog<'a>,
    /// The table of every index that the target has or is to have, by keyspace and name.
    indexes: BTreeMap<Name, String>,
    /// The tables of the target that have been looked at.
    seen: BTreeSet<Name>,
    plan: SchemaPlan,
    problems: Vec<SchemaProblem>,
}

impl<'a> Planner<'a> {
    fn new(source: &'a [Statement], target: &'a [Statement]) -> Self {
        let indexes = target.iter().filter(|one| one.kind == Kind::Index);
        Self {
            source: Catalog::new(source),
            target: Catalog::new(target),
            indexes: indexes
                .map(|one| {
                    let table = one.on.clone().unwrap_or_default();
                    (key(&one.keyspace, &one.name), table)
                })
                .collect(),
            seen: BTreeSet::new(),
            plan: SchemaPlan::default(),
            problems: Vec::new(),
        }
    }

    fn keyspaces(&mut self, wanted: &[Wanted]) {
        let keyspaces: BTreeSet<_> = wanted.iter().map(|one| &one.into.keyspace).collect();
        for keyspace in keyspaces {
            if self.target.keyspaces.contains_key(keyspace.as_str()) {
                continue;
            }
            match self.source.keyspaces.get(keyspace.as_str()) {
                Some(text) if !is_cassandras_own(keyspace) => {
                    self.plan.before.push(text.if_not_exists())
                }
                _ => self.problems.push(SchemaProblem::NoKeyspace {
                    keyspace: keyspace.clone(),
                }),
            }
        }
    }

    /// A type, a function or an aggregate.
    fn part(&mut self, source: &'a Statement) {
        let (there, problem) = if source.kind == Kind::Type {
            let name = key(&source.keyspace, &source.name);
            let there = self.target.types.get(&name);
            (there, there.and_then(|there| type_differs(source, there)))
        } else if let Some(signature) = source.signature() {
            let name = format!("{}.{signature}", source.keyspace);
            let there = self
                .target
                .functions
                .get(&key(&source.keyspace, &signature));
            let differs =
                there.filter(|there| canonical(&there.text, true) != canonical(&source.text, true));
            let problem = differs.map(|_| SchemaProblem::FunctionDiffers { name });
            (there, problem)
        } else {
            let name = source.title();
            (None, Some(SchemaProblem::Unreadable { name }))
        };
        if there.is_none() && problem.is_none() {
            self.plan.before.push(source.if_not_exists());
        }
        self.problems.extend(problem);
    }

    fn table(&mut self, wanted: &Wanted) {
        let (keyspace, table) = wanted.target();
        let title = format!("{keyspace}.{table}");
        if !self.seen.insert(key(keyspace, table)) {
            let by = "another table that is to be restored".into();
            self.name_taken("table", title, by);
            return;
        }
        if let Some(view) = self.target.views.get(&key(keyspace, table)) {
            let by = format!("a materialized view of {}", base(view));
            self.name_taken("table", title, by);
            return;
        }
        let in_source = self.source.table(&wanted.from.keyspace, &wanted.from.table);
        let in_target = self.target.table(keyspace, table);
        let own = key(keyspace, table);
        let mut problems = Vec::new();
        if let Some((create, made)) = in_source {
            problems.extend(self.uses_type(wanted, create, made));
        }
        if let Some((_, made)) = in_target {
            for view in &made.views {
                let of_source = self.source.views.get(&key(keyspace, &view.name));
                problems.push(SchemaProblem::HasView {
                    table: title.clone(),
                    view: view.title(),
                    again: !wanted.is_renamed()
                        && of_source.is_some_and(|source| source.on == view.on),
                });
            }
        }
        let mut texts = Vec::new();
        match (in_source, in_target) {
            (None, None) => problems.push(SchemaProblem::NoTable {
                table: wanted.from.to_string(),
            }),
            (None, Some(_)) => self.plan.existing.push(own),
            (Some(source), Some(target)) => {
                problems.extend(table_differs(&title, source, target));
                self.plan.existing.push(own);
            }
            (Some(_), None) if is_cassandras_own(keyspace) => {
                problems.push(SchemaProblem::SystemTable { table: title });
            }
            (Some((create, made)), None) => match self.creation(wanted, create, made) {
                Ok(made) => {
                    texts = made;
                    self.plan.created.push(own);
                }
                Err(problem) => problems.push(problem),
            },
        }
        self.plan.before.extend(texts);
        self.problems.extend(problems);
        if !is_cassandras_own(keyspace) {
            self.afterwards(wanted);
        }
    }

    fn uses_type(
        &self,
        wanted: &Wanted,
        create: &Statement,
        made: &Made<'_>,
    ) -> Option<SchemaProblem> {
        let keyspace = &wanted.from.keyspace;
        if *keyspace == wanted.into.keyspace {
            return None;
        }
        let Some(table) = Table::parse(create, &made.alters) else {
            let name = create.title();
            return Some(SchemaProblem::Unreadable { name });
        };
        let mut used = table.columns.into_iter().flat_map(|column| {
            let names = table::names(&column.type_text).into_iter();
            names.map(move |name| (column.name.clone(), name))
        });
        let known = |name: &str| self.source.types.contains_key(&key(keyspace, name));
        let (column, name) = used.find(|(_, name)| known(name))?;
        Some(SchemaProblem::RenameWithType {
            table: create.title(),
            into: wanted.into.to_string(),
            column,
            name,
            keyspace: keyspace.clone(),
        })
    }

    /// The statements that make the table.
    fn creation(
        &self,
        wanted: &Wanted,
        create: &Statement,
        made: &Made<'_>,
    ) -> Result<Vec<String>, SchemaProblem> {
        let all = std::iter::once(&create).chain(&made.alters);
        if wanted.is_renamed() {
            let (keyspace, table) = wanted.target();
            let renamed = all.map(|one| one.renamed(keyspace, table, ""));
            let renamed = renamed.map(|text| text.map(|text| insert_if_not_exists(&text)));
            let name = create.title();
            return renamed
                .collect::<Option<_>>()
                .ok_or(SchemaProblem::Unreadable { name });
        }
        if let Some(id) = create.id()
            && let Some(by) = self.target.ids.get(&id)
        {
            return Err(SchemaProblem::IdTaken {
                table: create.title(),
                by: by.title(),
                id,
            });
        }
        Ok(all.map(|one| one.if_not_exists()).collect())
    }

    /// The indexes and the views of a table.
    fn afterwards(&mut self, wanted: &Wanted) {
        let (keyspace, table) = wanted.target();
        let Some(made) = self.source.tables.get(&wanted.from) else {
            return;
        };
        let (indexes, views) = (made.indexes.clone(), made.views.clone());
        for index in indexes {
            let name = if wanted.is_renamed() && wanted.from.keyspace == *keyspace {
                index_name(table, &index.name)
            } else {
                index.name.clone()
            };
            let taken = self.indexes.get(&key(keyspace, &name));
            if let Some(by) = taken.filter(|by| *by != table) {
                let by = format!("an index of {keyspace}.{by}");
                self.name_taken("index", format!("{keyspace}.{name}"), by);
            } else if taken.is_none() {
                let text = if wanted.is_renamed() {
                    index.renamed(keyspace, table, &name)
                } else {
                    Some(index.text.clone())
                };
                match text {
                    Some(text) => self.plan.after.push(insert_if_not_exists(&text)),
                    None => self.problems.push(SchemaProblem::Unreadable {
                        name: index.title(),
                    }),
                }
                self.indexes.insert(key(keyspace, &name), table.to_owned());
            }
        }
        for view in views {
            let name = key(keyspace, &view.name);
            if wanted.is_renamed() {
                let left_out = &mut self.plan.left_out;
                if !left_out.contains(&view.title()) {
                    left_out.push(view.title());
                }
            } else if let Some(other) = self.target.views.get(&name) {
                // A view of this table has been told as a problem of the table.
                if other.on != view.on {
                    let by = format!("a materialized view of {}", base(other));
                    self.name_taken("materialized view", view.title(), by);
                }
            } else if self.target.table(keyspace, &view.name).is_some() {
                self.name_taken("materialized view", view.title(), "a table".into());
            } else {
                let text = insert_if_not_exists(&view.with_new_id());
                self.plan.after.push(text);
            }
        }
    }

    fn name_taken(&mut self, what: &'static str, name: String, by: String) {
        self.problems
            .push(SchemaProblem::NameTaken { what, name, by });
    }
}

/// The table of a view.
fn base(view: &Statement) -> String {
    let on = view.on.as_deref().unwrap_or_default();
    format!("{}.{on}", view.keyspace)
}

fn table_differs(
    title: &str,
    (source, source_made): (&Statement, &Made<'_>),
    (target, target_made): (&Statement, &Made<'_>),
) -> Option<SchemaProblem> {
    let unreadable = |one: &Statement| SchemaProblem::Unreadable { name: one.title() };
    let Some(here) = Table::parse(source, &source_made.alters) else {
        return Some(unreadable(source));
    };
    let Some(there) = Table::parse(target, &target_made.alters) else {
        return Some(unreadable(target));
    };
    let how = here.differences(&there);
    let table = title.to_owned();
    (!how.is_empty()).then_some(SchemaProblem::TableDiffers { table, how })
}

fn type_differs(source: &Statement, target: &Statement) -> Option<SchemaProblem> {
    let name = source.title();
    let (Some(here), Some(there)) = (table::fields(source), table::fields(target)) else {
        return Some(SchemaProblem::Unreadable { name });
    };
    for (at, (field, of_type)) in here.iter().enumerate() {
        let how = match there.get(at) {
            Some((other, its_type))
                if other == field && canonical(its_type, false) == canonical(of_type, false) =>
            {
                continue;
            }
            Some((other, its_type)) => format!(
                "field {} is {field} {of_type} in the source and {other} {its_type} in the target",
                at + 1
            ),
            None => format!("the target lacks field {field} {of_type}"),
        };
        return Some(SchemaProblem::TypeDiffers { name, how });
    }
    None
}

/// A name for an index of a renamed table: names of indexes are unique in a keyspace.
fn index_name(table: &str, index: &str) -> String {
    let name = format!("{table}_{index}");
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let hash = crc32fast::hash(name.as_bytes());
    let kept: String = name.chars().take(LONGEST_NAME - 9).collect();
    format!("{kept}_{hash:08x}")
}
