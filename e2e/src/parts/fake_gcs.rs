//! fake-gcs-server 1.56.1, which speaks Google Cloud Storage's JSON API, built from its Go module.
//! Where it differs from the cloud in what matters here, `e2e/go/fake-gcs` brings it closer.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde::Serialize;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::host::child::Child;
use crate::host::go::{Program, Source};
use crate::host::port;

/// The program, built when it is not in the cache: 1.5 min on two idle cores, 33 MB.
pub async fn ensure() -> Result<PathBuf> {
    let files = [
        ("go.mod", include_str!("../../go/fake-gcs/go.mod")),
        ("go.sum", include_str!("../../go/fake-gcs/go.sum")),
        ("main.go", include_str!("../../go/fake-gcs/main.go")),
        ("identity.go", include_str!("../../go/fake-gcs/identity.go")),
        ("patch.go", include_str!("../../go/fake-gcs/patch.go")),
        ("rewrite.go", include_str!("../../go/fake-gcs/rewrite.go")),
        (
            "resumable.go",
            include_str!("../../go/fake-gcs/resumable.go"),
        ),
    ];
    Program {
        name: "fake-gcs",
        source: Source::Files(&files),
        ldflags: "",
    }
    .ensure()
    .await
}

/// Someone who may use the server.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    /// A service account's e-mail, or `default` for whom the metadata server speaks of.
    pub name: String,
    /// Its public key, as PEM; empty for `default`.
    pub key: String,
    /// The token of another provider that it is known by; empty for none.
    pub subject: String,
    /// The HTTP methods that it may use.
    pub methods: Vec<String>,
}

impl Identity {
    /// Whom the metadata server speaks of: a pod with workload identity, or a machine of Google's.
    pub fn of_the_machine(methods: &[&str]) -> Self {
        Self {
            name: "default".into(),
            key: String::new(),
            subject: String::new(),
            methods: methods.iter().map(|&method| method.into()).collect(),
        }
    }

    /// Someone of another provider, who is known by its token.
    pub fn federated(subject: &str, methods: &[&str]) -> Self {
        Self {
            name: "federated".into(),
            subject: subject.into(),
            ..Self::of_the_machine(methods)
        }
    }
}

/// A service account.
#[derive(Debug, Clone)]
pub struct Account {
    /// What the server knows of it.
    pub identity: Identity,
    /// The JSON of its key, as Google gives it.
    pub json: String,
}

impl Account {
    /// An account that asks the server at `endpoint` for its tokens.
    pub fn new(endpoint: &str, name: &str, methods: &[&str]) -> Result<Self> {
        let size = rcgen::RsaKeySize::_2048;
        let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size)?;
        let email = format!("{name}@bed.iam.gserviceaccount.com");
        let json = serde_json::json!({
            "type": "service_account",
            "project_id": "bed",
            "private_key_id": name,
            "private_key": key.serialize_pem(),
            "client_email": email,
            "token_uri": format!("{endpoint}/token"),
        });
        let identity = Identity {
            name: email,
            key: key.public_key_pem(),
            subject: String::new(),
            methods: methods.iter().map(|&method| method.into()).collect(),
        };
        Ok(Self {
            identity,
            json: json.to_string(),
        })
    }
}

/// A certificate and its key, as files in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How a server is started.
#[derive(Debug, Default, Clone)]
pub struct Setup {
    /// Who may use it; all, if there are none.
    pub identities: Vec<Identity>,
    /// HTTPS instead of HTTP.
    pub tls: Option<Tls>,
}

/// A running server. Dropping it ends it and its data.
#[derive(Debug)]
pub struct FakeGcs {
    program: PathBuf,
    child: Option<Child>,
    address: SocketAddr,
    setup: Setup,
    home: TempDir,
}

impl FakeGcs {
    /// Starts a server on a free port of `address`, with an empty data directory of its own.
    pub async fn start(address: IpAddr) -> Result<Self> {
        Self::start_with(address, Setup::default()).await
    }

    /// The same with identities or a certificate.
    pub async fn start_with(address: IpAddr, setup: Setup) -> Result<Self> {
        let program = ensure().await?;
        let home = tempfile::Builder::new().prefix("bed-fake-gcs-").tempdir()?;
        fs::create_dir(home.path().join("data"))?;
        let address = port::free(address)?;
        let mut server = Self {
            program,
            child: None,
            address,
            setup,
            home,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Where it listens, as a URL.
    pub fn endpoint(&self) -> String {
        let scheme = if self.setup.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its output so far.
    pub fn log(&self) -> PathBuf {
        self.home.path().join("fake-gcs.log")
    }

    /// From now on lets only these in. Their keys name this server, so they are made after it.
    pub async fn admit(&mut self, identities: &[&Identity]) -> Result<()> {
        self.setup.identities = identities.iter().map(|&one| one.clone()).collect();
        self.restart().await
    }

    /// Makes one bucket, which is a directory here.
    pub fn bucket(&self, name: &str) -> Result<()> {
        Ok(fs::create_dir_all(self.objects(name))?)
    }

    /// Where a bucket's objects are, each as a file of its name.
    pub fn objects(&self, bucket: &str) -> PathBuf {
        self.home.path().join("data").join(bucket)
    }

    /// Ends it; its data stays until it is dropped, but not the uploads that were under way.
    pub async fn stop(&mut self) -> Result<()> {
        match self.child.take() {
            Some(child) => child.stop(Duration::from_secs(10)).await,
            None => Ok(()),
        }
    }

    /// Starts it again on the same address and data.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let identities = self.home.path().join("identities.json");
        fs::write(&identities, serde_json::to_string(&self.setup.identities)?)?;
        let child = Child::start("fake-gcs", &self.program, &self.log(), |server| {
            server
                .args(["--address", &self.address.to_string(), "--data"])
                .arg(self.home.path().join("data"))
                .arg("--identities")
                .arg(&identities);
            if let Some(Tls { cert, key }) = &self.setup.tls {
                server.arg("--cert").arg(cert).arg("--key").arg(key);
            }
        })?;
        let address = self.address;
        let child = self.child.insert(child);
        let listening = async || TcpStream::connect(address).await.is_ok();
        child.ready(Duration::from_secs(30), listening).await
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`FakeGcs::pause`].
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("fake-gcs does not run")?;
        child.signal(signal)
    }
}
