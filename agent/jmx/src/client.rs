//! The client: sessions, and calls with limits of time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::jrmp::{Call, CallFailure, Connection, Connector, Expect, Method, Outcome, RemoteRef};
use crate::name::ObjectName;
use crate::stream::{JavaObject, Value};
use crate::thrown;

/// Name under which the JMX connector is bound in the registry.
const CONNECTOR_NAME: &str = "jmxrmi";

/// Idle connections kept for the next call.
const MAX_IDLE: usize = 2;

/// A session with a JMX server.
///
/// Calls take `&self` and may run at the same time, each on a connection of its own. The server
/// ends sessions that are idle (120 s by default); the next call then opens a new one by itself.
/// End it with [`close`](JmxClient::close); a session that is only dropped lives on in the server
/// until it is idle for long enough.
pub struct JmxClient {
    endpoint: Endpoint,
    tls: Option<Connector>,
    session: Mutex<Arc<Session>>,
    /// Held while a lost session is replaced, so that several calls do it once.
    renewal: tokio::sync::Mutex<()>,
}

struct Session {
    /// The server's object for us (`RMIConnection`).
    target: RemoteRef,
    idle: Mutex<Vec<Connection>>,
}

/// How one call is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions {
    /// Instead of [`Endpoint::call_timeout`].
    pub timeout: Option<Duration>,
    /// The operation changes nothing, so it is repeated once where its outcome is unknown.
    pub read_only: bool,
}

/// An argument of an operation: an object, and the type in the operation's signature.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    java_type: &'static str,
    object: JavaObject,
}

impl Argument {
    /// Any object, for a parameter whose type is `java_type` (as `Class.getName` says it).
    pub fn new(java_type: &'static str, object: JavaObject) -> Self {
        Argument { java_type, object }
    }

    /// `java.lang.String`
    pub fn string(text: impl Into<String>) -> Self {
        Self::new("java.lang.String", JavaObject::String(text.into()))
    }

    /// A `java.lang.String` that may be null.
    pub fn optional_string(text: Option<&str>) -> Self {
        let object = text.map_or(JavaObject::Null, JavaObject::from);
        Self::new("java.lang.String", object)
    }

    /// `String[]` or `String...`
    pub fn strings<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Self {
        let items = items.into_iter().map(Into::into).collect();
        Self::new("[Ljava.lang.String;", JavaObject::Strings(items))
    }

    /// `java.util.Map` of strings.
    pub fn map<S: Into<String>>(entries: impl IntoIterator<Item = (S, S)>) -> Self {
        let string = |text: S| JavaObject::String(text.into());
        let entries = entries.into_iter().map(|(k, v)| (string(k), string(v)));
        Self::new("java.util.Map", JavaObject::HashMap(entries.collect()))
    }

    /// `java.util.Set` of strings.
    pub fn set<S: Into<String>>(items: impl IntoIterator<Item = S>) -> Self {
        let items = items
            .into_iter()
            .map(|item| JavaObject::String(item.into()));
        Self::new("java.util.Set", JavaObject::HashSet(items.collect()))
    }

    /// `boolean`
    pub fn boolean(value: bool) -> Self {
        Self::new("boolean", JavaObject::Boolean(value))
    }

    /// `int`
    pub fn int(value: i32) -> Self {
        Self::new("int", JavaObject::Integer(value))
    }

    /// `long`
    pub fn long(value: i64) -> Self {
        Self::new("long", JavaObject::Long(value))
    }
}

/// What a call is about, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub verb: &'static str,
    pub member: String,
    pub mbean: Option<String>,
}

impl Subject {
    fn new(verb: &'static str, member: impl Into<String>, mbean: Option<&ObjectName>) -> Self {
        Subject {
            verb,
            member: member.into(),
            mbean: mbean.map(ObjectName::to_string),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.member)?;
        match &self.mbean {
            Some(mbean) => write!(f, " of {mbean}"),
            None => Ok(()),
        }
    }
}

/// Why an attempt has no outcome.
enum Failure {
    /// The server does not know our session any more; it did nothing.
    Expired,
    /// The connection ended; what the server did is unknown.
    Lost(std::io::Error),
    Final(Error),
}

impl JmxClient {
    /// Connects and, where credentials are given, authenticates.
    pub async fn connect(endpoint: &Endpoint) -> Result<JmxClient, Error> {
        let tls = match &endpoint.tls {
            Some(settings) => Some(Connector::new(endpoint, settings)?),
            None => None,
        };
        let session = open_session(endpoint, tls.as_ref()).await?;
        Ok(JmxClient {
            endpoint: endpoint.clone(),
            tls,
            session: Mutex::new(Arc::new(session)),
            renewal: tokio::sync::Mutex::new(()),
        })
    }

