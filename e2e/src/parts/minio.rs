//! MinIO, a real S3 server, built from its Go module. Its version and the few lines that turn the
//! module into a program are in `e2e/go/minio`.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::Signal;
use serde::Serialize;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::host::child::Child;
use crate::host::go::{Program, Source};
use crate::host::port;
use crate::host::run::Run;

/// The region that MinIO says it is in.
pub const REGION: &str = "us-east-1";

/// The program, built when it is not in the cache: 4 min on two idle cores, 112 MB.
pub async fn ensure() -> Result<PathBuf> {
    let files = [
        ("go.mod", include_str!("../../go/minio/go.mod")),
        ("go.sum", include_str!("../../go/minio/go.sum")),
        ("main.go", include_str!("../../go/minio/main.go")),
    ];
    Program {
        name: "minio",
        source: Source::Files(&files),
        ldflags: "",
    }
    .ensure()
    .await
}

/// An access key and its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Access key id.
    pub id: String,
    /// Secret access key.
    pub secret: String,
}

/// A running server. Dropping it ends it; its data goes too when it was given none.
#[derive(Debug)]
pub struct Minio {
    program: PathBuf,
    child: Option<Child>,
    address: SocketAddr,
    root: Key,
    data: PathBuf,
    /// What it is told besides, by its environment.
    settings: Vec<(&'static str, String)>,
    secure: bool,
    home: TempDir,
}

/// The name of the key of a server that encrypts.
pub const KMS_KEY: &str = "bed-key";

/// What can be set up on a server. Everything that is there already stays.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Setup {
    /// Buckets to make.
    pub buckets: Vec<String>,
    /// Users to make.
    pub users: Vec<User>,
    /// Most bytes that a bucket may hold. MinIO counts what a bucket holds now and then, so a
    /// quota stops writers late; a small file system stops them at once.
    pub quotas: BTreeMap<String, u64>,
}

/// A user with a policy of its own.
#[derive(Debug, Clone, Serialize)]
pub struct User {
    /// Access key id.
    pub name: String,
    /// Secret access key, 8 characters or more.
    pub password: String,
    /// What it may do, as an IAM policy document.
    pub policy: serde_json::Value,
}

impl User {
    /// A user that may do the given S3 actions (`s3:GetObject`) in these buckets and nothing else.
    pub fn allowed(name: &str, password: &str, actions: &[&str], buckets: &[&str]) -> Self {
        let resources = buckets.iter().flat_map(|bucket| {
            [
                format!("arn:aws:s3:::{bucket}"),
                format!("arn:aws:s3:::{bucket}/*"),
            ]
        });
        let policy = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Action": actions,
                "Resource": resources.collect::<Vec<_>>(),
            }],
        });
        Self {
            name: name.into(),
            password: password.into(),
            policy,
        }
    }
}

/// An object that is not as it was.
pub struct Damaged {
    client: Client,
    bucket: String,
    /// Its key.
    pub key: String,
    whole: Vec<u8>,
}

impl Damaged {
    /// Makes it again as it was.
    pub async fn mend(self) -> Result<()> {
        self.put(self.whole.clone()).await
    }

    async fn put(&self, content: Vec<u8>) -> Result<()> {
        let put = self.client.put_object().bucket(&self.bucket);
        put.key(&self.key).body(content.into()).send().await?;
        Ok(())
    }
}

impl Minio {
    /// Starts a server on a free port of `address`, with an empty data directory of its own.
    pub async fn start(address: IpAddr) -> Result<Self> {
        Self::launch(address, None, Vec::new()).await
    }

