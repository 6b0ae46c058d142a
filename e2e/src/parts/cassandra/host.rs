//! Cassandra on this machine, without Kubernetes: a node of its own on an address of the loopback
//! network, for tests of what runs beside it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use super::config::{self, Credentials, Format, Jmx, Node};
use super::cql::{self, Session};
use super::{Distribution, Version};
use crate::host::child::Child;
use crate::host::progress::step;
use crate::host::run::Run;

/// The first of the addresses given to nodes; the last number counts up. Not 127.0.0.x, where a
/// Cassandra of the machine's owner may listen on all ports.
const NETWORK: [u8; 3] = [127, 0, 77];
/// JMX always listens on 127.0.0.1, so every node has a port of its own above this one.
const JMX_BASE: u16 = 17_100;

/// How a node is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which Cassandra.
    pub version: Version,
    /// Name of the cluster.
    pub cluster_name: String,
    /// Address of another node to join; its own cluster if there is none.
    pub seed: Option<String>,
    /// How JMX is served.
    pub jmx: Jmx,
    /// The superuser to log in as over CQL; without one everybody is let in.
    pub cql: Option<Credentials>,
    /// Datacenter.
    pub datacenter: String,
    /// Rack.
    pub rack: String,
    /// Number of tokens.
    pub num_tokens: u32,
    /// The tokens to own; random ones if there are none.
    pub initial_tokens: Vec<String>,
    /// How many data directories, `data`, `data2` and so on.
    pub data_directories: usize,
    /// Where they are; beside all else of the node if it is not said.
    pub data_below: Option<PathBuf>,
    /// What SSTables look like.
    pub format: Format,
    /// Whether SSTables are named by UUIDs instead of numbers.
    pub uuid_ids: bool,
    /// More arguments for its JVM.
    pub jvm: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: Version::default(),
            cluster_name: "bed".into(),
            seed: None,
            jmx: Jmx::Open,
            cql: None,
            datacenter: "dc1".into(),
            rack: "r1".into(),
            num_tokens: 4,
            initial_tokens: Vec::new(),
            data_directories: 1,
            data_below: None,
            format: Format::Nb,
            uuid_ids: false,
            jvm: Vec::new(),
        }
    }
}

/// A Cassandra node on this machine. Dropping it kills it and removes its directories.
#[derive(Debug)]
pub struct HostCassandra {
    node: Node,
    cql: Option<Credentials>,
    jvm: Vec<String>,
    distribution: Distribution,
    child: Option<Child>,
    // Dropped after the child.
    home: TempDir,
    _place: Place,
}

impl HostCassandra {
    /// Starts a node and waits until it answers CQL: 6 to 20 s on two cores.
    pub async fn start(options: Options) -> Result<Self> {
        let distribution = Distribution::ensure(options.version).await?;
        let home = tempfile::Builder::new()
            .prefix("bed-cassandra-")
            .tempdir()?;
        let place = Place::take()?;
        let address = place.address();
        let storage = path(home.path())?;
        let mut node = Node::new(options.version, &address, &storage);
        if let Some(seed) = options.seed {
            node.seeds = format!("{seed}:{}", node.storage_port);
        }
        node.jmx_port = JMX_BASE + u16::from(place.number);
        node.cluster_name = options.cluster_name;
        node.jmx = options.jmx;
        node.cql_password = options.cql.is_some();
        node.datacenter = options.datacenter;
        node.rack = options.rack;
        node.num_tokens = options.num_tokens;
        node.initial_tokens = options.initial_tokens;
        node.format = options.format;
        node.uuid_ids = options.uuid_ids;
        let below = match &options.data_below {
            Some(folder) => path(folder)?,
            None => storage,
        };
        node.data_directories = (1..=options.data_directories.max(1))
            .map(|n| match n {
                1 => format!("{below}/data"),
                _ => format!("{below}/data{n}"),
            })
            .collect();
        let (cql, jvm) = (options.cql, options.jvm);
        let mut cassandra = Self {
            node,
            cql,
            jvm,
            distribution,
            child: None,
            home,
            _place: place,
        };
        cassandra.restart().await?;
        if let Some(wanted) = &cassandra.cql {
            cql::create_superuser(&cassandra.node.address, wanted).await?;
        }
        Ok(cassandra)
    }

    /// Its address, for CQL (port 9042) and the other nodes.
    pub fn address(&self) -> &str {
        &self.node.address
    }

    /// Its port of JMX on 127.0.0.1.
    pub fn jmx_port(&self) -> u16 {
        self.node.jmx_port
    }

    /// Its first data directory.
    pub fn data(&self) -> PathBuf {
        PathBuf::from(&self.node.data_directories[0])
    }

    /// All its data directories.
    pub fn data_directories(&self) -> Vec<PathBuf> {
        self.node
            .data_directories
            .iter()
            .map(PathBuf::from)
            .collect()
    }

    /// Its cassandra.yaml.
    pub fn yaml(&self) -> PathBuf {
        Path::new(&self.node.config_directory).join("cassandra.yaml")
    }

    /// The directory of everything that is its own.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Its output so far.
    pub fn log(&self) -> PathBuf {
        self.home.path().join("log/output.log")
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(Child::pid)
    }

    /// A session with this node alone, as the superuser of the options.
    pub async fn session(&self) -> Result<Session> {
        cql::connect(&[&self.node.address], self.cql.as_ref()).await
    }

    /// Runs nodetool against this node; returns what it printed.
    pub async fn nodetool(&self, args: &[&str]) -> Result<String> {
        let (java, first) = self.nodetool_command().await?;
        Ok(Run::new(java).args(first).args(args).output().await?)
    }

