//! One node: a table back in its place, beside itself, over newer rows; and what is refused.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use e2e::parts::binaries;
use e2e::parts::cassandra::host::Options;
use e2e::parts::cassandra::rows::Rows;
use serde_json::{Value, json};
use uuid::Uuid;

use super::cluster::{Cluster, Storage, files, rows, run};

/// A node with a table of a hundred rows.
async fn stage() -> (Storage, Cluster, Rows) {
    let cluster = Cluster::start(1, &Options::default()).await;
    let session = cluster.session().await;
    let orders = Rows::new("shop", "orders");
    orders.create(&session, "dc1", 1).await.unwrap();
    orders.write(&session, 0..100).await.unwrap();
    (Storage::new(), cluster, orders)
}

/// What programs read is what docs/commands.md describes.
fn assert_documented(document: &Value) {
    let page = binaries::workspace().unwrap().join("docs/commands.md");
    let page = fs::read_to_string(page).unwrap();
    let heading = "`restore --mode …`\n";
    let mut sections = page.split("\n## ");
    let section = sections.find(|it| it.starts_with(heading)).unwrap();
    let words = |text: &str| -> BTreeSet<String> {
        let spans = text.split('`').skip(1).step_by(2);
        let words = spans.flat_map(|it| it.split(|c: char| !c.is_alphanumeric()));
        words
            .map(str::to_owned)
            .filter(|it| !it.is_empty())
            .collect()
    };
    let keys =
        |of: &Value| -> BTreeSet<String> { of.as_object().unwrap().keys().cloned().collect() };
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let first: BTreeSet<_> = rows
        .flat_map(|it| words(it.split(" | ").next().unwrap()))
        .collect();
    assert_eq!(first, keys(document));
    let unknown: Vec<_> = keys(&document["tables"][0])
        .difference(&words(section))
        .cloned()
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// What `sstablemetadata` says of the SSTables of a table: their level, and when they were repaired.
async fn marks(cluster: &Cluster, table: &str) -> (Vec<PathBuf>, Vec<String>) {
    let node = &cluster.nodes[0];
    let mut files = files(&node.data().join("shop"));
    files.retain(|file| {
        let path = file.to_string_lossy();
        path.ends_with("-Data.db") && path.contains(&format!("/{table}-"))
    });
    let said = node.sstable_metadata(&files).await.unwrap();
    let told = |line: &&str| {
        ["SSTable Level: ", "Repaired at: "]
            .iter()
            .any(|it| line.starts_with(it))
    };
    (
        files.clone(),
        said.lines().filter(told).map(str::to_owned).collect(),
    )
}

/// Rows that come back were repaired in another ring, or at another time: a repair has to look at them again. And
/// they overlap with what is there, which those of a level above 0 must not.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_repaired_and_has_a_level_has_neither_where_it_comes_back() {
    let (storage, mut cluster, orders) = stage().await;
    let leveled =
        "ALTER TABLE shop.orders WITH compaction = {'class': 'LeveledCompactionStrategy'}";
    cluster.run(&[leveled]).await;
    for command in [&["flush"][..], &["compact", "shop", "orders"]] {
        cluster.nodes[0].nodetool(command).await.unwrap();
    }
    let (files, before) = marks(&cluster, "orders").await;
    assert_eq!(before, ["SSTable Level: 1", "Repaired at: 0"]);
    cluster.nodes[0].stop().await.unwrap();
    cluster.nodes[0].set_repaired(&files).await.unwrap();
    cluster.nodes[0].restart().await.unwrap();
    let (_, marked) = marks(&cluster, "orders").await;
    assert!(
        marked[0] == before[0] && marked[1] != before[1],
        "{marked:?}"
    );

    cluster.back_up(&storage, "b1").await;
    let beside = [
        "--backup=b1",
        "--mode=merge",
        "--tables=shop.orders",
        "--rename=shop.orders=shop.again",
    ];
    cluster.restore(0, &storage, &beside).await.expect(0);
    let (_, again) = marks(&cluster, "again").await;
    assert_eq!(again, ["SSTable Level: 0", "Repaired at: 0"]);
    assert_eq!(marks(&cluster, "orders").await.1, marked);
    let session = cluster.session().await;
    orders.check(&session, 0..100).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_come_back_in_place_beside_and_over_newer_rows() {
    let storage = Storage::new();
    let cluster = Cluster::start(1, &Options::default()).await;
    let session = cluster.session().await;
    let (orders, items) = (Rows::new("shop", "orders"), Rows::new("shop", "items"));
    for table in [&orders, &items] {
        table.create(&session, "dc1", 1).await.unwrap();
        table.write(&session, 0..200).await.unwrap();
    }
    orders.delete(&session, 150..200).await.unwrap();
    cluster.back_up(&storage, "b1").await;
    let restore = async |flags: &[&str]| cluster.restore(0, &storage, flags).await;

    // Nothing is done in a dry run, and it says what would be.
    run(&session, &["DROP TABLE shop.orders"]).await;
    let one = ["--backup=latest", "--mode=merge", "--tables=shop.orders"];
    let dry = restore(&[&one[..], &["--dry-run", "--output=json"]].concat()).await;
    let plan = dry.document();
    assert_documented(&plan);
    assert_eq!(plan["tables"][0]["table"], "shop.orders", "{plan}");
    assert_eq!(plan["tables"][0]["overlapping"], 0, "{plan}");
    assert!(plan["tables"][0]["samePlace"].as_u64().unwrap() > 0);
    assert!(plan["schemaBefore"][0].as_str().unwrap().contains("orders"));
    assert!(
        session
            .query_unpaged("SELECT * FROM shop.orders", ())
            .await
            .is_err()
    );

    let said = restore(&one).await.expect(0);
    assert!(!said.contains("warning"), "{said}");
    orders.check(&session, 0..150).await.unwrap();
    assert!(
        fs::read_dir(cluster.nodes[0].data())
            .unwrap()
            .all(|it| { !it.unwrap().file_name().to_string_lossy().starts_with('.') })
    );

    // A merge says what it cannot do; the newer write counts.
    let newer = items.clone().with_seed(2);
    newer.write(&session, 0..50).await.unwrap();
    items.delete(&session, 50..100).await.unwrap();
    let flags = ["--backup=b1", "--mode=merge", "--tables=shop.items"];
    let count = async || rows(&session, "SELECT JSON count(*) FROM shop.items").await;
    let mut restoring = std::pin::pin!(restore(&flags));
    let mut reads = 0;
    // Who reads meanwhile reads what counts.
    let restored = loop {
        tokio::select! {
            restored = &mut restoring => break restored,
            counted = count() => assert_eq!(counted, [r#"{"count": 150}"#]),
        }
        reads += 1;
    };
    assert!(reads > 0);
    let said = restored.expect(0);
    assert!(said.contains("shop.items are not empty"), "{said}");
    assert_eq!(count().await, [r#"{"count": 150}"#]);

    // Beside it, with the rows as they were.
    let flags = [
        "--backup=b1",
        "--mode=merge",
        "--rename=shop.items=shop.items_before",
    ];
    restore(&flags).await.expect(0);
    let before = Rows::new("shop", "items_before");
    before.check(&session, 0..200).await.unwrap();
    let flags = [
        "--backup=b1",
        "--mode=merge",
        "--rename=shop.items=archive.items",
    ];
    let said = restore(&flags).await.expect(2);
    assert!(
        said.contains("the target has no keyspace archive"),
        "{said}"
    );
    run(
        &session,
        &["CREATE KEYSPACE archive WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"],
    )
    .await;
    restore(&flags).await.expect(0);
    Rows::new("archive", "items")
        .check(&session, 0..200)
        .await
        .unwrap();

    // In its place, as it was before a newer backup, and what was there is in a snapshot.
    let then = jiff::Timestamp::now() - jiff::Span::new().seconds(1);
    cluster.back_up(&storage, "b2").await;
    let before = format!("--backup=before={}", then.strftime("%Y-%m-%dT%H:%M:%SZ"));
    let flags = [&before, "--mode=replace", "--tables=shop.items"];
    let said = restore(&flags).await.expect(0);
    assert!(said.contains("before-restore-"), "{said}");
    items.check(&session, 0..200).await.unwrap();
    let listed = cluster.nodes[0].nodetool(&["listsnapshots"]).await.unwrap();
    assert!(listed.contains("before-restore-"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_lose_or_mix_something_is_refused_before_anything_is_changed() {
    let (storage, cluster, orders) = stage().await;
    let session = cluster.session().await;
    cluster.back_up(&storage, "b1").await;
    let refused = async |flags: &[&str], code: i32, why: &str| {
        let flags = [&["--backup=b1", "--mode=merge"], flags].concat();
        let said = cluster.restore(0, &storage, &flags).await.expect(code);
        assert!(said.contains(why), "{why}: {said}");
    };

    refused(&["--cql-port=1"], 75, "a restore needs CQL for the schema").await;
    refused(&["--tables=shop.nothing"], 2, "does not have shop.nothing").await;
    refused(&["--keyspaces=system"], 2, "belongs to the node itself").await;
    // Another table of that name.
    run(
        &session,
        &[
            "DROP TABLE shop.orders",
            "CREATE TABLE shop.orders (key text PRIMARY KEY, value blob)",
        ],
    )
    .await;
    refused(&[], 2, "shop.orders is there and differs").await;
    run(
        &session,
        &[
            "DROP TABLE shop.orders",
            "CREATE TABLE shop.orders (key bigint PRIMARY KEY, value blob)",
            "CREATE MATERIALIZED VIEW shop.by_value AS SELECT * FROM shop.orders \
             WHERE value IS NOT NULL AND key IS NOT NULL PRIMARY KEY (value, key)",
        ],
    )
    .await;
    refused(&[], 2, "materialized view shop.by_value").await;
    run(&session, &["DROP MATERIALIZED VIEW shop.by_value"]).await;

    // An object that is damaged, and one that is not there: found before the import of its table.
    let data = find(storage.root(), "-Data.db", "/shop/orders-");
    let whole = fs::read(&data).unwrap();
    let mut broken = whole.clone();
    let middle = broken.len() / 2;
    broken[middle] ^= 1;
    fs::write(&data, &broken).unwrap();
    refused(&[], 13, "is not what the manifest says").await;
    fs::remove_file(&data).unwrap();
    refused(&[], 13, "it is not there").await;
    let count = rows(&session, "SELECT JSON count(*) FROM shop.orders").await;
    assert_eq!(count, [r#"{"count": 0}"#]);
    // The same command goes on when the object is there again.
    fs::write(&data, &whole).unwrap();
    let flags = ["--backup=b1", "--mode=merge", "--output=json"];
    let done = cluster.restore(0, &storage, &flags).await.document();
    assert_eq!(done["resumed"], true, "{done}");
    orders.check(&session, 0..100).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_killed_goes_on_where_it_was() {
    let storage = Storage::new();
    let cluster = Cluster::start(1, &Options::default()).await;
    let session = cluster.session().await;
    // Of one batch.
    let first = Rows::new("shop", "early");
    let last = Rows::new("shop", "late").with_bytes(2000);
    for table in [&first, &last] {
        table.create(&session, "dc1", 1).await.unwrap();
        table.write(&session, 0..300).await.unwrap();
    }
    cluster.back_up(&storage, "b1").await;
    let newer = first.clone().with_seed(2);
    newer.write(&session, 0..300).await.unwrap();

    let flags = ["--backup=b1", "--mode=replace"];
    // The second table takes 40 s so: longer than what is looked at meanwhile on a machine that is busy.
    let slowly = [&flags[..], &["--bandwidth=15KiB"]].concat();
    let slowly = slowly.as_slice();
    let mut at_work = cluster.restoring(0, &storage, slowly).await;
    // The first table is in its place before the second is fetched.
    let imported = async || {
        let restored = first.check(&session, 0..300).await.is_ok();
        anyhow::Ok(restored.then_some(()))
    };
    let minute = std::time::Duration::from_secs(60);
    e2e::bed::wait::until("the first is restored", minute, imported)
        .await
        .unwrap();
    // Nobody else does the same meanwhile.
    let said = cluster.restore(0, &storage, &flags).await.expect(11);
    assert!(said.contains("another process is restoring"), "{said}");
    let tombstones = async || {
        let endpoint = jmx::Endpoint::new("127.0.0.1", cluster.nodes[0].jmx_port());
        let cassandra = jmx::cassandra::Cassandra::connect(&endpoint).await.unwrap();
        let table = jmx::cassandra::Table {
            keyspace: "shop".into(),
            table: "late".into(),
        };
        cassandra.keeps_tombstones(&table).await.unwrap()
    };
    assert!(tombstones().await);
    at_work.kill().await.unwrap();
    // Nor is another one begun over it.
    let other = ["--backup=b1", "--mode=merge"];
    let said = cluster.restore(0, &storage, &other).await.expect(2);
    assert!(
        said.contains("b1 was begun on this node and did not end"),
        "{said}"
    );
    let staged = cluster.nodes[0].data().join(".cassandra-backup-restore.d");
    cut_off_in_an_import(&staged);
    // Written after it was truncated: not truncated again.
    newer.write(&session, 300..320).await.unwrap();
    let flags = [&flags[..], &["--output=json"]].concat();
    let done = cluster.restore(0, &storage, &flags).await.document();
    assert_eq!(done["resumed"], true, "{done}");
    assert!(!tombstones().await);
    last.check(&session, 0..300).await.unwrap();
    let count = rows(&session, "SELECT JSON count(*) FROM shop.early").await;
    assert_eq!(count, [r#"{"count": 320}"#]);

    // One that is not gone on with is given up, where that is said.
    let mut at_work = cluster.restoring(0, &storage, slowly).await;
    e2e::bed::wait::until("the first is restored", minute, imported)
        .await
        .unwrap();
    at_work.kill().await.unwrap();
    cut_off_in_an_import(&staged);
    let anew = [
        "--backup=b1",
        "--mode=merge",
        "--tables=shop.late",
        "--anew",
    ];
    let dry = [&anew[..], &["--dry-run", "--output=json"]].concat();
    let dry = cluster.restore(0, &storage, &dry).await.document();
    let stays = "what it had imported of shop.early counts as rows that were there";
    let would = json!([{"backup": "b1", "stays": stays}]);
    assert_eq!(dry["givesUp"], would, "{dry}");
    let said = cluster.restore(0, &storage, &anew).await.expect(0);
    let given_up = "a restore of b1 that was begun on this node and did not end is given up: what it had \
                    imported of shop.early counts";
    assert!(said.contains(given_up), "{said}");
    assert!(!tombstones().await);
    assert!(!staged.exists());
    last.check(&session, 0..300).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_of_the_protocol_restores_step_by_step() {
    let (storage, cluster, orders) = stage().await;
    let session = cluster.session().await;
    run(&session, &["CREATE INDEX by_value ON shop.orders (value)"]).await;
    cluster.back_up(&storage, "b1").await;
    run(&session, &["DROP KEYSPACE shop"]).await;
    let ask = async |step: &str, dry_run: bool| {
        let with = json!({"backup": "b1", "mode": "merge", "step": step, "dryRun": dry_run});
        cluster.ask(0, &storage, with).await
    };
    let early = ask("load", false).await;
    assert_eq!(early["reason"], "RestoreRefused", "{early}");
    let dry = ask("all", true).await;
    assert_eq!(dry["reason"], "Succeeded", "{dry}");
    let plan = &dry["restore"];
    assert_eq!(
        (&plan["tables"], &plan["statements"]),
        (&json!(1), &json!(3)),
        "{dry}"
    );
    assert!(
        plan["bytes"].as_u64().unwrap() > 0 && plan["degradedRanges"] == 0,
        "{dry}"
    );
    for step in ["prepare", "load", "finish"] {
        let done = ask(step, false).await;
        assert_eq!(done["reason"], "Succeeded", "{done}");
        let fetched = done["progress"]["fetched"]["files"].as_u64().unwrap_or(0);
        assert_eq!(fetched > 0, step == "load", "{done}");
    }
    orders.check(&session, 0..100).await.unwrap();
    let indexes = "SELECT JSON index_name FROM system_schema.indexes WHERE keyspace_name = 'shop'";
    assert_eq!(rows(&session, indexes).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_not_do_twice_what_it_has_done_and_another_may_begin_anew() {
    let (storage, cluster, orders) = stage().await;
    let session = cluster.session().await;
    cluster.back_up(&storage, "b1").await;
    let ask = async |run: Uuid, attempt: u32, step: &str, anew: bool| {
        let with = json!({"backup": "b1", "mode": "replace", "step": step, "anew": anew});
        cluster.ask_as((run, attempt), 0, &storage, with).await
    };
    let succeeds = async |run, attempt, step, anew| {
        let done = ask(run, attempt, step, anew).await;
        assert_eq!(done["reason"], "Succeeded", "{done}");
        done["progress"]["fetched"]["files"].as_u64().unwrap_or(0)
    };
    let (first, second, load) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    succeeds(first, 1, "prepare", false).await;
    // The end of another one gives up none that did not end, though it may be told to.
    let other = json!({"backup": "b1", "mode": "merge", "step": "finish", "anew": true});
    let refused = cluster.ask(0, &storage, other).await;
    assert_eq!(refused["reason"], "RestoreRefused", "{refused}");
    let message = refused["message"].as_str().unwrap();
    assert!(
        message.contains("was begun on this node and did not end"),
        "{refused}"
    );
    orders.write(&session, 200..210).await.unwrap();
    // Its last word was lost. It does not empty the table again, whatever it was told.
    succeeds(first, 2, "prepare", false).await;
    succeeds(first, 3, "prepare", true).await;
    orders.check(&session, 200..210).await.unwrap();
    let refused = ask(second, 1, "prepare", false).await;
    assert_eq!(refused["reason"], "RestoreRefused", "{refused}");
    succeeds(second, 2, "prepare", true).await;
    orders.check(&session, 0..0).await.unwrap();
    assert!(succeeds(load, 1, "load", false).await > 0);
    assert_eq!(succeeds(load, 2, "load", false).await, 0);
    orders.check(&session, 0..100).await.unwrap();
    succeeds(second, 3, "finish", false).await;
    // It has ended; nothing of it is known any more.
    succeeds(second, 4, "prepare", false).await;
    orders.check(&session, 0..0).await.unwrap();
}

/// A file of the storage whose name ends so and whose path has this in it.
fn find(root: &Path, end: &str, part: &str) -> PathBuf {
    let is_it = |path: &PathBuf| {
        let text = path.to_string_lossy();
        text.ends_with(end) && text.contains(part)
    };
    files(root).into_iter().find(is_it).unwrap()
}

/// As if the agent had been killed while Cassandra imported into a table that is imported.
fn cut_off_in_an_import(staged: &Path) {
    let journal = find(staged, "journal.jsonl", "");
    let mut text = fs::read_to_string(&journal).unwrap();
    let importing = text.lines().find(|line| line.contains("\"importing\""));
    let importing = importing.unwrap().to_owned();
    text.push_str(&format!("{importing}\n"));
    fs::write(&journal, text).unwrap();
}
