//! Certificates for JMX: in PEM for the agent, in key stores for Java.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::host::run::Run;
use crate::host::tools;
use crate::parts::jdk;

/// Protects nothing: the stores lie beside it, in a directory that only we can read.
const STORE_PASSWORD: &str = "changeit";
/// What Cassandra shows, and which authorities it trusts.
const KEYS: &str = "server.p12";
const TRUST: &str = "trust.p12";

/// An authority with two certificates, of a server called `node.bed` and of a client, and an
/// authority that signed neither.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes all of them, in 2 s.
    pub async fn make() -> Result<Self> {
        tools::require(&[tools::OPENSSL])?;
        let folder = tempfile::Builder::new().prefix("bed-tls-").tempdir()?;
        let this = Self { folder };
        let authority = this.authority("ca")?;
        this.authority("other-ca")?;
        for name in ["server", "client"] {
            let key = KeyPair::generate()?;
            let params = CertificateParams::new(vec!["node.bed".to_owned()])?;
            let certificate = params.signed_by(&key, &authority)?;
            this.write(&format!("{name}.key"), &key.serialize_pem())?;
            this.write(&format!("{name}.pem"), &certificate.pem())?;
        }
        // Java's keytool takes in no key without a store around it, and OpenSSL makes no store that
        // Java takes authorities from.
        let password = format!("pass:{STORE_PASSWORD}");
        Run::new("openssl")
            .args([
                "pkcs12",
                "-export",
                "-in",
                "server.pem",
                "-inkey",
                "server.key",
            ])
            .args(["-passout", &password, "-out", KEYS])
            .dir(this.folder.path())
            .ok()
            .await?;
        Run::new(jdk::jdk17().await?.home.join("bin/keytool"))
            .args([
                "-importcert",
                "-noprompt",
                "-alias",
                "ca",
                "-file",
                "ca.pem",
            ])
            .args(["-storetype", "PKCS12", "-storepass", STORE_PASSWORD])
            .args(["-keystore", TRUST])
            .dir(this.folder.path())
            .ok()
            .await?;
        Ok(this)
    }

    /// The directory of the key stores.
    pub fn stores(&self) -> Result<String> {
        let path = self.folder.path().to_str();
        Ok(path.context("a path that is not UTF-8")?.to_owned())
    }

    /// One of `ca.pem`, `other-ca.pem`, `client.pem` and `client.key`.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn authority(&self, name: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        self.write(&format!("{name}.pem"), &authority.pem())?;
        Ok(authority)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.file(name), text)?)
    }
}

/// The arguments by which a JVM finds its key stores.
pub(super) fn java_properties(stores: &str) -> [String; 4] {
    let store = |name: &str| Path::new(stores).join(name).display().to_string();
    let property = |name: &str, value: &str| format!("-Djavax.net.ssl.{name}={value}");
    [
        property("keyStore", &store(KEYS)),
        property("keyStorePassword", STORE_PASSWORD),
        property("trustStore", &store(TRUST)),
        property("trustStorePassword", STORE_PASSWORD),
    ]
}