    /// A script that is nodetool for this node, for tools that call it. Like the real one it takes
    /// Java's `-D` before its own arguments.
    pub async fn nodetool_script(&self) -> Result<String> {
        let (java, first) = self.nodetool_command().await?;
        let first: Vec<_> = first.iter().map(|word| format!("'{word}'")).collect();
        Ok(format!(
            "#!/bin/sh\njava=\nwhile :; do case \"$1\" in -D*) java=\"$java $1\"; shift;; *) break;; esac; done\n\
             exec '{}' $java {} \"$@\"\n",
            java.display(),
            first.join(" ")
        ))
    }

    /// Java, and its arguments up to those of nodetool itself.
    async fn nodetool_command(&self) -> Result<(PathBuf, Vec<String>)> {
        let config = &self.node.config_directory;
        // The Java 11 at hand has no module that resolves a JMX URL, so nodetool of every version
        // runs on 17.
        let on = Version::V5_0;
        if matches!(self.node.jmx, Jmx::Tls(_)) {
            bail!("nodetool of the bed speaks no TLS");
        }
        let mut args = config::tool_jvm(on, config);
        let port = self.node.jmx_port.to_string();
        args.extend(["-cp".into(), self.jars(), config::NODETOOL.into()]);
        args.extend(["-h", "127.0.0.1", "-p", &port].map(String::from));
        if let Jmx::Password(Credentials { user, .. }) = &self.node.jmx {
            let file = format!("{config}/{}", config::JMX_PASSWORDS);
            args.extend(["-u", user, "-pwf", &file].map(String::from));
        }
        Ok((on.jdk().await?.java(), args))
    }

    /// What Cassandra's own sstablemetadata prints of SSTables, given by their data files.
    pub async fn sstable_metadata(&self, data_files: &[PathBuf]) -> Result<String> {
        self.tool(config::SSTABLE_METADATA, &[], data_files).await
    }

    /// Marks SSTables as repaired, given by their data files, while it is stopped.
    pub async fn set_repaired(&self, data_files: &[PathBuf]) -> Result<()> {
        let flags = ["--really-set", "--is-repaired"];
        let done = self.tool(config::SSTABLE_REPAIRED, &flags, data_files);
        done.await.map(drop)
    }

    async fn tool(&self, class: &str, flags: &[&str], files: &[PathBuf]) -> Result<String> {
        let jvm = config::tool_jvm(self.node.version, &self.node.config_directory);
        let run = Run::new(self.distribution.jdk.java())
            .args(jvm)
            .arg("-cp")
            .arg(self.jars())
            .arg(class)
            .args(flags)
            .args(files);
        Ok(run.output().await?)
    }

    /// Stops it as an owner would: drained of nothing, but with its shutdown hooks.
    pub async fn stop(&mut self) -> Result<()> {
        match self.child.take() {
            Some(child) => child.stop(Duration::from_secs(30)).await,
            None => Ok(()),
        }
    }

    /// Kills it.
    pub async fn kill(&mut self) -> Result<()> {
        match self.child.take() {
            Some(child) => child.kill().await,
            None => Ok(()),
        }
    }

    /// Stops it if it runs, starts it, and waits until it answers CQL.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let label = format!("start Cassandra on {}", self.node.address);
        step(label, self.launch()).await
    }

    /// Freezes it, as a long pause of its garbage collector would.
    pub fn pause(&self) -> Result<()> {
        self.child
            .as_ref()
            .context("it does not run")?
            .signal(Signal::STOP)
    }

    /// Lets it go on after [`HostCassandra::pause`].
    pub fn resume(&self) -> Result<()> {
        self.child
            .as_ref()
            .context("it does not run")?
            .signal(Signal::CONT)
    }

    /// What it is told at its next start.
    pub fn node_mut(&mut self) -> &mut Node {
        &mut self.node
    }

    async fn launch(&mut self) -> Result<()> {
        let config = PathBuf::from(&self.node.config_directory);
        fs::create_dir_all(&config)?;
        fs::create_dir_all(self.home.path().join("tmp"))?;
        for (name, text) in self.node.files() {
            let file = config.join(name);
            fs::write(&file, text)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        }
        let jars = path(&self.distribution.jars)?;
        let mut args = self.node.jvm(&jars, &self.distribution.jamm()?);
        args.extend(self.jvm.iter().cloned());
        let child = Child::start(
            "cassandra",
            &self.distribution.jdk.java(),
            &self.log(),
            |java| {
                java.args(args)
                    .args(["-cp", &self.jars(), config::DAEMON])
                    .current_dir(self.home());
            },
        )?;
        let child = self.child.insert(child);
        let (address, port) = (&self.node.address, self.node.cql_port);
        let patience = Duration::from_secs(180);
        child
            .ready(patience, async || cql::answers(address, port).await)
            .await
    }

    fn jars(&self) -> String {
        format!("{}/*", self.distribution.jars.display())
    }
}

fn path(path: &Path) -> Result<String> {
    Ok(path
        .to_str()
        .context("a path that is not UTF-8")?
        .to_owned())
}

/// A number that no other node of this machine has while this lives.
#[derive(Debug)]
struct Place {
    number: u8,
    _lock: std::os::unix::net::UnixListener,
}

impl Place {
    fn take() -> Result<Self> {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::{SocketAddr, UnixListener};
        for number in 1..=254 {
            // The kernel frees an abstract name with the process, however that ends.
            let name = SocketAddr::from_abstract_name(format!("cassandra-backup-bed/{number}"))?;
            if let Ok(lock) = UnixListener::bind_addr(&name) {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        bail!("all 254 addresses for Cassandra nodes are in use on this machine")
    }

    fn address(&self) -> String {
        let [a, b, c] = NETWORK;
        format!("{a}.{b}.{c}.{}", self.number)
    }
}
