//! Configuration of one Cassandra node, rendered from options: cassandra.yaml, the snitch's file,
//! logback, and the arguments of its JVM. The keys are those of `conf/cassandra.yaml` and
//! `conf/jvm*-server.options` of each version's source.

use serde_json::{Value, json};

use super::{Version, tls};

/// A user name and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl Credentials {
    /// Both in one go.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }
}

/// How JMX is served, always on the loopback address of the node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Jmx {
    /// To everybody.
    #[default]
    Open,
    /// To those who know the password.
    Password(Credentials),
    /// To those who know the password, over TLS.
    Tls(JmxTls),
    /// Not at all.
    Off,
}

/// JMX over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JmxTls {
    /// Who is let in.
    pub credentials: Credentials,
    /// The directory of the key stores, as [`Certificates`](super::tls::Certificates) makes them.
    pub stores: String,
    /// Whether a certificate of the client is asked for, too.
    pub client_certificate: bool,
    /// Who serves.
    pub server: JmxServer,
}

/// Who serves JMX over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JmxServer {
    /// Cassandra itself: registry and connector speak TLS.
    Cassandra,
    /// The JVM's own agent, which takes precedence where its port is set.
    Jvm {
        /// `com.sun.management.jmxremote.registry.ssl`: whether the registry speaks TLS, too.
        registry_ssl: bool,
    },
}

impl Jmx {
    /// Who is let in, where a password is asked for.
    fn credentials(&self) -> Option<&Credentials> {
        match self {
            Self::Password(credentials) | Self::Tls(JmxTls { credentials, .. }) => {
                Some(credentials)
            }
            Self::Open | Self::Off => None,
        }
    }
}

/// The SSTable format that Cassandra writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// What the version writes as shipped: `nb`.
    #[default]
    Nb,
    /// `oa`: 5.0 without compatibility with 4.x.
    Oa,
    /// `da`: 5.0 with tries (`bti`).
    Da,
}

/// What one node is told. Paths are as the node sees them.
#[derive(Debug, Clone)]
pub struct Node {
    /// Which Cassandra.
    pub version: Version,
    /// `cluster_name`.
    pub cluster_name: String,
    /// Address for everything but JMX.
    pub address: String,
    /// Comma-separated `address:port` of the seeds.
    pub seeds: String,
    /// `storage_port`.
    pub storage_port: u16,
    /// `native_transport_port`.
    pub cql_port: u16,
    /// Port of JMX on 127.0.0.1.
    pub jmx_port: u16,
    /// How JMX is served.
    pub jmx: Jmx,
    /// Whether CQL asks for a password. The first superuser is `cassandra`, with that password.
    pub cql_password: bool,
    /// Datacenter.
    pub datacenter: String,
    /// Rack.
    pub rack: String,
    /// Number of tokens; ignored where `initial_tokens` are given.
    pub num_tokens: u32,
    /// The tokens to own; random ones if there are none.
    pub initial_tokens: Vec<String>,
    /// `data_file_directories`.
    pub data_directories: Vec<String>,
    /// The directory for commit logs, hints, caches and everything else.
    pub storage_directory: String,
    /// The directory that holds the files rendered here.
    pub config_directory: String,
    /// What SSTables look like.
    pub format: Format,
    /// Whether SSTables are named by UUIDs instead of numbers (4.1 and newer).
    pub uuid_ids: bool,
    /// Heap in MiB.
    pub heap_mib: u32,
}

impl Node {
    /// A node of its own, with the ports that Cassandra has by default.
    pub fn new(version: Version, address: &str, storage_directory: &str) -> Self {
        Self {
            version,
            cluster_name: "bed".into(),
            address: address.into(),
            seeds: format!("{address}:7000"),
            storage_port: 7000,
            cql_port: 9042,
            jmx_port: 7199,
            jmx: Jmx::Open,
            cql_password: false,
            datacenter: "dc1".into(),
            rack: "r1".into(),
            num_tokens: 4,
            initial_tokens: Vec::new(),
            data_directories: vec![format!("{storage_directory}/data")],
            storage_directory: storage_directory.into(),
            config_directory: format!("{storage_directory}/conf"),
            format: Format::Nb,
            uuid_ids: false,
            heap_mib: 384,
        }
    }

