//! The commands beside a real Cassandra on the host: a plan is what a backup then does, a scope is
//! what comes back, and what does not work is told with its exit code and leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use e2e::backup::{Backup, Storage, restore};
use e2e::host::cgroup::Limited;
use e2e::parts::binaries;
use e2e::parts::cassandra::config::{Credentials, Jmx};
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::filesystem::{Filesystem, Kind};
use e2e::product::agent::Agent;
use serde_json::{Value, json};
use uuid::Uuid;

/// What is planned, by key.
type Plan = BTreeMap<String, Planned>;

#[derive(Debug, PartialEq, Eq)]
struct Planned {
    action: String,
    bytes: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_does_what_its_dry_run_says_and_rows_come_back_from_one_of_some_tables() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let storage = Storage::File(root.path().to_owned());
    let rows = [("shop", "orders"), ("shop", "items"), ("billing", "bills")];
    let rows = rows.map(|(keyspace, table)| Rows::new(keyspace, table).with_bytes(2000));
    {
        let cassandra = HostCassandra::start(Options::default()).await.unwrap();
        let session = cassandra.session().await.unwrap();
        for rows in &rows {
            rows.create(&session, "dc1", 1).await.unwrap();
            rows.write(&session, 0..100).await.unwrap();
        }
        cassandra.nodetool(&["flush"]).await.unwrap();
        let agent = Agent {
            cassandra: &cassandra,
            root: root.path(),
            state: state.path(),
        };
        let first = plan(&agent, &[]).await;
        assert!(first.values().all(|file| file.action == "upload"));
        assert!(storage.list("").await.unwrap().is_empty());
        carries_out(&agent, &storage, "b1", &first).await;

        rows[0].write(&session, 100..200).await.unwrap();
        cassandra.nodetool(&["flush", "shop"]).await.unwrap();
        let second = plan(&agent, &[]).await;
        assert_known(&first, &second, "touch");
        assert_known(&first, &plan(&agent, &["--touch-after=1h"]).await, "keep");
        carries_out(&agent, &storage, "b2", &second).await;

        let tables = ["billing.bills", "shop.orders"];
        let scope = json!({"keyspaces": [], "tables": tables, "datacenters": []});
        let flag = format!("--tables={}", tables.join(","));
        has_only(&agent, &storage, "tables", &flag, &scope, &tables).await;
        let (tables, keyspaces) = (["billing.bills"], ["billing"]);
        let scope = json!({"keyspaces": keyspaces, "tables": [], "datacenters": []});
        let flag = "--keyspaces=billing";
        has_only(&agent, &storage, "keyspace", flag, &scope, &tables).await;
    }
    let restored = restore::on_host(&storage, "prod", "tables").await.unwrap();
    let session = restored.session().await.unwrap();
    rows[0].check(&session, 0..200).await.unwrap();
    rows[2].check(&session, 0..100).await.unwrap();
}

/// What a backup of the two keyspaces would do.
async fn plan(agent: &Agent<'_>, more: &[&str]) -> Plan {
    let port = format!("--jmx-port={}", agent.cassandra.jmx_port());
    let dry = ["backup", "--dry-run", "--keyspaces=shop,billing", &port];
    let (code, plan) = agent.ask("prod", &[&dry[..], more].concat()).await.unwrap();
    assert_eq!(code, Some(0), "{plan}");
    let files = plan["files"].as_array().unwrap().iter();
    files
        .map(|file| {
            let text = |field: &str| file[field].as_str().unwrap().to_owned();
            let (action, table) = (text("action"), text("table"));
            let reason = match action.as_str() {
                "upload" => "the storage does not have it",
                "touch" => "the storage has it; its timestamp is renewed",
                "keep" => "the storage has it, younger than --touch-after",
                other => panic!("{other}: {file}"),
            };
            assert_eq!(file["reason"], reason);
            let folder = format!("/{}/{table}-", text("keyspace"));
            assert!(text("key").contains(&folder), "{file}");
            let bytes = file["bytes"].as_u64().unwrap();
            (text("key"), Planned { action, bytes })
        })
        .collect()
}

