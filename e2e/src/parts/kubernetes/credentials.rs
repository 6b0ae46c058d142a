//! Who is who in the cluster: certificates, tokens and kubeconfigs, made anew with every bed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::json;
use uuid::Uuid;

use super::programs::SERVER;
use crate::parts::network;

/// The files that the programs identify themselves by.
pub struct Credentials {
    dir: PathBuf,
}

/// Kubeconfig, user and groups of everybody who talks to the API server.
const USERS: [(&str, &str, &str); 5] = [
    ("admin", "admin", "system:masters"),
    // The node authorizer knows kubelets by this name: the prefix and the name of the node.
    ("kubelet", "system:node:node1", "system:nodes"),
    ("controller-manager", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("proxy", "system:kube-proxy", ""),
];

impl Credentials {
    /// Makes everything in `dir`.
    pub fn make(dir: &Path) -> Result<Self> {
        let this = Self {
            dir: dir.to_owned(),
        };
        this.certificates()
            .context("could not make the cluster's certificates")?;
        let accounts = KeyPair::generate()?;
        this.secret("service-account.key", &accounts.serialize_pem())?;
        this.secret("service-account.pub", &accounts.public_key_pem())?;
        let mut tokens = String::new();
        for (file, user, groups) in USERS {
            let token = Uuid::new_v4().simple().to_string();
            tokens.push_str(&format!("{token},{user},{file},\"{groups}\"\n"));
            this.secret(
                &format!("{file}.kubeconfig"),
                &kubeconfig(&this.file("ca.crt"), &token),
            )?;
        }
        this.secret("tokens.csv", &tokens)?;
        Ok(this)
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The kubeconfig of a user of [`USERS`].
    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}.kubeconfig"))
    }

    /// Makes an authority and the API server's certificate.
    fn certificates(&self) -> Result<()> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "cassandra-backup-bed");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let names = [
            network::NODE,
            network::API_SERVICE,
            "127.0.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ];
        let mut params = CertificateParams::new(names.map(String::from))?;
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &authority)?;
        self.secret("api-server.key", &key.serialize_pem())?;
        self.secret("api-server.crt", &certificate.pem())?;
        self.secret("ca.crt", &authority.pem())
    }

    fn secret(&self, name: &str, text: &str) -> Result<()> {
        let path = self.file(name);
        let mut options = fs::File::options();
        let file = options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&path);
        let mut file = file.with_context(|| format!("could not create {}", path.display()))?;
        Ok(file.write_all(text.as_bytes())?)
    }
}

/// A kubeconfig is YAML, and JSON is YAML.
fn kubeconfig(ca: &Path, token: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "bed",
            "cluster": {"server": SERVER, "certificate-authority": ca},
        }],
        "users": [{"name": "bed", "user": {"token": token}}],
        "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "bed"}}],
        "current-context": "bed",
    })
    .to_string()
}
