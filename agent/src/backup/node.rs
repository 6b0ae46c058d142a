//! The node and its ring, as JMX tells them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jmx::cassandra::{Cassandra, Entities, Ownership, Ring, State};
use jmx::{Credentials, Endpoint, Identity, ServerName, TlsSettings};
use manifest::{RingEndpoint, Tokens};
use protocol::{JmxAccess, JmxTls, NodeIdentity, RingMember, Scope};
use uuid::Uuid;

use super::error::Error;
use super::scan::TableName;

/// A node that can take snapshots.
#[derive(Clone, Debug)]
pub struct Node {
    /// Who it is.
    pub identity: NodeIdentity,
    /// Class name of the partitioner.
    pub partitioner: String,
    /// Its tokens, in order.
    pub tokens: Vec<String>,
    /// Its data directories.
    pub data_directories: Vec<PathBuf>,
    /// Addresses that the ring has for it, without port.
    pub addresses: Vec<String>,
}

/// What can change while a backup runs.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The ring.
    pub ring: Ring,
    /// Cassandra's schema version.
    pub schema_version: String,
}

/// What a scope means on this node.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// As the snapshot call takes it.
    pub entities: Entities,
    /// Tables that must be in the snapshot.
    pub tables: BTreeSet<TableName>,
}

/// Connects to the node's JMX.
pub async fn connect(access: &JmxAccess) -> Result<Cassandra, Error> {
    let mut endpoint = Endpoint::new(&access.host, access.port);
    endpoint.credentials = access.credentials.as_ref().map(|password| Credentials {
        user: password.username.clone(),
        password: password.password.reveal().to_owned(),
    });
    endpoint.tls = access.tls.as_ref().map(|tls| settings(tls, &access.host));
    // A node under load may pause for long.
    endpoint.call_timeout = Duration::from_secs(120);
    Cassandra::connect(&endpoint)
        .await
        .map_err(Error::jmx("cannot connect to JMX"))
}

fn settings(tls: &JmxTls, host: &str) -> TlsSettings {
    let loopback = host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback());
    TlsSettings {
        authorities: tls.ca_pem.clone().into_bytes(),
        identity: tls.client.as_ref().map(|client| Identity {
            certificates: client.certificate_pem.clone().into_bytes(),
            key: client.key_pem.reveal().to_owned().into_bytes(),
        }),
        server_name: match &tls.server_name {
            Some(name) => ServerName::Name(name.clone()),
            None if loopback => ServerName::AnyOfAuthority,
            None => ServerName::Host,
        },
        plain_registry: tls.plain_registry,
    }
}

/// Reads who the node is. A node that is not part of the ring now is refused.
pub async fn read(cassandra: &Cassandra) -> Result<(Node, Cluster), Error> {
    let failed = Error::jmx("cannot read the node's state over JMX");
    let mode = cassandra.operation_mode().await.map_err(&failed)?;
    if matches!(
        mode.as_str(),
        "STARTING" | "JOINING" | "DRAINING" | "DRAINED" | "DECOMMISSIONED"
    ) {
        return Err(Error::Mode(mode));
    }
    let cluster = cluster(cassandra).await?;
    let host_id = parse_host_id(&cassandra.host_id().await.map_err(&failed)?)?;
    let directories = cassandra.data_directories().await.map_err(&failed)?;
    let node = Node {
        identity: NodeIdentity {
            host_id,
            datacenter: cassandra.datacenter().await.map_err(&failed)?,
            rack: cassandra.rack().await.map_err(&failed)?,
            cassandra_version: cassandra.release_version().await.map_err(&failed)?,
        },
        partitioner: cassandra.partitioner().await.map_err(&failed)?,
        tokens: cassandra.tokens().await.map_err(&failed)?,
        data_directories: directories.into_iter().map(PathBuf::from).collect(),
        addresses: own_addresses(&cluster.ring, host_id),
    };
    Ok((node, cluster))
}

/// Reads what can change.
pub async fn cluster(cassandra: &Cassandra) -> Result<Cluster, Error> {
    let failed = Error::jmx("cannot read the ring over JMX");
    Ok(Cluster {
        ring: cassandra.ring(None).await.map_err(&failed)?,
        schema_version: cassandra.schema_version().await.map_err(&failed)?,
    })
}

