//! The programs of Kubernetes and their flags. Everything listens on the bridge or on loopback,
//! never on an address that others can reach.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::process::Command;

use super::NODE;
use super::credentials::Credentials;
use crate::bed::ground::Ground;
use crate::parts::{containerd, etcd, network};

/// The API server, for whoever runs on this machine or in a pod.
pub const SERVER: &str = "https://10.88.0.1:6443";

const API_SERVER: &str = "kube-apiserver";
const KUBELET: &str = "kubelet";

/// The names of the programs, which are the names of their daemons.
pub const ALL: [&str; 5] = [
    API_SERVER,
    "kube-controller-manager",
    "kube-scheduler",
    KUBELET,
    "kube-proxy",
];

/// What the programs are started from.
pub struct Programs<'a> {
    /// The bed they belong to.
    pub ground: &'a Ground,
    /// The executable that holds all of them.
    pub executable: PathBuf,
    /// Their certificates and kubeconfigs.
    pub credentials: Credentials,
}

async fn start_api_server(ground: &Ground, command: Command, kubeconfig: &Path) -> Result<()> {
    let daemons = ground.daemons();
    let daemon = daemons.start(API_SERVER, command).await?;
    let client = crate::bed::client(kubeconfig).await?;
    let ready = async || {
        let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else {
            return false;
        };
        client.request_text(request).await.is_ok()
    };
    daemons.ready(&daemon, Duration::from_secs(90), ready).await
}

/// Ends the API server that runs, and starts it as it was started.
pub(super) async fn restart_api_server(ground: &Ground) -> Result<()> {
    let command = command_of(ground, API_SERVER)?;
    start_api_server(ground, command, &ground.kubeconfig()).await
}

/// Ends the kubelet that runs, and starts it as it was started. Containers run on.
pub(super) async fn restart_kubelet(ground: &Ground) -> Result<()> {
    let command = command_of(ground, KUBELET)?;
    ground.daemons().start(KUBELET, command).await.map(drop)
}

/// By which command a program was started that runs.
fn command_of(ground: &Ground, program: &str) -> Result<Command> {
    let daemon = ground.daemons().get(program).context("it does not run")?;
    let line = fs::read(format!("/proc/{}/cmdline", daemon.process.pid))?;
    let line = String::from_utf8(line)?;
    let mut words = line.trim_end_matches('\0').split('\0');
    let mut command = Command::new(words.next().context("it has no command")?);
    command.args(words);
    Ok(command)
}

