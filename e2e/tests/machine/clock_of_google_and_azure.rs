//! The agent on a machine whose clock is off, with a bucket of Google's and a container of Azure's,
//! by emulators. It goes by their clock, which it is told with every answer, and says how far its
//! own is off. What Azure says to a request that was signed long ago the emulator does not; a
//! test of the crate `store` has that.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use e2e::host::{clock, port};
use e2e::parts::azurite::Azurite;
use e2e::parts::binaries;
use e2e::parts::fake_gcs::{Account, FakeGcs, Identity};
use serde_json::Value;
use store::testing::key;
use store::{
    AzureConfig, AzureCredentials, AzureStore, Error, GcsConfig, GcsCredentials, GcsStore, Store,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long a command may take, which takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);
const EVERYTHING: [&str; 3] = ["GET", "POST", "DELETE"];
/// Data that no backup needs.
const ORPHAN: &str = "prod/data/0d0c9f2a-5c0f-4b52-9b0e-2f5ee3a1a001/shop/\
    orders-0af0a1b0c0d011eeb9620242ac120002/nb-1-big.1a2b3c4d.9/nb-1-big-Data.db";

/// The agent's storage, and who it is.
struct Cloud {
    storage: Vec<String>,
    environment: Vec<(&'static str, String)>,
    state: tempfile::TempDir,
}

impl Cloud {
    fn new(kind: &str, endpoint: String, environment: Vec<(&'static str, String)>) -> Self {
        let storage = ["--blob-storage", kind, "--bucket", "backups", "--endpoint"];
        let mut storage: Vec<_> = storage.map(str::to_owned).into();
        storage.push(endpoint);
        Self {
            storage,
            environment,
            state: tempfile::tempdir().unwrap(),
        }
    }

    /// Runs a command of the agent with its clock off; the document that it prints.
    async fn run(&self, offset: &str, arguments: &[&str]) -> Value {
        let agent = binaries::build().await.unwrap().agent;
        let mut command = clock::shifted(&agent, offset).await.unwrap();
        command
            .args(arguments)
            .args(["--cluster", "prod", "--output", "json"])
            .args(&self.storage)
            .arg("--state-dir")
            .arg(self.state.path())
            .env("HOME", self.state.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = clock::output(&mut command, PATIENCE).await;
        let output = output.unwrap_or_else(|error| panic!("{arguments:?}: {error:#}"));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// What `check` sees of the storage. There is no Cassandra beside it.
    async fn check(&self, offset: &str) -> Value {
        let nobody = port::free(LOOPBACK).unwrap().port().to_string();
        self.run(offset, &["check", "--jmx-port", &nobody]).await
    }

    async fn goes_by_the_clock_of(&self, store: &dyn Store) {
        let check = self.check("+0").await;
        assert_eq!(seen(&check, "clock").0, "Works", "{check}");
        for offset in ["+2h", "-2h"] {
            let check = self.check(offset).await;
            for works in ["storage", "create-only", "touch", "delete"] {
                assert_eq!(seen(&check, works).0, "Works", "{check}");
            }
            let (state, detail) = seen(&check, "clock");
            let off: u64 = detail.split(' ').next().unwrap().parse().unwrap();
            // Answers tell the time in whole seconds, and take some themselves.
            assert!(off.abs_diff(2 * 3600) < 30, "{detail}");
            assert_eq!(state, "Warning");
            assert!(detail.contains("set the time of this machine (NTP)"));
        }

        let orphan = key(ORPHAN);
        let content = Bytes::from_static(b"123456789");
        store.create(&orphan, content).await.unwrap();
        // A day is what young data is left alone for.
        let purged = self.run("+30d", &["purge"]).await;
        assert!(store.stat(&orphan).await.is_ok(), "{purged}");
        let written = store.stat(&orphan).await.unwrap().modified;
        let is_old = async {
            while store.now().await.unwrap() < written + Duration::from_secs(3) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, is_old).await.unwrap();
        let purged = self.run("-30d", &["purge", "--grace", "1s"]).await;
        let there = store.stat(&orphan).await;
        assert!(matches!(there, Err(Error::NotFound { .. })), "{purged}");
    }
}

/// What `check` saw, as state and detail.
fn seen<'a>(told: &'a Value, check: &str) -> (&'a str, &'a str) {
    let mut checks = told["checks"].as_array().unwrap().iter();
    let found = checks.find(|it| it["check"] == check);
    let found = found.unwrap_or_else(|| panic!("no {check} in {told}"));
    let text = |field: &str| found[field].as_str().unwrap();
    (text("state"), text("detail"))
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_and_ages_go_by_googles_clock_and_a_key_that_it_refuses_names_the_clock() {
    let mut google = FakeGcs::start(LOOPBACK).await.unwrap();
    google.bucket("backups").unwrap();
    let owner = Account::new(&google.endpoint(), "owner", &EVERYTHING).unwrap();
    let machine = Identity::of_the_machine(&EVERYTHING);
    google.admit(&[&owner.identity, &machine]).await.unwrap();
    let mut config = GcsConfig::new("backups", GcsCredentials::Explicit(owner.json.clone()));
    config.endpoint = Some(google.endpoint());
    let store = GcsStore::connect(config).await.unwrap();
    // Tokens of the metadata server need no clock.
    let metadata = ("GCE_METADATA_HOST", google.address().to_string());
    let cloud = Cloud::new("gcp", google.endpoint(), vec![metadata]);
    cloud.goes_by_the_clock_of(&store).await;

    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud {
        environment: vec![key_file(folder.path(), &owner)],
        ..cloud
    };
    for offset in ["+2h", "-2h"] {
        let check = cloud.check(offset).await;
        let (state, detail) = seen(&check, "storage");
        assert_eq!(state, "Fails", "{check}");
        let said = "this machine's clock and the server's are too far apart";
        assert!(
            detail.contains(said) && detail.contains("(NTP)"),
            "{detail}"
        );
    }
}

fn key_file(folder: &Path, account: &Account) -> (&'static str, String) {
    let file = folder.join("key.json");
    std::fs::write(&file, &account.json).unwrap();
    let file = file.to_str().unwrap().to_owned();
    ("GOOGLE_APPLICATION_CREDENTIALS", file)
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_and_ages_go_by_azures_clock() {
    let azurite = Azurite::start(LOOPBACK).await.unwrap();
    azurite.container("backups").await.unwrap();
    let credentials = AzureCredentials::AccountKey(azurite.key());
    let mut config = AzureConfig::new(azurite.account(), "backups", credentials);
    config.endpoint = Some(azurite.endpoint());
    let store = AzureStore::connect(config).unwrap();
    let environment = vec![
        ("AZURE_STORAGE_ACCOUNT_NAME", azurite.account().to_owned()),
        ("AZURE_STORAGE_ACCOUNT_KEY", azurite.key()),
    ];
    let cloud = Cloud::new("azure", azurite.endpoint(), environment);
    cloud.goes_by_the_clock_of(&store).await;
}