    /// The files of the configuration directory: name and content.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let Self {
            datacenter, rack, ..
        } = self;
        let mut files = vec![
            ("cassandra.yaml", self.yaml()),
            (
                "cassandra-rackdc.properties",
                format!("dc={datacenter}\nrack={rack}\n"),
            ),
            ("logback.xml", logback("INFO", "System.out")),
            ("logback-tools.xml", logback("WARN", "System.err")),
        ];
        if let Some(Credentials { user, password }) = self.jmx.credentials() {
            files.push((JMX_PASSWORDS, format!("{user} {password}\n")));
            files.push((JMX_ACCESS, format!("{user} readwrite\n")));
        }
        files
    }

    /// cassandra.yaml. Every JSON text is YAML, quoted without doubt.
    fn yaml(&self) -> String {
        let old = self.version == Version::V4_0;
        let directory = |name: &str| format!("{}/{name}", self.storage_directory);
        let mut yaml = json!({
            "cluster_name": self.cluster_name,
            "num_tokens": self.num_tokens,
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "endpoint_snitch": "GossipingPropertyFileSnitch",
            "seed_provider": [{
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                "parameters": [{"seeds": self.seeds}],
            }],
            "listen_address": self.address,
            "rpc_address": self.address,
            "storage_port": self.storage_port,
            "native_transport_port": self.cql_port,
            "data_file_directories": self.data_directories,
            "commitlog_directory": directory("commitlog"),
            "hints_directory": directory("hints"),
            "saved_caches_directory": directory("saved_caches"),
            "cdc_raw_directory": directory("cdc_raw"),
            "commitlog_sync": "periodic",
            // An empty cluster has nothing to stream, and the nodes may start side by side.
            "auto_bootstrap": false,
            "authenticator":
                if self.cql_password { "PasswordAuthenticator" } else { "AllowAllAuthenticator" },
            "authorizer":
                if self.cql_password { "CassandraAuthorizer" } else { "AllowAllAuthorizer" },
            "concurrent_reads": 4,
            "concurrent_writes": 4,
        });
        let mut set = |key: &str, value: Value| yaml[key] = value;
        // Off as shipped, in one release or another; whoever has them has switched them on.
        for feature in [
            "sasi_indexes",
            "materialized_views",
            "user_defined_functions",
        ] {
            let name = match old {
                true => format!("enable_{feature}"),
                false => format!("{feature}_enabled"),
            };
            set(&name, json!(true));
        }
        if old {
            set("commitlog_sync_period_in_ms", json!(10_000));
            set("commitlog_segment_size_in_mb", json!(8));
            set("memtable_heap_space_in_mb", json!(64));
            set("key_cache_size_in_mb", json!(0));
        } else {
            set("commitlog_sync_period", json!("10000ms"));
            set("commitlog_segment_size", json!("8MiB"));
            set("memtable_heap_space", json!("64MiB"));
            set("key_cache_size", json!("0MiB"));
            set("uuid_sstable_identifiers_enabled", json!(self.uuid_ids));
        }
        if !self.initial_tokens.is_empty() {
            set("initial_token", json!(self.initial_tokens.join(",")));
            set("num_tokens", json!(self.initial_tokens.len()));
        }
        match self.format {
            Format::Nb => {}
            Format::Oa => set("storage_compatibility_mode", json!("NONE")),
            Format::Da => {
                set("storage_compatibility_mode", json!("NONE"));
                set("sstable", json!({"selected_format": "bti"}));
            }
        }
        yaml.to_string()
    }

    /// The arguments of the JVM up to and without `-cp`. `jars` is the directory of the jars,
    /// `jamm` the name of the agent's jar in it.
    pub fn jvm(&self, jars: &str, jamm: &str) -> Vec<String> {
        let Self {
            config_directory: config,
            storage_directory: storage,
            ..
        } = self;
        let mut args = common(self.version);
        args.extend([
            format!("-Xms{0}M", self.heap_mib),
            format!("-Xmx{0}M", self.heap_mib),
            "-XX:+UseSerialGC".into(),
            format!("-javaagent:{jars}/{jamm}"),
            format!("-Dcassandra.config=file://{config}/cassandra.yaml"),
            format!("-Dcassandra-rackdc.properties=file://{config}/cassandra-rackdc.properties"),
            format!("-Dlogback.configurationFile=file://{config}/logback.xml"),
            format!("-Dcassandra.triggers_dir={config}"),
            format!("-Dcassandra.storagedir={storage}"),
            format!("-Dcassandra.logdir={storage}/log"),
            // JNA maps code from there: it must be writable and executable.
            format!("-Djava.io.tmpdir={storage}/tmp"),
            "-Dcassandra-foreground=yes".into(),
            "-Dio.netty.tryReflectionSetAccessible=true".into(),
            "-Djdk.attach.allowAttachSelf=true".into(),
            // What waits for gossip to calm down in a large cluster, waits for nothing here.
            "-Dcassandra.ring_delay_ms=1000".into(),
            "-Dcassandra.skip_wait_for_gossip_to_settle=0".into(),
            "-Dcassandra.superuser_setup_delay_ms=0".into(),
            "-Dcassandra.consistent.rangemovement=false".into(),
            "-Dcassandra.auth_bcrypt_gensalt_log2_rounds=4".into(),
            "-Dcassandra.snapshot.min_allowed_ttl_seconds=1".into(),
        ]);
        args.extend(self.jmx_settings());
        args
    }

    fn jmx_settings(&self) -> Vec<String> {
        let Self {
            config_directory: config,
            jmx_port,
            ..
        } = self;
        if self.jmx == Jmx::Off {
            return Vec::new();
        }
        let remote = |setting: String| format!("-Dcom.sun.management.jmxremote.{setting}");
        let authenticate = self.jmx.credentials().is_some();
        // Without a default in Cassandra.
        let mut args = vec![remote(format!("authenticate={authenticate}"))];
        if authenticate {
            args.push(remote(format!("password.file={config}/{JMX_PASSWORDS}")));
            args.push(remote(format!("access.file={config}/{JMX_ACCESS}")));
        }
        let mut server = JmxServer::Cassandra;
        if let Jmx::Tls(tls) = &self.jmx {
            server = tls.server;
            let need = tls.client_certificate;
            args.push(remote("ssl=true".into()));
            args.push(remote(format!("ssl.need.client.auth={need}")));
            args.extend(tls::java_properties(&tls.stores));
        }
        match server {
            JmxServer::Cassandra => args.push(format!("-Dcassandra.jmx.local.port={jmx_port}")),
            JmxServer::Jvm { registry_ssl } => args.extend([
                remote("host=127.0.0.1".into()),
                remote(format!("port={jmx_port}")),
                remote(format!("registry.ssl={registry_ssl}")),
            ]),
        }
        args
    }
}