impl Programs<'_> {
    /// Starts the API server and waits until it is ready.
    pub async fn api_server(&self) -> Result<()> {
        let file = |name| self.credentials.file(name).display().to_string();
        let mut command = self.program(API_SERVER);
        command
            .arg(format!("--advertise-address={}", network::NODE))
            .arg(format!("--bind-address={}", network::NODE))
            .arg("--secure-port=6443")
            .arg(format!("--etcd-servers=http://{}", etcd::CLIENT))
            .arg(format!("--service-cluster-ip-range={}", network::SERVICES))
            .arg(format!("--token-auth-file={}", file("tokens.csv")))
            .arg("--authorization-mode=Node,RBAC")
            .arg("--allow-privileged=true")
            .arg("--kubelet-preferred-address-types=InternalIP")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!(
                "--service-account-key-file={}",
                file("service-account.pub")
            ))
            .arg(format!(
                "--service-account-signing-key-file={}",
                file("service-account.key")
            ))
            .arg(format!("--tls-cert-file={}", file("api-server.crt")))
            .arg(format!("--tls-private-key-file={}", file("api-server.key")))
            // With policies of this kind a test gives pods what a cloud's own webhook gives them.
            .arg("--feature-gates=MutatingAdmissionPolicy=true")
            .arg("--runtime-config=admissionregistration.k8s.io/v1beta1=true")
            // The API server watches itself through etcd only; nothing else needs its ports.
            .arg("--profiling=false");
        let kubeconfig = self.credentials.kubeconfig("admin");
        start_api_server(self.ground, command, &kubeconfig).await
    }

    /// Starts the controller manager.
    pub async fn controller_manager(&self) -> Result<()> {
        let file = |name| self.credentials.file(name).display().to_string();
        let plugins = self.ground.dir("volume-plugins")?;
        let mut command = self.with_kubeconfig("kube-controller-manager", "controller-manager");
        command
            .arg(format!(
                "--service-account-private-key-file={}",
                file("service-account.key")
            ))
            .arg(format!("--root-ca-file={}", file("ca.crt")))
            .arg("--use-service-account-credentials=true")
            .arg(format!("--flex-volume-plugin-dir={}", plugins.display()))
            .arg("--leader-elect=false")
            .arg("--secure-port=0");
        self.daemon("kube-controller-manager", command).await
    }

    /// Starts the scheduler.
    pub async fn scheduler(&self) -> Result<()> {
        let mut command = self.with_kubeconfig("kube-scheduler", "scheduler");
        command
            .args(["--leader-elect=false", "--secure-port=0"])
            // A claim that is bound at the moment when its pod is looked at leaves the pod among
            // the unschedulable ones, seen once in some hundred pods; by default for 5 minutes.
            .arg("--pod-max-in-unschedulable-pods-duration=10s");
        self.daemon("kube-scheduler", command).await
    }

    /// Starts the kubelet.
    pub async fn kubelet(&self) -> Result<()> {
        let root = self.ground.dir("kubelet")?;
        let config = self.credentials.file("kubelet.json");
        fs::write(
            &config,
            serde_json::to_vec_pretty(&self.kubelet_configuration()?)?,
        )
        .with_context(|| format!("could not write {}", config.display()))?;
        let mut command = self.with_kubeconfig(KUBELET, "kubelet");
        command
            .arg(format!("--config={}", config.display()))
            .arg(format!("--root-dir={}", root.display()))
            .arg(format!("--cert-dir={}", root.join("pki").display()))
            .arg(format!("--node-ip={}", network::NODE))
            .arg(format!("--hostname-override={NODE}"));
        self.daemon(KUBELET, command).await
    }

    /// Starts kube-proxy.
    pub async fn proxy(&self) -> Result<()> {
        let mut command = self.with_kubeconfig("kube-proxy", "proxy");
        command
            .arg(format!("--hostname-override={NODE}"))
            .arg(format!("--cluster-cidr={}", network::PODS))
            .args(["--proxy-mode=iptables", "--conntrack-max-per-core=0"])
            // Answers between two pods of one bridge must come back through the node even where
            // the kernel does not show bridged packets to iptables.
            .arg("--masquerade-all=true")
            .args(["--healthz-bind-address=127.0.0.1:10256"])
            .args(["--metrics-bind-address=127.0.0.1:10249"]);
        self.daemon("kube-proxy", command).await
    }

    fn kubelet_configuration(&self) -> Result<serde_json::Value> {
        let endpoint = format!("unix://{}", containerd::socket(self.ground).display());
        Ok(json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": network::NODE,
            "containerRuntimeEndpoint": endpoint,
            "podLogsDir": self.ground.dir("pod-logs")?,
            "volumePluginDir": self.ground.dir("volume-plugins")?,
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": false,
            "enforceNodeAllocatable": [],
            "failSwapOn": false,
            "failCgroupV1": false,
            // The API server has no client certificate; the address is the bridge's alone.
            "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
            "authorization": {"mode": "AlwaysAllow"},
            "healthzPort": 0,
            "readOnlyPort": 0,
            // kube-proxy makes the chains that are needed.
            "makeIPTablesUtilChains": false,
            // Images come by import and cannot be pulled again; a full disk is the tests' matter.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {
                "imagefs.available": "0%",
                "memory.available": "0%",
                "nodefs.available": "0%",
                "nodefs.inodesFree": "0%",
            },
            // Without a cgroup for each pod, a pod that is deleted while its container starts now and
            // then looks as if it was to be resized, and the kubelet of 1.34.4 ends with a panic
            // (doPodResizeAction): seen twice among the kills of operator_is_killed.rs.
            "featureGates": {"InPlacePodVerticalScaling": false},
            "maxPods": 200,
            "serializeImagePulls": false,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
        }))
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(&self.executable);
        command.arg(name);
        command
    }

    fn with_kubeconfig(&self, name: &str, user: &str) -> Command {
        let mut command = self.program(name);
        let kubeconfig = self.credentials.kubeconfig(user);
        command.arg(format!("--kubeconfig={}", kubeconfig.display()));
        command
    }

    async fn daemon(&self, name: &str, command: Command) -> Result<()> {
        self.ground.daemons().start(name, command).await.map(drop)
    }
}