    /// Where this client is connected to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The value of an attribute.
    pub async fn get_attribute(&self, mbean: &ObjectName, name: &str) -> Result<Value, Error> {
        let arguments = [object_name(mbean), name.into(), JavaObject::Null];
        let subject = Subject::new("reading attribute", name, Some(mbean));
        let call = Call::new(Method::GetAttribute, arguments);
        self.call(&call, Expect::Value, &subject, READ).await
    }

    /// The values of several attributes. The server leaves out those that it does not have or
    /// that fail.
    pub async fn get_attributes(
        &self,
        mbean: &ObjectName,
        names: &[&str],
    ) -> Result<Vec<(String, Value)>, Error> {
        let list = names.iter().map(|name| (*name).to_owned()).collect();
        let arguments = [
            object_name(mbean),
            JavaObject::Strings(list),
            JavaObject::Null,
        ];
        let subject = Subject::new("reading attributes", names.join(", "), Some(mbean));
        let call = Call::new(Method::GetAttributes, arguments);
        let list = self.call(&call, Expect::Value, &subject, READ).await?;
        let pair = |attribute: &Value| {
            let name = attribute.field("name").map_or(Ok(""), Value::as_str)?;
            let value = attribute.field("value").cloned().unwrap_or(Value::Null);
            Ok((name.to_owned(), value))
        };
        let pairs = list
            .items()
            .and_then(|items| items.iter().map(pair).collect());
        pairs.map_err(|source| unexpected(&subject, source))
    }

    /// Calls an operation with the time limit of the endpoint, at most once.
    pub async fn invoke(
        &self,
        mbean: &ObjectName,
        operation: &str,
        arguments: Vec<Argument>,
    ) -> Result<Value, Error> {
        self.invoke_with(mbean, operation, arguments, CallOptions::default())
            .await
    }

    /// Calls an operation.
    pub async fn invoke_with(
        &self,
        mbean: &ObjectName,
        operation: &str,
        arguments: Vec<Argument>,
        options: CallOptions,
    ) -> Result<Value, Error> {
        let (types, objects): (Vec<_>, Vec<_>) = arguments
            .into_iter()
            .map(|argument| (argument.java_type.to_owned(), argument.object))
            .unzip();
        let signature = format!("{operation}({})", types.join(", "));
        let subject = Subject::new("operation", signature, Some(mbean));
        let packed = JavaObject::Marshalled(Box::new(JavaObject::Objects(objects)));
        let arguments = [
            object_name(mbean),
            operation.into(),
            packed,
            JavaObject::Strings(types),
            JavaObject::Null,
        ];
        let call = Call::new(Method::Invoke, arguments);
        self.call(&call, Expect::Value, &subject, options).await
    }

    /// The names of all MBeans that a pattern matches, in no order.
    pub async fn query_names(&self, pattern: &ObjectName) -> Result<Vec<ObjectName>, Error> {
        let arguments = [object_name(pattern), JavaObject::Null, JavaObject::Null];
        let subject = Subject::new("querying", pattern.as_str(), None);
        let call = Call::new(Method::QueryNames, arguments);
        let set = self.call(&call, Expect::Value, &subject, READ).await?;
        let name = |value: &Value| {
            let text = value.field("name").unwrap_or(value);
            let parsed = text.as_str()?.parse();
            parsed.map_err(|_| text.unexpected("the name of an MBean"))
        };
        let names = set
            .items()
            .and_then(|items| items.iter().map(name).collect());
        names.map_err(|source| unexpected(&subject, source))
    }

    /// Whether there is an MBean of this name.
    pub async fn is_registered(&self, mbean: &ObjectName) -> Result<bool, Error> {
        let arguments = [object_name(mbean), JavaObject::Null];
        let subject = Subject::new("looking for", mbean.as_str(), None);
        let call = Call::new(Method::IsRegistered, arguments);
        let value = self.call(&call, Expect::Boolean, &subject, READ).await?;
        value
            .as_bool()
            .map_err(|source| unexpected(&subject, source))
    }

    /// The server's name for this session: protocol, our address, the user, a number.
    pub async fn connection_id(&self) -> Result<String, Error> {
        let subject = Subject::new("reading", "the connection id", None);
        let call = Call::new(Method::GetConnectionId, []);
        let value = self.call(&call, Expect::Value, &subject, READ).await?;
        value
            .into_string()
            .map_err(|source| unexpected(&subject, source))
    }