/// The file with the passwords of JMX. Java refuses it when others than its owner may read it.
pub const JMX_PASSWORDS: &str = "jmxremote.password";
/// The file that says who may do what over JMX.
pub const JMX_ACCESS: &str = "jmxremote.access";
/// The class that is a Cassandra node.
pub const DAEMON: &str = "org.apache.cassandra.service.CassandraDaemon";
/// The class that is nodetool.
pub const NODETOOL: &str = "org.apache.cassandra.tools.NodeTool";
/// The class that is sstablemetadata.
pub const SSTABLE_METADATA: &str = "org.apache.cassandra.tools.SSTableMetadataViewer";
/// The class that is sstablerepairedset.
pub const SSTABLE_REPAIRED: &str = "org.apache.cassandra.tools.SSTableRepairedAtSetter";

/// The arguments of a tool's JVM up to and without `-cp`.
pub fn tool_jvm(version: Version, config: &str) -> Vec<String> {
    let mut args = common(version);
    args.extend([
        "-Xmx96M".into(),
        "-XX:+UseSerialGC".into(),
        format!("-Dlogback.configurationFile=file://{config}/logback-tools.xml"),
        format!("-Dcassandra.config=file://{config}/cassandra.yaml"),
        // sstablemetadata of 5.0 makes a snitch.
        format!("-Dcassandra-rackdc.properties=file://{config}/cassandra-rackdc.properties"),
    ]);
    args
}

