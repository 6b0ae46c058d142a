//! Kubernetes manifests of a Cassandra cluster, rendered from options: one StatefulSet with
//! volumes bound to directories of this machine.

use std::path::{Path, PathBuf};

use anyhow::Result;
use k8s_openapi::api::core::v1::Container;
use serde_json::{Value, json};

use super::config::{self, Credentials, Format, Jmx, Node};
use super::{Distribution, Version};
use crate::parts::images::{CASSANDRA_UID, Image};

/// Where the data volume is mounted in every pod. Data is in `data`, further data directories in
/// `data2` and so on.
pub const HOME: &str = "/var/lib/cassandra";
/// The name of the container that is Cassandra.
pub const CONTAINER: &str = "cassandra";

/// How a cluster is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of its StatefulSet, and the value of the label `app` of its pods.
    pub name: String,
    /// Which Cassandra.
    pub version: Version,
    /// `cluster_name`.
    pub cluster_name: String,
    /// How many pods.
    pub replicas: usize,
    /// User and group that Cassandra runs as: 999, or 0 for root.
    pub uid: u32,
    /// Whether the containers' root file systems are read-only.
    pub read_only_root: bool,
    /// Whether Cassandra's image has a shell.
    pub shell: bool,
    /// How JMX is served.
    pub jmx: Jmx,
    /// The superuser to log in as over CQL; without one everybody is let in.
    pub cql: Option<Credentials>,
    /// Datacenter and rack of each pod; pods without one are in `dc1`, each in a rack of its own.
    pub places: Vec<(String, String)>,
    /// Number of tokens of each node.
    pub num_tokens: u32,
    /// The tokens of each pod; random ones for pods without.
    pub initial_tokens: Vec<Vec<String>>,
    /// How many data directories.
    pub data_directories: usize,
    /// What SSTables look like.
    pub format: Format,
    /// Whether SSTables are named by UUIDs instead of numbers.
    pub uuid_ids: bool,
    /// Directories of this machine that every pod sees: the same one in all pods.
    pub mounts: Vec<Mount>,
    /// More containers in every pod. The volume `data` is Cassandra's.
    pub containers: Vec<Container>,
    /// Whether the pods only sleep where Cassandra would run.
    pub asleep: bool,
    /// Memory limit of Cassandra's container in MiB.
    pub memory_mib: u32,
}

impl Options {
    /// Three nodes, as users have them.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            version: Version::default(),
            cluster_name: name.into(),
            replicas: 3,
            uid: CASSANDRA_UID,
            read_only_root: false,
            shell: true,
            jmx: Jmx::Open,
            cql: None,
            places: Vec::new(),
            num_tokens: 4,
            initial_tokens: Vec::new(),
            data_directories: 1,
            format: Format::Nb,
            uuid_ids: false,
            mounts: Vec::new(),
            containers: Vec::new(),
            asleep: false,
            memory_mib: 1500,
        }
    }

    /// The datacenter of a pod.
    pub fn datacenter(&self, pod: usize) -> &str {
        self.places
            .get(pod)
            .map_or("dc1", |(datacenter, _)| datacenter)
    }

    /// The name of a pod.
    pub fn pod(&self, pod: usize) -> String {
        format!("{}-{pod}", self.name)
    }
}

/// A directory of this machine in a pod.
#[derive(Debug, Clone)]
pub struct Mount {
    /// The name of the volume.
    pub name: String,
    /// Where it is on this machine.
    pub host: PathBuf,
    /// Where the pod sees it.
    pub path: String,
}

/// The directory of this machine that is the data volume of a pod.
pub fn volume(folder: &Path, options: &Options, pod: usize) -> PathBuf {
    folder.join(options.pod(pod))
}

/// The directory of this machine where the first pod says how it is reached.
pub fn seed(folder: &Path, options: &Options) -> PathBuf {
    folder.join(format!("{}-seed", options.name))
}

