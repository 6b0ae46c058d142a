//! A node with tables of all sorts, the agent beside it, and what has to be true of a backup.

use std::path::{Path, PathBuf};

use e2e::backup::{Backup, Storage, restore};
use e2e::parts::binaries;
use e2e::parts::cassandra::config::{Jmx, JmxServer, JmxTls, Node};
use e2e::parts::cassandra::host::{HostCassandra, Options};
use e2e::parts::cassandra::tls::Certificates;
use e2e::product::agent::{Agent, Ended};
use tempfile::TempDir;

use super::judge::{self, Ids};
use super::tables::Tables;

/// Cluster id in the storage.
const CLUSTER: &str = "prod";

/// One node through all its lives.
pub struct Trial {
    cassandra: HostCassandra,
    jmx: Jmx,
    pub certificates: Certificates,
    tables: Tables,
    root: TempDir,
    state: TempDir,
}

impl Trial {
    pub async fn start(options: Options, certificates: Certificates) -> Self {
        let (tables, jmx) = (Tables::new(options.version), options.jmx.clone());
        let (cassandra, binaries) = tokio::join!(HostCassandra::start(options), binaries::build());
        binaries.unwrap();
        let state = TempDir::new().unwrap();
        if let Jmx::Password(operator)
        | Jmx::Tls(JmxTls {
            credentials: operator,
            ..
        }) = &jmx
        {
            std::fs::write(state.path().join("password"), &operator.password).unwrap();
        }
        Self {
            cassandra: cassandra.unwrap(),
            jmx,
            certificates,
            tables,
            root: TempDir::new().unwrap(),
            state,
        }
    }

    pub async fn create_tables(&self) {
        let session = self.cassandra.session().await.unwrap();
        self.tables.create(&session).await;
    }

    /// How JMX is served after the next restart.
    pub fn use_jmx(&mut self, jmx: Jmx) {
        if let Jmx::Tls(JmxTls { credentials, .. }) = &jmx {
            std::fs::write(self.password_file(), &credentials.password).unwrap();
        }
        self.cassandra.node_mut().jmx = jmx.clone();
        self.jmx = jmx;
    }

    pub async fn restart(&mut self, change: impl FnOnce(&mut Node)) {
        change(self.cassandra.node_mut());
        self.cassandra.restart().await.unwrap();
    }

    /// Writes rows, backs everything up, and judges it; a second backup has nothing to upload.
    pub async fn live_once(&mut self, name: &str, formats: &[(&str, Ids)]) {
        let session = self.cassandra.session().await.unwrap();
        self.tables.write(&session).await;
        self.tables.check(&session).await;
        let first = self.ends(name, self.flags(), 0, "Succeeded").await;
        assert_ne!(uploaded_files(&first), 0);
        assert!(first.warnings("SchemaIncomplete").is_empty(), "{first:?}");
        let storage = self.storage();
        let backup = Backup::read(&storage, CLUSTER, name).await.unwrap();
        backup.verify(&storage).await.unwrap();
        judge::assert_every_file(&backup, &self.tables.indexes);
        judge::assert_formats(&backup, formats);
        judge::assert_metadata(&self.cassandra, &backup).await;

        let before = storage.list(&format!("{CLUSTER}/data")).await.unwrap();
        let again = self.flags_with("--keyspaces", "shop");
        let again = self
            .ends(&format!("{name}-again"), again, 0, "Succeeded")
            .await;
        assert_eq!(uploaded_files(&again), 0);
        let after = storage.list(&format!("{CLUSTER}/data")).await.unwrap();
        assert!(after.keys().eq(before.keys()));
        for data in self.cassandra.data_directories() {
            judge::assert_no_snapshot(&data.join("shop"));
        }
    }

    /// The agent ends like this with these flags of JMX.
    pub async fn ends(&self, name: &str, flags: Vec<String>, code: i32, reason: &str) -> Ended {
        let agent = Agent {
            cassandra: &self.cassandra,
            root: self.root.path(),
            state: self.state.path(),
        };
        let ended = agent.backup(CLUSTER, name, &flags).await.unwrap();
        let result = ended.result().unwrap();
        assert_eq!(result["reason"], reason, "{name}: {result}");
        assert_eq!(ended.code, Some(code), "{name}: {result}");
        assert!(!format!("{ended:?}").contains("over-jmx"), "{ended:?}");
        ended
    }

    /// The flags of JMX that fit.
    pub fn flags(&self) -> Vec<String> {
        let file = |flag: &str, path: PathBuf| format!("{flag}={}", path.display());
        let certificate = |flag: &str, name: &str| file(flag, self.certificates.file(name));
        let mut flags = vec![format!("--jmx-port={}", self.cassandra.jmx_port())];
        if let Jmx::Password(operator)
        | Jmx::Tls(JmxTls {
            credentials: operator,
            ..
        }) = &self.jmx
        {
            flags.push(format!("--jmx-user={}", operator.user));
            flags.push(file("--jmx-password-file", self.password_file()));
        }
        if let Jmx::Tls(tls) = &self.jmx {
            flags.push("--jmx-tls".into());
            flags.push(certificate("--jmx-ca-file", "ca.pem"));
            if tls.client_certificate {
                flags.push(certificate("--jmx-cert-file", "client.pem"));
                flags.push(certificate("--jmx-key-file", "client.key"));
            }
            if tls.server
                == (JmxServer::Jvm {
                    registry_ssl: false,
                })
            {
                flags.push("--jmx-plain-registry".into());
            }
        }
        flags
    }

    /// The same without some of them.
    pub fn flags_without(&self, unwanted: &[&str]) -> Vec<String> {
        let mut flags = self.flags();
        flags.retain(|flag| !unwanted.contains(&flag.split('=').next().unwrap()));
        flags
    }

    /// The same with another value of one of them.
    pub fn flags_with(&self, flag: &str, value: &str) -> Vec<String> {
        [self.flags_without(&[flag]), vec![format!("{flag}={value}")]].concat()
    }

    /// A fresh node of the same version that has nothing but the backup has all rows and finds
    /// them by every index. It writes the same format: 5.0 in its mode for 4.x leaves `oa` lying.
    pub async fn assert_rows_come_back(mut self, name: &str) {
        let storage = self.storage();
        let node = self.cassandra.node_mut();
        let fresh = Options {
            version: node.version,
            format: node.format,
            ..Options::default()
        };
        drop(self.cassandra);
        let restored = restore::on_host_as(&storage, CLUSTER, name, fresh).await;
        let restored = restored.unwrap();
        self.tables.check(&restored.session().await.unwrap()).await;
    }

    fn storage(&self) -> Storage {
        Storage::File(self.root.path().to_owned())
    }

    fn password_file(&self) -> PathBuf {
        Path::join(self.state.path(), "password")
    }
}

fn uploaded_files(ended: &Ended) -> u64 {
    let result = ended.result().unwrap();
    result["progress"]["uploaded"]["files"].as_u64().unwrap()
}
