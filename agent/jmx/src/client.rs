//! The client: sessions, and calls with limits of time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use crate::argument::Argument;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::jrmp::{Call, Connector, Expect, Method};
use crate::name::ObjectName;
use crate::session::{Failure, Session, timed_out, unexpected};
use crate::stream::{JavaObject, Value};
use crate::subject::Subject;

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

/// How one call is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions {
    /// Instead of [`Endpoint::call_timeout`].
    pub timeout: Option<Duration>,
    /// The operation changes nothing, so it is repeated once where its outcome is unknown.
    pub read_only: bool,
}

impl JmxClient {
    /// Connects and, where credentials are given, authenticates.
    pub async fn connect(endpoint: &Endpoint) -> Result<JmxClient, Error> {
        let tls = match &endpoint.tls {
            Some(settings) => Some(Connector::new(endpoint, settings)?),
            None => None,
        };
        let session = Session::open(endpoint, tls.as_ref()).await?;
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

    /// Sets an attribute.
    pub async fn set_attribute(
        &self,
        mbean: &ObjectName,
        name: &str,
        value: JavaObject,
    ) -> Result<(), Error> {
        let attribute = JavaObject::Attribute(name.to_owned(), Box::new(value));
        let packed = JavaObject::Marshalled(Box::new(attribute));
        let arguments = [object_name(mbean), packed, JavaObject::Null];
        let subject = Subject::new("setting attribute", name, Some(mbean));
        let call = Call::new(Method::SetAttribute, arguments);
        // Setting twice does what setting once does.
        self.call(&call, Expect::Nothing, &subject, READ).await?;
        Ok(())
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
        let subject = Subject::operation(operation, &types, mbean);
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
            Ok(Err(failure)) => Err(failure.into_error(&subject)),
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
            Err(failure) => return Err(failure.into_error(subject)),
        }
        let session = self.renew(&session).await?;
        let second = self.attempt(&session, call, expect, subject).await;
        second.map_err(|failure| failure.into_error(subject))
    }

    async fn attempt(
        &self,
        session: &Session,
        call: &Call,
        expect: Expect,
        subject: &Subject,
    ) -> Result<Value, Failure> {
        let tls = self.tls.as_ref();
        session
            .attempt(&self.endpoint, tls, call, expect, subject)
            .await
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
        let session = Arc::new(Session::open(&self.endpoint, self.tls.as_ref()).await?);
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

const READ: CallOptions = CallOptions {
    timeout: None,
    read_only: true,
};

fn object_name(name: &ObjectName) -> JavaObject {
    JavaObject::ObjectName(name.to_string())
}
