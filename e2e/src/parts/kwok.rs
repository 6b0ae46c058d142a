//! kwok, which plays nodes and their kubelets: pods that are nothing but a status, and whose `exec` runs
//! its command on this machine. For more pods than fit on it.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::bed::ground::Ground;
use crate::host::child::Child;
use crate::host::go::{Program, Source};
use crate::host::port;

/// The annotation of a node that is played, and the key of its taint.
pub const PLAYED: &str = "kwok.x-k8s.io/node";
const ADDRESS: &str = "127.0.0.1";

/// Every command of every pod runs here. `PORT` stands for that of the kubelets. A container has an id,
/// which kwok's own stage leaves out.
const CONFIGURATION: &str = r#"
apiVersion: kwok.x-k8s.io/v1alpha1
kind: ClusterExec
metadata: {name: here}
spec: {execs: [{local: {}}]}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: node-ready}
spec:
  resourceRef: {apiGroup: v1, kind: Node}
  selector:
    matchExpressions:
    - {key: .status.daemonEndpoints.kubeletEndpoint.Port, operator: NotIn, values: ["PORT"]}
  next:
    statusTemplate: |
      {{ $now := Now }}
      addresses: [{type: InternalIP, address: 127.0.0.1}]
      allocatable: {cpu: 1k, memory: 1Ti, pods: 1M}
      capacity: {cpu: 1k, memory: 1Ti, pods: 1M}
      conditions:
      - {type: Ready, status: "True", reason: Played, message: "", lastHeartbeatTime: {{ $now | Quote }}, lastTransitionTime: {{ $now | Quote }}}
      daemonEndpoints: {kubeletEndpoint: {Port: PORT}}
      phase: Running
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-ready}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
    - {key: .status.podIP, operator: DoesNotExist}
  next:
    statusTemplate: |
      {{ $now := Now }}
      phase: Running
      startTime: {{ $now | Quote }}
      hostIP: 127.0.0.1
      {{ $ips := PodIPsWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace }}
      podIP: {{ index $ips 0 | Quote }}
      podIPs: [{ip: {{ index $ips 0 | Quote }}}]
      conditions:
      - {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
      - {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
      - {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
      containerStatuses:
      {{ range .spec.containers }}
      - name: {{ .name | Quote }}
        image: {{ .image | Quote }}
        containerID: {{ printf "kwok://%s" $.metadata.uid | Quote }}
        ready: true
        started: true
        restartCount: 0
        state: {running: {startedAt: {{ $now | Quote }}}}
      {{ end }}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-delete}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: Exists}
  next:
    finalizers: {empty: true}
    delete: true
"#;

/// The program, built when it is not in the cache: 2 min on two idle cores.
pub async fn ensure() -> Result<PathBuf> {
    Program {
        name: "kwok",
        source: Source::Package("sigs.k8s.io/kwok/cmd/kwok@v0.8.0"),
        ldflags: "",
    }
    .ensure()
    .await
}

/// It runs. Dropping it ends it; its nodes are not ready then.
#[derive(Debug)]
pub struct Kwok {
    _child: Child,
    _home: TempDir,
}

impl Kwok {
    /// Plays every node of the bed's cluster that has the annotation [`PLAYED`].
    pub async fn start(ground: &Ground) -> Result<Self> {
        let program = ensure().await?;
        let home = tempfile::Builder::new().prefix("bed-kwok-").tempdir()?;
        let file = |name: &str| home.path().join(name);
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![ADDRESS.to_owned()])?.self_signed(&key)?;
        fs::write(file("tls.crt"), certificate.pem())?;
        fs::write(file("tls.key"), key.serialize_pem())?;
        let ip: IpAddr = ADDRESS.parse()?;
        let address = port::free(ip)?;
        let configuration = CONFIGURATION.replace("PORT", &address.port().to_string());
        fs::write(file("kwok.yaml"), configuration)?;
        let child = Child::start("kwok", &program, &file("kwok.log"), |kwok| {
            kwok.arg(format!("--kubeconfig={}", ground.kubeconfig().display()))
                .arg(format!("--config={}", file("kwok.yaml").display()))
                .arg("--manage-all-nodes=false")
                .arg(format!("--manage-nodes-with-annotation-selector={PLAYED}"))
                .arg(format!("--node-ip={ip}"))
                .arg(format!("--node-port={}", address.port()))
                .arg(format!("--server-address={address}"))
                .arg(format!("--tls-cert-file={}", file("tls.crt").display()))
                .arg(format!(
                    "--tls-private-key-file={}",
                    file("tls.key").display()
                ))
                .arg("--node-lease-duration-seconds=200")
                .arg("--cidr=10.1.0.1/16")
                // The bed's etcd is too old for lists that are watches.
                .env("KUBE_FEATURE_WatchListClient", "false")
                .env("HOME", home.path());
        })?;
        let listens = async || TcpStream::connect(address).await.is_ok();
        child.ready(Duration::from_secs(60), listens).await?;
        Ok(Self {
            _child: child,
            _home: home,
        })
    }
}
