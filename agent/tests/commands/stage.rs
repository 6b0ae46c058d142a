//! A storage of files, and backups in it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use manifest::{
    Component, FORMAT_VERSION, Footer, Header, Intent, ManifestWriter, NodeHeader, NodeLayout,
    RingHash, SchemaVersions, Scope, Snapshot, SsTable, Sum, Table,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

/// The run that makes every backup here.
pub const RUN: Uuid = Uuid::from_u128(7);

/// The directory of the one table.
pub const TABLE: &str = "orders-0123456789abcdef0123456789abcdef";

/// The directory of the table in which a node has its own host id.
pub const LOCAL: &str = "local-0123456789abcdef0123456789abcdef";

/// A storage, and the state directory of those who look at it.
pub struct Stage {
    root: TempDir,
    state: TempDir,
}

/// A node, by number.
pub fn node(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// What a backup is, without its nodes.
#[derive(Clone)]
pub struct Backup<'a> {
    pub name: &'a str,
    pub started: &'a str,
    pub series: Option<&'a str>,
    /// The nodes that belong to it.
    pub ring: &'a [Uuid],
}

impl Stage {
    pub fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
        }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.root.path().join("prod").join(key)
    }

    pub fn write(&self, key: &str, content: &[u8]) {
        let path = self.path(key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes a node's manifest with its tokens, and its SSTables where they are not there yet:
    /// each is one data file, whose content is its name.
    pub fn commit(&self, backup: &Backup<'_>, node: Uuid, sstables: &[&str]) {
        self.commit_tables(backup, node, &[("shop", TABLE, sstables)]);
    }

    /// The same, of several tables, by keyspace and directory.
    pub fn commit_tables(&self, backup: &Backup<'_>, node: Uuid, tables: &[(&str, &str, &[&str])]) {
        let layout = NodeLayout::new("prod".parse().unwrap(), node);
        let name = backup.name.parse().unwrap();
        let (mut files, mut bytes) = (0, 0);
        let header = header(backup, node);
        let mut writer = ManifestWriter::new(Vec::new(), header).unwrap();
        for (keyspace, directory, sstables) in tables {
            let (table, id) = directory.rsplit_once('-').unwrap();
            writer
                .table(Table {
                    keyspace: (*keyspace).into(),
                    table: table.into(),
                    id: id.into(),
                    directory: (*directory).into(),
                    schema: None,
                })
                .unwrap();
            for sstable in *sstables {
                let key = format!("data/{node}/{keyspace}/{directory}/{sstable}/nb-1-big-Data.db");
                if !self.path(&key).exists() {
                    self.write(&key, sstable.as_bytes());
                }
                bytes += sstable.len() as u64;
                files += 1;
                writer.sstable(line(sstable)).unwrap();
            }
        }
        let tokens = layout.tokens_in_cluster(&name);
        self.write(&tokens, b"tokens: []\n");
        let footer = Footer {
            files,
            bytes,
            uploaded: Sum { files, bytes },
            tokens,
            ..Footer::default()
        };
        let manifest = writer.finish(footer).unwrap();
        let key = layout.manifest(&name);
        self.write(layout.below_cluster(&key), &manifest);
    }

    /// Changes what a manifest says, and its hash with that.
    pub fn forge(&self, backup: &str, node: Uuid, change: impl FnOnce(String) -> String) {
        let path = self.path(&format!("manifests/{backup}/{node}.jsonl"));
        let forged = change(fs::read_to_string(&path).unwrap());
        let (body, footer) = forged.trim_end().rsplit_once('\n').unwrap();
        let body = format!("{body}\n");
        let mut footer: Value = serde_json::from_str(footer).unwrap();
        footer["blake3"] = hash(body.as_bytes()).into();
        fs::write(path, format!("{body}{footer}\n")).unwrap();
    }

    /// Writes an intent of a node without a manifest.
    pub fn announce(&self, backup: &str, node: Uuid, deadline: &str) {
        self.announce_keys(backup, node, deadline, &["data/x"]);
    }

    /// The same, relying on these keys.
    pub fn announce_keys(&self, backup: &str, node: Uuid, deadline: &str, keys: &[&str]) {
        self.announce_run(backup, node, Uuid::from_u128(99), deadline, keys);
    }

    /// The same, as a run.
    pub fn announce_run(
        &self,
        backup: &str,
        node: Uuid,
        run_id: Uuid,
        deadline: &str,
        keys: &[&str],
    ) {
        let layout = NodeLayout::new("prod".parse().unwrap(), node);
        let intent = Intent {
            format_version: FORMAT_VERSION.into(),
            run_id,
            attempt: 1,
            deadline: deadline.parse().unwrap(),
        };
        let text = intent.write(Vec::new(), keys).unwrap();
        let key = layout.intent(&backup.parse().unwrap(), run_id, 1);
        self.write(layout.below_cluster(&key), &text);
    }

    /// Runs a command against the storage.
    pub fn run(&self, arguments: &[&str]) -> Output {
        run_at(self.root.path(), self.state.path(), arguments)
    }

    /// Runs a command that is about no cluster.
    pub fn run_of_all(&self, arguments: &[&str]) -> Output {
        command(self.root.path(), self.state.path(), arguments)
            .output()
            .unwrap()
    }

    /// Sends one request by standard input, about this storage; gives the exit code and the result.
    pub fn request(&self, operation: &str, mut with: Value) -> (i32, Value) {
        with["storage"] = json!({"kind": "file", "path": self.root.path()});
        let request = json!({
            "protocol": "1.0", "runId": Uuid::new_v4(), "operation": operation, "with": with,
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_cassandra-backup"))
            .args(["--request", "-", "--state-dir"])
            .arg(self.state.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{request}").unwrap();
        let output = child.wait_with_output().unwrap();
        let told = text(&output.stdout);
        let last = told.lines().last().unwrap();
        (
            output.status.code().unwrap(),
            serde_json::from_str(last).unwrap(),
        )
    }

    /// Runs a command that prints one JSON document; gives the exit code too.
    pub fn json(&self, arguments: &[&str]) -> (i32, Value) {
        document(&self.run(&[arguments, &JSON].concat()))
    }

    /// The same, of a command that is about no cluster.
    pub fn json_of_all(&self, arguments: &[&str]) -> (i32, Value) {
        document(&self.run_of_all(&[arguments, &JSON].concat()))
    }
}

const JSON: [&str; 2] = ["--output", "json"];

fn document(output: &Output) -> (i32, Value) {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|error| panic!("{error}: {told}"));
    (output.status.code().unwrap(), document)
}

/// Runs a command against a storage of files.
pub fn run_at(root: &Path, state: &Path, arguments: &[&str]) -> Output {
    command(root, state, arguments)
        .args(["--cluster", "prod"])
        .output()
        .unwrap()
}

fn command(root: &Path, state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cassandra-backup"));
    command
        .args(arguments)
        .args(["--blob-storage", "file", "--filebackup-location"])
        .arg(root)
        .arg("--state-dir")
        .arg(state);
    command
}

/// The BLAKE3 of a content, as manifests have it.
pub fn hash(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The key of the one component of an SSTable, below the cluster id.
pub fn data_key(node: Uuid, sstable: &str) -> String {
    format!("data/{node}/shop/{TABLE}/{sstable}/nb-1-big-Data.db")
}

fn line(sstable: &str) -> SsTable {
    SsTable {
        sstable: sstable.into(),
        index: None,
        data_directory: 0,
        first_token: None,
        last_token: None,
        content: None,
        components: vec![Component {
            name: "nb-1-big-Data.db".into(),
            object: "nb-1-big-Data.db".into(),
            bytes: sstable.len() as u64,
            blake3: hash(sstable.as_bytes()),
        }],
    }
}

fn header(backup: &Backup<'_>, node: Uuid) -> Header {
    let started = backup.started.parse().unwrap();
    Header {
        format_version: FORMAT_VERSION.into(),
        backup: backup.name.parse().unwrap(),
        run_id: RUN,
        cluster: "prod".parse().unwrap(),
        series: backup.series.map(str::to_owned),
        scope: Scope::default(),
        ring_hash: RingHash::default(),
        expected_host_ids: backup.ring.to_vec(),
        node: NodeHeader {
            host_id: node,
            datacenter: "dc1".into(),
            rack: "r1".into(),
            addresses: vec!["10.0.0.1".into()],
            pod: Some("cassandra-0".into()),
            cassandra_version: "5.0.9".into(),
            partitioner: "org.apache.cassandra.dht.Murmur3Partitioner".into(),
            tokens: vec!["0".into()],
            data_directories: vec!["/nowhere/data".into()],
        },
        schema_version: SchemaVersions::default(),
        schema: None,
        snapshot: Snapshot {
            tag: "t".into(),
            started_at: started,
            ended_at: started,
        },
        agent_version: "test".into(),
    }
}