    /// The same with a key, [`KMS_KEY`], so that objects can be encrypted.
    pub async fn start_with_kms(address: IpAddr) -> Result<Self> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).context("no random bytes")?;
        let key = format!("{KMS_KEY}:{}", BASE64_STANDARD.encode(key));
        Self::launch(address, None, vec![("MINIO_KMS_SECRET_KEY", key)]).await
    }

    /// The same with an issuer of tokens, given by the URL of its OpenID document: whoever has a
    /// token of its for `audience` gets temporary keys (AssumeRoleWithWebIdentity) that may do what
    /// the policies in the token's claim `policy` allow.
    pub async fn start_with_issuer(
        address: IpAddr,
        document: &str,
        audience: &str,
    ) -> Result<Self> {
        let settings = vec![
            ("MINIO_IDENTITY_OPENID_CONFIG_URL", document.to_owned()),
            ("MINIO_IDENTITY_OPENID_CLIENT_ID", audience.to_owned()),
        ];
        Self::launch(address, None, settings).await
    }

    /// The same with this data directory, on a small file system for example.
    pub async fn start_in(address: IpAddr, data: &Path) -> Result<Self> {
        Self::launch(address, Some(data.to_owned()), Vec::new()).await
    }

    async fn launch(
        address: IpAddr,
        data: Option<PathBuf>,
        settings: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        let program = ensure().await?;
        let home = tempfile::Builder::new().prefix("bed-minio-").tempdir()?;
        let data = data.unwrap_or_else(|| home.path().join("data"));
        let address = port::free(address)?;
        let secret = uuid::Uuid::new_v4().simple().to_string();
        let root = Key {
            id: "bed-root".into(),
            secret,
        };
        let mut minio = Self {
            program,
            child: None,
            address,
            root,
            data,
            settings,
            secure: false,
            home,
        };
        minio.restart().await?;
        Ok(minio)
    }

    /// Where it listens, as a URL.
    pub fn endpoint(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// From now on speaks TLS, with this certificate and its key, as PEM.
    pub async fn secure(&mut self, certificate: &str, key: &str) -> Result<()> {
        fs::create_dir_all(self.certificates())?;
        fs::write(self.certificates().join("public.crt"), certificate)?;
        fs::write(self.certificates().join("private.key"), key)?;
        self.secure = true;
        self.restart().await
    }

    fn certificates(&self) -> PathBuf {
        self.home.path().join("certificates")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(Child::pid)
    }

    /// The S3 requests that it has answered so far, by kind (`PutObject`).
    pub async fn requests(&self) -> Result<BTreeMap<String, u64>> {
        let mut stream = TcpStream::connect(self.address).await?;
        let request = format!(
            "GET /minio/metrics/v3/api/requests HTTP/1.0\r\nHost: {}\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        counts(&answer).with_context(|| format!("MinIO's metrics are not understood:\n{answer}"))
    }

    /// The key that may do everything.
    pub fn root(&self) -> &Key {
        &self.root
    }

    /// Where it keeps its data.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Its output so far.
    pub fn log(&self) -> PathBuf {
        self.home.path().join("minio.log")
    }

    /// Makes buckets, users and quotas.
    pub async fn set_up(&self, setup: Setup) -> Result<()> {
        let mut request = serde_json::to_value(setup)?;
        request["endpoint"] = self.address.to_string().into();
        request["user"] = self.root.id.clone().into();
        request["password"] = self.root.secret.clone().into();
        let run = Run::new(&self.program)
            .arg("bed-setup")
            .input(request.to_string());
        Ok(run.ok().await?)
    }

    /// Makes one bucket.
    pub async fn bucket(&self, name: &str) -> Result<()> {
        self.set_up(Setup {
            buckets: vec![name.into()],
            ..Setup::default()
        })
        .await
    }

    /// A client that may do everything, to look at what others stored.
    pub fn client(&self) -> Client {
        self.client_of(&self.root)
    }

    /// A client with another key.
    pub fn client_of(&self, key: &Key) -> Client {
        let config = Builder::new()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(REGION))
            .endpoint_url(self.endpoint())
            .credentials_provider(Credentials::new(&key.id, &key.secret, None, None, "bed"))
            // Buckets are no host names here.
            .force_path_style(true)
            .build();
        Client::from_conf(config)
    }

    /// Turns one bit round of the first object below `prefix` of which `is` holds.
    pub async fn damage(
        &self,
        bucket: &str,
        prefix: &str,
        is: impl Fn(&str) -> bool,
    ) -> Result<Damaged> {
        let client = self.client();
        let listed = client.list_objects_v2().bucket(bucket).prefix(prefix);
        let listed = listed.send().await?;
        let mut keys = listed.contents().iter().filter_map(|it| it.key());
        let key = keys
            .find(|key| is(key))
            .context("there is none")?
            .to_owned();
        let get = client.get_object().bucket(bucket).key(&key).send().await?;
        let whole = get.body.collect().await?.to_vec();
        let damaged = Damaged {
            client,
            bucket: bucket.to_owned(),
            key,
            whole,
        };
        let mut other = damaged.whole.clone();
        let middle = other.len() / 2;
        other[middle] ^= 1;
        damaged.put(other).await?;
        Ok(damaged)
    }

    /// Ends it; its data stays until it is dropped.
    pub async fn stop(&mut self) -> Result<()> {
        match self.child.take() {
            Some(child) => child.stop(Duration::from_secs(10)).await,
            None => Ok(()),
        }
    }

    /// Starts it again on the same address and data.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let log = self.log();
        let told_before = fs::metadata(&log).map_or(0, |log| log.len());
        let child = Child::start("minio", &self.program, &log, |minio| {
            minio
                .arg("server")
                .arg(&self.data)
                .args(["--address", &self.address.to_string()])
                .env("MINIO_ROOT_USER", &self.root.id)
                .env("MINIO_ROOT_PASSWORD", &self.root.secret)
                .env("MINIO_BROWSER", "off")
                // Its counters tell no secret, and nobody but us is on this machine.
                .env("MINIO_PROMETHEUS_AUTH_TYPE", "public")
                // It would ask its maker for news.
                .env("MINIO_UPDATE", "off")
                .env("HOME", self.home.path())
                .envs(self.settings.iter().cloned());
            if self.secure {
                minio.arg("--certs-dir").arg(self.certificates());
            }
        })?;
        let (address, secure) = (self.address, self.secure);
        let child = self.child.insert(child);
        let ready = async || match secure {
            true => tells_its_address(&log, told_before),
            false => ready(address).await,
        };
        child.ready(Duration::from_secs(60), ready).await
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn pause(&self) -> Result<()> {
        self.child
            .as_ref()
            .context("MinIO does not run")?
            .signal(Signal::STOP)
    }

    /// Lets it go on after [`Minio::pause`].
    pub fn resume(&self) -> Result<()> {
        self.child
            .as_ref()
            .context("MinIO does not run")?
            .signal(Signal::CONT)
    }
}