/// What was stored before is done this with, and something is new in the one table that changed.
fn assert_known(before: &Plan, now: &Plan, action: &str) {
    for (key, planned) in now {
        match before.get(key) {
            Some(known) => assert!(planned.action == action && planned.bytes == known.bytes),
            None => assert!(planned.action == "upload" && key.contains("/shop/orders-")),
        }
    }
    assert!(before.keys().all(|key| now.contains_key(key)));
    assert!(now.len() > before.len());
}

/// A backup uploads what the plan says, and the schema where that is new; everything of the plan is
/// then in the storage.
async fn carries_out(agent: &Agent<'_>, storage: &Storage, name: &str, plan: &Plan) {
    let before = storage.list("prod/data").await.unwrap();
    let ended = agent
        .back_up("prod", name, &["--keyspaces=shop,billing"])
        .await
        .unwrap();
    ended.expect(0, "Succeeded").unwrap();
    let backup = Backup::whole(storage, "prod", name).await.unwrap();
    let schema = backup.nodes[0].schema("prod").unwrap().unwrap();
    let mut uploads: BTreeMap<&str, u64> = BTreeMap::new();
    for (key, planned) in plan.iter().filter(|(_, file)| file.action == "upload") {
        uploads.insert(key, planned.bytes);
    }
    if !before.contains_key(&schema.0) {
        uploads.insert(&schema.0, schema.1.bytes);
    }
    let after = storage.list("prod/data").await.unwrap();
    let new = after.iter().filter(|(key, _)| !before.contains_key(*key));
    let new: BTreeMap<&str, u64> = new.map(|(key, it)| (key.as_str(), it.bytes)).collect();
    assert_eq!(new, uploads);
    let uploaded = &ended.result().unwrap()["progress"]["uploaded"];
    let bytes: u64 = uploads.values().sum();
    assert_eq!(uploaded, &json!({"files": uploads.len(), "bytes": bytes}));
    let objects: BTreeSet<String> = backup.objects().into_keys().collect();
    assert!(objects.iter().eq(plan.keys()));
}