    /// Ends the session. One that the server ended before is no error.
    pub async fn close(self) -> Result<(), Error> {
        let subject = Subject::new("closing", "the session", None);
        let call = Call::new(Method::Close, []);
        let session = self.session();
        let limit = self.endpoint.call_timeout;
        let attempt = self.attempt(&session, &call, Expect::Nothing, &subject);
        match timeout(limit, attempt).await {
            Ok(Ok(_)) | Ok(Err(Failure::Expired)) => Ok(()),
            Ok(Err(failure)) => Err(final_error(failure, &subject)),
            Err(_) => Err(timed_out(&subject, limit)),
        }
    }

    async fn call(
        &self,
        call: &Call,
        expect: Expect,
        subject: &Subject,
        options: CallOptions,
    ) -> Result<Value, Error> {
        let limit = options.timeout.unwrap_or(self.endpoint.call_timeout);
        let repeated = self.call_repeated(call, expect, subject, options.read_only);
        match timeout(limit, repeated).await {
            Ok(result) => result,
            Err(_) => Err(timed_out(subject, limit)),
        }
    }

    /// One attempt, and a second one in a new session where that cannot do anything twice.
    async fn call_repeated(
        &self,
        call: &Call,
        expect: Expect,
        subject: &Subject,
        read_only: bool,
    ) -> Result<Value, Error> {
        let session = self.session();
        match self.attempt(&session, call, expect, subject).await {
            Ok(value) => return Ok(value),
            Err(Failure::Expired) => {}
            Err(Failure::Lost(error)) if read_only => {
                tracing::debug!(%subject, %error, "connection ended; reading again");
            }
            Err(failure) => return Err(final_error(failure, subject)),
        }
        let session = self.renew(&session).await?;
        let second = self.attempt(&session, call, expect, subject).await;
        second.map_err(|failure| final_error(failure, subject))
    }

    async fn attempt(
        &self,
        session: &Session,
        call: &Call,
        expect: Expect,
        subject: &Subject,
    ) -> Result<Value, Failure> {
        let mut connection = match session.idle_connection().await {
            Some(connection) => connection,
            None => Connection::open(&self.endpoint, session.target.port, self.tls.as_ref())
                .await
                .map_err(Failure::Final)?,
        };
        match converse(&mut connection, &session.target, call, expect, subject).await? {
            Outcome::Value(value) => {
                session.keep(connection);
                Ok(value)
            }
            Outcome::Thrown(thrown) => {
                session.keep(connection);
                match thrown::is_expired_session(&thrown) {
                    true => Err(Failure::Expired),
                    false => Err(Failure::Final(thrown::error_of(thrown, subject))),
                }
            }
            // Only asked for when a session is opened.
            Outcome::Stub(_) => Ok(Value::Null),
        }
    }

    fn session(&self) -> Arc<Session> {
        let current = self.session.lock();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A session other than `lost`, opened unless another call has done so.
    async fn renew(&self, lost: &Arc<Session>) -> Result<Arc<Session>, Error> {
        let _renewal = self.renewal.lock().await;
        let current = self.session();
        if !Arc::ptr_eq(&current, lost) {
            return Ok(current);
        }
        tracing::debug!(address = %self.endpoint.address(), "opening a new JMX session");
        let session = Arc::new(open_session(&self.endpoint, self.tls.as_ref()).await?);
        let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        *current = session.clone();
        Ok(session)
    }
}

impl fmt::Debug for JmxClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JmxClient")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Session {
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

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const READ: CallOptions = CallOptions {
    timeout: None,
    read_only: true,
};

/// Registry, then the connector behind it.
async fn open_session(endpoint: &Endpoint, tls: Option<&Connector>) -> Result<Session, Error> {
    let limit = endpoint.call_timeout;
    let subject = Subject::new("connecting to", endpoint.address(), None);
    match timeout(limit, open_session_unlimited(endpoint, tls)).await {
        Ok(result) => result,
        Err(_) => Err(timed_out(&subject, limit)),
    }
}

async fn open_session_unlimited(
    endpoint: &Endpoint,
    tls: Option<&Connector>,
) -> Result<Session, Error> {
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
        Err(failure) => Err(final_error(failure, subject)),
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

fn final_error(failure: Failure, subject: &Subject) -> Error {
    match failure {
        Failure::Final(error) => error,
        Failure::Lost(source) => Error::Lost {
            operation: subject.to_string(),
            source,
        },
        Failure::Expired => Error::Lost {
            operation: subject.to_string(),
            source: std::io::Error::other("the server ended a session that was just opened"),
        },
    }
}

fn timed_out(subject: &Subject, after: Duration) -> Error {
    Error::Timeout {
        operation: subject.to_string(),
        after,
    }
}

fn unexpected(subject: &Subject, source: crate::stream::UnexpectedValue) -> Error {
    Error::Unexpected {
        operation: subject.to_string(),
        source,
    }
}

fn object_name(name: &ObjectName) -> JavaObject {
    JavaObject::ObjectName(name.to_string())
}
