use std::path::{Path, PathBuf};

use clap::Args;
use protocol::{ClientCertificate, JmxTls, Secret};

/// TLS of Cassandra's JMX. Everything is PEM; the key stays in its file until it is used.
#[derive(Debug, Args)]
pub(super) struct JmxTlsFlags {
    /// JMX speaks TLS
    #[arg(long, requires = "jmx_ca_file", help_heading = "Cassandra")]
    jmx_tls: bool,
    /// Certificate authorities of JMX in PEM; no others are trusted
    #[arg(
        long,
        value_name = "FILE",
        requires = "jmx_tls",
        help_heading = "Cassandra"
    )]
    jmx_ca_file: Option<PathBuf>,
    /// Certificate for JMX in PEM, where it asks for one
    #[arg(long, value_name = "FILE", requires_all = ["jmx_tls", "jmx_key_file"], help_heading = "Cassandra")]
    jmx_cert_file: Option<PathBuf>,
    /// Private key of that certificate in PEM
    #[arg(
        long,
        value_name = "FILE",
        requires = "jmx_cert_file",
        help_heading = "Cassandra"
    )]
    jmx_key_file: Option<PathBuf>,
    /// Name in the certificate of JMX [default: the host; on loopback any certificate of the
    /// authorities will do]
    #[arg(
        long,
        value_name = "NAME",
        requires = "jmx_tls",
        help_heading = "Cassandra"
    )]
    jmx_server_name: Option<String>,
    /// The registry at the port of JMX is plain, only the connector behind it speaks TLS
    #[arg(long, requires = "jmx_tls", help_heading = "Cassandra")]
    jmx_plain_registry: bool,
}

impl JmxTlsFlags {
    /// What the flags mean, with the files read.
    pub fn settings(&self) -> Result<Option<JmxTls>, String> {
        let Some(authorities) = self.jmx_ca_file.as_deref().filter(|_| self.jmx_tls) else {
            return Ok(None);
        };
        let client = match (&self.jmx_cert_file, &self.jmx_key_file) {
            (Some(certificate), Some(key)) => Some(ClientCertificate {
                certificate_pem: read("--jmx-cert-file", certificate)?,
                key_pem: Secret::new(read("--jmx-key-file", key)?),
            }),
            _ => None,
        };
        Ok(Some(JmxTls {
            ca_pem: read("--jmx-ca-file", authorities)?,
            client,
            server_name: self.jmx_server_name.clone(),
            plain_registry: self.jmx_plain_registry,
        }))
    }
}

fn read(flag: &str, path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{flag} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        flags: JmxTlsFlags,
    }

    fn settings(flags: &[&str]) -> Result<Option<JmxTls>, String> {
        let cli = Alone::try_parse_from(["backup"].iter().chain(flags));
        cli.map_err(|error| error.to_string())?.flags.settings()
    }

    #[test]
    fn the_files_are_read_and_the_key_is_a_secret() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, format!("the {name}")).unwrap();
            path.to_str().unwrap().to_owned()
        };
        assert_eq!(settings(&[]).unwrap(), None);
        let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
        let short = settings(&["--jmx-tls", "--jmx-ca-file", &ca]).unwrap();
        let expected = JmxTls {
            ca_pem: "the ca".into(),
            ..JmxTls::default()
        };
        assert_eq!(short, Some(expected));

        let all = settings(&[
            "--jmx-tls",
            "--jmx-ca-file",
            &ca,
            "--jmx-cert-file",
            &cert,
            "--jmx-key-file",
            &key,
            "--jmx-server-name=node7",
            "--jmx-plain-registry",
        ]);
        let all = all.unwrap().unwrap();
        let client = all.client.clone().unwrap();
        assert_eq!(client.certificate_pem, "the cert");
        assert_eq!(client.key_pem.reveal(), "the key");
        assert!(all.plain_registry && all.server_name.as_deref() == Some("node7"));
        assert!(!format!("{all:?}").contains("the key"));
    }

    #[test]
    fn half_of_it_is_refused_with_what_is_missing() {
        let cases: [(&[&str], &str); 6] = [
            (&["--jmx-tls"], "--jmx-ca-file"),
            (&["--jmx-ca-file", "f"], "--jmx-tls"),
            (
                &["--jmx-tls", "--jmx-ca-file=f", "--jmx-cert-file=f"],
                "--jmx-key-file",
            ),
            (
                &["--jmx-tls", "--jmx-ca-file=f", "--jmx-key-file=f"],
                "--jmx-cert-file",
            ),
            (&["--jmx-plain-registry"], "--jmx-tls"),
            (
                &["--jmx-tls", "--jmx-ca-file=/none"],
                "--jmx-ca-file /none: No such file",
            ),
        ];
        for (flags, told) in cases {
            let wrong = settings(flags).unwrap_err();
            assert!(wrong.contains(told), "{flags:?}: {wrong}");
        }
    }
}
