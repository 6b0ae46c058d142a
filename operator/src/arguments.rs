use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Backs up Apache Cassandra in Kubernetes.
#[derive(Parser, Clone, Debug)]
#[command(name = "cassandra-backup-operator", version)]
pub struct Arguments {
    /// What to do; by default `run`.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Subcommand, Clone, Debug)]
pub(crate) enum Command {
    /// Write the custom resource definitions to the folders that hold them.
    Crds(Crds),
}

/// How to run the operator.
#[derive(Args, Clone, Debug)]
pub(crate) struct Serve {
    /// Namespace to watch; can be given several times. By default all namespaces are watched.
    #[arg(long = "namespace", env = "WATCH_NAMESPACES", value_delimiter = ',')]
    pub(crate) namespaces: Vec<String>,
    /// The agent's executable, which is brought into the pods.
    #[arg(long, env = "AGENT", default_value = "/usr/local/bin/cassandra-backup")]
    pub(crate) agent: PathBuf,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// What to log, such as `info` or `operator=debug`.
    #[arg(long, env = "LOG", default_value = "info,kube=warn")]
    pub(crate) log: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Crds {
    /// Folders to write to, below the current one.
    #[arg(default_values = ["crds/yaml", "charts/cassandra-backup/files"])]
    pub(crate) folders: Vec<PathBuf>,
}
