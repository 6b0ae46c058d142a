use proptest::prelude::*;

use super::{NEW, OLD};
use crate::restore::schema::keyspace::replication;
use crate::restore::schema::lex::{canonical, quoted};
use crate::restore::schema::statements::{Kind, Statement, insert_if_not_exists, split};
use crate::restore::schema::table::{ColumnKind, Table, fields, names};

fn of(schema: &str, kind: Kind, name: &str) -> Statement {
    let mut found = split(schema).into_iter();
    found
        .find(|one| one.kind == kind && one.name == name)
        .unwrap()
}

fn table(schema: &str, name: &str) -> Table {
    let all = split(schema);
    let of = |kind| {
        let found = all.iter();
        found.filter(move |one| one.kind == kind && one.name == name)
    };
    let alters: Vec<_> = of(Kind::AlterTable).collect();
    Table::parse(of(Kind::Table).next().unwrap(), &alters).unwrap()
}

#[test]
fn every_statement_is_what_it_makes() {
    let seen: Vec<_> = split(OLD)
        .iter()
        .map(|one| format!("{:?} {} {:?}", one.kind, one.title(), one.on))
        .collect();
    let expected = [
        r#"Keyspace Mixed"x.Mixed"x None"#,
        r#"Table Mixed"x.T None"#,
        "Keyspace shop.shop None",
        "Type shop.street None",
        "Type shop.address None",
        "Function shop.add None",
        "Function shop.add None",
        "Aggregate shop.total None",
        "Table shop.orders None",
        "AlterTable shop.orders None",
        "AlterTable shop.orders None",
        "AlterTable shop.orders None",
        r#"Index shop.by_amount Some("orders")"#,
        r#"Index shop.by_note Some("orders")"#,
        r#"View shop.by_line Some("orders")"#,
        "Table shop.people None",
        "Keyspace system_auth.system_auth None",
        "Table system_auth.roles None",
    ];
    assert_eq!(seen, expected);
    let function = of(OLD, Kind::Function, "add");
    assert!(
        function.text.ends_with(r#"// it's; "so" $$"#),
        "{function:?}"
    );
}

#[test]
fn comments_end_where_they_end_and_what_has_no_semicolon_is_no_statement() {
    let text = "-- a; \nCREATE /* ; */ TYPE a.b (c int); // d;\rDROP x; ; /* ; ";
    let all = split(text);
    assert_eq!(all[0].title(), "a.b");
    assert_eq!((all.len(), all[1].text.as_str()), (2, "DROP x"));
    assert_eq!(all[1].kind, Kind::Other);
    assert!(split("CREATE KEYSPACE a WITH comment = ';").is_empty());
}

#[test]
fn columns_have_names_types_and_kinds() {
    let orders = table(OLD, "orders");
    let seen: Vec<_> = orders
        .columns
        .iter()
        .map(|one| format!("{} {}: {}", one.name, one.type_text, one.kind))
        .collect();
    let expected = [
        "customer text: number 1 of the partition key",
        "day date: number 2 of the partition key",
        "at timestamp: number 1 of the clustering key, DESC",
        "line int: number 2 of the clustering key, ASC",
        "note text: static",
        "amount decimal: regular",
        "pair frozen<tuple<int, frozen<list<text>>>>: regular",
        "sums map<text, frozen<map<text, int>>>: regular",
        "back text: regular",
    ];
    assert_eq!(seen, expected);
    let dropped: Vec<_> = orders.dropped.into_iter().collect();
    let at = 1_700_000_000_000_000;
    assert_eq!(dropped, [("back".into(), at + 1), ("gone".into(), at)]);
    let mixed = table(OLD, "T");
    assert_eq!(mixed.column("Key").unwrap().kind, ColumnKind::Partition(0));
}

#[test]
fn masks_and_vectors_of_five_are_understood() {
    let items = table(NEW, "items");
    let column = |name: &str| items.column(name).unwrap();
    assert_eq!(column("pk2").kind, ColumnKind::Partition(1));
    assert_eq!(column("s1").kind, ColumnKind::Static);
    assert_eq!(column("likeness").type_text, "vector<float, 3>");
    assert_eq!(items.columns.len(), 6);
    let single = table(NEW, "single");
    assert_eq!(single.column("id").unwrap().kind, ColumnKind::Partition(0));
    let empty = "'org.apache.cassandra.db.marshal.EmptyType'";
    assert_eq!(single.column("v").unwrap().type_text, empty);
    // DSE and some 4.0 tell dropped columns like this.
    let dse =
        "CREATE TABLE a.b (k int PRIMARY KEY) WITH DROPPED COLUMN RECORD c text USING TIMESTAMP 1;";
    assert_eq!(table(dse, "b").columns.len(), 1);
}

#[test]
fn the_replication_of_a_keyspace_is_read() {
    let shop = replication(&of(OLD, Kind::Keyspace, "shop")).unwrap();
    assert_eq!(shop.class, "NetworkTopologyStrategy");
    let options: Vec<_> = shop.options.into_iter().collect();
    assert_eq!(
        options,
        [("dc1".into(), "3".into()), ("dc2".into(), "2".into())]
    );
    let mixed = replication(&of(OLD, Kind::Keyspace, "Mixed\"x")).unwrap();
    assert_eq!(mixed.class, "SimpleStrategy");
    assert!(replication(&of(OLD, Kind::Type, "street")).is_none());
}

#[test]
fn types_have_fields_and_functions_signatures() {
    let address = of(OLD, Kind::Type, "address");
    let expected = [("street", "frozen<street>"), ("tags", "set<text>")];
    assert_eq!(
        fields(&address).unwrap(),
        expected.map(|(name, of)| (name.into(), of.into()))
    );
    assert_eq!(
        names("map<text, frozen<\"A b\">>"),
        ["map", "text", "frozen", "A b"]
    );
    let all = split(OLD);
    let signatures: Vec<_> = all
        .iter()
        .filter(|one| matches!(one.kind, Kind::Function | Kind::Aggregate))
        .map(|one| one.signature().unwrap())
        .collect();
    let expected = ["add(int, int)", "add(text, tuple<int,text>)", "total(int)"];
    assert_eq!(signatures, expected);
}

#[test]
fn frozen_counts_only_where_it_changes_something() {
    let same = |a: &str, b: &str| canonical(a, false) == canonical(b, false);
    assert!(same("frozen<tuple<int, text>>", "tuple<int,text>"));
    assert!(same(
        "frozen<list<frozen<set<int>>>>",
        "frozen<list<set<int>>>"
    ));
    assert!(!same("frozen<list<int>>", "list<int>"));
    assert!(!same("frozen<a>", "a"));
    assert!(!same("\"A\"", "a"));
}

#[test]
fn a_renamed_table_has_an_id_of_its_own_wherever_the_option_stands() {
    let renamed = |with: &str| {
        let text = format!("CREATE TABLE shop.t (id int PRIMARY KEY) {with};");
        let statement = &split(&text)[0];
        statement.renamed("b", "C\"d", "").unwrap()
    };
    let table = r#"CREATE TABLE "b"."C""d" (id int PRIMARY KEY)"#;
    let cases = [
        ("WITH ID = 11-22", ""),
        ("WITH ID = 11-22\n    AND id = 3", " WITH id = 3"),
        (
            "WITH a = {'ID': 1} AND ID = 11-22 AND c = 'x'",
            " WITH a = {'ID': 1} AND c = 'x'",
        ),
        (
            "WITH COMPACT STORAGE\n AND ID = 11-22",
            " WITH COMPACT STORAGE",
        ),
        (
            "WITH comment = ' WITH ID = 11-22'",
            " WITH comment = ' WITH ID = 11-22'",
        ),
    ];
    for (with, expected) in cases {
        assert_eq!(renamed(with), format!("{table}{expected}"));
    }
    let dropped = of(OLD, Kind::AlterTable, "orders").renamed("b", "c", "");
    let expected = r#"ALTER TABLE "b"."c" DROP gone USING TIMESTAMP 1700000000000000"#;
    assert_eq!(dropped.unwrap(), expected);
}

#[test]
fn if_not_exists_comes_behind_what_is_made_and_only_once() {
    let cases = [
        ("CREATE TABLE a.b (", "CREATE TABLE IF NOT EXISTS a.b ("),
        (
            "CREATE CUSTOM INDEX a ON",
            "CREATE CUSTOM INDEX IF NOT EXISTS a ON",
        ),
        (
            "CREATE MATERIALIZED VIEW a.b",
            "CREATE MATERIALIZED VIEW IF NOT EXISTS a.b",
        ),
        (
            "CREATE TYPE IF NOT EXISTS a.b",
            "CREATE TYPE IF NOT EXISTS a.b",
        ),
        ("ALTER TABLE a.b DROP c", "ALTER TABLE a.b DROP c"),
    ];
    for (text, expected) in cases {
        assert_eq!(insert_if_not_exists(text), expected);
    }
}

proptest! {
    #[test]
    fn any_text_is_read_without_panic_and_what_was_split_splits_the_same(
        parts in prop::collection::vec(
            prop_oneof![
                ".{0,4}",
                "[-/*$'\";(){}<>.,= a\r\n]{0,4}",
                prop::sample::select(vec![
                    "CREATE ", "TABLE ", "TYPE ", "INDEX ", "FUNCTION ", "ALTER TABLE ", "KEYSPACE ", "a.b ", " ON a.b ", "(a int",
                    " PRIMARY KEY (", ")", " WITH ", " ID = 1 ", " AND ", "DROP a ", " REPLICATION = {'class': ", "frozen<", ";",
                ]).prop_map(str::to_owned),
            ],
            0..24,
        )
    ) {
        let text = parts.concat();
        let all = split(&text);
        for one in &all {
            let _ = (Table::parse(one, &[one]), fields(one), one.signature(), one.id());
            let _ = (replication(one), one.renamed("a", "b", "c"), one.with_new_id());
            let _ = (one.if_not_exists(), canonical(&one.text, true), names(&one.text));
        }
        let joined: String = all.iter().map(|one| format!("{};\n\n", one.text)).collect();
        prop_assert_eq!(split(&joined), all);
    }

    #[test]
    fn every_name_comes_back_from_its_quotes(keyspace in "\\PC{1,8}", name in ".{0,8}", field in ".{0,3}") {
        let text = format!("CREATE TYPE {}.{} ({} int);", quoted(&keyspace), quoted(&name), quoted(&field));
        let all = split(&text);
        prop_assert_eq!(all.len(), 1);
        prop_assert_eq!((&all[0].keyspace, &all[0].name), (&keyspace, &name));
        prop_assert_eq!(fields(&all[0]).unwrap(), vec![(field, "int".to_owned())]);
    }
}
