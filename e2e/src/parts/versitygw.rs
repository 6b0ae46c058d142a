//! versitygw, a second S3 server: a gateway to a directory, from its Go module. Where MinIO and AWS
//! agree, it differs: a self-copy answers well and moves no timestamp.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::minio::{Key, REGION};
use crate::host::child::Child;
use crate::host::go::{Program, Source};
use crate::host::port;

/// The program, built when it is not in the cache: 100 s on two idle cores.
pub async fn ensure() -> Result<PathBuf> {
    Program {
        name: "versitygw",
        source: Source::Package("github.com/versity/versitygw/cmd/versitygw@v1.8.0"),
        ldflags: "",
    }
    .ensure()
    .await
}

/// A running server. Dropping it ends it; its data goes too.
#[derive(Debug)]
pub struct VersityGw {
    _child: Child,
    address: SocketAddr,
    root: Key,
    _home: TempDir,
}

impl VersityGw {
    /// Starts a server on a free port of `address`, with an empty data directory of its own.
    pub async fn start(address: IpAddr) -> Result<Self> {
        let program = ensure().await?;
        let home = tempfile::Builder::new()
            .prefix("bed-versitygw-")
            .tempdir()?;
        let data = home.path().join("data");
        std::fs::create_dir(&data)?;
        let address = port::free(address)?;
        let root = Key {
            id: "bed-root".into(),
            secret: uuid::Uuid::new_v4().simple().to_string(),
        };
        let log = home.path().join("versitygw.log");
        let child = Child::start("versitygw", &program, &log, |server| {
            server
                .args(["--port", &address.to_string()])
                .arg("posix")
                .arg(&data)
                .env("ROOT_ACCESS_KEY", &root.id)
                .env("ROOT_SECRET_KEY", &root.secret)
                .env("HOME", home.path());
        })?;
        let listens = async || TcpStream::connect(address).await.is_ok();
        child.ready(Duration::from_secs(60), listens).await?;
        Ok(Self {
            _child: child,
            address,
            root,
            _home: home,
        })
    }

    /// Where it listens, as a URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The key that may do everything.
    pub fn root(&self) -> &Key {
        &self.root
    }

    /// A client that may do everything, to look at what others stored.
    pub fn client(&self) -> Client {
        let config = Builder::new()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(REGION))
            .endpoint_url(self.endpoint())
            .credentials_provider(Credentials::new(
                &self.root.id,
                &self.root.secret,
                None,
                None,
                "bed",
            ))
            .force_path_style(true)
            .build();
        Client::from_conf(config)
    }

    /// Makes one bucket.
    pub async fn bucket(&self, name: &str) -> Result<()> {
        let client = self.client();
        client.create_bucket().bucket(name).send().await?;
        Ok(())
    }
}
