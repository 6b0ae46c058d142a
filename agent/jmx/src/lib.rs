//! A JMX client without a JVM, and what a backup needs of Cassandra's MBeans.
//!
//! [`JmxClient`] speaks RMI over JRMP to the standard connector of any JVM: attributes,
//! operations, queries, credentials, TLS. [`cassandra::Cassandra`] puts types on Cassandra's beans
//! and works unchanged with 4.0, 4.1 and 5.0.
//!
//! Not here: notifications, MBean creation, leases (DGC), and serving JMX.

#![forbid(unsafe_code)]

mod argument;
pub mod cassandra;
mod client;
mod endpoint;
mod error;
mod jrmp;
mod name;
mod session;
pub mod stream;
mod subject;
mod thrown;

pub use argument::Argument;
pub use client::{CallOptions, JmxClient};
pub use endpoint::{Credentials, Endpoint, Identity, ServerName, TlsSettings};
pub use error::Error;
pub use name::{InvalidObjectName, ObjectName};
pub use stream::{JavaObject, Throwable, UnexpectedValue, Value};
