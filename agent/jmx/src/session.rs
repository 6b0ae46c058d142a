//! Sessions with a JMX server: how one is opened, and single calls in it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::jrmp::{Call, CallFailure, Connection, Connector, Expect, Method, Outcome, RemoteRef};
use crate::stream::{JavaObject, UnexpectedValue, Value};
use crate::subject::Subject;
use crate::thrown;

/// Name under which the JMX connector is bound in the registry.
const CONNECTOR_NAME: &str = "jmxrmi";

/// Idle connections kept for the next call.
const MAX_IDLE: usize = 2;

/// A session that is open, or was until the server forgot it.
pub(crate) struct Session {
    /// The server's object for us (`RMIConnection`).
    target: RemoteRef,
    idle: Mutex<Vec<Connection>>,
}

/// Why an attempt has no outcome.
pub(crate) enum Failure {
    /// The session is gone: the server has forgotten it, or does not serve its port any more. The
    /// call was certainly not carried out.
    Expired,
    /// The connection ended; what the server did is unknown.
    Lost(io::Error),
    Final(Error),
}

impl Failure {
    /// What to report when there is no further attempt.
    pub fn into_error(self, subject: &Subject) -> Error {
        let source = match self {
            Failure::Final(error) => return error,
            Failure::Lost(source) => source,
            Failure::Expired => io::Error::other("the server ended a session that was just opened"),
        };
        Error::Lost {
            operation: subject.to_string(),
            source,
        }
    }
}

impl Session {
    /// Registry, then the connector behind it, within the limits of the endpoint.
    pub async fn open(endpoint: &Endpoint, tls: Option<&Connector>) -> Result<Session, Error> {
        let limit = endpoint.call_timeout;
        let subject = Subject::new("connecting to", endpoint.address(), None);
        match timeout(limit, open_unlimited(endpoint, tls)).await {
            Ok(result) => result,
            Err(_) => Err(timed_out(&subject, limit)),
        }
    }

    /// Makes a call once, on a kept connection or a new one.
    pub async fn attempt(
        &self,
        endpoint: &Endpoint,
        tls: Option<&Connector>,
        call: &Call,
        expect: Expect,
        subject: &Subject,
    ) -> Result<Value, Failure> {
        let mut connection = match self.idle_connection().await {
            Some(connection) => connection,
            // A restarted server has another port for its connector.
            None => match Connection::open(endpoint, self.target.port, tls).await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(%subject, %error, "the session's port does not answer");
                    return Err(Failure::Expired);
                }
            },
        };
        let outcome = converse(&mut connection, &self.target, call, expect, subject).await?;
        self.keep(connection);
        match outcome {
            Outcome::Value(value) => Ok(value),
            Outcome::Thrown(thrown) if thrown::is_expired_session(&thrown) => Err(Failure::Expired),
            Outcome::Thrown(thrown) => Err(Failure::Final(thrown::error_of(thrown, subject))),
            // Only asked for when a session is opened.
            Outcome::Stub(_) => Ok(Value::Null),
        }
    }

    /// A kept connection that still answers.
    async fn idle_connection(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle().pop()?;
            if connection.is_alive().await {
                return Some(connection);
            }
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open_unlimited(endpoint: &Endpoint, tls: Option<&Connector>) -> Result<Session, Error> {
    let plain_registry = endpoint.tls.as_ref().is_some_and(|tls| tls.plain_registry);
    let registry_tls = if plain_registry { None } else { tls };
    let lookup = Call::new(Method::Lookup, [CONNECTOR_NAME.into()]);
    let registry = RemoteRef::registry(endpoint.port);
    let subject = Subject::new("looking up", CONNECTOR_NAME, None);
    let connection = Connection::open(endpoint, registry.port, registry_tls).await?;
    let (server, _) = stub(connection, &registry, &lookup, &subject)
        .await
        .map_err(|error| no_connector(error, endpoint))?;
    if server.custom_sockets && tls.is_none() {
        return Err(Error::Tls {
            address: endpoint.address_of(server.port),
            problem: "the JMX connector speaks TLS, and no TLS settings are given".to_owned(),
        });
    }

    let (credentials, subject) = match &endpoint.credentials {
        Some(credentials) => (
            JavaObject::Strings(vec![credentials.user.clone(), credentials.password.clone()]),
            Subject::new("connecting as", format!("{:?}", credentials.user), None),
        ),
        None => (
            JavaObject::Null,
            Subject::new("connecting", "without credentials", None),
        ),
    };
    let connect = Call::new(Method::NewClient, [credentials]);
    let connection = Connection::open(endpoint, server.port, tls).await?;
    let (target, connection) = stub(connection, &server, &connect, &subject).await?;
    let idle = if target.port == server.port {
        vec![connection]
    } else {
        Vec::new()
    };
    Ok(Session {
        target,
        idle: Mutex::new(idle),
    })
}

/// What a failed lookup says about the port.
fn no_connector(error: Error, endpoint: &Endpoint) -> Error {
    let found = match &error {
        Error::Server { throwable, .. } if throwable.is("java.rmi.NotBoundException") => {
            format!("it is an RMI registry in which {CONNECTOR_NAME:?} is not bound")
        }
        Error::Server { throwable, .. } if throwable.is("java.rmi.NoSuchObjectException") => {
            "it serves RMI objects and no registry; the registry's port is another one".to_owned()
        }
        _ => return error,
    };
    Error::NotJmx {
        address: endpoint.address(),
        found,
    }
}

/// A call that returns a remote object; gives the connection back for more.
async fn stub(
    mut connection: Connection,
    target: &RemoteRef,
    call: &Call,
    subject: &Subject,
) -> Result<(RemoteRef, Connection), Error> {
    match converse(&mut connection, target, call, Expect::Stub, subject).await {
        Ok(Outcome::Stub(stub)) => Ok((stub, connection)),
        Ok(Outcome::Thrown(thrown)) => Err(thrown::error_of(thrown, subject)),
        Ok(Outcome::Value(value)) => Err(unexpected(subject, value.unexpected("a remote object"))),
        Err(failure) => Err(failure.into_error(subject)),
    }
}

async fn converse(
    connection: &mut Connection,
    target: &RemoteRef,
    call: &Call,
    expect: Expect,
    subject: &Subject,
) -> Result<Outcome, Failure> {
    let message = call.encode(target);
    match connection.call(&message, expect).await {
        Ok(outcome) => Ok(outcome),
        Err(CallFailure::Lost(source)) => Err(Failure::Lost(source)),
        Err(CallFailure::Malformed(source)) => Err(Failure::Final(Error::Malformed {
            operation: subject.to_string(),
            source,
        })),
    }
}

pub(crate) fn timed_out(subject: &Subject, after: Duration) -> Error {
    Error::Timeout {
        operation: subject.to_string(),
        after,
    }
}

pub(crate) fn unexpected(subject: &Subject, source: UnexpectedValue) -> Error {
    Error::Unexpected {
        operation: subject.to_string(),
        source,
    }
}
