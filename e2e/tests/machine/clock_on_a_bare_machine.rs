//! The agent on a machine whose clock is off, beside a real Cassandra: where that keeps it from
//! working it says so and leaves nothing, and where it does not, nothing comes of it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use e2e::backup::{Backup, Storage, restore};
use e2e::host::clock;
use e2e::parts::binaries;
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::rows::Rows;
use e2e::parts::minio::{Key, Minio, REGION};
use serde_json::Value;

/// How long a command may take, which takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the agent runs, and what it stores to.
struct Machine<'a> {
    cassandra: &'a HostCassandra,
    storage: Vec<&'a str>,
    key: Option<&'a Key>,
    /// Whether requests are signed with the machine's time, whatever the server's is.
    stubborn: bool,
    state: &'a Path,
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    /// The last event, or the document.
    told: Value,
    complaints: String,
}

impl Machine<'_> {
    async fn run(&self, clock: &str, arguments: &[&str]) -> Ended {
        let agent = binaries::build().await.unwrap().agent;
        let mut command = clock::shifted(&agent, clock).await.unwrap();
        command
            .args(arguments)
            .args(["--cluster", "prod", "--output", "json"])
            .args(&self.storage)
            .arg("--state-dir")
            .arg(self.state);
        if let Some(key) = self.key {
            command
                .env("AWS_ACCESS_KEY_ID", &key.id)
                .env("AWS_SECRET_ACCESS_KEY", &key.secret);
        }
        let stubborn = self.stubborn.to_string();
        command.env("AWS_DISABLE_CLOCK_SKEW_CORRECTION", stubborn);
        let output = clock::output(&mut command, PATIENCE).await;
        let output = output.unwrap_or_else(|error| panic!("{arguments:?}: {error:#}"));
        let text = String::from_utf8(output.stdout).unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        let last = text.lines().last().unwrap_or_default();
        let told = serde_json::from_str(&text).or_else(|_| serde_json::from_str(last));
        Ended {
            code: output.status.code(),
            told: told.unwrap_or_else(|error| panic!("{error}: {text}{complaints}")),
            complaints,
        }
    }

    async fn beside_cassandra(&self, clock: &str, arguments: &[&str]) -> Ended {
        let port = self.cassandra.jmx_port().to_string();
        let cassandra = ["--jmx-port", &port, "--cql-host", self.cassandra.address()];
        self.run(clock, &[arguments, &cassandra].concat()).await
    }

    async fn back_up(&self, clock: &str, name: &str) -> Ended {
        let arguments = ["backup", "--name", name, "--keyspaces", "shop"];
        self.beside_cassandra(clock, &arguments).await
    }
}

/// What `check` saw, as state and detail.
fn seen<'a>(ended: &'a Ended, check: &str) -> (&'a str, &'a str) {
    let checks = ended.told["checks"].as_array().unwrap();
    let mut checks = checks.iter().filter(|it| it["check"] == check);
    let found = checks.next().unwrap_or_else(|| panic!("{ended:?}"));
    let text = |field: &str| found[field].as_str().unwrap();
    (text("state"), text("detail"))
}