/// What every JVM with Cassandra's classes needs. Without the exports of `sun.nio.ch` and
/// `jdk.internal.ref` nodetool stops with IllegalAccessException.
fn common(version: Version) -> Vec<String> {
    let (exports, opens): (&[&str], &[&str]) = match version {
        Version::V5_0 => (
            &[
                "java.base/java.lang.ref",
                "java.base/jdk.internal.misc",
                "java.base/jdk.internal.ref",
                "java.base/sun.nio.ch",
                "java.management.rmi/com.sun.jmx.remote.internal.rmi",
                "java.management/com.sun.jmx.remote.security",
                "java.rmi/sun.rmi.registry",
                "java.rmi/sun.rmi.server",
                "java.sql/java.sql",
                "jdk.unsupported/sun.misc",
            ],
            &[
                "java.base/java.io",
                "java.base/java.lang",
                "java.base/java.lang.module",
                "java.base/java.lang.reflect",
                "java.base/java.nio",
                "java.base/java.util",
                "java.base/jdk.internal.loader",
                "java.base/jdk.internal.math",
                "java.base/jdk.internal.module",
                "java.base/jdk.internal.ref",
                "java.base/jdk.internal.reflect",
                "java.base/jdk.internal.util.jar",
                "java.base/sun.nio.ch",
                "jdk.management/com.sun.management.internal",
            ],
        ),
        Version::V4_0 | Version::V4_1 => (
            &[
                "java.base/jdk.internal.misc",
                "java.base/jdk.internal.ref",
                "java.base/sun.nio.ch",
                "java.management.rmi/com.sun.jmx.remote.internal.rmi",
                "java.rmi/sun.rmi.registry",
                "java.rmi/sun.rmi.server",
                "java.sql/java.sql",
            ],
            &[
                "java.base/java.lang.module",
                "java.base/jdk.internal.loader",
                "java.base/jdk.internal.math",
                "java.base/jdk.internal.module",
                "java.base/jdk.internal.ref",
                "java.base/jdk.internal.reflect",
                "java.base/jdk.internal.util.jar",
                "jdk.management/com.sun.management.internal",
            ],
        ),
    };
    let exports = exports
        .iter()
        .map(|package| format!("--add-exports={package}=ALL-UNNAMED"));
    let opens = opens
        .iter()
        .map(|package| format!("--add-opens={package}=ALL-UNNAMED"));
    let others = ["-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true"];
    exports
        .chain(opens)
        .chain(others.map(String::from))
        .collect()
}

/// No comma in the date's pattern: logback takes what follows it for a time zone.
fn logback(level: &str, target: &str) -> String {
    format!(
        r#"<configuration>
  <appender name="console" class="ch.qos.logback.core.ConsoleAppender">
    <target>{target}</target>
    <encoder><pattern>%-5level %d{{HH:mm:ss.SSS}} [%thread] %F:%L - %msg%n</pattern></encoder>
  </appender>
  <root level="{level}"><appender-ref ref="console"/></root>
</configuration>
"#
    )
}

#[cfg(test)]
mod tests;