/// The images of a cluster.
#[derive(Debug, Clone)]
pub struct Images {
    /// Of Cassandra's container.
    pub cassandra: Image,
    /// Of the container that writes its configuration: it has a shell in any case.
    pub configure: Image,
}

/// All manifests of a cluster whose volumes are below `folder`, in the order to apply them.
pub fn render(
    namespace: &str,
    folder: &Path,
    options: &Options,
    distribution: &Distribution,
    images: &Images,
) -> Result<Vec<Value>> {
    let mut manifests = vec![config(options, distribution)?, service(options)];
    for pod in 0..options.replicas {
        manifests.push(persistent_volume(namespace, folder, options, pod));
    }
    manifests.push(stateful_set(folder, options, images));
    Ok(manifests)
}

/// The configuration of all pods. A Secret, since passwords of JMX are in it.
fn config(options: &Options, distribution: &Distribution) -> Result<Value> {
    let jamm = distribution.jamm()?;
    let jars = "/opt/cassandra/lib";
    let mut files = serde_json::Map::new();
    for pod in 0..options.replicas {
        let node = node(options, pod);
        let arguments = |arguments: Vec<String>, main: &str| {
            // One argument a line, as Java's argument files may be written.
            format!("{}\n-cp\n{jars}/*\n{main}\n", arguments.join("\n"))
        };
        let mut all = node.files();
        all.push((
            "cassandra.args",
            arguments(node.jvm(jars, &jamm), config::DAEMON),
        ));
        let nodetool = config::tool_jvm(options.version, &node.config_directory);
        all.push(("nodetool.args", arguments(nodetool, config::NODETOOL)));
        for (name, text) in all {
            files.insert(format!("{pod}.{name}"), text.into());
        }
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": format!("{}-config", options.name)},
        "stringData": files,
    }))
}

/// What the pod's addresses are replaced for when it starts.
const ADDRESS: &str = "@ADDRESS@";
const SEED: &str = "@SEED@";

fn node(options: &Options, pod: usize) -> Node {
    let mut node = Node::new(options.version, ADDRESS, HOME);
    node.cluster_name.clone_from(&options.cluster_name);
    node.seeds = format!("{SEED}:{}", node.storage_port);
    node.jmx = options.jmx.clone();
    node.cql_password = options.cql.is_some();
    node.datacenter = options.datacenter(pod).into();
    node.rack = options
        .places
        .get(pod)
        .map_or(format!("r{}", pod + 1), |(_, rack)| rack.clone());
    node.num_tokens = options.num_tokens;
    node.initial_tokens = options.initial_tokens.get(pod).cloned().unwrap_or_default();
    node.format = options.format;
    node.uuid_ids = options.uuid_ids;
    node.data_directories = (1..=options.data_directories.max(1))
        .map(|n| {
            if n == 1 {
                format!("{HOME}/data")
            } else {
                format!("{HOME}/data{n}")
            }
        })
        .collect();
    node
}

fn service(options: &Options) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": options.name},
        "spec": {
            "clusterIP": "None",
            "selector": {"app": options.name},
            "ports": [{"name": "cql", "port": 9042}],
        },
    })
}

fn persistent_volume(namespace: &str, folder: &Path, options: &Options, pod: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        // Volumes belong to no namespace: the label says who may delete them.
        "metadata": {
            "name": format!("{namespace}-{}", options.pod(pod)),
            "labels": {"bed/namespace": namespace, "bed/cassandra": options.name},
        },
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "hostPath": {"path": volume(folder, options, pod), "type": "Directory"},
            "claimRef": {"namespace": namespace, "name": format!("data-{}", options.pod(pod))},
        },
    })
}