fn assert_clock_is_off_by(ended: &Ended, seconds: u64) {
    let (state, detail) = seen(ended, "clock");
    let off: u64 = detail.split(' ').next().unwrap().parse().unwrap();
    // Answers tell the time in whole seconds, and take some themselves.
    assert!(off.abs_diff(seconds) < 30, "{detail}");
    assert!(
        state == "Warning" && detail.contains("set the time of this machine (NTP)"),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_is_told_the_servers_time_and_where_it_is_not_the_refusal_names_the_clock() {
    let minio = Minio::start(Ipv4Addr::LOCALHOST.into()).await.unwrap();
    minio.bucket("backups").await.unwrap();
    let storage = Storage::bucket(minio.client(), "backups");
    let (endpoint, state) = (minio.endpoint(), tempfile::tempdir().unwrap());
    let cassandra = HostCassandra::start(Options::default()).await.unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(2000);
    let session = cassandra.session().await.unwrap();
    rows.create(&session, "dc1", 1).await.unwrap();
    rows.write(&session, 0..300).await.unwrap();
    let mut machine = Machine {
        cassandra: &cassandra,
        storage: vec![
            "--blob-storage",
            "s3",
            "--bucket",
            "backups",
            "--path-style",
        ],
        key: Some(minio.root()),
        stubborn: true,
        state: state.path(),
    };
    machine
        .storage
        .extend(["--endpoint", &endpoint, "--region", REGION]);

    for clock in ["+2h", "-2h"] {
        let refused = machine.back_up(clock, "b1").await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert_eq!(refused.told["reason"], "InvalidRequest", "{refused:?}");
        let message = refused.told["message"].as_str().unwrap();
        assert!(
            message.contains("this machine's clock and the server's are too far apart")
                && message.contains("(NTP)")
                && message.contains("RequestTimeTooSkewed"),
            "{message}"
        );
        assert_eq!(storage.list("").await.unwrap().len(), 0);
        let snapshots = cassandra.nodetool(&["listsnapshots"]).await.unwrap();
        assert!(!snapshots.contains("cassandra-backup-"), "{snapshots}");

        let check = machine.beside_cassandra(clock, &["check"]).await;
        assert_eq!(check.code, Some(2), "{check:?}");
        assert!(check.complaints.contains("backups would fail here"));
        let (fails, why) = seen(&check, "storage");
        assert!(fails == "Fails" && why.contains("clock"), "{check:?}");
        assert_clock_is_off_by(&check, 2 * 3600);
    }

    machine.stubborn = false;
    let check = machine.beside_cassandra("+2h", &["check"]).await;
    assert_eq!(check.code, Some(0), "{check:?}");
    assert_clock_is_off_by(&check, 2 * 3600);
    for (clock, name) in [("+2h", "b1"), ("-2h", "b2")] {
        let done = machine.back_up(clock, name).await;
        assert_eq!(done.told["reason"], "Succeeded", "{done:?}");
        let backup = Backup::read(&storage, "prod", name).await.unwrap();
        backup.verify(&storage).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_from_a_month_ahead_takes_only_what_it_would_take_today_and_rows_come_back() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let storage = Storage::File(root.path().to_owned());
    let path = root.path().to_str().unwrap();
    let rows = Rows::new("shop", "orders").with_bytes(2000);
    {
        let cassandra = HostCassandra::start(Options::default()).await.unwrap();
        let session = cassandra.session().await.unwrap();
        rows.create(&session, "dc1", 1).await.unwrap();
        rows.write(&session, 0..300).await.unwrap();
        let machine = Machine {
            cassandra: &cassandra,
            storage: vec!["--blob-storage", "file", "--filebackup-location", path],
            key: None,
            stubborn: false,
            state: state.path(),
        };
        let first = machine.back_up("+2h", "b1").await;
        assert_eq!(first.told["reason"], "Succeeded", "{first:?}");
        let before = storage.list("prod/data").await.unwrap();
        // Younger than an hour by the storage's clock, on which alone it depends.
        let second = ["backup", "--name", "b2", "--keyspaces", "shop"];
        let second = [&second[..], &["--touch-after", "1h"]].concat();
        let second = machine.beside_cassandra("+30d", &second).await;
        assert_eq!(second.told["reason"], "Succeeded", "{second:?}");
        let after = storage.list("prod/data").await.unwrap();
        for (key, object) in before.iter().filter(|(key, _)| key.contains("/shop/")) {
            assert_eq!(&after[key], object, "{key} was touched");
        }
        let needed = before.keys().next().unwrap();
        std::fs::write(root.path().join(format!("{needed}-not")), b"x").unwrap();

        let before = storage.list("prod").await.unwrap();
        let purge = ["purge", "--keep-last", "1", "--attribute-cache", "0s"];
        let purged = machine.run("+30d", &purge).await;
        assert_eq!(purged.code, Some(0), "{purged:?}");
        let after = storage.list("prod").await.unwrap();
        let gone: Vec<&String> = before
            .keys()
            .filter(|key| !after.contains_key(*key))
            .collect();
        assert!(
            !gone.is_empty() && gone.iter().all(|key| key.contains("/b1/")),
            "{gone:?}"
        );
        let backup = Backup::read(&storage, "prod", "b2").await.unwrap();
        backup.verify(&storage).await.unwrap();
    }
    let restored = restore::on_host(&storage, "prod", "b2").await.unwrap();
    let session = restored.session().await.unwrap();
    rows.check(&session, 0..300).await.unwrap();
}
