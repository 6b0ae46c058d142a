//! Where to connect, as whom, and how.

use std::fmt;
use std::time::Duration;

/// A JMX server's address and how to talk to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Host name or IP address. All connections go there, whatever host the server's stubs name.
    pub host: String,
    /// Port of the RMI registry; Cassandra's default is 7199.
    pub port: u16,
    /// Sent when connecting; `None` for a server without authentication.
    pub credentials: Option<Credentials>,
    /// `None` for plain TCP.
    pub tls: Option<TlsSettings>,
    /// For each connection: TCP, TLS and the greeting of the protocol.
    pub connect_timeout: Duration,
    /// For each call that does not bring a limit of its own.
    pub call_timeout: Duration,
}

impl Endpoint {
    /// Plain TCP without credentials, 5 s to connect and 30 s a call.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Endpoint {
            host: host.into(),
            port,
            credentials: None,
            tls: None,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(30),
        }
    }

    /// `host:port` for messages.
    pub fn address(&self) -> String {
        self.address_of(self.port)
    }

    pub(crate) fn address_of(&self, port: u16) -> String {
        if self.host.contains(':') {
            format!("[{}]:{port}", self.host)
        } else {
            format!("{}:{port}", self.host)
        }
    }
}

/// A user and a password. Without TLS they cross the network in clear text.
#[derive(Clone)]
pub struct Credentials {
    /// Name of the user or role.
    pub user: String,
    /// The password; [`Debug`](fmt::Debug) does not show it.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("password", &"***")
            .finish()
    }
}

/// How to trust the server, and how to be trusted by it.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// Certificates of the authorities that are trusted, in PEM. Only these are.
    pub authorities: Vec<u8>,
    /// Certificate of this client, where the server asks for one.
    pub identity: Option<Identity>,
    /// Which name the server's certificate has to bear.
    pub server_name: ServerName,
    /// Whether the registry is plain while the connector speaks TLS, as in the JDK's own agent
    /// without `com.sun.management.jmxremote.registry.ssl`. Cassandra's own server uses TLS for
    /// both.
    pub plain_registry: bool,
}

/// A certificate chain and its private key, both in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The client's certificate first, then those that lead to the authority.
    pub certificates: Vec<u8>,
    /// The key; [`Debug`](fmt::Debug) does not show it.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(***)")
    }
}

/// What is compared with the names in the server's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ServerName {
    /// [`Endpoint::host`].
    #[default]
    Host,
    /// This name instead, for connections over loopback or a tunnel.
    Name(String),
    /// Nothing: any certificate of the authorities will do. This is what Java's JMX clients do.
    AnyOfAuthority,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let mut endpoint = Endpoint::new("127.0.0.1", 7199);
        endpoint.credentials = Some(Credentials {
            user: "backup".to_owned(),
            password: "hunter2".to_owned(),
        });
        endpoint.tls = Some(TlsSettings {
            authorities: Vec::new(),
            identity: Some(Identity {
                certificates: Vec::new(),
                key: b"hunter3".to_vec(),
            }),
            server_name: ServerName::Host,
            plain_registry: false,
        });
        let shown = format!("{endpoint:?}");
        assert!(shown.contains("backup"));
        assert!(!shown.contains("hunter2"), "{shown}");
        let key = format!("{:?}", b"hunter3".to_vec());
        assert!(!shown.contains(&key), "{shown}");
    }

    #[test]
    fn ipv6_addresses_are_shown_in_brackets() {
        assert_eq!(Endpoint::new("::1", 7199).address(), "[::1]:7199");
        assert_eq!(Endpoint::new("node", 7199).address(), "node:7199");
    }
}
