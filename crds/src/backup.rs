//! `CassandraBackup`: one backup of one cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::ALLOWED_NAME;
use crate::rules::{
    bandwidth, keyspaces, names_labels, only_once, storage_name, tables, unchanged,
};
use crate::status::CassandraBackupStatus;
use crate::tls::JmxTlsSettings;
use crate::verify::Rehearsal;

/// Fields of the spec that the schema fills with a default or requires.
pub(crate) const ALWAYS_PRESENT: &[&str] = &[
    "cluster",
    "storage",
    "cassandra",
    "keyspaces",
    "tables",
    "datacenters",
    "startTogether",
    "allowCorrupt",
    "agent",
    "retry",
    "deletionPolicy",
    "imported",
];

/// Fields of the spec that may be absent.
pub(crate) const MAY_BE_ABSENT: &[&str] = &[
    "backupName",
    "series",
    "bandwidthPerNode",
    "concurrentNodes",
    "activeDeadlineSeconds",
];

/// One backup of one Cassandra cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "cassandrabackup.io",
    version = "v1alpha1",
    kind = "CassandraBackup",
    doc = "One backup of one Cassandra cluster. Its spec cannot be changed, except that `cancel` can be set, and `verify` changed.",
    namespaced,
    status = "CassandraBackupStatus",
    derive = "PartialEq",
    category = "cassandra-backup",
    shortname = "cbackup",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(name = "Storage", type_ = "string", json_path = ".spec.storage.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Nodes",
        type_ = "string",
        json_path = ".status.nodesDone",
        description = "Nodes that are backed up, of all"
    ),
    printcolumn(
        name = "Uploaded",
        type_ = "string",
        json_path = ".status.uploaded.size"
    ),
    printcolumn(name = "Reused", type_ = "string", json_path = ".status.reused.size"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Complete\")].reason"
    ),
    printcolumn(
        name = "Verified",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Verified\")].status",
        description = "Whether its last rehearsal went well, where one was asked for"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Proven",
        type_ = "date",
        json_path = ".status.verification.verifiedTime",
        description = "How long ago a rehearsal of it went well",
        priority = "1"
    ),
    printcolumn(
        name = "Backup",
        type_ = "string",
        json_path = ".status.backupName",
        description = "Name of the backup in the storage",
        priority = "1"
    )
)]
#[x_kube(
    validation = unchanged(
        ALWAYS_PRESENT,
        MAY_BE_ABSENT,
        "the spec of a backup cannot be changed, except for cancel and verify: make a new CassandraBackup instead"
    ),
    validation = Rule::new("self.keyspaces.size() == 0 || self.tables.size() == 0")
        .message("name either keyspaces or tables, not both"),
    validation = Rule::new("!self.imported || has(self.backupName)")
        .message("imported: set backupName to the name that the backup has in the storage")
)]
#[serde(rename_all = "camelCase")]
pub struct CassandraBackupSpec {
    /// Cluster id: your name for this Cassandra cluster in the storage. Backups of two clusters
    /// must not share it.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = storage_name("cluster"))]
    pub cluster: String,
    /// Where the backup is kept.
    pub storage: StorageRef,
    /// Which pods run Cassandra and how to reach it inside them.
    pub cassandra: CassandraAccess,
    /// Keyspaces to back up; all when empty.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 48)))]
    #[x_kube(validation = keyspaces())]
    pub keyspaces: Vec<String>,
    /// Tables to back up, as `keyspace.table`; all of the keyspaces when empty.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 280)))]
    #[x_kube(validation = tables())]
    pub tables: Vec<String>,
    /// Datacenters whose nodes make up the backup; all of the ring when empty. Name them when the
    /// selected pods are only some datacenters of the cluster.
    #[serde(default)]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub datacenters: Vec<String>,
    /// Let all nodes take their snapshot at the same time.
    #[serde(default = "yes")]
    pub start_together: bool,
    /// Bytes per second that each node may read and send, as a quantity such as `100Mi`; without
    /// it, as fast as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    #[x_kube(validation = bandwidth())]
    pub bandwidth_per_node: Option<String>,
    /// How many nodes upload at the same time, spread over the racks; all of them without it. With
    /// `startTogether` the others hold their snapshots meanwhile, else they take theirs when it is
    /// their turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub concurrent_nodes: Option<i32>,
    /// Leave damaged SSTables out of the backup instead of failing; each is named in a warning.
    #[serde(default)]
    pub allow_corrupt: bool,
    /// How the agent gets into the pods.
    #[serde(default)]
    pub agent: AgentSource,
    /// What happens when a node fails for a reason that may pass.
    #[serde(default)]
    pub retry: Retry,
    /// Seconds after which the backup is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub active_deadline_seconds: Option<i64>,
    /// Set it to true to cancel the backup. It cannot be set back.
    #[serde(default)]
    #[x_kube(validation = only_once("backup", "CassandraBackup"))]
    pub cancel: bool,
    /// Prove the backup when it is whole: restore it into a Cassandra that is there for nothing else.
    /// It can be set or changed later, and then it is proven again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Rehearsal>,
    /// Name of the backup in the storage, never used twice for a cluster; by default the name of
    /// this resource and the first eight digits of its uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = storage_name("backupName"))]
    pub backup_name: Option<String>,
    /// The series that the backup belongs to: retention judges each series alone. Backups of a
    /// CronBackup have its name here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new(format!("self.matches('{ALLOWED_NAME}')"))
        .message("series must be letters, digits, '.', '_' and '-', and begin with a letter or digit"))]
    pub series: Option<String>,
    /// What happens to the data when this resource is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// The backup is in the storage already, and nothing is done for it; its status says what was
    /// found. The operator makes such resources where a BackupStorage has `importBackups: true`.
    #[serde(default)]
    pub imported: bool,
}

