//! What a schema is read as, and what is made of it.

mod planned;
mod read;

/// A schema as 4.1 tells it; 4.0 does the same.
pub(super) const OLD: &str = r#"
CREATE KEYSPACE "Mixed""x" WITH replication = {'class': 'org.apache.cassandra.locator.SimpleStrategy', 'replication_factor': '1'}  AND durable_writes = true;

CREATE TABLE "Mixed""x"."T" (
    "Key" text PRIMARY KEY,
    v int
) WITH ID = 11111111-1111-1111-1111-111111111111;

CREATE KEYSPACE shop WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': '3', 'dc2': '2'}  AND durable_writes = true;

CREATE TYPE shop.street (
    name text,
    "number" int
);

CREATE TYPE shop.address (
    street frozen<street>,
    tags set<text>
);

CREATE FUNCTION shop.add(state int, "to" int)
    CALLED ON NULL INPUT
    RETURNS int
    LANGUAGE java
    AS $$ return state + to; // it's; "so" $$;

CREATE FUNCTION shop.add(state text, "to" frozen<tuple<int, text>>)
    CALLED ON NULL INPUT
    RETURNS text
    LANGUAGE java
    AS $$return state;$$;

CREATE AGGREGATE shop.total(int)
    SFUNC add
    STYPE int
    INITCOND 0;

CREATE TABLE shop.orders (
    customer text,
    day date,
    at timestamp,
    line int,
    note text static,
    amount decimal,
    pair frozen<tuple<int, frozen<list<text>>>>,
    sums map<text, frozen<map<text, int>>>,
    gone frozen<tuple<text, int>>,
    back text,
    PRIMARY KEY ((customer, day), at, line)
) WITH ID = 22222222-2222-2222-2222-222222222222
    AND CLUSTERING ORDER BY (at DESC, line ASC)
    AND additional_write_policy = '99p'
    AND caching = {'keys': 'ALL', 'rows_per_partition': 'NONE'}
    AND comment = 'it''s; WITH ID = 3 -- "not" /* a comment $$'
    AND default_time_to_live = 0
    AND speculative_retry = '99p';
ALTER TABLE shop.orders DROP gone USING TIMESTAMP 1700000000000000;
ALTER TABLE shop.orders DROP back USING TIMESTAMP 1700000000000001;
ALTER TABLE shop.orders ADD back text;

CREATE CUSTOM INDEX by_amount ON shop.orders (amount) USING 'org.apache.cassandra.index.sasi.SASIIndex' WITH OPTIONS = {'mode': 'SPARSE'};

CREATE INDEX by_note ON shop.orders (note);

CREATE MATERIALIZED VIEW shop.by_line AS
    SELECT *
    FROM shop.orders
    WHERE line IS NOT NULL AND customer IS NOT NULL AND day IS NOT NULL AND at IS NOT NULL
    PRIMARY KEY (line, customer, day, at)
 WITH ID = 33333333-3333-3333-3333-333333333333
    AND CLUSTERING ORDER BY (customer ASC, day ASC, at DESC)
    AND comment = '';

CREATE TABLE shop.people (
    id uuid PRIMARY KEY,
    home frozen<address>
) WITH ID = 44444444-4444-4444-4444-444444444444
    AND comment = '';

CREATE KEYSPACE system_auth WITH replication = {'class': 'SimpleStrategy', 'replication_factor': '1'}  AND durable_writes = true;

CREATE TABLE system_auth.roles (
    role text PRIMARY KEY,
    is_superuser boolean
) WITH ID = 5bc52802-de25-35ed-aeab-188eecebb090
    AND comment = 'role definitions';

/*
Warning: Keyspace system_views is a virtual keyspace and cannot be recreated with CQL.
Structure, for reference:
VIRTUAL KEYSPACE system_views;
*/;

/*
Warning: Table shop.thrift omitted because it has constructs not compatible with CQL (was created via legacy API).
Approximate structure, for reference:
(this should not be used to reproduce this schema)

CREATE TABLE shop.thrift (
    key blob PRIMARY KEY
) WITH COMPACT STORAGE
    AND ID = 66666666-6666-6666-6666-666666666666;
*/;
"#;

/// What 5.0 has more.
pub(super) const NEW: &str = r#"
CREATE KEYSPACE lab WITH replication = {'class': 'SimpleStrategy', 'replication_factor': '1'}  AND durable_writes = true AND fast_path = 'simple';

CREATE TABLE lab.items (
    pk1 text,
    pk2 int MASKED WITH system.mask_default(),
    ck1 int,
    s1 decimal static MASKED WITH system.mask_null(),
    likeness vector<float, 3>,
    v2 text MASKED WITH system.mask_inner(1, null),
    PRIMARY KEY ((pk1, pk2), ck1)
) WITH ID = 77777777-7777-7777-7777-777777777777
    AND CLUSTERING ORDER BY (ck1 ASC)
    AND allow_auto_snapshot = true
    AND memtable = 'default';

CREATE TABLE lab.single (
    id int MASKED WITH system.mask_inner(1, null) PRIMARY KEY,
    v 'org.apache.cassandra.db.marshal.EmptyType'
) WITH COMPACT STORAGE
    AND ID = 88888888-8888-8888-8888-888888888888
    AND comment = '';

CREATE CUSTOM INDEX like ON lab.items (likeness) USING 'sai' WITH OPTIONS = {'similarity_function': 'cosine'};
"#;