/// The counters `minio_api_requests_total{name="…",…} N` of an answer.
fn counts(answer: &str) -> Option<BTreeMap<String, u64>> {
    answer
        .strip_prefix("HTTP/1.")?
        .get(2..5)
        .filter(|code| *code == "200")?;
    let lines = answer
        .lines()
        .filter_map(|line| line.strip_prefix("minio_api_requests_total{"));
    lines
        .map(|line| {
            let (labels, count) = line.rsplit_once("} ")?;
            let name = labels.split("name=\"").nth(1)?.split('"').next()?;
            // Large counts are written as 1.2e+06.
            Some((name.to_owned(), count.trim().parse::<f64>().ok()? as u64))
        })
        .collect()
}

/// Whether its log says, after so many bytes, where its API is: the last that it does before it takes
/// requests. Over TLS this is simpler than to ask it.
fn tells_its_address(log: &Path, told_before: u64) -> bool {
    let text = fs::read(log).unwrap_or_default();
    let new = text.get(told_before as usize..).unwrap_or_default();
    String::from_utf8_lossy(new).contains("API: https://")
}

/// Whether it takes writes: its own word for that is "cluster health".
async fn ready(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "GET /minio/health/cluster HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer == *b"HTTP/1.1 200")
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), ask).await;
    answer.is_ok_and(|answer| answer.unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_kind() {
        let answer = "HTTP/1.0 200 OK\r\n\r\n# TYPE minio_api_requests_total counter\n\
            minio_api_requests_total{name=\"PutObject\",server=\"a\",type=\"s3\"} 1.2e+06\n\
            minio_api_requests_ttfb{name=\"PutObject\"} 7\n";
        let counted = counts(answer).unwrap();
        assert_eq!(counted, BTreeMap::from([("PutObject".into(), 1_200_000)]));
        assert!(counts("HTTP/1.0 403 Forbidden\r\n\r\n").is_none());
    }
}
