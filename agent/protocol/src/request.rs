use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    CatalogueRequest, DeleteRequest, PurgeRequest, RestoreRequest, Scope, Secret, StorageAccess,
};

/// The version that this crate writes. Readers refuse another major number.
pub const PROTOCOL_VERSION: &str = "1.0";

/// A request is one line of at most this many bytes.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;

/// One line of JSON on the agent's standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// [`PROTOCOL_VERSION`] of the writer.
    pub protocol: String,
    /// Makes the run idempotent: the same id never runs twice.
    pub run_id: Uuid,
    /// The attempt that the caller wants a result of, counted from 1. A result of this attempt or
    /// a later one is told again; else a running attempt is attached to, or a new one begins.
    #[serde(default = "one")]
    pub attempt: u32,
    /// Where journal and caches are kept; the default depends on the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_directory: Option<String>,
    /// Events up to this sequence number are not told again.
    #[serde(default)]
    pub from_seq: u64,
    /// What to do.
    #[serde(flatten)]
    pub operation: Operation,
}

fn one() -> u32 {
    1
}

/// What a run does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "operation", content = "with", rename_all = "camelCase")]
pub enum Operation {
    /// Back up this node.
    Backup(Box<BackupRequest>),
    /// See whether a storage answers and lets itself be used.
    Probe(ProbeRequest),
    /// Remove the snapshots that runs of ours left on this node.
    Sweep(SweepRequest),
    /// Tell which token ranges only some members of the ring have.
    Coverage(CoverageRequest),
    /// Delete the backups that no rule keeps, and data that no backup needs.
    Purge(Box<PurgeRequest>),
    /// Delete one backup, and the data that only it needs.
    Delete(Box<DeleteRequest>),
    /// Tell which backups a cluster has in a storage.
    Catalogue(CatalogueRequest),
    /// Restore a backup into this node while it is up.
    Restore(Box<RestoreRequest>),
}

/// Back up one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupRequest {
    /// Name of the backup in the storage, the same on all nodes.
    pub backup: String,
    /// Cluster id in the storage.
    pub cluster: String,
    /// The schedule that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// What is covered.
    #[serde(default)]
    pub scope: Scope,
    /// Where to.
    pub storage: StorageAccess,
    /// Cassandra's JMX.
    #[serde(default)]
    pub jmx: JmxAccess,
    /// Cassandra's native protocol, for the schema.
    #[serde(default)]
    pub cql: CqlAccess,
    /// The pod, for the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// When to take the snapshot, by the node's clock. Without it: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_at: Option<Timestamp>,
    /// After the snapshot, wait to be told to go on (`proceed --run ID`), so that all nodes take
    /// theirs at the same time and upload in turns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// Tell no ring in the result: nodes enough of a large cluster do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_ring: bool,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Objects younger than this many seconds are not touched.
    #[serde(default)]
    pub touch_after_seconds: u64,
    /// Leave damaged SSTables out instead of failing.
    #[serde(default)]
    pub allow_corrupt: bool,
    /// Refuse a FILE storage on the device of `/` or of the data.
    #[serde(default)]
    pub require_own_device: bool,
}

/// See whether a storage answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeRequest {
    /// Which storage.
    pub storage: StorageAccess,
    /// Name of the object below `.probe` that is written, read, touched and deleted; without it
    /// nothing is written. Probers that may meet must not share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Leave the object for another prober to read or delete.
    #[serde(default)]
    pub leave: bool,
    /// Only read and list the object, which another prober has left.
    #[serde(default)]
    pub left: bool,
    /// Tell whose backups are in the storage.
    #[serde(default)]
    pub survey: bool,
}

/// Remove leftover snapshots of ended runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SweepRequest {
    /// Cassandra's JMX.
    pub jmx: JmxAccess,
}

/// Tell which token ranges only some members of the ring have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CoverageRequest {
    /// Cassandra's JMX.
    pub jmx: JmxAccess,
    /// What is covered.
    pub scope: Scope,
    /// Host ids of these members.
    pub without: Vec<Uuid>,
}

/// A user name with its password.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Password {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
}

/// How to reach Cassandra's JMX.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JmxAccess {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Where JMX asks for a password.
    pub credentials: Option<Password>,
    /// Where JMX speaks TLS.
    pub tls: Option<JmxTls>,
}

impl Default for JmxAccess {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 7199,
            credentials: None,
            tls: None,
        }
    }
}

/// How to trust Cassandra's JMX, and how to be trusted by it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JmxTls {
    /// Certificate authorities in PEM; no others are trusted. A certificate that signed itself is
    /// its own.
    pub ca_pem: String,
    /// Where JMX asks for a certificate.
    pub client: Option<ClientCertificate>,
    /// The name that Cassandra's certificate must bear. Without it: the host; over loopback any
    /// certificate of the authorities will do, since none is made for 127.0.0.1.
    pub server_name: Option<String>,
    /// The registry is plain, only the connector behind it speaks TLS, as with the JVM's own agent
    /// without `com.sun.management.jmxremote.registry.ssl`.
    pub plain_registry: bool,
}

