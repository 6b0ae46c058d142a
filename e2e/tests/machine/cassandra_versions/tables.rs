//! Tables with every kind of index, whose rows follow from their number.

use e2e::parts::cassandra::Version;
use e2e::parts::cassandra::cql::Session;
use e2e::parts::cassandra::rows::Rows;

/// Rows of each table in each life of the node.
const ROWS: i64 = 60;

/// What is asked for, and which rows it is to find.
type Question = (&'static str, fn(i64) -> bool);

pub struct Tables {
    orders: Rows,
    written: i64,
    sai: bool,
    /// What the names of files or directories of each index have in them.
    pub indexes: Vec<&'static str>,
}

impl Tables {
    pub fn new(version: Version) -> Self {
        let sai = version == Version::V5_0;
        let mut indexes = vec![".by_colour", "-SI_by_name.db"];
        if sai {
            indexes.push("-SAI+aa+by_price+Meta.db");
        }
        Self {
            orders: Rows::new("shop", "orders").with_bytes(2000),
            written: 0,
            sai,
            indexes,
        }
    }

    pub async fn create(&self, session: &Session) {
        self.orders.create(session, "dc1", 1).await.unwrap();
        // The files of one life are to be there in the next.
        let still = "compaction = {'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}";
        // With a clustering column: without one, SAI of 5.0 writes a PartitionToSize.db that is no
        // component of the SSTable (`V1OnDiskFormat.SKINNY_PER_SSTABLE_COMPONENTS`), so that
        // Cassandra's own snapshot leaves it out.
        let mut statements = vec![
            format!("ALTER TABLE shop.orders WITH {still}"),
            format!(
                "CREATE TABLE shop.items (shelf text, id bigint, line int, colour text, \
                 name text, price int, PRIMARY KEY ((shelf, id), line)) WITH {still}"
            ),
            "CREATE INDEX by_colour ON shop.items (colour)".into(),
            "CREATE CUSTOM INDEX by_name ON shop.items (name) USING \
             'org.apache.cassandra.index.sasi.SASIIndex' WITH OPTIONS = {'mode': 'CONTAINS'}"
                .into(),
        ];
        if self.sai {
            statements.push(
                "CREATE CUSTOM INDEX by_price ON shop.items (price) USING 'StorageAttachedIndex'"
                    .into(),
            );
        }
        for statement in statements {
            let made = session.query_unpaged(statement.clone(), ()).await;
            made.unwrap_or_else(|e| panic!("{statement}: {e}"));
        }
    }

    /// More rows, which no earlier life has written.
    pub async fn write(&mut self, session: &Session) {
        let ids = self.written..self.written + ROWS;
        self.written = ids.end;
        self.orders.write(session, ids.clone()).await.unwrap();
        let insert = "INSERT INTO shop.items (shelf, id, line, colour, name, price) VALUES (?, ?, 1, ?, ?, ?)";
        let insert = session.prepare(insert).await.unwrap();
        for id in ids {
            let row = (shelf(id), id, colour(id), name(id), price(id));
            session.execute_unpaged(&insert, row).await.unwrap();
        }
    }

    /// All rows are there, and every index finds what it should.
    pub async fn check(&self, session: &Session) {
        let ids = 0..self.written;
        self.orders.check(session, ids.clone()).await.unwrap();
        let mut questions: Vec<Question> = vec![
            ("", |_| true),
            ("WHERE colour = 'red'", |id| colour(id) == "red"),
            ("WHERE name LIKE '%tem 1%'", |id| name(id).contains("tem 1")),
        ];
        if self.sai {
            questions.push(("WHERE price >= 300", |id| price(id) >= 300));
        }
        for (question, expected) in questions {
            let select =
                format!("SELECT shelf, id, colour, name, price FROM shop.items {question}");
            let found = session.query_unpaged(select, ()).await.unwrap();
            let found = found.into_rows_result().unwrap();
            let mut rows: Vec<(String, i64, String, String, i32)> =
                found.rows().unwrap().map(Result::unwrap).collect();
            rows.sort_by_key(|row| row.1);
            let expected: Vec<_> = ids
                .clone()
                .filter(|id| expected(*id))
                .map(|id| (shelf(id), id, colour(id).to_owned(), name(id), price(id)))
                .collect();
            assert!(!expected.is_empty());
            assert_eq!(rows, expected, "{question}");
        }
    }
}

fn shelf(id: i64) -> String {
    format!("shelf {}", id % 7)
}

fn colour(id: i64) -> &'static str {
    ["red", "green", "blue"][id as usize % 3]
}

fn name(id: i64) -> String {
    format!("item {id}")
}

fn price(id: i64) -> i32 {
    i32::try_from(id).unwrap() * 10
}
