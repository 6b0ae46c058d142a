//! Azurite, Microsoft's emulator of Azure Storage, from npm. It takes account keys, shared access
//! signatures and, over TLS, tokens whose signature it does not look at.

mod access;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_lc_rs::rand;
use rcgen::{CertificateParams, KeyPair};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::host::child::Child;
use crate::host::port;
use crate::host::progress::step;
use crate::host::run::Run;
use crate::host::{cache, packages, tools};

const PACKAGE: &str = "azurite@3.37.0";
/// What starts it, below the folder that npm fills.
const MAIN: &str = "node_modules/azurite/dist/src/blob/main.js";
/// Answers as the service that gives tokens does, see there.
const TOKENS: &str = include_str!("tokens.js");

/// Its main program, installed when it is not in the cache: 44 s, 186 MB. Node is installed from
/// Debian when the machine has none.
pub async fn ensure() -> Result<PathBuf> {
    for program in ["node", "npm"] {
        if tools::find(program).is_none() {
            packages::ensure(&["nodejs", "npm"]).await?;
        }
    }
    let key = cache::key([PACKAGE]);
    let dir = cache::ensure("azurite", &key, async |dir| {
        let npm = Run::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
            .args(["--update-notifier=false", PACKAGE])
            .dir(&dir);
        Ok(step(format!("install {PACKAGE} from npm"), npm.ok()).await?)
    });
    Ok(dir.await?.join(MAIN))
}

/// A running server with one account. Dropping it ends it; its data goes too.
#[derive(Debug)]
pub struct Azurite {
    main: PathBuf,
    child: Option<Child>,
    address: SocketAddr,
    account: String,
    key: Vec<u8>,
    tls: Option<Tls>,
    home: TempDir,
}

/// What a server that takes tokens has besides.
#[derive(Debug)]
struct Tls {
    /// Its certificate, which is its own authority.
    ca_pem: String,
    tokens: SocketAddr,
    _service: Child,
}

impl Azurite {
    /// Starts a server on a free port of `address`.
    pub async fn start(address: IpAddr) -> Result<Self> {
        Self::launch(address, false).await
    }

    /// The same with TLS, and beside it a service that gives tokens to the application
    /// [`Azurite::client_id`] for the secret [`Azurite::client_secret`] in the directory `bed`.
    pub async fn start_with_tokens(address: IpAddr) -> Result<Self> {
        Self::launch(address, true).await
    }

    async fn launch(address: IpAddr, tls: bool) -> Result<Self> {
        let main = ensure().await?;
        let home = tempfile::Builder::new().prefix("bed-azurite-").tempdir()?;
        let mut key = vec![0; 64];
        rand::fill(&mut key).context("no random bytes")?;
        let mut azurite = Self {
            main,
            child: None,
            address: port::free(address)?,
            account: "bedaccount".into(),
            key,
            tls: None,
            home,
        };
        if tls {
            azurite.tls = Some(azurite.token_service(address).await?);
        }
        azurite.restart().await?;
        Ok(azurite)
    }

    /// Where its account is, as a URL.
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/{}", self.address, self.account)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its account.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The certificate to trust, as PEM, if it has TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        Some(&self.tls.as_ref()?.ca_pem)
    }

    /// Where tokens are, as a URL.
    pub fn authority(&self) -> Option<String> {
        Some(format!("https://{}", self.tls.as_ref()?.tokens))
    }

    /// Where the machine's managed identity gets tokens, as a URL, for [`Azurite::client_secret`]
    /// in its header.
    pub fn identity_endpoint(&self) -> Option<String> {
        Some(format!(
            "https://{}/machine/token",
            self.tls.as_ref()?.tokens
        ))
    }

    /// The application that gets tokens.
    pub fn client_id(&self) -> &'static str {
        "bed-application"
    }

    /// Its secret.
    pub fn client_secret(&self) -> String {
        hex(&self.key[..16])
    }

    /// Its output so far.
    pub fn log(&self) -> PathBuf {
        self.home.path().join("azurite.log")
    }

    /// Ends it; its data stays until it is dropped.
    pub async fn stop(&mut self) -> Result<()> {
        match self.child.take() {
            Some(child) => child.stop(Duration::from_secs(20)).await,
            None => Ok(()),
        }
    }

    /// Starts it again on the same address and data.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let child = Child::start("azurite", "node".as_ref(), &self.log(), |node| {
            node.arg(&self.main)
                .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
                .arg("--location")
                .arg(self.home.path().join("data"))
                .args(["--blobHost", &self.address.ip().to_string()])
                .args(["--blobPort", &self.address.port().to_string()])
                .env(
                    "AZURITE_ACCOUNTS",
                    format!("{}:{}", self.account, self.key()),
                )
                .env("HOME", self.home.path());
            if self.tls.is_some() {
                node.args(["--oauth", "basic"])
                    .arg("--cert")
                    .arg(self.home.path().join("server.crt"))
                    .arg("--key")
                    .arg(self.home.path().join("server.key"));
            }
        })?;
        let address = self.address;
        let child = self.child.insert(child);
        child
            .ready(Duration::from_secs(60), async || listens(address).await)
            .await
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Azurite::pause`].
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.as_ref().context("Azurite does not run")?;
        child.signal(signal)
    }

    async fn token_service(&self, address: IpAddr) -> Result<Tls> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new([address.to_string()])?;
        let ca_pem = params.self_signed(&key)?.pem();
        let file = |name: &str| self.home.path().join(name);
        fs::write(file("server.crt"), &ca_pem)?;
        fs::write(file("server.key"), key.serialize_pem())?;
        fs::write(file("tokens.js"), TOKENS)?;
        let tokens = port::free(address)?;
        let service = Child::start("tokens", "node".as_ref(), &file("tokens.log"), |node| {
            node.arg(file("tokens.js"))
                .args([tokens.ip().to_string(), tokens.port().to_string()])
                .args([file("server.crt"), file("server.key")])
                .args([self.client_id(), &self.client_secret()]);
        })?;
        service
            .ready(Duration::from_secs(30), async || listens(tokens).await)
            .await?;
        Ok(Tls {
            ca_pem,
            tokens,
            _service: service,
        })
    }
}

/// Taken by nobody else in the moment that the server needs, as good as surely.
async fn listens(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