/// A certificate with its private key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificate {
    /// The certificate and those between it and its authority, in PEM.
    pub certificate_pem: String,
    /// Its private key in PEM.
    pub key_pem: Secret,
}

/// How to reach Cassandra's native protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CqlAccess {
    /// Host name or address; by default loopback, then the node's own addresses.
    pub host: Option<String>,
    /// TCP port.
    pub port: u16,
    /// Where CQL asks for a password.
    pub credentials: Option<Password>,
}

impl Default for CqlAccess {
    fn default() -> Self {
        Self {
            host: None,
            port: 9042,
            credentials: None,
        }
    }
}

/// What a run may use of the node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Bytes per second read and sent by the node; none means no limit.
    pub bandwidth: Option<u64>,
    /// Files uploaded or fetched at the same time.
    pub concurrency: Option<u32>,
    /// Seconds from the start of the attempt to its deadline.
    pub deadline_seconds: Option<u64>,
}

/// A request that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRequest {
    /// Too long a line.
    #[error("the request is longer than {MAX_REQUEST_BYTES} bytes")]
    TooLong,
    /// Not JSON, or a field is wrong. The text never quotes values, which may be secret.
    #[error("the request is not understood at column {column}: {category}")]
    Json {
        /// Column in the line.
        column: usize,
        /// What kind of mistake.
        category: &'static str,
    },
    /// A newer protocol.
    #[error("the request speaks protocol {0}, this agent speaks {PROTOCOL_VERSION}: update it")]
    Version(String),
}

impl Request {
    /// Reads a request from its line.
    pub fn parse(line: &[u8]) -> Result<Self, InvalidRequest> {
        if line.len() > MAX_REQUEST_BYTES {
            return Err(InvalidRequest::TooLong);
        }
        let request: Self = serde_json::from_slice(line).map_err(|e| InvalidRequest::Json {
            column: e.column(),
            category: match e.classify() {
                serde_json::error::Category::Data => "a field is missing or has a wrong value",
                serde_json::error::Category::Eof => "the line ends too early",
                _ => "not JSON",
            },
        })?;
        let major = |version: &str| version.split('.').next().map(str::to_owned);
        if major(&request.protocol) != major(PROTOCOL_VERSION) {
            return Err(InvalidRequest::Version(request.protocol));
        }
        Ok(request)
    }

    /// The request as one line, without its line end. It holds secrets.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{S3Access, S3Credentials};

    fn backup() -> Request {
        Request {
            protocol: PROTOCOL_VERSION.into(),
            run_id: Uuid::from_u128(7),
            attempt: 2,
            state_directory: None,
            from_seq: 3,
            operation: Operation::Backup(Box::new(BackupRequest {
                backup: "b1".into(),
                cluster: "prod".into(),
                series: None,
                scope: Scope::default(),
                storage: StorageAccess::S3(S3Access {
                    bucket: "b".into(),
                    credentials: Some(S3Credentials {
                        access_key: "a".into(),
                        secret_key: Secret::new("hunter2"),
                        session_token: None,
                    }),
                    ..S3Access::default()
                }),
                jmx: JmxAccess::default(),
                cql: CqlAccess::default(),
                pod: None,
                snapshot_at: None,
                hold: false,
                without_ring: false,
                limits: Limits::default(),
                touch_after_seconds: 0,
                allow_corrupt: false,
                require_own_device: false,
            })),
        }
    }

    #[test]
    fn a_request_is_one_line_and_read_back_unchanged() {
        let line = backup().to_line().unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(Request::parse(line.as_bytes()).unwrap(), backup());
    }

    #[test]
    fn a_newer_major_protocol_is_refused_and_a_newer_minor_one_is_read() {
        let line = backup().to_line().unwrap();
        let newer = line.replacen("\"1.0\"", "\"2.0\"", 1);
        assert!(matches!(
            Request::parse(newer.as_bytes()),
            Err(InvalidRequest::Version(_))
        ));
        let minor = line.replacen("\"1.0\"", "\"1.9\"", 1);
        assert!(Request::parse(minor.as_bytes()).is_ok());
    }

    #[test]
    fn an_error_never_quotes_the_line() {
        let line = backup()
            .to_line()
            .unwrap()
            .replace("\"attempt\":2", "\"attempt\":\"hunter2\"");
        let message = Request::parse(line.as_bytes()).unwrap_err().to_string();
        assert!(!message.contains("hunter2"), "{message}");
    }
}
