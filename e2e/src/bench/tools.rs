//! The tools side by side, and how each is told to do the same.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

use super::bare::{self, curl::Way};
use super::invocation::Invocation;
use crate::parts::cassandra::host::HostCassandra;
use crate::parts::medusa::{self, Speed};
use crate::parts::minio::{Minio, REGION};
use crate::parts::python::Program;
use crate::parts::{awscli, b3sum, binaries, esop, jdk, rclone};

/// The cluster's name in our storages.
pub const CLUSTER: &str = "bench";
/// The bucket of every S3 server here.
pub const BUCKET: &str = "bench";
/// Files that each tool may have under way, where it can be told.
pub const PARALLEL: usize = 4;

/// The programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Ours.
    pub agent: PathBuf,
    /// Medusa.
    pub medusa: Program,
    aws: Program,
    esop: PathBuf,
    java: PathBuf,
    b3sum: PathBuf,
    rclone: PathBuf,
    me: PathBuf,
}

impl Programs {
    /// Builds and fetches what is not in the cache; the agent unless one is given.
    pub async fn ensure(agent: Option<&Path>) -> Result<Self> {
        let built = async {
            match agent {
                Some(given) => Ok(given.to_owned()),
                None => Ok(binaries::build().await?.agent),
            }
        };
        let (agent, medusa, aws, esop, java, b3sum, rclone) = tokio::try_join!(
            built,
            medusa::ensure(),
            awscli::ensure(),
            esop::ensure(),
            jdk::jdk17(),
            b3sum::ensure(),
            rclone::ensure(),
        )?;
        Ok(Self {
            agent,
            medusa,
            aws,
            esop,
            java: java.java(),
            b3sum,
            rclone,
            me: std::env::current_exe()?,
        })
    }

    /// What the report calls them.
    pub fn names(&self) -> Vec<(String, &'static str)> {
        let program = |program: &Program, name| {
            let words = [&program.python, &program.script].map(|p| p.display().to_string());
            let [python, script] = words;
            [(script, name), (python, "")]
        };
        let mut names = vec![
            (self.agent.display().to_string(), "cassandra-backup"),
            (self.esop.display().to_string(), "esop-3.0.1.jar"),
            (self.java.display().to_string(), "java"),
            (self.b3sum.display().to_string(), "b3sum"),
            (self.rclone.display().to_string(), "rclone"),
            (self.me.display().to_string(), "side-by-side"),
        ];
        names.extend(program(&self.medusa, "medusa"));
        names.extend(program(&self.aws, "aws"));
        names
    }
}

/// A tool, and how it is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Ours.
    Agent(Agent),
    /// Medusa.
    Medusa(Speed),
    /// Esop.
    Esop,
    /// Four curl processes.
    Curl,
    /// `aws s3 cp`.
    Aws,
    /// `rclone copy`, four files at a time.
    Rclone,
    /// Four threads that copy and fsync each file.
    Copy,
    /// `cp -r`.
    CpR,
    /// b3sum over the data: no backup, but what hashing it costs.
    B3sum,
    /// The requests that renew every object, and no other; on FILE: `touch`.
    BareTouch,
    /// The requests that list every object.
    BareList,
}

/// How ours is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agent {
    /// As it comes.
    Default,
    /// `--touch-after 24h`.
    TouchAfter,
    /// At 50 MB/s, of so many tables.
    Limited(usize),
}

/// Where a backup goes.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// An empty directory.
    File(&'a Path),
    /// A server with the bucket [`BUCKET`].
    S3(&'a Minio),
}

/// What a tool needs to know besides.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The programs.
    pub programs: &'a Programs,
    /// The node.
    pub cassandra: &'a HostCassandra,
    /// The files of a snapshot, for tools that know no Cassandra.
    pub raw: &'a Path,
    /// The tool's own directory for this storage: configuration, state.
    pub own: &'a Path,
    /// Where to.
    pub target: Target<'a>,
    /// What the backup is called.
    pub name: &'a str,
}