/// Copies the pod's own files out of the Secret, with its address and the seed's in place. Java
/// reads passwords only from files that nobody else may read.
const CONFIGURE: &str = r#"set -eu
pod=${POD_NAME##*-}
if [ "$pod" = 0 ]; then
  echo "$POD_IP" > /seed/address.new
  mv /seed/address.new /seed/address
fi
seed=$POD_IP
# A node that finds no seed when it starts gives up. The address in the file may be an old one.
until [ "$pod" = 0 ] || { seed=$(cat /seed/address) && (: < "/dev/tcp/$seed/7000"); } 2> /dev/null; do
  sleep 0.2
done
conf=/var/lib/cassandra/conf
mkdir -p $conf /var/lib/cassandra/tmp
umask 077
for file in /etc/cassandra/"$pod".*; do
  to=$conf/${file#/etc/cassandra/"$pod".}
  rm -f "$to"
  sed -e "s/@ADDRESS@/$POD_IP/g" -e "s/@SEED@/$seed/g" "$file" > "$to"
done
"#;

fn stateful_set(folder: &Path, options: &Options, images: &Images) -> Value {
    let security = json!({
        "runAsUser": options.uid,
        "runAsGroup": options.uid,
        "readOnlyRootFilesystem": options.read_only_root,
        "allowPrivilegeEscalation": false,
    });
    let data = json!({"name": "data", "mountPath": HOME});
    let mut mounts = vec![data.clone()];
    let mut volumes = vec![
        json!({"name": "config", "secret": {"secretName": format!("{}-config", options.name)}}),
        json!({"name": "seed", "hostPath": {"path": seed(folder, options), "type": "Directory"}}),
    ];
    for Mount { name, host, path } in &options.mounts {
        mounts.push(json!({"name": name, "mountPath": path}));
        volumes.push(json!({"name": name, "hostPath": {"path": host, "type": "Directory"}}));
    }
    let mut cassandra = json!({
        "name": CONTAINER,
        "image": images.cassandra.name,
        "imagePullPolicy": "Never",
        "ports": [{"name": "cql", "containerPort": 9042}],
        "resources": {
            "limits": {"memory": format!("{}Mi", options.memory_mib)},
            // Without a share of the processor whatever else runs on the machine would starve it.
            "requests": {"memory": "256Mi", "cpu": "200m"},
        },
        "securityContext": security,
        "volumeMounts": mounts,
    });
    if options.asleep {
        cassandra["command"] = json!(["/bin/sleep", "inf"]);
    } else {
        // CQL opens last of all.
        cassandra["readinessProbe"] =
            json!({"tcpSocket": {"port": 9042}, "periodSeconds": 1, "timeoutSeconds": 2});
    }
    let mut containers = vec![cassandra];
    containers.extend(options.containers.iter().map(|container| json!(container)));
    let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let configure = json!({
        "name": "configure",
        "image": images.configure.name,
        "imagePullPolicy": "Never",
        "command": ["/bin/bash", "-c", CONFIGURE],
        "env": [
            {"name": "POD_NAME", "valueFrom": field("metadata.name")},
            {"name": "POD_IP", "valueFrom": field("status.podIP")},
        ],
        "securityContext": security,
        "volumeMounts": [
            data,
            {"name": "config", "mountPath": "/etc/cassandra"},
            {"name": "seed", "mountPath": "/seed"},
        ],
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": options.name},
        "spec": {
            "serviceName": options.name,
            "replicas": options.replicas,
            // All at once: nodes of an empty cluster need not wait for each other.
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": options.name}},
            "template": {
                "metadata": {"labels": {"app": options.name}},
                "spec": {
                    // There is no DNS in the cluster.
                    "dnsPolicy": "Default",
                    "enableServiceLinks": false,
                    "automountServiceAccountToken": false,
                    // As the first process of its container, sleep would wait for the end of it.
                    "terminationGracePeriodSeconds": if options.asleep { 1 } else { 20 },
                    "initContainers": [configure],
                    "containers": containers,
                    "volumes": volumes,
                },
            },
            "volumeClaimTemplates": [{
                "metadata": {"name": "data"},
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": "",
                    "resources": {"requests": {"storage": "10Gi"}},
                },
            }],
        },
    })
}
