//! Nodes on this machine, their backups, and restores into them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use e2e::parts::binaries;
use e2e::parts::cassandra::cql::{self, Session};
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::product::agent::Agent;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use uuid::Uuid;

/// A directory as the storage, and one for journals.
pub struct Storage {
    root: TempDir,
    state: TempDir,
}

impl Storage {
    pub fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
        }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }
}

/// A ring.
pub struct Cluster {
    pub nodes: Vec<HostCassandra>,
}

impl Cluster {
    /// A ring of so many nodes with tokens of their own choice.
    pub async fn start(nodes: usize, options: &Options) -> Self {
        Self::with_tokens(&vec![Vec::new(); nodes], options).await
    }

    /// A ring whose nodes have these tokens.
    pub async fn with_tokens(tokens: &[Vec<String>], options: &Options) -> Self {
        let of_node = |tokens: &Vec<String>| Options {
            initial_tokens: tokens.clone(),
            ..options.clone()
        };
        let options: Vec<_> = tokens.iter().map(of_node).collect();
        Self::of(&options).await
    }

    /// A ring of these nodes.
    pub async fn of(options: &[Options]) -> Self {
        let mut nodes: Vec<HostCassandra> = Vec::new();
        for options in options {
            let seed = nodes.first().map(|it| it.address().to_owned());
            let options = Options {
                seed,
                ..options.clone()
            };
            nodes.push(HostCassandra::start(options).await.unwrap());
        }
        let cluster = Self { nodes };
        cql::agree(&cluster.addresses(), None).await.unwrap();
        cluster
    }

    pub fn addresses(&self) -> Vec<&str> {
        self.nodes.iter().map(HostCassandra::address).collect()
    }

    pub async fn session(&self) -> Session {
        cql::connect(&self.addresses(), None).await.unwrap()
    }

    pub async fn run(&self, statements: &[&str]) {
        run(&self.session().await, statements).await;
    }

    /// The tokens of each node.
    pub async fn tokens(&self) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        for node in &self.nodes {
            let info = node.nodetool(&["info", "-T"]).await.unwrap();
            let tokens = info.lines().filter_map(|line| line.split_once(':'));
            let tokens = tokens.filter(|(key, _)| key.trim() == "Token");
            all.push(tokens.map(|(_, it)| it.trim().to_owned()).collect());
        }
        all
    }

    /// Backs up all nodes.
    pub async fn back_up(&self, storage: &Storage, name: &str) {
        for node in 0..self.nodes.len() {
            self.back_up_one(node, storage, name).await;
        }
    }

    /// Backs up one node.
    pub async fn back_up_one(&self, node: usize, storage: &Storage, name: &str) {
        self.back_up_with(node, storage, name, &[]).await;
    }

    /// Backs up one node, with these flags.
    pub async fn back_up_with(&self, node: usize, storage: &Storage, name: &str, flags: &[&str]) {
        let agent = Agent {
            cassandra: &self.nodes[node],
            root: storage.root.path(),
            state: storage.state.path(),
        };
        let ended = agent.back_up("prod", name, flags).await.unwrap();
        ended.expect(0, "Succeeded").unwrap();
    }

    /// `restore` on one node, with these flags.
    pub async fn restore(&self, node: usize, storage: &Storage, flags: &[&str]) -> Restored {
        let output = self.command(node, storage, flags).await.output();
        Restored(output.await.unwrap())
    }

    /// The same, at work.
    pub async fn restoring(&self, node: usize, storage: &Storage, flags: &[&str]) -> Child {
        let mut command = self.command(node, storage, flags).await;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).spawn().unwrap()
    }

    /// A step, as a caller of the protocol asks for it; the last event.
    pub async fn ask(&self, node: usize, storage: &Storage, with: Value) -> Value {
        self.ask_as((Uuid::new_v4(), 1), node, storage, with).await
    }

    /// The same as an attempt of a run.
    pub async fn ask_as(
        &self,
        (run, attempt): (Uuid, u32),
        node: usize,
        storage: &Storage,
        mut with: Value,
    ) -> Value {
        let node = &self.nodes[node];
        with["cluster"] = json!("prod");
        with["storage"] = json!({"kind": "file", "path": storage.root.path()});
        with["jmx"] = json!({"port": node.jmx_port()});
        with["cql"] = json!({"host": node.address()});
        let request = json!({
            "protocol": "1.0", "runId": run, "attempt": attempt, "operation": "restore", "with": with,
        });
        let mut agent = Command::new(binaries::build().await.unwrap().agent)
            .args(["--request", "-", "--state-dir"])
            .arg(storage.state.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = agent.stdin.take().unwrap();
        input
            .write_all(format!("{request}\n").as_bytes())
            .await
            .unwrap();
        let output = agent.wait_with_output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let code = output.status.code().map(i64::from);
        assert_eq!(last["exitCode"].as_i64(), code, "{text}");
        last
    }

    async fn command(&self, node: usize, storage: &Storage, flags: &[&str]) -> Command {
        let node = &self.nodes[node];
        let mut command = Command::new(binaries::build().await.unwrap().agent);
        command
            .args(["restore", "--cluster", "prod"])
            .args(["--blob-storage", "file", "--filebackup-location"])
            .arg(storage.root.path())
            .arg("--state-dir")
            .arg(storage.state.path())
            .args(["--jmx-port", &node.jmx_port().to_string()])
            .args(["--cql-host", node.address()])
            .args(flags);
        command
    }

    /// All steps, on all nodes.
    pub async fn restore_all(&self, storage: &Storage, flags: &[&str]) {
        let step = |name: &'static str| [&["--step", name][..], flags].concat();
        self.restore(0, storage, &step("prepare")).await.expect(0);
        for node in 0..self.nodes.len() {
            self.restore(node, storage, &step("load")).await.expect(0);
        }
        self.restore(0, storage, &step("finish")).await.expect(0);
    }
}

/// How a restore ended.
pub struct Restored(Output);

impl Restored {
    /// Waits for the end of one that is at work.
    pub async fn of(at_work: Child) -> Self {
        Self(at_work.wait_with_output().await.unwrap())
    }

    /// Standard error.
    pub fn complaints(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }

    /// Fails unless it ended with this code; gives standard error.
    pub fn expect(&self, code: i32) -> String {
        let complaints = self.complaints();
        let said = String::from_utf8_lossy(&self.0.stdout);
        assert_eq!(self.0.status.code(), Some(code), "{complaints}\n{said}");
        complaints
    }

    /// The document of one that ended well.
    pub fn document(&self) -> Value {
        self.expect(0);
        serde_json::from_slice(&self.0.stdout).unwrap()
    }
}

pub async fn run(session: &Session, statements: &[&str]) {
    for statement in statements {
        let made = session.query_unpaged(*statement, ()).await;
        made.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

/// All rows of a question, as Cassandra writes them in JSON, in order.
pub async fn rows(session: &Session, question: &str) -> Vec<String> {
    let mut ask = scylla::statement::unprepared::Statement::new(question);
    ask.set_consistency(cql::Consistency::All);
    let found = session.query_unpaged(ask, ()).await;
    let found = found.unwrap_or_else(|error| panic!("{question}: {error}"));
    let found = found.into_rows_result().unwrap();
    let rows = found.rows::<(String,)>().unwrap();
    let mut rows: Vec<String> = rows.map(|row| row.unwrap().0).collect();
    rows.sort();
    rows
}

/// All files below a folder; what goes meanwhile is none of them.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| match entry.path() {
        folder if folder.is_dir() => files(&folder),
        file => vec![file],
    });
    below.collect()
}
