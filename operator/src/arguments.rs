use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{FIELD_MANAGER, generate};

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
    /// Write the pages that are made from the code: reasons and metrics.
    Docs(Docs),
    /// Write all generated files to where they belong, below the current folder.
    Generate,
    /// Wait for SIGTERM: what a maintenance pod does while the agent is at work in it.
    #[command(hide = true)]
    Idle,
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
    /// The image of the pods in which storages with a `maintenancePod` are looked after: this
    /// program's own, which has the agent under the same path.
    #[arg(long, env = "MAINTENANCE_IMAGE")]
    pub(crate) maintenance_image: Option<String>,
    /// When that image is pulled: Always, IfNotPresent or Never.
    #[arg(long, env = "MAINTENANCE_IMAGE_PULL_POLICY")]
    pub(crate) maintenance_image_pull_policy: Option<String>,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// Work only while holding a lease, so that several operators can run and one of them works.
    #[arg(long, env = "LEADER_ELECT", requires = "lease_namespace")]
    pub(crate) leader_elect: bool,
    /// The lease's name.
    #[arg(long, env = "LEASE_NAME", default_value = FIELD_MANAGER)]
    pub(crate) lease_name: String,
    /// The lease's namespace.
    #[arg(long, env = "POD_NAMESPACE")]
    pub(crate) lease_namespace: Option<String>,
    /// Who holds the lease: a name that no other process has at the same time. Default: a random
    /// one.
    #[arg(long, env = "POD_NAME")]
    pub(crate) identity: Option<String>,
    /// What to log, such as `info` or `operator=debug`.
    #[arg(long, env = "LOG", default_value = "info,kube=warn")]
    pub(crate) log: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Docs {
    /// Folder to write to.
    #[arg(default_value = generate::DOCS)]
    pub(crate) folder: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Crds {
    /// Folders to write to, below the current one.
    #[arg(default_values = generate::DEFINITIONS)]
    pub(crate) folders: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_needs_the_namespace_of_its_lease() {
        let parsed = |more: &[&str]| Arguments::try_parse_from([&["operator"], more].concat());
        assert!(!parsed(&[]).unwrap().serve.leader_elect);
        let error = parsed(&["--leader-elect"]).unwrap_err().to_string();
        assert!(error.contains("--lease-namespace"), "{error}");
        let both = parsed(&["--leader-elect", "--lease-namespace=ops"]).unwrap();
        assert!(both.serve.leader_elect);
    }
}