fn yes() -> bool {
    true
}

/// A BackupStorage of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StorageRef {
    /// Name of a BackupStorage in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Which pods run Cassandra and how to reach it inside them.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CassandraAccess {
    /// Selects the pods of the cluster, in this namespace.
    #[x_kube(validation = names_labels())]
    pub pod_selector: LabelSelector,
    /// The container that runs Cassandra; by default the only one, or the one named `cassandra`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// Cassandra's JMX, by which snapshots are taken.
    #[serde(default)]
    pub jmx: JmxSettings,
    /// Cassandra's native protocol, by which the schema is read.
    #[serde(default)]
    pub cql: CqlSettings,
}

/// Cassandra's JMX inside the pod.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct JmxSettings {
    /// TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Where the password is, if JMX asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PasswordSource>,
    /// If JMX speaks TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<JmxTlsSettings>,
}

impl Default for JmxSettings {
    fn default() -> Self {
        Self {
            port: 7199,
            credentials: None,
            tls: None,
        }
    }
}

/// Cassandra's native protocol inside the pod.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CqlSettings {
    /// TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Where the password is, if CQL asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PasswordSource>,
}

impl Default for CqlSettings {
    fn default() -> Self {
        Self {
            port: 9042,
            credentials: None,
        }
    }
}

/// A secret with a user name and a password.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSource {
    /// Name of a Secret in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// Under which keys the Secret holds what.
    #[serde(default)]
    pub keys: PasswordKeys,
}

/// Keys of a secret that holds a user name and a password.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PasswordKeys {
    /// Key of the user name.
    #[schemars(length(min = 1, max = 253))]
    pub username: String,
    /// Key of the password.
    #[schemars(length(min = 1, max = 253))]
    pub password: String,
}

impl Default for PasswordKeys {
    fn default() -> Self {
        Self {
            username: "username".into(),
            password: "password".into(),
        }
    }
}

/// How the agent gets into the pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("(self.mode == 'Container') == has(self.container)")
    .message("container names the container that has the agent: set it with mode Container, and only then"))]
#[serde(rename_all = "camelCase")]
pub struct AgentSource {
    /// `Inject` streams it into Cassandra's container. `Container` uses a container of the pod
    /// that already has it, mounts the data at the same path and runs as the same user.
    #[serde(default)]
    pub mode: AgentMode,
    /// The container that has the agent, with mode Container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// Where the agent is in that container.
    #[serde(default = "agent_path")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.startsWith('/')").message("path must be absolute"))]
    pub path: String,
    /// Directories to try first for the agent and the journal of its runs. One must be writable
    /// and, with mode Inject, allow execution.
    #[serde(default)]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    #[x_kube(validation = Rule::new("self.all(path, path.startsWith('/') && path != '/' && !path.split('/').exists(part, part == '..'))")
        .message("directories must be absolute paths, not '/', and without '..'"))]
    pub directories: Vec<String>,
}

impl Default for AgentSource {
    fn default() -> Self {
        Self {
            mode: AgentMode::default(),
            container: None,
            path: agent_path(),
            directories: Vec::new(),
        }
    }
}

fn agent_path() -> String {
    "/usr/local/bin/cassandra-backup".into()
}

/// How the agent gets into the pods.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentMode {
    /// Streamed into Cassandra's container.
    #[default]
    Inject,
    /// Already in a container of the pod.
    Container,
}

/// What happens when a node fails for a reason that may pass.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// How many more attempts each node has after its first.
    #[schemars(range(min = 0, max = 100))]
    pub limit: i32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { limit: 3 }
    }
}

/// What happens to the data when the resource is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// It stays in the storage.
    #[default]
    Retain,
    /// It is deleted with the resource, except what other backups need. The resource stays until
    /// that is done; annotate it with `cassandrabackup.io/skip-data-deletion: "true"` to let it go
    /// without.
    Delete,
}
