use super::{NEW, OLD};
use crate::restore::TableName;
use crate::restore::schema::plan::{SchemaPlan, Wanted, plan, views};
use crate::restore::schema::problem::SchemaProblem;
use crate::restore::schema::statements::split;

/// Of `shop.orders` or `shop.orders=other.name`.
fn wanted(tables: &[&str]) -> Vec<Wanted> {
    let each = tables.iter().map(|one| {
        let (from, into) = one.split_once('=').unwrap_or((one, one));
        Wanted {
            from: name(from),
            into: name(into),
        }
    });
    each.collect()
}

/// Of names that are none too: what is quoted in a schema is quoted again.
fn name(title: &str) -> TableName {
    let (keyspace, table) = title.split_once('.').unwrap();
    TableName::new(keyspace, table)
}

/// The keyspaces that every cluster has, and what is given.
fn target(more: &str) -> String {
    let system = OLD.find("CREATE KEYSPACE system_auth").unwrap();
    format!("{}{more}", &OLD[system..])
}

fn planned(target: &str, tables: &[&str]) -> SchemaPlan {
    plan(&split(OLD), &split(target), &wanted(tables)).unwrap()
}

fn refused(source: &str, target: &str, tables: &[&str]) -> Vec<SchemaProblem> {
    let found = plan(&split(source), &split(target), &wanted(tables));
    found.unwrap_err().0
}