impl Tool {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent(Agent::Default) => "cassandra-backup",
            Self::Agent(Agent::TouchAfter) => "cassandra-backup --touch-after 24h",
            Self::Agent(Agent::Limited(_)) => "cassandra-backup --bandwidth 50MB",
            Self::Medusa(Speed::Tuned) => "Medusa, tuned",
            Self::Medusa(Speed::Default) => "Medusa, as it comes",
            Self::Esop => "Esop",
            Self::Curl => "curl × 4",
            Self::Aws => "aws s3 cp",
            Self::Rclone => "rclone copy",
            Self::Copy => "copy × 4, fsync of each file",
            Self::CpR => "cp -r",
            Self::B3sum => "b3sum",
            Self::BareTouch => "bare requests",
            Self::BareList => "bare lists",
        }
    }

    /// How often it is run where all are to run `repeats` times: what is slow and far from every
    /// figure to reach needs no median of five, and the whole is to end within half an hour.
    pub fn runs(self, repeats: usize) -> usize {
        match self {
            Self::Medusa(Speed::Default) => repeats.min(1),
            Self::Aws | Self::Rclone => repeats.min(2),
            Self::Esop => repeats.min(3),
            _ => repeats,
        }
    }

    /// The command for one backup.
    pub async fn invocation(self, task: &Task<'_>) -> Result<Invocation> {
        let Task {
            programs,
            raw,
            own,
            target,
            name,
            ..
        } = *task;
        Ok(match (self, target) {
            (Self::Agent(agent), _) => agent_invocation(agent, task),
            (Self::Medusa(speed), _) => {
                let storage = match target {
                    Target::File(path) => medusa::Storage::Local(path),
                    Target::S3(minio) => medusa::Storage::S3(minio, BUCKET),
                };
                let ini = medusa::configure(own, task.cassandra, storage, speed).await?;
                python(&programs.medusa)
                    .arg("--config-file")
                    .arg(ini)
                    .args(["backup-node", "--mode=differential"])
                    .arg(format!("--backup-name={name}"))
            }
            (Self::Esop, Target::File(path)) => Invocation::new(&programs.java)
                .arg("-jar")
                .arg(&programs.esop)
                .args(["backup", "--concurrent-connections", "4"])
                .arg("--storage-location")
                .arg(format!("file://{}/bucket/c/dc/node", path.display()))
                .arg("--data-dir")
                .arg(task.cassandra.data())
                .args(["--snapshot-tag", name])
                .arg("--jmx-service")
                .arg(format!("127.0.0.1:{}", task.cassandra.jmx_port())),
            (Self::Curl, Target::S3(minio)) => {
                bare::curl::configure(own, raw, Way::Up, (minio, BUCKET), PARALLEL)?;
                curls(own)
            }
            (Self::Aws, Target::S3(minio)) => with_keys(
                python(&programs.aws)
                    .args(["s3", "cp", "--recursive", "--only-show-errors"])
                    .args(["--region", REGION, "--endpoint-url", &minio.endpoint()])
                    .arg(raw)
                    .arg(format!("s3://{BUCKET}/raw")),
                minio,
            ),
            (Self::Rclone, Target::S3(minio)) => Invocation::new(&programs.rclone)
                .args(["copy", "--transfers", "4", "--config", "/dev/null"])
                .arg(raw)
                .arg(format!("bench:{BUCKET}/raw"))
                .env("RCLONE_CONFIG_BENCH_TYPE", "s3")
                .env("RCLONE_CONFIG_BENCH_PROVIDER", "Minio")
                .env("RCLONE_CONFIG_BENCH_REGION", REGION)
                .env("RCLONE_CONFIG_BENCH_ENDPOINT", minio.endpoint())
                .env("RCLONE_CONFIG_BENCH_ACCESS_KEY_ID", &minio.root().id)
                .env(
                    "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY",
                    &minio.root().secret,
                ),
            (Self::Copy, Target::File(path)) => Invocation::new(&programs.me)
                .args(["copy", "--threads", "4"])
                .arg(raw)
                .arg(path),
            (Self::CpR, Target::File(path)) => Invocation::new("cp").arg("-r").arg(raw).arg(path),
            (Self::B3sum, _) => {
                Invocation::shell("find \"$1\" -type f -exec \"$2\" {} + >/dev/null")
                    .arg(raw)
                    .arg(&programs.b3sum)
            }
            (Self::BareTouch, Target::S3(minio)) => bare_requests("touch", programs, minio),
            (Self::BareList, Target::S3(minio)) => bare_requests("list", programs, minio),
            (Self::BareTouch, Target::File(path)) => {
                Invocation::shell("find \"$1\" -type f -exec touch {} +").arg(path)
            }
            (tool, target) => bail!("{} does not write to {target:?}", tool.name()),
        })
    }
}

fn agent_invocation(agent: Agent, task: &Task<'_>) -> Invocation {
    let cassandra = task.cassandra;
    let invocation = Invocation::new(&task.programs.agent)
        .args(["backup", "--cluster", CLUSTER, "--name", task.name])
        .args(["--output", "json", "--cql-host", cassandra.address()])
        .args(["--jmx-port", &cassandra.jmx_port().to_string()])
        .arg("--state-dir")
        .arg(task.own);
    let invocation = match agent {
        Agent::Default => invocation,
        Agent::TouchAfter => invocation.args(["--touch-after", "24h"]),
        Agent::Limited(tables) => {
            let tables: Vec<_> = (0..tables)
                .map(|n| format!("{}.t{n:02}", super::data::KEYSPACE))
                .collect();
            invocation.args(["--bandwidth", "50MB", "--tables", &tables.join(",")])
        }
    };
    told_storage(invocation, task.target)
}

/// `invocation` of ours with the flags and keys of a storage.
pub fn told_storage(invocation: Invocation, target: Target<'_>) -> Invocation {
    match target {
        Target::File(path) => invocation
            .args(["--blob-storage", "file", "--filebackup-location"])
            .arg(path),
        Target::S3(minio) => with_keys(
            invocation
                .args(["--blob-storage", "s3", "--path-style", "--bucket", BUCKET])
                .args(["--endpoint", &minio.endpoint()]),
            minio,
        ),
    }
}

/// This program as a client that does nothing but such requests.
fn bare_requests(what: &str, programs: &Programs, minio: &Minio) -> Invocation {
    let endpoint = minio.endpoint();
    let server = [what, "--endpoint", &endpoint, "--bucket", BUCKET];
    with_keys(Invocation::new(&programs.me).args(server), minio)
}

/// All curl processes that are configured in `folder`, side by side.
pub fn curls(folder: &Path) -> Invocation {
    Invocation::shell(
        "for c in \"$1\"/*.curl; do curl --config $c & p=\"$p $!\"; done; \
         for c in $p; do wait $c || exit; done",
    )
    .arg(folder)
}

/// A program of Python's.
pub fn python(program: &Program) -> Invocation {
    Invocation::new(&program.python).arg(&program.script)
}

fn with_keys(invocation: Invocation, minio: &Minio) -> Invocation {
    let key = minio.root();
    invocation
        .env("AWS_ACCESS_KEY_ID", &key.id)
        .env("AWS_SECRET_ACCESS_KEY", &key.secret)
        .env("AWS_REGION", REGION)
}

/// A name that no backup had before.
pub fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("b{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