/// What the scope covers on this node; a name that does not exist is an error.
pub async fn coverage(cassandra: &Cassandra, scope: &Scope) -> Result<Coverage, Error> {
    let failed = Error::jmx("cannot list the tables over JMX");
    let all: BTreeSet<TableName> = cassandra
        .tables()
        .await
        .map_err(&failed)?
        .into_iter()
        .map(|table| (table.keyspace, table.table))
        .collect();
    let keyspaces = cassandra.keyspaces().await.map_err(&failed)?;
    cover(scope, &keyspaces, all)
}

fn cover(scope: &Scope, keyspaces: &[String], all: BTreeSet<TableName>) -> Result<Coverage, Error> {
    if !scope.keyspaces.is_empty() && !scope.tables.is_empty() {
        let text = "keyspaces and tables cannot be given together";
        return Err(Error::Request(text.into()));
    }
    if !scope.tables.is_empty() {
        let mut tables = BTreeSet::new();
        for name in &scope.tables {
            let Some((keyspace, table)) = name.split_once('.') else {
                let text = format!("table {name:?} is not of the form keyspace.table");
                return Err(Error::Request(text));
            };
            if !keyspaces.iter().any(|known| known == keyspace) {
                return Err(Error::KeyspaceNotFound(keyspace.to_owned()));
            }
            let entry = (keyspace.to_owned(), table.to_owned());
            if !all.contains(&entry) {
                return Err(Error::TableNotFound(name.clone()));
            }
            tables.insert(entry);
        }
        let names = tables
            .iter()
            .map(|(keyspace, table)| jmx::cassandra::Table {
                keyspace: keyspace.clone(),
                table: table.clone(),
            });
        return Ok(Coverage {
            entities: Entities::Tables(names.collect()),
            tables,
        });
    }
    if let Some(missing) = scope
        .keyspaces
        .iter()
        .find(|name| !keyspaces.contains(name))
    {
        return Err(Error::KeyspaceNotFound(missing.clone()));
    }
    if scope.keyspaces.is_empty() {
        return Ok(Coverage {
            entities: Entities::All,
            tables: all,
        });
    }
    let tables = all
        .into_iter()
        .filter(|(keyspace, _)| scope.keyspaces.contains(keyspace));
    Ok(Coverage {
        entities: Entities::Keyspaces(scope.keyspaces.clone()),
        tables: tables.collect(),
    })
}

impl Node {
    /// The addresses as numbers, for connections to the node itself.
    pub fn ip_addresses(&self) -> Vec<IpAddr> {
        self.addresses
            .iter()
            .filter_map(|address| address.parse().ok())
            .collect()
    }
}

impl Cluster {
    /// BLAKE3 of the ring: host id, datacenter, rack and tokens of every member, so that it does
    /// not depend on addresses, load or who is up.
    pub fn ring_hash(&self) -> String {
        let mut members: Vec<_> = self
            .ring
            .members
            .iter()
            .map(|m| (&m.host_id, &m.datacenter, &m.rack, &m.tokens))
            .collect();
        members.sort();
        blake3::hash(format!("{members:?}").as_bytes())
            .to_hex()
            .to_string()
    }

    /// The members as callers are told of them. Endpoints without host id have no data.
    pub fn members(&self) -> Vec<RingMember> {
        let member = |m: &jmx::cassandra::RingMember| {
            Some(RingMember {
                host_id: m.host_id.as_deref()?.parse().ok()?,
                address: host_of(&m.address).to_owned(),
                datacenter: m.datacenter.clone(),
                rack: m.rack.clone(),
                status: m.status.to_string(),
                state: m.state.to_string(),
            })
        };
        self.ring.members.iter().filter_map(member).collect()
    }

    /// The host ids that must have a manifest: all that own data, in the scope's datacenters.
    pub fn expected_host_ids(&self, scope: &Scope) -> Vec<Uuid> {
        let in_scope = |datacenter: &String| {
            scope.datacenters.is_empty() || scope.datacenters.contains(datacenter)
        };
        let mut ids: Vec<Uuid> = self
            .ring
            .members
            .iter()
            .filter(|m| m.state != State::Joining && in_scope(&m.datacenter))
            .filter_map(|m| m.host_id.as_deref()?.parse().ok())
            .collect();
        ids.sort();
        ids
    }

    /// The tokens file of a node.
    pub fn tokens_file(&self, node: &Node) -> Tokens {
        Tokens {
            host_id: node.identity.host_id,
            datacenter: node.identity.datacenter.clone(),
            rack: node.identity.rack.clone(),
            partitioner: node.partitioner.clone(),
            num_tokens: node.tokens.len(),
            tokens: node.tokens.clone(),
            ring: self.ring.members.iter().map(|m| self.endpoint(m)).collect(),
        }
    }