fn heads(statements: &[String]) -> Vec<String> {
    let words = |one: &String| {
        one.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let heads = statements.iter().map(|one| {
        let mut words = words(one);
        words.retain(|word| !["CREATE", "IF", "NOT", "EXISTS"].contains(&word.as_str()));
        words[..3.min(words.len())].join(" ")
    });
    heads.collect()
}

fn names(names: &[(&str, &str)]) -> Vec<TableName> {
    names.iter().map(|(a, b)| TableName::new(a, b)).collect()
}

#[test]
fn an_empty_target_gets_everything_in_the_order_of_dependence() {
    let plan = planned(&target(""), &["shop.orders", "system_auth.roles"]);
    let expected = [
        "KEYSPACE shop WITH",
        "TYPE shop.street (",
        "TYPE shop.address (",
        "FUNCTION shop.add(state int,",
        "FUNCTION shop.add(state text,",
        "AGGREGATE shop.total(int) SFUNC",
        "TABLE shop.orders (",
        "ALTER TABLE shop.orders",
        "ALTER TABLE shop.orders",
        "ALTER TABLE shop.orders",
    ];
    assert_eq!(heads(&plan.before), expected);
    let id = "WITH ID = 22222222-2222-2222-2222-222222222222";
    assert!(plan.before[6].contains(id), "{}", plan.before[6]);
    let expected = [
        "CUSTOM INDEX by_amount",
        "INDEX by_note ON",
        "MATERIALIZED VIEW shop.by_line",
    ];
    assert_eq!(heads(&plan.after), expected);
    assert!(
        plan.after[2].contains("WITH CLUSTERING ORDER"),
        "{}",
        plan.after[2]
    );
    let if_not_exists = plan.before.iter().chain(&plan.after);
    assert_eq!(
        if_not_exists
            .filter(|one| one.contains(" IF NOT EXISTS "))
            .count(),
        10
    );
    assert_eq!(plan.created, names(&[("shop", "orders")]));
    assert_eq!(plan.existing, names(&[("system_auth", "roles")]));
}

#[test]
fn the_same_schema_needs_nothing_but_views_stand_in_the_way() {
    let same = target(&OLD.replace("by_line", "by_line /* a comment */"));
    let plan = planned(&same, &["shop.people", "Mixed\"x.T", "system_auth.roles"]);
    assert!(plan.before.is_empty() && plan.after.is_empty(), "{plan:?}");
    assert_eq!(plan.existing.len(), 3);
    let found = refused(OLD, &same, &["shop.orders"]);
    let (table, view) = ("shop.orders".into(), "shop.by_line".into());
    assert_eq!(
        found,
        [SchemaProblem::HasView {
            table,
            view,
            again: true
        }]
    );
    assert!(
        found[0]
            .to_string()
            .contains("drop the view; the restore makes it again")
    );
    assert_eq!(
        views(&split(OLD)),
        names(&[("shop", "by_line")]).into_iter().collect()
    );
}

#[test]
fn more_and_written_otherwise_is_no_difference() {
    let other = OLD
        .replace(
            "frozen<tuple<int, frozen<list<text>>>>",
            "tuple<int, list<text>>",
        )
        .replace("frozen<tuple<int, text>>", "tuple<int, text>")
        .replace(
            "    note text static,",
            "    note text static,\n    more int,",
        )
        .replace("\"number\" int\n", "\"number\" int,\n    more text\n")
        .replace(
            "AND speculative_retry = '99p'",
            "AND speculative_retry = '50p' AND memtable = 'x'",
        )
        .replace("'dc1': '3'", "'dc1': '1'")
        .replace("CREATE MATERIALIZED VIEW shop.by_line", "DROP shop.by_line");
    let plan = planned(&other, &["shop.orders"]);
    assert!(plan.before.is_empty(), "{:?}", plan.before);
    assert_eq!(heads(&plan.after), ["MATERIALIZED VIEW shop.by_line"]);
    let dropped = "ALTER TABLE shop.people DROP home USING TIMESTAMP 5;";
    planned(&format!("{OLD}{dropped}"), &["shop.people"]);
}

#[test]
fn every_difference_of_a_table_is_told() {
    let plain = OLD.replace("CREATE MATERIALIZED VIEW", "DROP");
    let changes = [
        ("    amount decimal,\n", "", "lacks column amount"),
        (
            "amount decimal",
            "amount double",
            "amount is decimal in the source and double in the target",
        ),
        (
            "sums map<text, frozen<map<text, int>>>",
            "sums frozen<map<text, map<text, int>>>",
            "column sums is",
        ),
        (
            "note text static",
            "note text",
            "note is static in the source, and regular",
        ),
        (
            "(at DESC,",
            "(at ASC,",
            "at is number 1 of the clustering key, DESC in the source",
        ),
        (
            "((customer, day), at",
            "(customer, day, at",
            "column day is number 2 of the partition key",
        ),
        ("at, line)\n", "at, line, more)\n", "one more column, more"),
        (
            "ALTER TABLE shop.orders DROP gone",
            "-- ",
            "what was in it would come back",
        ),
        (
            "DROP back USING TIMESTAMP 1700000000000001",
            "DROP back USING TIMESTAMP 17",
            "would come back",
        ),
    ];
    for (from, to, expected) in changes {
        let with_more = plain.replace("    line int,", "    line int,\n    more int,");
        let other = with_more.replace(from, to);
        assert_ne!(other, with_more, "{from}");
        let found = refused(OLD, &other, &["shop.orders"]);
        assert!(
            matches!(&found[..], [SchemaProblem::TableDiffers { .. }]),
            "{found:?}"
        );
        assert!(found[0].to_string().contains(expected), "{}", found[0]);
    }
    let never = plain
        .replace("    gone frozen<tuple<text, int>>,\n", "")
        .replace("ALTER TABLE shop.orders DROP gone", "-- ");
    let found = refused(OLD, &never, &["shop.orders"]);
    assert!(
        found[0].to_string().contains("which the target never had"),
        "{found:?}"
    );
}

#[test]
fn types_and_functions_that_differ_are_told_by_their_names() {
    let other = OLD
        .replace("\"number\" int\n", "\"number\" bigint\n")
        .replace(
            "    street frozen<street>,\n    tags set<text>",
            "    street frozen<street>",
        )
        .replace("return state + to", "return state - to")
        .replace("INITCOND 0", "INITCOND 1");
    let found = refused(OLD, &other, &["shop.people"]);
    let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
    let expected = [
        "type shop.street is there and differs: field 2 is number int in the source and number bigint",
        "type shop.address is there and differs: the target lacks field tags set<text>",
        "function or aggregate shop.add(int, int) is there",
        "function or aggregate shop.total(int) is there",
    ];
    assert_eq!(texts.len(), 4, "{texts:?}");
    for (text, expected) in texts.iter().zip(expected) {
        assert!(text.starts_with(expected), "{text}");
    }
}

#[test]
fn all_problems_are_told_together() {
    let found = refused(
        OLD,
        &target(&NEW.replace(
            "77777777-7777-7777-7777-777777777777",
            "22222222-2222-2222-2222-222222222222",
        )),
        &[
            "shop.orders",
            "shop.thrift",
            "system_auth.nothing",
            "none.t",
            "shop.people=lab.people",
            "shop.orders=lab.like",
        ],
    );
    let expected = [
        SchemaProblem::NoKeyspace {
            keyspace: "none".into(),
        },
        SchemaProblem::IdTaken {
            table: "shop.orders".into(),
            id: "22222222-2222-2222-2222-222222222222".into(),
            by: "lab.items".into(),
        },
        SchemaProblem::NoTable {
            table: "shop.thrift".into(),
        },
        SchemaProblem::NoTable {
            table: "system_auth.nothing".into(),
        },
        SchemaProblem::NoTable {
            table: "none.t".into(),
        },
        SchemaProblem::RenameWithType {
            table: "shop.people".into(),
            into: "lab.people".into(),
            column: "home".into(),
            name: "address".into(),
            keyspace: "shop".into(),
        },
    ];
    assert_eq!(found, expected);
    let without = target("").replace("CREATE TABLE system_auth.roles", "DROP");
    let roles = vec![SchemaProblem::SystemTable {
        table: "system_auth.roles".into(),
    }];
    assert_eq!(refused(OLD, &without, &["system_auth.roles"]), roles);
}

#[test]
fn a_renamed_table_has_its_own_id_and_indexes_and_no_views() {
    let plan = planned(
        &target(NEW),
        &["shop.orders=shop.orders2", "shop.orders=lab.Orders"],
    );
    let own = ["KEYSPACE shop WITH", "TYPE shop.street ("];
    assert_eq!(heads(&plan.before)[..2], own);
    assert_eq!(
        plan.created,
        names(&[("shop", "orders2"), ("lab", "Orders")])
    );
    let tables: Vec<_> = plan
        .before
        .iter()
        .filter(|one| one.starts_with("CREATE TABLE"))
        .collect();
    assert!(
        tables[0].starts_with("CREATE TABLE IF NOT EXISTS \"shop\".\"orders2\" ("),
        "{}",
        tables[0]
    );
    assert!(
        tables.iter().all(|one| !one.contains("ID = 22")),
        "{tables:?}"
    );
    assert!(
        plan.before
            .last()
            .unwrap()
            .starts_with("ALTER TABLE \"lab\".\"Orders\" ADD back")
    );
    let indexes = [
        "CREATE CUSTOM INDEX IF NOT EXISTS \"orders2_by_amount\" ON \"shop\".\"orders2\" (amount) USING 'org",
        "CREATE INDEX IF NOT EXISTS \"orders2_by_note\" ON \"shop\".\"orders2\" (note)",
        "CREATE CUSTOM INDEX IF NOT EXISTS \"by_amount\" ON \"lab\".\"Orders\" (amount) USING 'org",
        "CREATE INDEX IF NOT EXISTS \"by_note\" ON \"lab\".\"Orders\" (note)",
    ];
    for (made, expected) in plan.after.iter().zip(indexes) {
        assert!(made.starts_with(expected), "{made}");
    }
    assert_eq!((plan.after.len(), plan.left_out.len()), (4, 1));
    let long = format!("shop.orders=shop.{}", "o".repeat(48));
    let plan = planned(&target(""), &[&long]);
    let name = plan.after[0].split('"').nth(1).unwrap();
    assert_eq!((name.len(), &name[..3]), (48, "ooo"));
    assert_ne!(name, plan.after[1].split('"').nth(1).unwrap());
}

#[test]
fn names_that_something_else_has_are_told() {
    let there = "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy'};
        CREATE TABLE shop.other (k int PRIMARY KEY, v int);
        CREATE INDEX by_note ON shop.other (v);
        CREATE MATERIALIZED VIEW shop.by_line AS SELECT * FROM shop.other WHERE v IS NOT NULL PRIMARY KEY (v, k);
        CREATE MATERIALIZED VIEW shop.people AS SELECT * FROM shop.other WHERE v IS NOT NULL PRIMARY KEY (v, k);";
    let found = refused(OLD, &target(there), &["shop.orders", "shop.people"]);
    let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
    let expected = [
        "index shop.by_note cannot be made: an index of shop.other has",
        "materialized view shop.by_line cannot be made: a materialized view of shop.other has",
        "table shop.people cannot be made: a materialized view of shop.other has",
    ];
    assert_eq!(texts.len(), 3, "{texts:?}");
    for (text, expected) in texts.iter().zip(expected) {
        assert!(text.starts_with(expected), "{text}");
    }
    let there = "CREATE KEYSPACE shop WITH x = 1; CREATE TABLE shop.by_line (k int PRIMARY KEY);";
    let found = refused(OLD, &target(there), &["shop.orders"]);
    assert!(
        found[0].to_string().contains("a table has that name"),
        "{found:?}"
    );
    let found = refused(
        OLD,
        &target(""),
        &["shop.orders=shop.t", "shop.people=shop.t"],
    );
    let text = found[0].to_string();
    assert!(
        text.contains("table shop.t cannot be made: another table that is to be restored has"),
        "{text}"
    );
}

#[test]
fn what_is_not_understood_is_not_guessed() {
    let other = OLD.replace("    amount decimal,\n", "    amount,\n");
    let name = "shop.orders".to_owned();
    let plain = other.replace("CREATE MATERIALIZED VIEW", "DROP");
    assert_eq!(
        refused(OLD, &plain, &["shop.orders"]),
        [SchemaProblem::Unreadable { name }]
    );
}
