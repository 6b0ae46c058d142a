//! Passwords, rights, TLS.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use jmx::{Credentials, Endpoint, Error, Identity, JmxClient, ServerName, TlsSettings, Value};
use tempfile::TempDir;

use crate::support::{Server, run, shared, trouble, values};

fn credentials(user: &str, password: &str) -> Option<Credentials> {
    Some(Credentials {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

#[tokio::test]
async fn wrong_and_missing_credentials_are_denied_and_right_ones_are_not() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let passwords = write("password", "backup s3cr3t-pass\nreader other-pass\n");
    let access = write("access", "backup readwrite\nreader readonly\n");
    let options = [
        format!("password-file={passwords}"),
        format!("access-file={access}"),
    ];
    let server = Server::start(&[options[0].as_str(), options[1].as_str()]);
    let mut endpoint = server.endpoint();

    let without = JmxClient::connect(&endpoint).await.unwrap_err();
    assert!(
        matches!(&without, Error::Denied { message, .. } if message.contains("Credentials required")),
        "{without:?}"
    );

    endpoint.credentials = credentials("backup", "wr0ng-pass");
    let wrong = JmxClient::connect(&endpoint).await.unwrap_err();
    assert!(
        matches!(&wrong, Error::Denied { operation, .. } if operation.contains("backup")),
        "{wrong:?}"
    );
    assert!(!format!("{wrong:?} {wrong}").contains("wr0ng-pass"));

    endpoint.credentials = credentials("backup", "s3cr3t-pass");
    let client = JmxClient::connect(&endpoint).await.unwrap();
    assert!(!format!("{client:?}").contains("s3cr3t-pass"));
    let count = client
        .invoke(&trouble(), "increment", vec![])
        .await
        .unwrap();
    assert_eq!(count, Value::Int(1));
    assert!(client.connection_id().await.unwrap().contains("backup"));
    client.close().await.unwrap();

    endpoint.credentials = credentials("reader", "other-pass");
    let client = JmxClient::connect(&endpoint).await.unwrap();
    let flag = client.get_attribute(&values(), "Flag").await.unwrap();
    assert_eq!(flag, Value::Bool(true));
    let refused = client
        .invoke(&trouble(), "increment", vec![])
        .await
        .unwrap_err();
    assert!(matches!(&refused, Error::Denied { .. }), "{refused:?}");
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_denial_that_the_server_wraps_is_a_denial() {
    let server = Server::start(&["wrapped-password=right-pass"]);
    let mut endpoint = server.endpoint();
    endpoint.credentials = credentials("backup", "wrong-pass");
    let wrong = JmxClient::connect(&endpoint).await.unwrap_err();
    assert!(
        matches!(&wrong, Error::Denied { message, .. }
            if message == "Authentication failed! Invalid username or password"),
        "{wrong:?}"
    );
    endpoint.credentials = credentials("backup", "right-pass");
    let client = JmxClient::connect(&endpoint).await.unwrap();
    client.close().await.unwrap();
}

/// Certificates: an authority, a server's for 127.0.0.1, one for another name, a client's; and a
/// second authority that signed nothing.
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn new() -> Certificates {
        let certificates = Certificates {
            folder: TempDir::new().unwrap(),
        };
        for authority in ["ca", "other-ca"] {
            let mut command = certificates.openssl("req -x509 -newkey rsa:2048 -nodes -days 2");
            command.args(["-subj", &format!("/CN={authority}")]);
            command.args(["-keyout", &format!("{authority}.key")]);
            command.args(["-out", &format!("{authority}.pem")]);
            run(&mut command);
        }
        certificates.sign("server", "IP:127.0.0.1");
        certificates.sign("node7", "DNS:node7.example");
        certificates.sign("client", "DNS:client");
        let mut command = Command::new("keytool");
        command.args(["-importcert", "-noprompt", "-storetype", "PKCS12"]);
        command.args(["-storepass", "changeit", "-alias", "ca"]);
        command.arg("-file").arg(certificates.path("ca.pem"));
        command.arg("-keystore").arg(certificates.path("trust.p12"));
        run(&mut command);
        certificates
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn openssl(&self, arguments: &str) -> Command {
        let mut command = Command::new("openssl");
        command.current_dir(self.folder.path());
        command.args(arguments.split(' '));
        command
    }

    fn sign(&self, name: &str, alternative: &str) {
        fs::write(self.path("ext"), format!("subjectAltName={alternative}\n")).unwrap();
        let mut request = self.openssl("req -newkey rsa:2048 -nodes");
        request.args(["-subj", &format!("/CN={name}")]);
        request.args(["-keyout", &format!("{name}.key")]);
        request.args(["-out", &format!("{name}.csr")]);
        run(&mut request);
        let mut sign = self.openssl("x509 -req -days 2 -CA ca.pem -CAkey ca.key -CAcreateserial");
        sign.args(["-extfile", "ext", "-in", &format!("{name}.csr")]);
        sign.args(["-out", &format!("{name}.pem")]);
        run(&mut sign);
        let mut store = self.openssl("pkcs12 -export -passout pass:changeit");
        store.args(["-in", &format!("{name}.pem")]);
        store.args(["-inkey", &format!("{name}.key")]);
        store.args(["-out", &format!("{name}.p12")]);
        run(&mut store);
    }

    /// A server that shows the certificate `name`.
    fn serve(&self, name: &str, options: &[&str]) -> Server {
        let property = |key: &str, value: String| format!("-Djavax.net.ssl.{key}={value}");
        let path = |name: &str| self.path(name).display().to_string();
        let properties = [
            property("keyStore", path(&format!("{name}.p12"))),
            property("keyStorePassword", "changeit".to_owned()),
            property("trustStore", path("trust.p12")),
            property("trustStorePassword", "changeit".to_owned()),
        ];
        Server::start_with(&properties, options)
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings {
            authorities: self.read("ca.pem"),
            identity: None,
            server_name: ServerName::Host,
            plain_registry: false,
        }
    }

    fn identity(&self) -> Option<Identity> {
        Some(Identity {
            certificates: self.read("client.pem"),
            key: self.read("client.key"),
        })
    }
}

fn with(server: &Server, settings: TlsSettings) -> Endpoint {
    let mut endpoint = server.endpoint();
    endpoint.tls = Some(settings);
    endpoint
}

async fn connect_and_read(endpoint: &Endpoint) -> Result<(), Error> {
    let client = JmxClient::connect(endpoint).await?;
    let large = client.get_attribute(&values(), "Large").await?;
    assert_eq!(large.entries().unwrap().len(), 2000);
    client.close().await
}

/// The problem, if the result is a failure of TLS.
fn problem(result: Result<(), Error>) -> String {
    match result {
        Err(Error::Tls { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn tls_without_a_client_certificate() {
    let certificates = Certificates::new();
    let server = certificates.serve("server", &["tls"]);
    connect_and_read(&with(&server, certificates.settings()))
        .await
        .unwrap();

    let mut untrusting = certificates.settings();
    untrusting.authorities = certificates.read("other-ca.pem");
    let said = problem(connect_and_read(&with(&server, untrusting)).await);
    assert!(said.contains("not from the given authorities"), "{said}");

    let mut nothing = certificates.settings();
    nothing.authorities = Vec::new();
    let said = problem(connect_and_read(&with(&server, nothing)).await);
    assert!(said.contains("no certificate"), "{said}");

    let said = problem(connect_and_read(&server.endpoint()).await);
    assert!(said.contains("no TLS settings are given"), "{said}");

    let said = problem(connect_and_read(&with(shared(), certificates.settings())).await);
    assert!(said.contains("speak TLS at all"), "{said}");
}

#[tokio::test]
async fn tls_with_a_required_client_certificate() {
    let certificates = Certificates::new();
    let server = certificates.serve("server", &["tls", "client-auth"]);
    let mut settings = certificates.settings();
    let said = problem(connect_and_read(&with(&server, settings.clone())).await);
    assert!(said.contains("client certificate"), "{said}");

    settings.identity = certificates.identity();
    connect_and_read(&with(&server, settings)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_for_another_name_needs_to_be_allowed() {
    let certificates = Certificates::new();
    let server = certificates.serve("node7", &["tls"]);
    let mut settings = certificates.settings();
    let said = problem(connect_and_read(&with(&server, settings.clone())).await);
    assert!(said.contains("name the host"), "{said}");

    settings.server_name = ServerName::Name("node7.example".to_owned());
    connect_and_read(&with(&server, settings.clone()))
        .await
        .unwrap();

    settings.server_name = ServerName::AnyOfAuthority;
    connect_and_read(&with(&server, settings.clone()))
        .await
        .unwrap();

    // Any name, but not any authority.
    settings.authorities = certificates.read("other-ca.pem");
    problem(connect_and_read(&with(&server, settings)).await);
}

#[tokio::test]
async fn a_plain_registry_before_a_tls_connector() {
    let certificates = Certificates::new();
    let server = certificates.serve("server", &["tls", "plain-registry"]);
    let said = problem(connect_and_read(&server.endpoint()).await);
    assert!(said.contains("connector speaks TLS"), "{said}");

    let mut settings = certificates.settings();
    settings.plain_registry = true;
    connect_and_read(&with(&server, settings)).await.unwrap();
}

/// What Cassandra's documentation has people make: a key pair of keytool's without any authority,
/// its certificate trusted by itself.
#[tokio::test]
async fn a_certificate_that_signed_itself_is_its_own_authority() {
    let certificates = Certificates::new();
    let keytool = |arguments: &str| {
        let mut command = Command::new("keytool");
        command.args(arguments.split(' '));
        command.args(["-alias", "node", "-storepass", "changeit", "-keystore"]);
        command.arg(certificates.path("own.p12"));
        command
    };
    run(&mut keytool(
        "-genkeypair -keyalg RSA -keysize 2048 -dname CN=node7 -storetype PKCS12",
    ));
    let mut export = keytool("-exportcert -rfc");
    run(export.arg("-file").arg(certificates.path("own.pem")));
    let server = certificates.serve("own", &["tls"]);
    let mut settings = certificates.settings();
    settings.server_name = ServerName::AnyOfAuthority;
    let said = problem(connect_and_read(&with(&server, settings.clone())).await);
    assert!(said.contains("not from the given authorities"), "{said}");
    settings.authorities = certificates.read("own.pem");
    connect_and_read(&with(&server, settings)).await.unwrap();
}