    fn endpoint(&self, member: &jmx::cassandra::RingMember) -> RingEndpoint {
        let unknown = || "?".to_owned();
        let owns = match (&self.ring.ownership, member.owns) {
            (Ownership::Effective { .. }, Some(share)) => format!("{:.2}%", share * 100.0),
            _ => unknown(),
        };
        RingEndpoint {
            address: host_of(&member.address).to_owned(),
            datacenter: member.datacenter.clone(),
            rack: member.rack.clone(),
            status: member.status.to_string(),
            state: member.state.to_string(),
            load: member.load.clone().unwrap_or_else(unknown),
            owns,
            host_id: member.host_id.as_deref().and_then(|id| id.parse().ok()),
            tokens: member.tokens.clone(),
        }
    }
}

fn own_addresses(ring: &Ring, host_id: Uuid) -> Vec<String> {
    let own = |m: &&jmx::cassandra::RingMember| {
        m.host_id.as_deref().and_then(|id| id.parse().ok()) == Some(host_id)
    };
    ring.members
        .iter()
        .filter(own)
        .map(|m| host_of(&m.address).to_owned())
        .collect()
}

fn parse_host_id(text: &str) -> Result<Uuid, Error> {
    text.parse()
        .map_err(|_| Error::Answer(format!("host id {text:?} is no UUID")))
}

/// `10.0.0.1:7000` and `[::1]:7000` without the port.
fn host_of(address: &str) -> &str {
    match address.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            match host
                .strip_prefix('[')
                .and_then(|inner| inner.strip_suffix(']'))
            {
                Some(inner) => inner,
                // More colons without brackets: an IPv6 address without port.
                None if host.contains(':') => address,
                None => host,
            }
        }
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> BTreeSet<TableName> {
        [("shop", "orders"), ("shop", "carts"), ("system", "local")]
            .map(|(k, t)| (k.to_owned(), t.to_owned()))
            .into()
    }

    fn covered(scope: Scope) -> Result<Vec<String>, Error> {
        let keyspaces = ["shop", "system"].map(str::to_owned);
        let coverage = cover(&scope, &keyspaces, tables())?;
        Ok(coverage
            .tables
            .iter()
            .map(|(k, t)| format!("{k}.{t}"))
            .collect())
    }

    fn scope(keyspaces: &[&str], tables: &[&str]) -> Scope {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        Scope {
            keyspaces: owned(keyspaces),
            tables: owned(tables),
            datacenters: vec![],
        }
    }

    #[test]
    fn the_name_in_the_certificate_is_the_host_except_on_loopback() {
        let mut tls = JmxTls::default();
        for (host, name) in [
            ("127.0.0.1", ServerName::AnyOfAuthority),
            ("::1", ServerName::AnyOfAuthority),
            ("localhost", ServerName::AnyOfAuthority),
            ("10.0.0.1", ServerName::Host),
            ("node7", ServerName::Host),
        ] {
            assert_eq!(settings(&tls, host).server_name, name, "{host}");
        }
        tls.server_name = Some("node7".into());
        let given = ServerName::Name("node7".into());
        assert_eq!(settings(&tls, "127.0.0.1").server_name, given);
    }

    #[test]
    fn a_scope_covers_all_or_what_it_names() {
        assert_eq!(covered(scope(&[], &[])).unwrap().len(), 3);
        assert_eq!(covered(scope(&["system"], &[])).unwrap(), ["system.local"]);
        assert_eq!(
            covered(scope(&[], &["shop.carts"])).unwrap(),
            ["shop.carts"]
        );
    }

    #[test]
    fn names_that_do_not_exist_are_named() {
        let keyspace = covered(scope(&["shpo"], &[])).unwrap_err();
        assert!(matches!(keyspace, Error::KeyspaceNotFound(name) if name == "shpo"));
        let table = covered(scope(&[], &["shop.order"])).unwrap_err();
        assert!(matches!(table, Error::TableNotFound(name) if name == "shop.order"));
        assert!(matches!(
            covered(scope(&[], &["shop"])),
            Err(Error::Request(_))
        ));
        assert!(matches!(
            covered(scope(&["shop"], &["shop.carts"])),
            Err(Error::Request(_))
        ));
    }

    #[test]
    fn ports_are_taken_off_addresses() {
        for (address, host) in [
            ("10.0.0.1:7000", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]:7000", "::1"),
            ("fe80::1", "fe80::1"),
        ] {
            assert_eq!(host_of(address), host);
        }
    }
}
