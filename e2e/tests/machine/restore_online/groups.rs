//! Tables that are fetched and imported together, and one of them that cannot be.

use std::fs;
use std::path::PathBuf;

use e2e::parts::cassandra::host::Options;
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::filesystem::{Filesystem, Kind};
use serde_json::Value;

use super::cluster::{Cluster, Storage, files, rows, run};
use super::forged::Unreadable;

const TABLES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const KEYS: std::ops::Range<i64> = 0..60;
const MERGE: [&str; 2] = ["--backup=b1", "--mode=merge"];

/// A node with tables that are backed up, and empty since.
struct Stage {
    storage: Storage,
    cluster: Cluster,
}

impl Stage {
    async fn new(options: Options) -> Self {
        let (storage, cluster) = (Storage::new(), Cluster::start(1, &options).await);
        let session = cluster.session().await;
        for table in TABLES.map(table) {
            table.create(&session, "dc1", 1).await.unwrap();
            table.write(&session, KEYS).await.unwrap();
        }
        cluster.back_up(&storage, "b1").await;
        let stage = Self { storage, cluster };
        stage.empty().await;
        stage
    }

    async fn empty(&self) {
        let truncate = TABLES.map(|name| format!("TRUNCATE shop.{name}"));
        let statements: Vec<&str> = truncate.iter().map(String::as_str).collect();
        run(&self.cluster.session().await, &statements).await;
    }

    /// The restore ends with this code and says this; every table has all of its rows or none, as the
    /// journal says. Those that have.
    async fn fails(&self, flags: &[&str], code: i32, why: &str) -> Vec<&'static str> {
        let flags = [&MERGE[..], flags].concat();
        let said = self.cluster.restore(0, &self.storage, &flags).await;
        let said = said.expect(code);
        assert!(said.contains(why), "{said}");
        let session = self.cluster.session().await;
        let journal = self.journal();
        let mut there = Vec::new();
        for name in TABLES {
            let count = rows(&session, &format!("SELECT JSON count(*) FROM shop.{name}")).await;
            let imported = journal.contains(&format!("shop.{name}"));
            let expected = if imported { KEYS.end } else { 0 };
            assert_eq!(count, [format!(r#"{{"count": {expected}}}"#)], "{name}");
            there.extend(imported.then_some(name));
        }
        there
    }

    /// Tables that were imported.
    fn journal(&self) -> Vec<String> {
        let folder = self.cluster.nodes[0]
            .data()
            .join(".cassandra-backup-restore.d");
        let mut journals = files(&folder).into_iter();
        let journal = journals.find(|it| it.ends_with("journal.jsonl")).unwrap();
        let text = fs::read_to_string(journal).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty());
        let entries = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let imported = entries.filter_map(|it| it["imported"]["table"].as_str().map(str::to_owned));
        imported.collect()
    }

    /// The same command goes on, and fetches only what is missing.
    async fn goes_on(&self, there: &[&str]) -> Value {
        let flags = [&MERGE[..], &["--output=json"]].concat();
        let done = self.cluster.restore(0, &self.storage, &flags).await;
        let done = done.document();
        assert_eq!(done["resumed"], true, "{done}");
        let of = |name: &&Value| {
            let name = name["table"].as_str().unwrap();
            !there.contains(&name.strip_prefix("shop.").unwrap())
        };
        let tables = done["tables"].as_array().unwrap();
        let missing = tables.iter().filter(of).map(|it| it["files"].as_u64());
        let fetched = done["fetchedFiles"].as_u64().unwrap() + done["keptFiles"].as_u64().unwrap();
        assert_eq!(missing.map(Option::unwrap).sum::<u64>(), fetched, "{done}");
        let session = self.cluster.session().await;
        for table in TABLES.map(table) {
            table.check(&session, KEYS).await.unwrap();
        }
        done
    }

    fn object(&self, name: &str, component: &str) -> PathBuf {
        let is_it = |path: &PathBuf| {
            let path = path.to_string_lossy();
            path.contains(&format!("/shop/{name}-")) && path.ends_with(component)
        };
        files(self.storage.root()).into_iter().find(is_it).unwrap()
    }
}

fn table(name: &str) -> Rows {
    Rows::new("shop", name).with_bytes(3000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_had_takes_nothing_from_the_others() {
    let stage = Stage::new(Options::default()).await;
    // Cassandra refuses one of them.
    let unreadable = Unreadable::of(&stage.storage, "c", "-Statistics.db");
    let one_by_one = ["--concurrency=1"];
    let why = "Cassandra could not import";
    let there = stage.fails(&one_by_one, 1, why).await;
    assert_eq!(there, TABLES[..2]);
    unreadable.undo();
    stage.goes_on(&there).await;

    // One is not there, which is seen at once.
    stage.empty().await;
    let data = stage.object("d", "-Data.db");
    let whole = fs::read(&data).unwrap();
    fs::remove_file(&data).unwrap();
    let there = stage.fails(&one_by_one, 13, "it is not there").await;
    assert_eq!(there, TABLES[..3]);
    fs::write(&data, &whole).unwrap();
    stage.goes_on(&there).await;

    // The last is seen to be another one at its end, when the others are in their places.
    stage.empty().await;
    let data = stage.object("f", "-Data.db");
    let whole = fs::read(&data).unwrap();
    let mut other = whole.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(&data, &other).unwrap();
    let slowly = ["--bandwidth=100KiB", "--concurrency=1"];
    let there = stage
        .fails(&slowly, 13, "is not what the manifest says")
        .await;
    assert_eq!(there, TABLES[..5]);
    fs::write(&data, &whole).unwrap();
    // What was whole of it was fetched already.
    let done = stage.goes_on(&there).await;
    assert!(done["keptFiles"].as_u64() > Some(0), "{done}");
}

/// A file system of its own for the second data directory: Cassandra copies what it imports.
#[tokio::test(flavor = "multi_thread")]
async fn data_on_two_disks_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Filesystem::mount(folder.path(), "data2", Kind::Ext4, 128 << 20)
        .await
        .unwrap();
    let stage = Stage::new(Options {
        data_directories: 2,
        data_below: Some(folder.path().to_owned()),
        ..Options::default()
    })
    .await;
    let done = stage.cluster.restore(0, &stage.storage, &MERGE).await;
    done.expect(0);
    let session = stage.cluster.session().await;
    for table in TABLES.map(table) {
        table.check(&session, KEYS).await.unwrap();
    }
    for directory in stage.cluster.nodes[0].data_directories() {
        let all = files(&directory);
        let live = all.iter().map(|path| path.to_string_lossy());
        let mut live = live.filter(|it| it.contains("/shop/") && !it.contains("/snapshots/"));
        let is_there = live.any(|it| it.ends_with("-Data.db"));
        assert!(is_there, "nothing came to {}", directory.display());
        let staged = directory.join(".cassandra-backup-restore.d");
        assert!(!staged.exists(), "{}", staged.display());
    }
    drop((stage, disk));
}