/// A backup with this flag has these tables, says so, and is whole.
async fn has_only(
    agent: &Agent<'_>,
    storage: &Storage,
    name: &str,
    flag: &str,
    scope: &Value,
    tables: &[&str],
) {
    let ended = agent.back_up("prod", name, &[flag]).await.unwrap();
    ended.expect(0, "Succeeded").unwrap();
    let backup = Backup::whole(storage, "prod", name).await.unwrap();
    assert_eq!(&backup.nodes[0].header["scope"], scope);
    let found = backup.nodes[0].tables.iter();
    let found: BTreeSet<String> = found
        .map(|table| format!("{}.{}", table.keyspace, table.table))
        .collect();
    assert!(found.iter().eq(tables), "{found:?}");
    let sstables = backup.nodes[0].tables.iter();
    assert!(sstables.map(|table| table.sstables.len()).all(|n| n > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_does_not_work_and_what_to_do() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let owner = Credentials::new("ops", "let-me-in");
    let options = Options {
        jmx: Jmx::Password(owner.clone()),
        ..Options::default()
    };
    let cassandra = HostCassandra::start(options).await.unwrap();
    let agent = Agent {
        cassandra: &cassandra,
        root: root.path(),
        state: state.path(),
    };
    // Another user may read the first two, and write to the third.
    let (secrets, strange) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (path, mode) in [
        (root.path(), 0o755),
        (secrets.path(), 0o755),
        (strange.path(), 0o777),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let file = |name: &str, text: &str| {
        let path = secrets.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (file("right", &owner.password), file("wrong", "hunter2"));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    drop(silent);
    let port = port.to_string();
    let jmx = cassandra.jmx_port().to_string();
    let usual = ["--jmx-user=ops", "--jmx-port", &jmx, "--jmx-password-file"];
    let usual = [&usual[..], &[right.as_str()]].concat();
    let checked = async |through: &[&str], more: &[&str]| {
        check(&agent, through, &[&usual[..], more].concat()).await
    };

    let works = checked(&[], &[]).await;
    works.ends_with(0);
    assert!(works.checks().all(|check| check["state"] != "Fails"));

    let jmx_is_silent = check(&agent, &[], &["--jmx-port", &port]).await;
    jmx_is_silent.ends_with(75);
    jmx_is_silent.says(
        "JMX",
        "Fails",
        "JmxUnreachable",
        &[&port, "is Cassandra running"],
    );

    let denied = [
        "--jmx-user=ops",
        "--jmx-port",
        &jmx,
        "--jmx-password-file",
        &wrong,
    ];
    let denied = check(&agent, &[], &denied).await;
    denied.ends_with(12);
    denied.says("JMX", "Fails", "JmxDenied", &["ops"]);
    assert!(!denied.document.to_string().contains("hunter2"));

    let cql_is_silent = checked(&[], &["--cql-port", &port]).await;
    cql_is_silent.ends_with(0);
    let told = [port.as_str(), "backups go on without the whole schema"];
    cql_is_silent.says("CQL", "Warning", "SchemaIncomplete", &told);

    let data = cassandra.data();
    let (data, home) = (data.to_str().unwrap(), cassandra.home().to_str().unwrap());
    let hide = "mount -t tmpfs none \"$0\" && exec \"$@\"";
    let elsewhere = checked(&["unshare", "--mount", "sh", "-c", hide, home], &[]).await;
    elsewhere.ends_with(1);
    elsewhere.says(
        "data",
        "Fails",
        "Failed",
        &[data, "beside Cassandra, with its mounts"],
    );

    let stranger = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let elsewhere = Agent {
        state: strange.path(),
        ..agent
    };
    fs::set_permissions(data, fs::Permissions::from_mode(0o700)).unwrap();
    let stranger = check(&elsewhere, &stranger, &usual).await;
    stranger.ends_with(12);
    let told = [root.path().to_str().unwrap()];
    stranger.says("write", "Fails", "StorageDenied", &told);
    stranger.says("data", "Fails", "Failed", &[data, "as root or as its user"]);

    let group = Limited::memory(&format!("agent-{}", std::process::id()), 100 << 20).unwrap();
    let procs = group.procs();
    let join = [
        "sh",
        "-c",
        "echo $$ > \"$0\" && exec \"$@\"",
        procs.to_str().unwrap(),
    ];
    let no_room = checked(&join, &[]).await;
    no_room.ends_with(75);
    let told = [
        "MiB of memory are left in the container",
        "raise the memory limit",
    ];
    no_room.says("memory", "Fails", "OutOfMemory", &told);

    let flags = [&["backup", "--name=b1"][..], &usual].concat();
    let refused = command(&agent, &join, &flags).await;
    assert_eq!(refused.0, Some(75), "{refused:?}");
    assert!(
        refused
            .1
            .lines()
            .last()
            .unwrap()
            .contains("\"OutOfMemory\"")
    );
    let storage = Storage::File(root.path().to_owned());
    let left = storage.list("").await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    let done = command(&agent, &[], &flags).await;
    assert_eq!(done.0, Some(0), "{done:?}");
    Backup::whole(&storage, "prod", "b1").await.unwrap();
}

/// What `check` said.
#[derive(Debug)]
struct Checked {
    code: Option<i32>,
    document: Value,
    complaints: String,
}

impl Checked {
    fn checks(&self) -> impl Iterator<Item = &Value> {
        self.document["checks"].as_array().unwrap().iter()
    }

    fn ends_with(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let would_fail = self.complaints.contains("backups would fail here");
        assert_eq!(would_fail, code != 0, "{self:?}");
    }

    fn says(&self, what: &str, state: &str, reason: &str, told: &[&str]) {
        let found = self.checks().find(|check| check["check"] == what);
        let found = found.unwrap_or_else(|| panic!("{self:?}"));
        assert_eq!(
            (&found["state"], &found["reason"]),
            (&json!(state), &json!(reason)),
            "{found}"
        );
        let detail = found["detail"].as_str().unwrap();
        for word in told {
            assert!(detail.contains(word), "{word}: {detail}");
        }
    }
}

async fn check(agent: &Agent<'_>, through: &[&str], flags: &[&str]) -> Checked {
    let arguments = [&["check"][..], flags].concat();
    let (code, told, complaints) = command(agent, through, &arguments).await;
    let document = serde_json::from_str(&told);
    Checked {
        code,
        document: document.unwrap_or_else(|error| panic!("{error}: {told}{complaints}")),
        complaints,
    }
}

/// Runs the agent by another program; gives exit code, standard output and standard error.
async fn command(
    agent: &Agent<'_>,
    through: &[&str],
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let program = binaries::build().await.unwrap().agent;
    let output = tokio::process::Command::new("env")
        .args(through)
        .arg(program)
        .args(arguments)
        .args(["--blob-storage=file", "--cluster=prod", "--output=json"])
        .args(["--cql-host", agent.cassandra.address()])
        .arg("--filebackup-location")
        .arg(agent.root)
        .arg("--state-dir")
        .arg(agent.state)
        .output();
    let output = output.await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_finds_no_room_or_no_time_leaves_nothing_half_written_and_the_next_succeeds()
{
    let (mounts, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let disk = Filesystem::mount(mounts.path(), "disk", Kind::Tmpfs, 64 << 20)
        .await
        .unwrap();
    let storage = Storage::File(disk.path().to_owned());
    let cassandra = HostCassandra::start(Options::default()).await.unwrap();
    let session = cassandra.session().await.unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(20_000);
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..400).await.unwrap();
    let agent = Agent {
        cassandra: &cassandra,
        root: disk.path(),
        state: state.path(),
    };
    let flags = ["--keyspaces=shop"];

    let slow = ["--keyspaces=shop", "--bandwidth=1MiB", "--deadline=2s"];
    let ended = agent.back_up("prod", "late", &slow).await.unwrap();
    ended.expect(15, "DeadlineExceeded").unwrap();
    let after_deadline = leftovers(&storage).await;

    disk.fill(1 << 20).unwrap();
    let ended = agent.back_up("prod", "full", &flags).await.unwrap();
    ended.expect(14, "NoSpace").unwrap();
    let after_full = leftovers(&storage).await;
    disk.relieve().unwrap();

    let ended = agent.back_up("prod", "b1", &flags).await.unwrap();
    ended.expect(0, "Succeeded").unwrap();
    let backup = Backup::whole(&storage, "prod", "b1").await.unwrap();
    let objects = backup.objects();
    for (key, bytes) in after_deadline.iter().chain(&after_full) {
        let stored = objects.get(key).map(|object| object.bytes);
        assert_eq!(stored, Some(*bytes), "{key} is half-written");
    }
    let snapshots = cassandra.nodetool(&["listsnapshots"]).await.unwrap();
    assert!(!snapshots.contains("cassandra-backup-"), "{snapshots}");

    // What a killed run left is removed, though the storage of the next one is not there.
    let tag = format!("cassandra-backup-{}-1", Uuid::new_v4().simple());
    let leave = ["snapshot", "-t", &tag, "shop"];
    cassandra.nodetool(&leave).await.unwrap();
    let snapshots = cassandra.nodetool(&["listsnapshots"]).await.unwrap();
    assert!(snapshots.contains(&tag), "{snapshots}");
    let unmounted = Agent {
        root: &mounts.path().join("unmounted"),
        ..agent
    };
    let ended = unmounted.back_up("prod", "b2", &flags).await.unwrap();
    ended.expect(10, "StorageNotFound").unwrap();
    let snapshots = cassandra.nodetool(&["listsnapshots"]).await.unwrap();
    assert!(!snapshots.contains(&tag), "{snapshots}");
}

/// The data that failed runs left; there is no manifest.
async fn leftovers(storage: &Storage) -> BTreeMap<String, u64> {
    let found = storage.list("prod").await.unwrap();
    let manifests = found.keys().any(|key| key.ends_with(".jsonl"));
    assert!(!manifests, "{found:?}");
    let data = found
        .into_iter()
        .filter(|(key, _)| key.starts_with("prod/data/"));
    data.map(|(key, object)| (key, object.bytes)).collect()
}
